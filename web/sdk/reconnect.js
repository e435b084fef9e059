// @ts-check

const FIRST_MS = 300;
const MOST_MS = 5000;

/**
 * How long to wait before the next try. Never "stop": a page that is open wants its call back.
 * The first tries come fast, since most losses are short; then the waits double, and chance spreads
 * those of many clients.
 * @param {number} tries  tries so far, from 0
 * @param {number} [chance]  0 to 1
 * @returns {number} milliseconds
 */
export function delay(tries, chance = Math.random()) {
  const base = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(tries, 10));
  return tries === 0 ? base * chance : base * (0.5 + chance / 2);
}
