// @ts-check
// What went wrong, and the next step, in words for the person in front of the page.

/** @type {Record<string, string>} */
const SENTENCES = {
  'device-denied': 'The browser was not allowed to use your camera or microphone. Allow it in the address bar, then try again.',
  'device-not-found': 'No camera or microphone was found. You can join without; others will see your initials.',
  'device-in-use': 'Your camera or microphone is used by another program. Close that program, then try again.',
  'server-unreachable': 'The server cannot be reached. Check your network, then try again.',
  timeout: 'The server did not answer in time. Try again.',
  'media-unreachable': 'No way was found for sound and picture. Your network may block UDP.',
  unsupported: 'This browser cannot make calls. A current Firefox, Chrome, Edge or Safari can.',
  'room-full': 'The room is full. Try again when somebody has left.',
  'rate-limited': 'That was too often in a short time. Wait a moment, then try again.',
  'server-busy': 'The server is busy. Try again in a moment.',
  'server-shutdown': 'The server is being restarted. Try again in a moment.',
};

/** @type {Record<string, string>} */
const ENDS = {
  client: 'You left.',
  removed: 'You were removed from the room.',
  'room-deleted': 'The room was closed.',
  'duplicate-identity': 'You joined from somewhere else.',
};

/**
 * @param {any} error
 * @returns {string}
 */
export function sentence(error) {
  if (error?.code === 'insecure-context') return insecure();
  return SENTENCES[error?.code] ?? error?.message ?? String(error);
}

export function insecure() {
  return `Your browser only allows the camera on a secure address. Open https://${location.host}${location.pathname} instead.`;
}

/** @param {string} reason */
export function ending(reason) {
  return ENDS[reason] ?? SENTENCES[reason] ?? 'The call has ended.';
}

/** @type {Record<string, string>} */
const PAUSES = {
  bandwidth: 'Paused: your connection is slow',
  overload: 'Paused: the server is busy',
  publisherLimited: 'Paused: their connection is slow',
};

/**
 * What stands in place of a picture.
 * @param {string} state  of the stream
 * @param {string} reason
 */
export function absence(state, reason) {
  if (state === 'paused') return PAUSES[reason] ?? 'Paused';
  if (state === 'unseated') return 'Not shown';
  return state === 'codec' ? 'Your browser cannot show this picture' : 'Connecting …';
}

/** @type {Record<string, string>} */
const CONNECTIONS = { poor: 'Poor connection', lost: 'Connection lost' };

/**
 * What is to be said of somebody's connection; empty while it does well.
 * @param {string} level
 * @param {string} reason  the server's sentence
 */
export function connection(level, reason) {
  return CONNECTIONS[level] ? reason || CONNECTIONS[level] : '';
}

const FIRST = ['blue', 'calm', 'early', 'green', 'kind', 'light', 'quiet', 'silver', 'warm', 'wide'];
const SECOND = ['otter', 'harbour', 'lantern', 'meadow', 'maple', 'river', 'robin', 'swallow', 'window', 'willow'];

/** A room's name that can be said on the phone. */
export function roomName() {
  const pick = (/** @type {string[]} */ words) => words[Math.floor(Math.random() * words.length)];
  return `${pick(FIRST)}-${pick(SECOND)}-${Math.floor(100 + Math.random() * 900)}`;
}

/** @param {string} name */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  return letters.map((word) => [...word][0] ?? '').join('').toUpperCase();
}

/**
 * A colour made from an identity: the same person always has the same, dark enough for white letters.
 * @param {string} identity
 */
export function colour(identity) {
  let hash = 7;
  for (const letter of identity) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 360;
  return `hsl(${hash} 45% 36%)`;
}
