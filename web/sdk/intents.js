// @ts-check
// What the page shows of other people's pictures, told to the server, so that nothing is sent that nobody sees.

/** @typedef {import('./protocol.js').Intent} Intent */
/** @typedef {import('./publication.js').RemoteTrackPublication} RemoteTrackPublication */
/** @typedef {(element: HTMLMediaElement) => number | undefined} HeightOf  device pixels; undefined: not measured yet */

/** What is shown anew or larger is told this soon: time for the page to lay out, and ten messages a second at most. */
const UP_MS = 100;

/** What the page hides or shrinks is told this late: scrolling past and back must not cost a keyframe. */
const DOWN_MS = 1000;

/** Heights are whole multiples of this, as those of all usual pictures are. */
const STEP = 20;

/** The height of a picture whose publisher told none. */
const FULL = 1080;

/** About the height of a floating picture: its window is not measured. */
const FLOATING = 360;

/**
 * What is wanted of a track.
 * @param {RemoteTrackPublication} publication
 * @param {HeightOf | null} heightOf  null: nothing is measured, everything counts as shown
 * @returns {Intent | null} null: nothing
 */
export function intentOf({ id, info, asked, attached, elements }, heightOf) {
  const full = info.height || FULL;
  let height = asked.height || full;
  if (!asked.height && heightOf && attached) {
    const largest = Math.max(0, ...[...elements].map((element) => heightOf(element) ?? full));
    height = largest && Math.max(STEP, Math.round(largest / STEP) * STEP);
  }
  if (!asked.subscribed || height <= 0) return null;
  const { priority, pinned } = asked;
  return { trackId: id, height, ...(priority ? { priority } : {}), ...(pinned ? { pinned } : {}) };
}

/** Tells the server what is wanted whenever that has changed. */
export class Intents {
  /** What the server was told last; null: nothing yet. @type {Map<string, Intent> | null} */
  #told = null;
  /** Since when less is wanted of a track than was told. @type {Map<string, number>} */
  #less = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #due = Infinity;
  /** @type {((tracks: Intent[]) => void) | null} */
  #say = null;
  /** @type {View | null} */
  #view = null;

  /**
   * @param {() => RemoteTrackPublication[]} publications
   * @param {((changed: () => void) => View) | false} look  false: nothing is measured
   */
  constructor(publications, look) {
    this.videos = () => publications().filter(({ kind }) => kind === 'video');
    this.look = look;
  }

  /**
   * A session has begun.
   * @param {(tracks: Intent[]) => void} say  sends the whole list
   */
  start(say) {
    this.stop();
    this.#say = say;
    this.#view = this.look ? this.look(() => this.changed()) : null;
    this.changed();
  }

  /** The session has ended. */
  stop() {
    clearTimeout(this.#timer);
    this.#due = Infinity;
    this.#view?.close();
    this.#say = this.#view = this.#told = null;
    this.#less.clear();
  }

  /** Something may be wanted otherwise than before. */
  changed() {
    if (!this.#say) return;
    this.#view?.follow(this.videos().flatMap(({ elements }) => [...elements]));
    const { list, wait } = this.#next();
    this.#wake(this.#isNews(list) ? UP_MS : wait);
  }

  /** @param {number} ms */
  #wake(ms) {
    const due = Date.now() + ms;
    if (due >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.#tell(), ms);
  }

  #tell() {
    this.#due = Infinity;
    const { list, wait } = this.#next();
    if (this.#isNews(list)) {
      this.#told = list;
      this.#say?.([...list.values()]);
    }
    this.#wake(wait);
  }

  /** @param {Map<string, Intent>} list */
  #isNews(list) {
    if (this.#told) return JSON.stringify([...list]) !== JSON.stringify([...this.#told]);
    // Until it is told, the server sends everything at full size.
    return this.videos().some(({ asked }) => this.#view || asked.touched);
  }

  /** @returns {{list: Map<string, Intent>, wait: number}} what to tell now, and when to look again */
  #next() {
    const now = Date.now();
    const view = this.#view;
    /** @type {Map<string, Intent>} */
    const list = new Map();
    let wait = Infinity;
    /** @type {Map<string, number>} */
    const less = new Map();
    for (const publication of this.videos()) {
      const { id, asked } = publication;
      const told = this.#told?.get(id);
      const intent = intentOf(publication, view && ((element) => view.height(element)));
      const decided = asked.height || !asked.subscribed;
      if (told && intent && !decided && Math.abs(intent.height - told.height) <= STEP) intent.height = told.height;
      // The page may still be laying out what is new: the smallest picture is there meanwhile.
      const before = told ?? { trackId: id, height: STEP };
      // Clocks are set back at times; a wait must not grow by that.
      const since = Math.min(this.#less.get(id) ?? now, now);
      const left = since + DOWN_MS - now;
      const lower = !intent || intent.height < before.height;
      if (lower && !decided && left > 0) {
        list.set(id, { ...(intent ?? before), height: before.height });
        wait = Math.min(wait, left);
      } else if (intent) {
        list.set(id, intent);
        continue;
      }
      if (lower) less.set(id, since);
    }
    this.#less = less;
    return { list, wait };
  }
}

/** What the page shows of elements, by the browser's own observers. */
export class View {
  /** @type {Map<Element, {size?: number, shown?: boolean}>} */
  #elements = new Map();
  #listening = new AbortController();

  /** @param {() => void} changed */
  constructor(changed) {
    const note = (/** @type {Element} */ element, /** @type {object} */ news) => {
      Object.assign(this.#elements.get(element) ?? {}, news);
      changed();
    };
    this.sizes = new ResizeObserver((all) => all.forEach(({ target, contentRect }) => note(target, { size: contentRect.height })));
    this.places = new IntersectionObserver((all) => all.forEach(({ target, isIntersecting }) => note(target, { shown: isIntersecting })));
    const { signal } = this.#listening;
    for (const type of ['visibilitychange', 'enterpictureinpicture', 'leavepictureinpicture']) {
      document.addEventListener(type, changed, { signal });
    }
    // Also when the page is zoomed or moved to a screen of another density.
    globalThis.addEventListener('resize', changed, { signal });
  }

  /** @param {HTMLMediaElement[]} elements  all that matter */
  follow(elements) {
    const before = this.#elements;
    this.#elements = new Map(elements.map((element) => [element, before.get(element) ?? {}]));
    for (const observer of [this.sizes, this.places]) {
      for (const element of before.keys()) if (!this.#elements.has(element)) observer.unobserve(element);
      for (const element of elements) if (!before.has(element)) observer.observe(element);
    }
  }

  /** @type {HeightOf} */
  height(element) {
    const { size = 0, shown } = this.#elements.get(element) ?? {};
    // An element may live in a floating window's document, which is visible while the page is not.
    const page = element.ownerDocument;
    const density = Math.min(page.defaultView?.devicePixelRatio || 1, 2);
    if (page.pictureInPictureElement === element) return Math.max(size, FLOATING) * density;
    if (page.hidden || shown === false) return 0;
    return shown && size * density;
  }

  close() {
    this.#listening.abort();
    this.sizes.disconnect();
    this.places.disconnect();
  }
}
