// @ts-check

import { FanlightError, deviceError } from './errors.js';
import { LocalTrackPublication } from './publication.js';
import { capture, captureScreen, chooseDevice } from './capture.js';

/** @typedef {import('./protocol.js').ParticipantInfo} ParticipantInfo */
/** @typedef {import('./protocol.js').Source} Source */
/** @typedef {import('./publication.js').TrackPublication} TrackPublication */
/** @typedef {import('./room.js').Room} Room */

/** A member of a room. */
export class Participant {
  identity = '';
  name = '';
  joinedAt = 0;
  isSpeaking = false;
  audioLevel = 0;
  /** @type {import('./protocol.js').Quality} */
  connectionQuality = 'excellent';
  /** Why, in a sentence; empty while nothing was said. */
  connectionQualityReason = '';
  /** @type {Record<string, string>} */
  attributes = {};
  /** @type {Map<string, any>} track id → publication */
  trackPublications = new Map();

  /** @param {ParticipantInfo} info */
  update({ identity, name, joinedAt }) {
    Object.assign(this, { identity, name, joinedAt });
  }

  /**
   * @param {Source} source
   * @returns {any} its publication of that source, if there is one
   */
  publication(source) {
    return [...this.trackPublications.values()].find((publication) => publication.source === source);
  }

  get isMicrophoneEnabled() { return this.#on('microphone'); }
  get isCameraEnabled() { return this.#on('camera'); }
  get isScreenShareEnabled() { return this.#on('screen'); }

  /** @param {Source} source */
  #on(source) {
    const publication = this.publication(source);
    return publication !== undefined && !publication.isMuted;
  }
}

/** Somebody else. */
export class RemoteParticipant extends Participant {}

/** Oneself. */
export class LocalParticipant extends Participant {
  /** @type {Room} */
  #room;
  /** @type {Map<Source, Promise<unknown>>} one change of a source at a time */
  #busy = new Map();

  /** @param {Room} room */
  constructor(room) {
    super();
    this.#room = room;
  }

  /**
   * @param {boolean} on
   * @param {MediaTrackConstraints} [options]
   */
  setMicrophoneEnabled(on, options) {
    return this.#inTurn('microphone', () => this.#setMicrophone(on, options));
  }

  /**
   * @param {boolean} on
   * @param {MediaTrackConstraints & {simulcast?: boolean}} [options]
   */
  setCameraEnabled(on, options) {
    return this.#inTurn('camera', () => this.#setCamera(on, options));
  }

  /**
   * @param {boolean} on
   * @param {DisplayMediaStreamOptions} [options]
   */
  setScreenShareEnabled(on, options) {
    return this.#inTurn('screen', () => this.#setScreen(on, options));
  }

  /**
   * Publishes a track. Before `connect` it waits for the first offer.
   * @param {MediaStreamTrack} track
   * @param {{source: Source, name?: string, simulcast?: boolean, muted?: boolean}} options
   * @returns {Promise<LocalTrackPublication>}
   */
  async publishTrack(track, options) {
    const publication = new LocalTrackPublication({ track, ...options });
    await this.#room.publish(publication);
    return publication;
  }

  /** @param {LocalTrackPublication | MediaStreamTrack} track */
  async unpublishTrack(track) {
    const found = this.#room.localPublications.find((known) => known === track || known.track === track);
    if (found) await this.#room.unpublish(found);
  }

  /**
   * Sends a message to everybody else or to `to`. Resolves when the server has taken it (reliable) or the
   * browser has (lossy).
   * @param {Uint8Array | string} payload
   * @param {{topic?: string, reliable?: boolean, to?: string[], signal?: AbortSignal}} [options]
   * @returns {Promise<{unknown: string[], lost: string[]}>}
   */
  publishData(payload, options = {}) {
    return this.#room.sendData(payload, options);
  }

  /**
   * @param {string} text
   * @param {{to?: string[], signal?: AbortSignal}} [options]
   * @returns {Promise<import('./room.js').ChatMessage>} the message, once the server has taken it
   */
  sendChatMessage(text, options = {}) {
    return this.#room.sendChat(text, options);
  }

  /**
   * @template T
   * @param {Source} source
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(source, work) {
    const before = this.#busy.get(source) ?? Promise.resolve();
    const after = before.then(work, work);
    this.#busy.set(source, after.catch(() => {}));
    return after;
  }

  /**
   * @param {boolean} on
   * @param {MediaTrackConstraints} [options]
   */
  async #setMicrophone(on, options) {
    const publication = this.#room.localPublication('microphone');
    if (!publication) {
      if (!on) return undefined;
      const track = await capture('audio', options);
      return this.publishTrack(track, { source: 'microphone' });
    }
    if (publication.track) publication.track.enabled = on;
    await this.#room.setMuted(publication, !on);
    return publication;
  }

  /**
   * Off: the device is stopped, so that its light goes out; the published track stays.
   * @param {boolean} on
   * @param {MediaTrackConstraints & {simulcast?: boolean}} [options]
   */
  async #setCamera(on, options = {}) {
    const { simulcast, ...constraints } = options;
    const publication = this.#room.localPublication('camera');
    if (!publication) {
      if (!on) return undefined;
      const track = await capture('video', constraints);
      return this.publishTrack(track, { source: 'camera', simulcast });
    }
    if (on === !publication.isMuted && on === (publication.track !== null)) return publication;
    if (!on) {
      await this.#room.setMuted(publication, true);
      const track = publication.track;
      publication.use(null);
      await publication.transceiver?.sender.replaceTrack(null);
      track?.stop();
      return publication;
    }
    const track = await capture('video', constraints);
    publication.use(track);
    await publication.transceiver?.sender.replaceTrack(track);
    await this.#room.setMuted(publication, false);
    return publication;
  }

  /**
   * @param {boolean} on
   * @param {DisplayMediaStreamOptions} [options]
   */
  async #setScreen(on, options) {
    const known = /** @type {Source[]} */ (['screen', 'screenAudio'])
      .map((source) => this.#room.localPublication(source));
    if (!on) {
      for (const publication of known) {
        publication?.track?.stop();
        if (publication) await this.#room.unpublish(publication);
      }
      return undefined;
    }
    if (known[0]) return known[0];
    const [video, audio] = await captureScreen(options);
    video.addEventListener('ended', () => { void this.setScreenShareEnabled(false); });
    const publication = new LocalTrackPublication({ track: video, source: 'screen' });
    const sound = audio && new LocalTrackPublication({ track: audio, source: 'screenAudio' });
    await this.#room.publish(publication, ...(sound ? [sound] : []));
    return publication;
  }

  /**
   * Another device for a source that is published, without a new offer.
   * @param {'audioinput' | 'videoinput'} kind
   * @param {string} deviceId
   */
  async switchDevice(kind, deviceId) {
    const source = kind === 'audioinput' ? 'microphone' : 'camera';
    const publication = this.#room.localPublication(source);
    const id = { deviceId: { exact: deviceId } };
    if (!publication?.track) return chooseDevice(kind, deviceId);
    await this.#inTurn(source, async () => {
      const before = publication.track;
      // Some cameras cannot be opened twice, and some phones not two of them.
      if (kind === 'videoinput') before?.stop();
      const track = await capture(kind === 'audioinput' ? 'audio' : 'video', id);
      track.enabled = !publication.isMuted;
      publication.use(track);
      await publication.transceiver?.sender.replaceTrack(track);
      before?.stop();
    });
    return undefined;
  }
}

export { FanlightError, deviceError };
