// @ts-check

import { FanlightError } from './errors.js';
import { preferCodecs } from './codecs.js';
import { Emitter } from './emitter.js';

/** @typedef {import('./protocol.js').Answer} Answer */
/** @typedef {import('./protocol.js').OfferedTrack} OfferedTrack */
/** @typedef {import('./publication.js').LocalTrackPublication} LocalTrackPublication */

/** Seat pairs of the first offer: a call of five. */
const FIRST_SEATS = 4;

/** Time between two offers of which neither was urgent; the server takes five in ten seconds. */
const OFFER_EVERY_MS = 2100;

/**
 * The peer connection. The client always offers; one offer is in flight at a time, and what is needed
 * meanwhile goes into the next. Emits `failed`, `connected`, `data` (lane, ArrayBuffer), `channel` (lane).
 */
export class Peer extends Emitter {
  #nid = 0;
  #running = false;
  #again = false;
  /** @type {number[]} when the last offers were made */
  #offers = [];
  /** @type {((error?: FanlightError) => void)[]} */
  #waiting = [];
  closed = false;
  /** Sections of tracks that were taken away, to be used again for the same source. @type {Map<string, RTCRtpTransceiver[]>} */
  spare = new Map();
  /** @type {{reliable: RTCDataChannel, lossy: RTCDataChannel}} */
  channels;
  /** @type {LocalTrackPublication[]} */
  publications = [];

  /**
   * @param {(offer: {nid: number, sdp: string, tracks: OfferedTrack[]}) => Promise<Answer>} ask
   *   sends an offer and waits for its answer
   */
  constructor(ask) {
    super();
    this.ask = ask;
    this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.channels = {
      reliable: this.#channel('reliable', { ordered: true }),
      lossy: this.#channel('lossy', { ordered: false, maxRetransmits: 0 }),
    };
    this.pc.onconnectionstatechange = () => {
      if (this.pc.connectionState === 'failed' && !this.closed) this.emit('failed');
      if (this.pc.connectionState === 'connected') this.emit('connected');
    };
  }

  /**
   * @param {'reliable' | 'lossy'} lane
   * @param {RTCDataChannelInit} init
   */
  #channel(lane, init) {
    const channel = this.pc.createDataChannel(`fanlight.${lane}`, init);
    channel.binaryType = 'arraybuffer';
    channel.onmessage = (event) => this.emit('data', { lane, buffer: event.data });
    channel.onopen = () => this.emit('channel', { lane });
    return channel;
  }

  /** @returns {number} how many seat pairs there are */
  get seats() {
    return this.pc.getTransceivers().filter((t) => t.direction === 'recvonly' && kindOf(t) === 'video').length;
  }

  /** @param {number} count  how many seat pairs there should be */
  growSeats(count) {
    for (let have = this.seats; have < count; have += 1) {
      this.pc.addTransceiver('audio', { direction: 'recvonly' });
      preferCodecs(this.pc.addTransceiver('video', { direction: 'recvonly' }), false);
    }
  }

  /** The first offer, made before there is a server to ask. */
  async firstOffer() {
    this.growSeats(FIRST_SEATS);
    return this.#offer();
  }

  /** @param {Answer} answer */
  async accept(answer) {
    if (answer.nid !== this.#nid || this.closed) return;
    await this.pc.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
    for (const publication of this.publications) {
      const id = answer.tracks[publication.cid];
      if (id) publication.published(id);
    }
  }

  /**
   * Offers what has changed. Resolves when that is agreed.
   * @returns {Promise<void>}
   */
  negotiate() {
    return new Promise((resolve, reject) => {
      this.#waiting.push((error) => (error ? reject(error) : resolve()));
      this.#again = true;
      void this.#run();
    });
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    while (this.#again && !this.closed) {
      await this.#breathe();
      this.#again = false;
      const waiting = this.#waiting.splice(0);
      const error = await this.#exchange();
      for (const settle of waiting) settle(error);
    }
    this.#running = false;
  }

  /** @returns {Promise<FanlightError | undefined>} */
  async #exchange() {
    try {
      const answer = await this.ask(await this.#offer());
      await this.accept(answer);
      return undefined;
    } catch (error) {
      // A refused offer leaves the session as it was; the browser must forget it too.
      if (!this.closed && this.pc.signalingState === 'have-local-offer') {
        await this.pc.setLocalDescription({ type: 'rollback' });
      }
      return error instanceof FanlightError ? error : new FanlightError('negotiation-failed', String(error));
    }
  }

  /** Keeps to the server's limit of five offers in ten seconds. */
  async #breathe() {
    const now = Date.now();
    this.#offers = this.#offers.filter((at) => now - at < 10_000);
    if (this.#offers.length < 4) return;
    await new Promise((resolve) => { setTimeout(resolve, OFFER_EVERY_MS); });
  }

  async #offer() {
    this.#offers.push(Date.now());
    await this.pc.setLocalDescription(await this.pc.createOffer());
    this.#nid += 1;
    const tracks = this.publications.map((publication) => publication.offered()).filter((track) => track !== null);
    return { nid: this.#nid, sdp: this.pc.localDescription?.sdp ?? '', tracks };
  }

  /**
   * The receiving transceiver of a section.
   * @param {string} mid
   */
  receiver(mid) {
    return this.pc.getTransceivers().find((transceiver) => transceiver.mid === mid)?.receiver;
  }

  close() {
    this.closed = true;
    this.pc.close();
    for (const settle of this.#waiting.splice(0)) settle(new FanlightError('aborted', 'The call has ended.'));
  }
}

/** @param {RTCRtpTransceiver} transceiver */
function kindOf(transceiver) {
  return transceiver.receiver.track.kind;
}
