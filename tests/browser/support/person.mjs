// Somebody at the page: what a person sees, hears and presses, by visible words and roles.

import { instruments, stage } from './inject.mjs';
import { limited, still, until } from './wait.mjs';

/** The colours that the instruments tell apart, with the channels that are strong in each. */
const COLOURS = {
  red: ['#c02020', 'r'],
  green: ['#20c020', 'g'],
  blue: ['#2020c0', 'b'],
  yellow: ['#c0c020', 'rg'],
  cyan: ['#20c0c0', 'gb'],
  magenta: ['#c020c0', 'rb'],
  white: ['#e0e0e0', 'rgb'],
};

/** Where each voice lies, in Hz. None is a multiple of another. */
const TONES = { red: 440, green: 620, blue: 850, yellow: 1130, cyan: 1500, magenta: 1970 };

/** Two tones are one if they are this near: two and a half bins of the analyser. */
const NEAR = 15;

/** Errors in the console that are no fault: the icon that a browser asks for beside a bare text. */
const HARMLESS = [/favicon\.ico/];

export class Person {
  /**
   * Opens the page in a window of its own.
   * @param {import('puppeteer-core').Browser} browser
   */
  static async open(browser, address, { name, colour = 'red', size = [320, 240, 15], ...more }) {
    const person = new Person();
    [person.fill, person.channels] = COLOURS[colour];
    Object.assign(person, { name, tone: TONES[colour], complaints: [] });
    person.context = await limited('a new window', browser.createBrowserContext());
    person.page = await limited('a new page', person.context.newPage());
    person.#listen();
    const [width, height, fps] = size;
    const role = { colour: person.fill, tone: person.tone, width, height, fps, ...more };
    role.screen = COLOURS[more.screen ?? 'magenta'][0];
    if (!more.realDevices) {
      await person.page.evaluateOnNewDocument(stage, role);
      await person.page.evaluateOnNewDocument(instruments);
    }
    await person.page.setViewport(more.viewport ?? { width: 1280, height: 720 });
    await limited('the page', person.page.goto(address, { waitUntil: 'load' }));
    return person;
  }

  #listen() {
    this.page.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(`${message.text()} ${message.location()?.url ?? ''}`.trim());
    });
    this.page.on('pageerror', (error) => {
      this.complaints.push(String(error?.message ?? error));
    });
  }

  /** What the console complained of. */
  get errors() {
    return this.complaints.filter((text) => !HARMLESS.some((pattern) => pattern.test(text)));
  }

  /** Runs a function in the page; never waits for ever. */
  ask(question, ...args) {
    return limited(`${this.name}'s page`, this.page.evaluate(question, ...args));
  }

  // ── hands ────────────────────────────────────────────────────────────────────────────────

  /** The element with a role and an accessible name, once it is there. */
  find(role, name, options) {
    return until(
      `${this.name} finds the ${role} "${name}"`,
      () => limited('a look-up', this.page.$(`::-p-aria([name="${name}"][role="${role}"])`)),
      options,
    );
  }

  async has(role, name) {
    return Boolean(await this.page.$(`::-p-aria([name="${name}"][role="${role}"])`));
  }

  async press(name) {
    const button = await this.find('button', name);
    await limited(`${this.name} presses ${name}`, button.click());
  }

  async write(field, text) {
    const box = await this.find('textbox', field);
    await limited('a click', box.click({ count: 3 }));
    await this.page.keyboard.press('Backspace');
    await limited('typing', box.type(text));
    return box;
  }

  /** Fills the lobby in and presses Enter; returns when the call is there. */
  async join(room) {
    if (room) await this.write('Room', room);
    const box = await this.write('Your name', this.name);
    await limited('Enter', box.press('Enter'));
    await this.find('button', 'Leave');
    return this;
  }

  async say(text) {
    const box = await this.write('Message to everyone', text);
    await limited('Enter', box.press('Enter'));
  }

  async leave() {
    await this.press('Leave');
  }

  async close() {
    await limited('the window closes', this.context.close()).catch(() => {});
  }

  // ── eyes ─────────────────────────────────────────────────────────────────────────────────

  /** All words that stand on the page. */
  words() {
    return this.ask(() => document.body.innerText);
  }

  reads(pattern, options) {
    return until(`${this.name} reads ${pattern}`, async () => {
      const words = await this.words();
      if (words.match(pattern)) return true;
      throw new Error(words.replace(/\s+/g, ' ').slice(0, 600));
    }, options);
  }

  /** The names on the tiles. */
  tiles() {
    return this.ask(() => window.__test.tiles());
  }

  look(name) {
    return this.ask((n) => window.__test.look(n), name);
  }

  /** Waits until a tile shows that person's colour. */
  sees(other, options) {
    const name = other.tile ?? other.name;
    return until(`${this.name} sees ${name} in ${other.channels}`, async () => {
      const seen = await this.look(name);
      if (seen?.video && seen.colour === other.channels) return seen;
      throw new Error(JSON.stringify({ seen, tiles: await this.tiles() }));
    }, options);
  }

  /** Waits until frames of that person are decoded, `more` than now. */
  async decodes(other, more = 10, options) {
    const name = other.tile ?? other.name;
    const before = (await this.counters(other, 'video'))?.frames ?? 0;
    return until(`${this.name} decodes ${more} more frames of ${name} than ${before}`, async () => {
      const now = await this.counters(other, 'video');
      if (now && now.frames >= before + more) return now;
      throw new Error(JSON.stringify(now));
    }, options);
  }

  counters(other, kind) {
    return this.ask((n, k) => window.__test.counters(n, k), other.tile ?? other.name, kind);
  }

  /** Waits until the picture of somebody is not shown. */
  seesInitialsOf(other, initials) {
    return until(`${this.name} sees initials of ${other.name}`, async () => {
      const seen = await this.look(other.name);
      if (seen && !seen.video && seen.words.includes(initials)) return seen;
      throw new Error(JSON.stringify(seen));
    });
  }

  /** Waits until exactly these people are in the tiles. */
  async isWith(names, options) {
    const want = [...names].sort();
    return until(`${this.name} is with ${want}`, async () => {
      const seen = (await this.tiles()).sort();
      if (JSON.stringify(seen) === JSON.stringify(want)) return true;
      throw new Error(JSON.stringify(seen));
    }, options);
  }

  // ── ears ─────────────────────────────────────────────────────────────────────────────────

  /** Waits until the voice in one stream with somebody's picture has that person's tone. */
  hears(other, options) {
    return until(`${this.name} hears ${other.name} at ${other.tone} Hz`, async () => {
      const tone = await this.ask((n) => window.__test.tone(n), other.name);
      if (tone && Math.abs(tone - other.tone) < NEAR) return tone;
      throw new Error(`${tone} Hz`);
    }, options);
  }

  /** Every tone that arrives. */
  tones() {
    return this.ask(() => window.__test.tones());
  }

  /** Waits until no byte of somebody's voice or picture has come for a while. */
  receivesNothingFrom(other, kind) {
    return still(`${this.name} receives no ${kind} from ${other.name}`, async () => {
      return (await this.counters(other, kind))?.bytes ?? 0;
    });
  }
}
