// @ts-check

import { FanlightError, within } from './errors.js';
import { Emitter } from './emitter.js';
import { SUBPROTOCOL, hello, socketUrl } from './protocol.js';

/** @typedef {import('./protocol.js').Envelope} Envelope */
/** @typedef {import('./protocol.js').Welcome} Welcome */

const REQUEST_MS = 10_000;
const OPEN_MS = 10_000;

/**
 * One WebSocket: requests and their answers, the server's messages, and whether anybody is there.
 * Emits `message` (an envelope) and `lost` once, whatever the reason.
 */
export class Signal extends Emitter {
  #nextId = 1;
  #closed = false;
  /** @type {Map<number, {resolve: (envelope: Envelope) => void, reject: (error: FanlightError) => void}>} */
  #waiting = new Map();
  /** @type {WebSocket} */
  #socket;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pings;
  #heard = Date.now();

  /** @param {WebSocket} socket  an open one */
  constructor(socket) {
    super();
    this.#socket = socket;
    socket.onmessage = (event) => this.#hear(event.data);
    socket.onclose = () => this.#lose();
    socket.onerror = () => this.#lose();
  }

  /**
   * Opens a socket and says hello.
   * @param {string} url
   * @param {{room: string, name: string, offer?: object}} who
   * @param {AbortSignal} [signal]
   * @returns {Promise<{signal: Signal, welcome: Welcome}>}
   */
  static async join(url, who, signal) {
    const socket = new WebSocket(socketUrl(url), SUBPROTOCOL);
    try {
      await within(opened(socket), OPEN_MS, 'Connecting', signal);
      const line = new Signal(socket);
      const welcome = await line.request(hello(who).type, hello(who).data, signal);
      line.#watch(welcome.data.ping);
      return { signal: line, welcome: welcome.data };
    } catch (error) {
      socket.onclose = null;
      socket.close();
      throw error;
    }
  }

  /**
   * Sends a request and waits for its one answer.
   * @param {string} type
   * @param {object} data
   * @param {AbortSignal} [signal]
   * @returns {Promise<Envelope>}
   */
  request(type, data, signal) {
    const id = this.#nextId++;
    /** @type {Promise<Envelope>} */
    const answer = new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.send(type, data, id);
    });
    return within(answer, REQUEST_MS, `The server's answer to ${type}`, signal)
      .finally(() => this.#waiting.delete(id));
  }

  /**
   * @param {string} type
   * @param {object} data
   * @param {number} [id]
   */
  send(type, data, id) {
    if (this.#closed) {
      this.#waiting.get(id ?? 0)?.reject(lost());
      return;
    }
    this.#socket.send(JSON.stringify(id === undefined ? { type, data } : { type, id, data }));
  }

  /** Closes in order: the server lets the participant go at once. */
  close() {
    this.#socket.onclose = null;
    this.#socket.close(1000);
    this.#end();
  }

  /** @param {{intervalMs: number, timeoutMs: number}} ping */
  #watch({ intervalMs, timeoutMs }) {
    this.#heard = Date.now();
    let asked = 0;
    this.#pings = setInterval(() => {
      // Counted from a question of ours, not from silence: a page that slept hears its mail first.
      if (asked > this.#heard && Date.now() - asked > timeoutMs) return this.#lose();
      if (asked <= this.#heard) asked = Date.now();
      this.send('ping', { ts: Date.now() });
    }, intervalMs);
  }

  /** @param {unknown} text */
  #hear(text) {
    this.#heard = Date.now() + 1;
    /** @type {Envelope} */
    let envelope;
    try {
      envelope = JSON.parse(String(text));
    } catch {
      return;
    }
    const waiting = envelope.id === undefined ? undefined : this.#waiting.get(envelope.id);
    if (waiting && envelope.type === 'error') {
      const { code, message, retryable } = envelope.data;
      waiting.reject(new FanlightError(code, message, retryable));
    } else if (waiting) {
      waiting.resolve(envelope);
    } else {
      this.emit('message', envelope);
    }
  }

  #lose() {
    if (this.#closed) return;
    this.#end();
    this.#socket.close();
    this.emit('lost');
  }

  #end() {
    this.#closed = true;
    clearInterval(this.#pings);
    for (const { reject } of this.#waiting.values()) reject(lost());
  }
}

function lost() {
  return new FanlightError('server-unreachable', 'The connection to the server was lost.', true);
}

/**
 * @param {WebSocket} socket
 * @returns {Promise<void>}
 */
function opened(socket) {
  return new Promise((resolve, reject) => {
    const unreachable = () => reject(new FanlightError('server-unreachable', 'The server cannot be reached.', true));
    socket.onopen = () => resolve();
    socket.onerror = unreachable;
    socket.onclose = unreachable;
  });
}
