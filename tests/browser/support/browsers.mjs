// Chromium and Firefox, with what they need on this machine.

import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import puppeteer from 'puppeteer-core';
import { ensureOutsideAddress, startSound } from './machine.mjs';
import { limited } from './wait.mjs';

const screenshots = resolve('target/screenshots');
mkdirSync(screenshots, { recursive: true });

const chromiumFlags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
  '--autoplay-policy=no-user-gesture-required',
];

/** A camera and a microphone are there, and the person says yes when asked. */
export const withDevices = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];
/** They are there, and the person says no when asked. */
export const devicesDenied = ['--use-fake-device-for-media-stream', '--deny-permission-prompts'];

/** The browsers of a test file; started when first asked for. */
export class Browsers {
  #open = new Map();
  #cleanUp = [];

  /** @param {import('./network.mjs').Network} [network]  where those called `inside` live */
  constructor(network) {
    this.network = network;
  }

  /** A browser by name; `flags` are Chromium's, and make another one. `inside` is a Chromium too. */
  async get(kind, flags = withDevices) {
    const key = kind === 'firefox' ? kind : `${kind} ${flags.join(' ')}`;
    if (!this.#open.has(key)) {
      this.#open.set(key, kind === 'firefox' ? this.#firefox() : this.#chromium(flags, kind === 'inside'));
    }
    return this.#open.get(key);
  }

  async #chromium(flags, inside) {
    const path = process.env.CHROMIUM ?? '/usr/bin/chromium';
    return puppeteer.launch({
      browser: 'chrome',
      executablePath: inside ? this.network.program(path) : path,
      // No socket leads inside, and a pipe does.
      pipe: inside,
      acceptInsecureCerts: true,
      protocolTimeout: 60_000,
      args: [...chromiumFlags, ...flags],
    });
  }

  async #firefox() {
    this.#cleanUp.push(ensureOutsideAddress());
    const sound = await startSound();
    this.#cleanUp.push(() => sound.stop());
    return puppeteer.launch({
      browser: 'firefox',
      executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
      acceptInsecureCerts: true,
      protocolTimeout: 60_000,
      env: sound.env,
      extraPrefsFirefox: {
        'media.navigator.permission.disabled': true,
        'media.navigator.streams.fake': true,
        'media.autoplay.default': 0,
        'media.autoplay.blocking_policy': 0,
      },
    });
  }

  async close() {
    for (const browser of this.#open.values()) {
      await limited('the browser closes', browser.then((b) => b.close())).catch(() => {});
    }
    for (const clean of this.#cleanUp) clean();
  }
}

/** Waits until nothing on the page glides or fades any more. */
export async function comesToRest(page) {
  await limited('transitions end', page.evaluate(async () => {
    // Two frames: one for the style to change, one for its transitions to begin.
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
    const moving = document.getAnimations().filter(({ playState }) => playState === 'running');
    await Promise.allSettled(moving.map(({ finished }) => finished));
  }));
}

/** A picture of a page in target/screenshots. */
export async function screenshot(page, name) {
  await comesToRest(page);
  const path = resolve(screenshots, `${name}.png`);
  await limited(`the screenshot ${name}`, page.screenshot({ path }));
}
