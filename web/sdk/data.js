// @ts-check
// The frames of the data channels: docs/protocol.md, section 2.

import { FanlightError } from './errors.js';

export const MESSAGE = 1;
export const TAKEN = 2;
export const REFUSED = 3;

const VERSION = 1;
const MAX_HEADER = 4096;
const MAX_TOPIC = 64;
const MAX_NAME = 128;
const MAX_TO = 16;
const FIXED = 10;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/**
 * @typedef {object} Frame
 * @property {number} kind
 * @property {boolean} text  the payload is text
 * @property {number} id
 * @property {string} topic
 * @property {string} from
 * @property {string[]} to
 * @property {Uint8Array} payload
 */

/**
 * @param {{id: number, topic?: string, to?: string[], payload: Uint8Array | string, kind?: number, from?: string}} frame
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encode({ id, topic = '', to = [], payload, kind = MESSAGE, from = '' }) {
  const text = typeof payload === 'string';
  const body = text ? encoder.encode(payload) : payload;
  if (to.length > MAX_TO) throw new FanlightError('too-many', `A message may name at most ${MAX_TO} receivers.`);
  const parts = [short(topic, MAX_TOPIC, 'The topic'), short(from, MAX_NAME, 'An identity'), Uint8Array.of(to.length)];
  for (const identity of to) parts.push(short(identity, MAX_NAME, 'An identity'));
  const header = parts.reduce((sum, part) => sum + part.length, FIXED);
  const frame = new Uint8Array(header + body.length);
  const view = new DataView(frame.buffer);
  frame.set([VERSION, kind, text ? 1 : 0, 0]);
  view.setUint16(4, header);
  view.setUint32(6, id);
  let at = FIXED;
  for (const part of [...parts, body]) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/**
 * @param {string} text
 * @param {number} limit
 * @param {string} what
 */
function short(text, limit, what) {
  const bytes = encoder.encode(text);
  if (bytes.length > limit) throw new FanlightError('bad-message', `${what} may have at most ${limit} bytes.`);
  return Uint8Array.of(bytes.length, ...bytes);
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {Frame | null} null if it is no frame
 */
export function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  try {
    const header = view.getUint16(4);
    if (bytes[0] !== VERSION || header > MAX_HEADER || header > bytes.length) return null;
    let at = FIXED;
    const next = () => {
      const end = at + 1 + bytes[at];
      if (at >= header || end > header) throw new RangeError('past the header');
      const text = decoder.decode(bytes.subarray(at + 1, end));
      at = end;
      return text;
    };
    const topic = next();
    const from = next();
    if (at >= header) return null;
    const to = [];
    for (let left = bytes[at++]; left > 0; left -= 1) to.push(next());
    const [, kind, flags] = bytes;
    return { kind, text: (flags & 1) === 1, id: view.getUint32(6), topic, from, to, payload: bytes.slice(header) };
  } catch {
    return null;
  }
}

/**
 * @param {Frame} frame
 * @returns {Uint8Array | string | null} the payload as what it is; null if it claims to be text and is not
 */
export function payloadOf(frame) {
  if (!frame.text) return frame.payload;
  try {
    return decoder.decode(frame.payload);
  } catch {
    return null;
  }
}

/**
 * @param {Frame} frame
 * @returns {any} the JSON of a reply; {} if there is none
 */
export function replyOf(frame) {
  try {
    return JSON.parse(decoder.decode(frame.payload));
  } catch {
    return {};
  }
}

/**
 * @param {Uint8Array | string} payload
 * @returns {number} its size in bytes
 */
export function sizeOf(payload) {
  return typeof payload === 'string' ? encoder.encode(payload).length : payload.length;
}
