// @ts-check
import { html } from '/vendor/preact-htm.js';

const PATHS = {
  microphone: 'M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM6 11a6 6 0 0 0 12 0M12 17v4',
  camera: 'M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2zM15 11l6-3v8l-6-3',
  share: 'M4 5h16a1.5 1.5 0 0 1 1.5 1.5v9A1.5 1.5 0 0 1 20 17H4a1.5 1.5 0 0 1-1.5-1.5v-9A1.5 1.5 0 0 1 4 5zM12 14V8M9 10.5 12 8l3 2.5M8 20h8',
  chat: 'M5 4h14a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-8l-5 4v-4H5a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2z',
  link: 'M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-6-6l-1.5 1.5M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 6 6l1.5-1.5',
  leave: 'M3 14c0-2 4-4 9-4s9 2 9 4v2a1 1 0 0 1-1.2 1l-3-.7a1 1 0 0 1-.8-1V13a12 12 0 0 0-8 0v2.3a1 1 0 0 1-.8 1l-3 .7A1 1 0 0 1 3 16z',
  send: 'M21 4 3 11l7 3 3 7z',
  strike: 'M4 4 20 20',
};

/**
 * A picture beside a word; it says nothing by itself.
 * @param {{name: keyof typeof PATHS, off?: boolean}} props
 */
export function Icon({ name, off = false }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d=${PATHS[name]} />${off && html`<path d=${PATHS.strike} />`}
  </svg>`;
}

/**
 * How many of three bars a connection has; none of them is struck through.
 * @param {{lit: number}} props
 */
export function Bars({ lit }) {
  const bars = ['M5 19v-4', 'M12 19v-9', 'M19 19V5'];
  return html`<svg class="icon bars" viewBox="0 0 24 24" aria-hidden="true">
    ${bars.map((bar, n) => html`<path d=${bar} class=${n < lit ? '' : 'faint'} />`)}
    ${lit === 0 && html`<path d=${PATHS.strike} />`}
  </svg>`;
}

/** The fan-shaped window. */
export function Mark() {
  return html`<svg class="mark" viewBox="0 0 34 22" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="2">
    <path d="M2 20a15 15 0 0 1 30 0z" /><path d="M17 14V5M11.5 15.5 6.5 9.5M22.5 15.5l5-6" />
    <path d="M11.5 20a5.5 5.5 0 0 1 11 0z" fill="currentColor" />
  </svg>`;
}
