// @ts-check

/** @typedef {import('./protocol.js').TrackInfo} TrackInfo */
/** @typedef {import('./protocol.js').Source} Source */
/** @typedef {import('./protocol.js').OfferedTrack} OfferedTrack */
/** @typedef {'active' | 'waiting' | 'unseated' | 'codec' | 'paused'} StreamState */

/** A track in a room: somebody's camera, microphone or screen. */
export class TrackPublication {
  /** @param {TrackInfo} info */
  constructor(info) {
    this.info = info;
    /** The track while it can be seen or heard here. @type {MediaStreamTrack | null} */
    this.track = null;
    /** @type {Set<HTMLMediaElement>} */
    this.elements = new Set();
  }

  get id() { return this.info.id; }
  /** @returns {Source} */
  get source() { return this.info.source; }
  get kind() { return this.info.kind; }
  get name() { return this.info.name; }
  get isMuted() { return this.info.muted; }

  /**
   * Plays the track in an element, and whatever takes its place.
   * @param {HTMLMediaElement} element
   * @returns {HTMLMediaElement}
   */
  attach(element) {
    this.elements.add(element);
    this.show(element);
    return element;
  }

  /**
   * Takes the track out of one element, or of all.
   * @param {HTMLMediaElement} [element]
   */
  detach(element) {
    const elements = element ? [element] : [...this.elements];
    for (const each of elements) {
      this.elements.delete(each);
      if (each.srcObject === this.stream) each.srcObject = null;
    }
  }

  /** What elements play. @returns {MediaStream | null} */
  get stream() { return null; }

  /** @param {HTMLMediaElement} element */
  show(element) {
    const stream = this.stream;
    if (element.srcObject !== stream) element.srcObject = stream;
    if (stream) void this.play(element);
  }

  /** @param {HTMLMediaElement} element */
  async play(element) {
    try {
      await element.play();
    } catch {
      // A browser that wants a click first; the room says so.
    }
  }
}

/** Somebody else's track. */
export class RemoteTrackPublication extends TrackPublication {
  /** @type {StreamState} */
  streamState = 'waiting';
  /** Why it is `paused` or `codec`: the server's word. */
  streamReason = '';
  /** Whether an element has ever shown it. Until then it counts as shown: somebody may read `track` instead. */
  attached = false;
  /** What a developer asked for; a height of 0 leaves it to what the page shows. */
  asked = { touched: false, subscribed: true, height: 0, priority: this.source === 'screen' ? 128 : 0, pinned: false };
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {(element: HTMLMediaElement, error: unknown) => void} */
  onPlayed = () => {};
  /** What is wanted of it may have changed. */
  onIntent = () => {};

  get isSubscribed() { return this.track !== null; }
  get stream() { return this.#stream; }

  /**
   * The track sits in a seat now, or in none. Sound and picture of a seat share a stream id on the wire, so
   * browsers match lips and voice although each plays in an element of its own.
   * @param {MediaStreamTrack | null} track
   */
  place(track) {
    this.track = track;
    this.#stream = track ? new MediaStream([track]) : null;
    for (const element of this.elements) this.show(element);
  }

  /**
   * A picture of this height in device pixels is wanted, shown or not; null: what the page shows decides.
   * @param {{width?: number, height: number} | null} size
   */
  setVideoDimensions(size) {
    this.#ask({ height: Math.round(size?.height ?? 0) });
  }

  /**
   * Off: nothing of it is sent here, whatever the page shows.
   * @param {boolean} on
   */
  setSubscribed(on) {
    this.#ask({ subscribed: on });
  }

  /**
   * Higher ones are served first when the connection does not carry everything.
   * @param {number} priority  0 to 255
   */
  setPriority(priority) {
    this.#ask({ priority: Math.min(255, Math.max(0, Math.round(priority))) });
  }

  /**
   * Pinned ones are served before all others.
   * @param {boolean} on
   */
  setPinned(on) {
    this.#ask({ pinned: on });
  }

  /** @param {Partial<RemoteTrackPublication['asked']>} what */
  #ask(what) {
    Object.assign(this.asked, what, { touched: true });
    this.onIntent();
  }

  /**
   * Calls back once a frame was presented in one of its elements, not counting the first `ms`.
   * @param {number} ms
   * @param {() => void} done
   */
  onFrame(ms, done) {
    const since = performance.now();
    const { track } = this;
    const look = (/** @type {HTMLVideoElement} */ element) => {
      if (this.track !== track || !this.elements.has(element)) return;
      if (performance.now() - since >= ms) return done();
      watch(element);
    };
    const watch = (/** @type {any} */ element) => {
      if (element.requestVideoFrameCallback) element.requestVideoFrameCallback(() => look(element));
      else element.addEventListener('timeupdate', () => look(element), { once: true });
    };
    this.#watch = watch;
    for (const element of this.elements) watch(element);
  }

  /** @type {(element: HTMLMediaElement) => void} */
  #watch = () => {};

  /** @param {HTMLMediaElement} element */
  attach(element) {
    super.attach(element);
    if (this.streamState === 'waiting') this.#watch(element);
    this.attached = true;
    this.onIntent();
    return element;
  }

  /** @param {HTMLMediaElement} [element] */
  detach(element) {
    super.detach(element);
    this.onIntent();
  }

  /** @param {HTMLMediaElement} element */
  async play(element) {
    try {
      await element.play();
      this.onPlayed(element, null);
    } catch (error) {
      this.onPlayed(element, error);
    }
  }
}

/** One's own track. */
export class LocalTrackPublication extends TrackPublication {
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {((id: string) => void)[]} */
  #waiting = [];

  /**
   * @param {object} options
   * @param {MediaStreamTrack} options.track
   * @param {Source} options.source
   * @param {string} [options.name]
   * @param {boolean} [options.muted]
   * @param {boolean} [options.simulcast]  several sizes at once, as many as the picture allows
   */
  constructor({ track, source, name, muted = false, simulcast = source === 'camera' }) {
    const kind = track.kind === 'audio' ? 'audio' : 'video';
    super({ id: '', source, kind, muted, ...(name ? { name } : {}) });
    this.cid = `${source}-${Math.random().toString(36).slice(2, 10)}`;
    this.simulcast = simulcast;
    /** @type {RTCRtpTransceiver | null} */
    this.transceiver = null;
    this.withdrawn = false;
    this.use(track);
  }

  get stream() { return this.#stream; }

  /**
   * Another track takes the place of the one before; null: none does.
   * @param {MediaStreamTrack | null} track
   */
  use(track) {
    this.track = track;
    // A screen is to be read: rather fewer pictures than smaller ones.
    if (this.source === 'screen' && track?.contentHint === '') track.contentHint = 'detail';
    this.#stream = track ? new MediaStream([track]) : null;
    for (const element of this.elements) this.show(element);
  }

  /** @returns {OfferedTrack | null} what an offer says of it */
  offered() {
    const mid = this.transceiver?.mid;
    if (this.withdrawn || !mid) return null;
    const { width, height } = this.track?.getSettings?.() ?? {};
    const size = this.kind === 'video' && width && height ? { width: Math.round(width), height: Math.round(height) } : {};
    const name = this.name ? { name: this.name } : {};
    return { mid, cid: this.cid, source: this.source, muted: this.isMuted, ...name, ...size };
  }

  /** @param {string} id  the server's name for it */
  published(id) {
    this.info.id = id;
    for (const tell of this.#waiting.splice(0)) tell(id);
  }

  /** @returns {Promise<string>} the server's name for it, once it has one */
  get whenPublished() {
    return this.id ? Promise.resolve(this.id) : new Promise((resolve) => { this.#waiting.push(resolve); });
  }
}
