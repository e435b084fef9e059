// @ts-check

import { encodings, preferCodecs, sendingSection, switchLayers } from './codecs.js';
import { listDevices } from './capture.js';
import { Messages } from './messages.js';
import { Emitter } from './emitter.js';
import { FanlightError, within } from './errors.js';
import { Intents, View } from './intents.js';
import { LocalParticipant, RemoteParticipant } from './participant.js';
import { Peer } from './peer.js';
import { LocalTrackPublication, RemoteTrackPublication } from './publication.js';
import { delay } from './reconnect.js';
import { Seats } from './seats.js';
import { Signal } from './signal.js';
import { gather } from './stats.js';

/** @typedef {import('./protocol.js').Envelope} Envelope */
/** @typedef {import('./protocol.js').ParticipantInfo} ParticipantInfo */
/** @typedef {import('./protocol.js').Welcome} Welcome */
/** @typedef {import('./participant.js').Participant} Participant */
/** @typedef {'disconnected' | 'connecting' | 'connected' | 'reconnecting'} ConnectionState */

/**
 * @typedef {object} ChatMessage
 * @property {string} id
 * @property {string} text
 * @property {number} time  milliseconds since 1970
 * @property {Participant} participant  who wrote it
 * @property {string[]} [to]
 */

/** The whole of joining, at most. */
const JOIN_MS = 20_000;

/** The server's part of the statistics comes within this time or is left out. */
const STATS_MS = 3000;

/** A room: who is in it, what they publish, and the way to them. */
export class Room extends Emitter {
  /** @type {ConnectionState} */
  state = 'disconnected';
  name = '';
  localParticipant = new LocalParticipant(this);
  /** @type {Map<string, RemoteParticipant>} */
  remoteParticipants = new Map();
  /** Loudest first. @type {Participant[]} */
  activeSpeakers = [];
  canPlaybackAudio = true;
  /** Why the room is `reconnecting`: a reason of the server, or `lost`. */
  lossReason = '';
  /** @type {LocalTrackPublication[]} */
  localPublications = [];

  /** @type {{url: string, room: string, name: string} | null} */
  #target = null;
  /** @type {Signal | null} */
  #signal = null;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {Seats | null} */
  #seats = null;
  #inbox = Promise.resolve();
  #attempt = 0;
  /** @type {AbortController | null} */
  #leaving = null;
  /** @type {Set<HTMLMediaElement>} */
  #blocked = new Set();
  #messages = new Messages(this);
  /** @type {Intents} */
  #intents;
  /** A server that does not know the question counts it as a fault. @type {Signal | null} */
  #noStats = null;

  /**
   * @param {{adaptiveStream?: boolean}} [options]  `adaptiveStream` (true): what the page shows decides what is
   *   sent here; false: every picture at full size, unless a publication is asked for otherwise
   */
  constructor({ adaptiveStream = true } = {}) {
    super();
    // Outside of a page, in a test or a worker, nothing is shown.
    const measured = adaptiveStream && 'ResizeObserver' in globalThis;
    this.#intents = new Intents(() => this.#remotePublications(), measured && ((changed) => new View(changed)));
  }

  /**
   * Joins. Tracks that were published before go with the first offer.
   * @param {string} url  the server's http(s) origin
   * @param {{room: string, name: string, token?: string, signal?: AbortSignal}} options
   * @returns {Promise<void>}
   */
  async connect(url, { room, name, signal }) {
    if (this.state !== 'disconnected') throw new FanlightError('not-allowed', 'The room is connected already.');
    if (typeof RTCPeerConnection === 'undefined') {
      throw new FanlightError('unsupported', 'This browser has no WebRTC.');
    }
    this.#target = { url, room, name };
    this.#leaving = new AbortController();
    this.#become('connecting');
    try {
      await within(this.#join(signal), JOIN_MS, 'Joining', signal);
    } catch (error) {
      this.#drop();
      this.#become('disconnected');
      throw error;
    }
    this.#become('connected');
    this.emit('connected');
  }

  /** Leaves. The others are told at once. Local tracks are stopped. */
  async disconnect() {
    if (this.state === 'disconnected') return;
    for (const publication of this.localPublications) publication.track?.stop();
    this.#end('client');
  }

  /** Plays what the browser would not play without a click. Call it from one. */
  async startAudio() {
    const waiting = [...this.#blocked];
    this.#blocked.clear();
    const results = await Promise.allSettled(waiting.map((element) => element.play()));
    results.forEach((result, n) => { if (result.status === 'rejected') this.#blocked.add(waiting[n]); });
    this.#tellPlayback();
  }

  /**
   * @param {MediaDeviceKind} kind
   * @param {string} deviceId
   */
  async switchActiveDevice(kind, deviceId) {
    if (kind !== 'audiooutput') return this.localParticipant.switchDevice(kind, deviceId);
    for (const publication of this.#remotePublications()) {
      for (const element of publication.elements) {
        if ('setSinkId' in element) await /** @type {any} */ (element).setSinkId(deviceId);
      }
    }
    return undefined;
  }

  /**
   * @param {MediaDeviceKind} [kind]
   * @returns {Promise<MediaDeviceInfo[]>}
   */
  static getLocalDevices(kind) {
    return listDevices(kind);
  }

  /** @returns {Promise<import('./stats.js').Stats>} track id → what the browser counts of it, and the server's word */
  async getStats() {
    const answer = await this.#serverStats();
    return gather(this.#peer?.pc, this.localPublications, this.remoteParticipants.values(), answer);
  }

  async #serverStats() {
    const signal = this.#signal;
    if (!signal || signal === this.#noStats) return null;
    try {
      const { type, data } = await within(signal.request('stats', {}), STATS_MS, 'Statistics');
      return type === 'stats' ? data : null;
    } catch (error) {
      if (error instanceof FanlightError && error.code === 'bad-message') this.#noStats = signal;
      return null;
    }
  }

  /** @param {import('./protocol.js').Source} source */
  localPublication(source) {
    return this.localPublications.find((publication) => publication.source === source);
  }

  // What participants ask of their room.

  /** @param {LocalTrackPublication[]} publications */
  async publish(...publications) {
    this.localPublications.push(...publications);
    const peer = this.#peer;
    if (peer && this.state === 'connected') {
      for (const publication of publications) this.#send(peer, publication);
      try {
        await peer.negotiate();
      } catch (error) {
        for (const publication of publications) this.#withdraw(publication);
        throw error;
      }
    }
    for (const publication of publications) {
      publication.whenPublished.then(() => this.#announce(publication)).catch(() => {});
    }
  }

  /** @param {LocalTrackPublication} publication */
  async unpublish(publication) {
    this.#withdraw(publication);
    this.localParticipant.trackPublications.delete(publication.id);
    const { transceiver } = publication;
    await transceiver?.sender.replaceTrack(null);
    if (transceiver) this.#peer?.spare.set(publication.source, [transceiver]);
    if (publication.id && this.#signal) await this.#signal.request('unpublish', { trackId: publication.id });
  }

  /**
   * @param {LocalTrackPublication} publication
   * @param {boolean} muted
   */
  async setMuted(publication, muted) {
    publication.info = { ...publication.info, muted };
    const detail = { publication, participant: this.localParticipant };
    this.emit(muted ? 'trackMuted' : 'trackUnmuted', detail);
    // Without a session the next one starts with this state.
    if (publication.id && this.#signal) await this.#signal.request('mute', { trackId: publication.id, muted });
  }

  /**
   * @param {Uint8Array | string} payload
   * @param {{topic?: string, reliable?: boolean, to?: string[], signal?: AbortSignal}} options
   */
  sendData(payload, options) {
    return this.#messages.send(payload, options);
  }

  /**
   * @param {string} text
   * @param {{to?: string[], signal?: AbortSignal}} options
   * @returns {Promise<ChatMessage>}
   */
  sendChat(text, options) {
    return this.#messages.chat(text, options);
  }

  // Joining, losing, coming back.

  /** @param {AbortSignal} [signal] */
  async #join(signal) {
    const target = this.#target;
    if (!target) throw new FanlightError('aborted', 'The room was left.');
    const attempt = ++this.#attempt;
    const peer = new Peer((offer) => this.#ask(offer));
    this.#peer = peer;
    this.#seats = this.#newSeats(peer);
    for (const publication of this.localPublications) this.#send(peer, publication);
    peer.on('failed', () => this.#lost(attempt));
    peer.on('data', (detail) => this.#messages.receive(detail));
    peer.on('channel', () => this.#messages.opened());
    const offer = await peer.firstOffer();
    const { signal: line, welcome } = await Signal.join(target.url, { room: target.room, name: target.name, offer }, signal);
    if (attempt !== this.#attempt) {
      line.close();
      throw new FanlightError('aborted', 'The room was left.');
    }
    this.#signal = line;
    line.on('lost', () => this.#lost(attempt));
    // In order, and each only once what came before is carried out.
    line.on('message', (message) => {
      this.#inbox = this.#inbox.then(() => this.#hear(message, attempt)).catch((error) => console.error(error));
    });
    this.#inbox = this.#enter(welcome, peer);
    await this.#inbox;
    this.#messages.use(peer, welcome.limits.dataBytes);
    if (attempt === this.#attempt) this.#intents.start((tracks) => line.send('intents', { tracks }));
  }

  /**
   * @param {Welcome} welcome
   * @param {Peer} peer
   */
  async #enter(welcome, peer) {
    this.name = welcome.room;
    this.localParticipant.update(welcome.me);
    this.localParticipant.trackPublications.clear();
    const here = new Set(welcome.participants.map((participant) => participant.identity));
    for (const identity of [...this.remoteParticipants.keys()]) if (!here.has(identity)) this.#left({ identity, reason: 'client' });
    for (const participant of welcome.participants) this.#joined(participant);
    if (welcome.answer) await peer.accept(welcome.answer);
    this.#seats?.refresh();
  }

  /** @param {object} offer */
  async #ask(offer) {
    const signal = this.#signal;
    if (!signal) throw new FanlightError('server-unreachable', 'There is no connection to the server.', true);
    /** @type {Promise<any>} */
    const answer = new Promise((resolve) => {
      const take = (/** @type {any} */ detail) => {
        signal.off('answer', take);
        resolve(detail);
      };
      signal.on('answer', take);
    });
    await signal.request('offer', offer);
    return within(answer, 5000, 'The answer');
  }

  /** @param {number} attempt */
  #lost(attempt) {
    if (attempt !== this.#attempt || this.state !== 'connected') return;
    void this.#rejoin(0, 'lost');
  }

  /**
   * @param {number} afterMs
   * @param {string} reason
   */
  async #rejoin(afterMs, reason) {
    this.#drop();
    this.lossReason = reason;
    this.#become('reconnecting');
    this.emit('reconnecting', { reason });
    const leaving = this.#leaving?.signal;
    if (afterMs) await pause(afterMs, leaving);
    for (let tries = 0; this.state === 'reconnecting'; tries += 1) {
      await pause(delay(tries), leaving);
      if (leaving?.aborted) return;
      try {
        await within(this.#join(leaving), JOIN_MS, 'Joining', leaving);
        this.#become('connected');
        this.emit('reconnected');
        return;
      } catch (error) {
        this.#drop();
        const final = error instanceof FanlightError && !error.retryable
          && !['server-unreachable', 'timeout', 'aborted'].includes(error.code);
        if (final) return this.#end(/** @type {FanlightError} */ (error).code);
      }
    }
  }

  /** Lets go of socket and peer connection; what is published stays known for the next. */
  #drop() {
    this.#attempt += 1;
    this.#signal?.close();
    this.#peer?.close();
    this.#signal = null;
    this.#peer = null;
    this.#messages.drop();
    this.#intents.stop();
    this.activeSpeakers = [];
    for (const participant of this.#everybody()) {
      Object.assign(participant, { isSpeaking: false, connectionQuality: 'excellent', connectionQualityReason: '' });
    }
    for (const publication of this.#remotePublications()) {
      Object.assign(publication, { streamState: 'waiting', streamReason: '' });
      publication.place(null);
    }
    for (const publication of this.localPublications) {
      publication.transceiver = null;
      publication.info = { ...publication.info, id: '' };
    }
  }

  /** @param {string} reason */
  #end(reason) {
    this.#leaving?.abort();
    this.#drop();
    this.#target = null;
    this.localPublications = [];
    for (const identity of [...this.remoteParticipants.keys()]) this.#left({ identity, reason });
    this.#become('disconnected');
    this.emit('disconnected', { reason });
  }

  /** @param {ConnectionState} state */
  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit('connectionStateChanged', { state });
  }

  // What the server says.

  /**
   * @param {Envelope} message
   * @param {number} attempt
   */
  async #hear({ type, data }, attempt) {
    if (attempt !== this.#attempt) return;
    switch (type) {
      case 'answer': this.#signal?.emit('answer', data); break;
      case 'seats': await this.#seat(data); break;
      case 'joined': this.#joined(data.participant); break;
      case 'leaving': this.#leavingSoon(data); break;
      case 'left': this.#left(data); break;
      case 'published': this.#published(data.identity, data.track); break;
      case 'unpublished': this.#unpublished(data.identity, data.trackId); break;
      case 'trackUpdated': this.#trackUpdated(data.identity, data.track); break;
      case 'speakers': this.#speakers(data.speakers); break;
      case 'streamState': this.#streamState(data); break;
      case 'layers': this.#layers(data); break;
      case 'quality': this.#quality(data.participants); break;
      case 'goodbye': this.#goodbye(data); break;
      default: break;
    }
  }

  /** @param {import('./protocol.js').Seats} seats */
  async #seat(seats) {
    const peer = this.#peer;
    if (!peer || !this.#seats?.apply(seats)) return;
    this.#signal?.send('seated', { rev: seats.rev });
    const want = Math.min(seats.want.audio, seats.want.video);
    if (want <= peer.seats) return;
    peer.growSeats(want);
    // Not awaited: its answer comes through the same inbox.
    peer.negotiate().then(() => this.#seats?.refresh()).catch(() => {});
  }

  /** @param {ParticipantInfo} info */
  #joined(info) {
    const known = this.remoteParticipants.get(info.identity);
    const participant = known ?? new RemoteParticipant();
    participant.update(info);
    this.remoteParticipants.set(info.identity, participant);
    const ids = new Set(info.tracks.map((track) => track.id));
    for (const id of [...participant.trackPublications.keys()]) if (!ids.has(id)) this.#unpublished(info.identity, id);
    if (!known) this.emit('participantConnected', { participant });
    for (const track of info.tracks) this.#published(info.identity, track);
  }

  /** @param {{identity: string, reason: string}} data */
  #leavingSoon({ identity, reason }) {
    const participant = this.remoteParticipants.get(identity);
    if (participant) this.emit('participantLeaving', { participant, reason });
  }

  /** @param {{identity: string, reason: string}} data */
  #left({ identity, reason }) {
    const participant = this.remoteParticipants.get(identity);
    if (!participant) return;
    for (const id of [...participant.trackPublications.keys()]) this.#unpublished(identity, id);
    this.remoteParticipants.delete(identity);
    this.activeSpeakers = this.activeSpeakers.filter((speaker) => speaker !== participant);
    this.emit('participantDisconnected', { participant, reason });
  }

  /**
   * @param {string} identity
   * @param {import('./protocol.js').TrackInfo} track
   */
  #published(identity, track) {
    const participant = this.remoteParticipants.get(identity);
    if (!participant || participant.trackPublications.has(track.id)) return;
    const publication = new RemoteTrackPublication(track);
    publication.onPlayed = (element, error) => this.#played(element, error);
    publication.onIntent = () => this.#intents.changed();
    participant.trackPublications.set(track.id, publication);
    this.emit('trackPublished', { publication, participant });
    this.#seats?.refresh();
    this.#intents.changed();
  }

  /**
   * @param {string} identity
   * @param {string} id
   */
  #unpublished(identity, id) {
    const participant = this.remoteParticipants.get(identity);
    const publication = participant?.trackPublications.get(id);
    if (!participant || !publication) return;
    const { track } = publication;
    publication.place(null);
    if (track) this.emit('trackUnsubscribed', { track, publication, participant });
    publication.detach();
    participant.trackPublications.delete(id);
    this.#intents.changed();
    this.emit('trackUnpublished', { publication, participant });
  }

  /**
   * @param {string} identity
   * @param {import('./protocol.js').TrackInfo} track
   */
  #trackUpdated(identity, track) {
    const participant = this.remoteParticipants.get(identity);
    /** @type {RemoteTrackPublication | undefined} */
    const publication = participant?.trackPublications.get(track.id);
    if (!participant || !publication) return;
    const changed = publication.isMuted !== track.muted;
    publication.info = track;
    if (!changed) return;
    if (!track.muted && publication.track) this.#seats?.await(publication);
    this.emit(track.muted ? 'trackMuted' : 'trackUnmuted', { publication, participant });
  }

  /** @param {{identity: string, level: number}[]} speakers */
  #speakers(speakers) {
    const levels = new Map(speakers.map(({ identity, level }) => [identity, level]));
    const everybody = this.#everybody();
    for (const participant of everybody) {
      participant.isSpeaking = levels.has(participant.identity);
      participant.audioLevel = levels.get(participant.identity) ?? 0;
    }
    this.activeSpeakers = everybody.filter((participant) => participant.isSpeaking)
      .sort((a, b) => b.audioLevel - a.audioLevel);
    this.emit('activeSpeakersChanged', { speakers: this.activeSpeakers });
  }

  /** @param {{trackId: string, active: boolean, reason: string, viewer?: string}} data */
  #streamState({ trackId, active, reason, viewer }) {
    if (viewer) return;
    for (const participant of this.remoteParticipants.values()) {
      /** @type {RemoteTrackPublication | undefined} */
      const publication = participant.trackPublications.get(trackId);
      // What goes on without having been paused needs no wait for a frame.
      if (!publication || (active && !['paused', 'codec'].includes(publication.streamState))) continue;
      const state = active ? 'waiting' : reason === 'codec' ? 'codec' : 'paused';
      Object.assign(publication, { streamState: state, streamReason: active ? '' : reason });
      this.emit('trackStreamStateChanged', { publication, participant, state, reason });
      if (active && publication.track) this.#seats?.await(publication);
    }
  }

  /** @param {{trackId: string, rids: string[]}} data  which encodings of a track of ours somebody wants */
  #layers({ trackId, rids }) {
    const sender = this.localPublications.find(({ id }) => id === trackId)?.transceiver?.sender;
    if (sender) void switchLayers(sender, rids);
  }

  /** @param {{identity: string, level: import('./protocol.js').Quality, reason: string}[]} list */
  #quality(list) {
    for (const { identity, level, reason } of list) {
      const participant = this.#everybody().find((one) => one.identity === identity);
      if (!participant) continue;
      Object.assign(participant, { connectionQuality: level, connectionQualityReason: reason });
      this.emit('connectionQualityChanged', { participant, level, reason });
    }
  }

  /** @param {import('./protocol.js').Goodbye} goodbye */
  #goodbye({ reason, retry, afterMs }) {
    if (retry === 'none') return this.#end(reason);
    if (this.state === 'connected') void this.#rejoin(afterMs, reason);
    return undefined;
  }

  // Helpers.

  /** @param {Peer} peer */
  #newSeats(peer) {
    const owner = (/** @type {RemoteTrackPublication} */ publication) =>
      [...this.remoteParticipants.values()].find((p) => p.trackPublications.has(publication.id));
    return new Seats({
      receiver: (mid) => peer.receiver(mid),
      publication: (id) => this.#remotePublications().find((publication) => publication.id === id),
      subscribed: (publication) =>
        this.emit('trackSubscribed', { track: publication.track, publication, participant: owner(publication) }),
      unsubscribed: (publication, track) =>
        this.emit('trackUnsubscribed', { track, publication, participant: owner(publication) }),
      changed: (publication) =>
        this.emit('trackStreamStateChanged', { publication, participant: owner(publication), state: publication.streamState, reason: '' }),
    });
  }

  /**
   * Gives a publication a section of its own.
   * @param {Peer} peer
   * @param {LocalTrackPublication} publication
   */
  #send(peer, publication) {
    const { track, kind, source, simulcast } = publication;
    peer.publications = [...peer.publications.filter((known) => !known.withdrawn), publication];
    const spare = peer.spare.get(source)?.pop();
    if (spare) {
      publication.transceiver = spare;
      void spare.sender.replaceTrack(track);
      // What was switched off for the track before is wanted again until the server says otherwise.
      void switchLayers(spare.sender, ['*']);
      return;
    }
    const size = track?.getSettings?.() ?? {};
    const sendEncodings = kind === 'video' ? encodings(source, size, simulcast) : undefined;
    publication.transceiver = sendingSection(peer.pc, track ?? kind, sendEncodings);
    if (kind === 'video') preferCodecs(publication.transceiver, true);
  }

  /** @param {LocalTrackPublication} publication */
  #announce(publication) {
    this.localParticipant.trackPublications.set(publication.id, publication);
    this.emit('localTrackPublished', { publication, participant: this.localParticipant });
  }

  /** @param {LocalTrackPublication} publication */
  #withdraw(publication) {
    publication.withdrawn = true;
    this.localPublications = this.localPublications.filter((known) => known !== publication);
  }

  /** @returns {Participant[]} */
  #everybody() {
    return [this.localParticipant, ...this.remoteParticipants.values()];
  }

  /** @returns {RemoteTrackPublication[]} */
  #remotePublications() {
    return [...this.remoteParticipants.values()].flatMap((participant) => [...participant.trackPublications.values()]);
  }

  /**
   * @param {HTMLMediaElement} element
   * @param {unknown} error
   */
  #played(element, error) {
    const refused = error instanceof Error && error.name === 'NotAllowedError';
    if (refused) this.#blocked.add(element);
    else this.#blocked.delete(element);
    this.#tellPlayback();
  }

  #tellPlayback() {
    const can = this.#blocked.size === 0;
    if (can === this.canPlaybackAudio) return;
    this.canPlaybackAudio = can;
    this.emit('audioPlaybackStatusChanged', { canPlaybackAudio: can });
  }
}

/**
 * Waits, but not longer than until the network is said to be back, or the wait is given up.
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.('online', done);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    globalThis.addEventListener?.('online', done);
    signal?.addEventListener('abort', done);
    if (signal?.aborted) done();
  });
}
