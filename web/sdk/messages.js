// @ts-check

import { MESSAGE, REFUSED, TAKEN, decode, encode, payloadOf, replyOf, sizeOf } from './data.js';
import { FanlightError, within } from './errors.js';

/** @typedef {import('./room.js').ChatMessage} ChatMessage */
/** @typedef {{unknown: string[], lost: string[]}} Taken */

const CHAT = 'fanlight.chat';
const OPEN_MS = 15_000;

/** The server waits 15 s for a slow receiver before it gives it up. */
const TAKEN_MS = 20_000;

/** Data messages and chat over the peer connection's channels. */
export class Messages {
  #nextId = 1;
  #limit = 65_536;
  /** @type {import('./peer.js').Peer | null} */
  #peer = null;
  /** @type {Map<number, {resolve: (taken: Taken) => void, reject: (error: FanlightError) => void}>} */
  #waiting = new Map();
  /** @type {(() => void)[]} */
  #opening = [];

  /** @param {import('./room.js').Room} room */
  constructor(room) {
    this.room = room;
  }

  /**
   * @param {import('./peer.js').Peer} peer
   * @param {number} limit  bytes of a payload
   */
  use(peer, limit) {
    this.#peer = peer;
    this.#limit = limit;
    this.opened();
  }

  /** The connection is gone: nobody knows what became of what was not answered. */
  drop() {
    this.#peer = null;
    const error = new FanlightError('server-unreachable', 'The connection was lost before the message was taken.', true);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  /** A channel has opened. */
  opened() {
    for (const look of this.#opening.splice(0)) look();
  }

  /**
   * @param {Uint8Array | string} payload
   * @param {{topic?: string, reliable?: boolean, to?: string[], signal?: AbortSignal}} options
   * @returns {Promise<Taken>}
   */
  async send(payload, { topic = '', reliable = true, to = [], signal }) {
    if (sizeOf(payload) > this.#limit) {
      throw new FanlightError('too-large', `A message may hold at most ${this.#limit} bytes.`);
    }
    const channel = await within(this.#open(reliable), OPEN_MS, 'Opening the data channel', signal);
    const id = this.#nextId++;
    const frame = encode({ id, topic, to, payload });
    if (!reliable) {
      channel.send(frame);
      return { unknown: [], lost: [] };
    }
    /** @type {Promise<Taken>} */
    const taken = new Promise((resolve, reject) => { this.#waiting.set(id, { resolve, reject }); });
    channel.send(frame);
    return within(taken, TAKEN_MS, 'Sending', signal).finally(() => this.#waiting.delete(id));
  }

  /**
   * @param {string} text
   * @param {{to?: string[], signal?: AbortSignal}} options
   * @returns {Promise<ChatMessage>}
   */
  async chat(text, { to, signal }) {
    const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
    const message = { id, text, time: Date.now() };
    await this.send(JSON.stringify(message), { topic: CHAT, ...(to ? { to } : {}), ...(signal ? { signal } : {}) });
    return { ...message, participant: this.room.localParticipant, ...(to ? { to } : {}) };
  }

  /** @param {{lane: 'reliable' | 'lossy', buffer: ArrayBuffer}} message */
  receive({ lane, buffer }) {
    const frame = buffer instanceof ArrayBuffer ? decode(buffer) : null;
    if (!frame) return;
    const waiting = this.#waiting.get(frame.id);
    if (frame.kind === TAKEN) {
      const { unknown = [], lost = [] } = replyOf(frame);
      waiting?.resolve({ unknown, lost });
    } else if (frame.kind === REFUSED) {
      const { code = 'internal', message = 'The message was refused.', retryable = false } = replyOf(frame);
      waiting?.reject(new FanlightError(code, message, retryable));
    } else if (frame.kind === MESSAGE) {
      this.#deliver(frame, lane === 'reliable');
    }
  }

  /**
   * @param {import('./data.js').Frame} frame
   * @param {boolean} reliable
   */
  #deliver(frame, reliable) {
    const participant = this.room.remoteParticipants.get(frame.from);
    const payload = payloadOf(frame);
    if (!participant || payload === null) return;
    if (frame.topic !== CHAT || typeof payload !== 'string') {
      this.room.emit('dataReceived', { payload, topic: frame.topic, reliable, participant });
      return;
    }
    try {
      const { id, text, time } = JSON.parse(payload);
      const to = frame.to.length > 0 ? { to: frame.to } : {};
      this.room.emit('chatMessage', { id: String(id), text: String(text), time: Number(time), participant, ...to });
    } catch {
      // Somebody's own program wrote something else under the topic of chat.
    }
  }

  /**
   * @param {boolean} reliable
   * @returns {Promise<RTCDataChannel>}
   */
  #open(reliable) {
    return new Promise((resolve) => {
      const look = () => {
        const channel = this.#peer?.channels[reliable ? 'reliable' : 'lossy'];
        if (channel?.readyState === 'open') resolve(channel);
        else this.#opening.push(look);
      };
      look();
    });
  }
}
