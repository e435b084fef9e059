// @ts-check

/** @typedef {import('./protocol.js').Seats} SeatList */
/** @typedef {import('./publication.js').RemoteTrackPublication} RemoteTrackPublication */

/** Frames that were on their way when a seat changed are shown within this time. */
const IN_FLIGHT_MS = 120;

/**
 * Who sits where. The server says which section carries which track; this puts the sections' tracks
 * into the publications, and watches for the first frame after a change.
 */
export class Seats {
  #rev = -1;
  /** @type {Map<string, string>} mid → track id */
  #occupants = new Map();
  /** @type {SeatList | null} */
  #last = null;

  /**
   * @param {object} hooks
   * @param {(mid: string) => RTCRtpReceiver | undefined} hooks.receiver
   * @param {(id: string) => RemoteTrackPublication | undefined} hooks.publication
   * @param {(publication: RemoteTrackPublication) => void} hooks.subscribed
   * @param {(publication: RemoteTrackPublication, track: MediaStreamTrack) => void} hooks.unsubscribed
   * @param {(publication: RemoteTrackPublication) => void} hooks.changed  its stream state changed
   */
  constructor(hooks) {
    this.hooks = hooks;
  }

  /**
   * Carries out a list.
   * @param {SeatList} seats
   * @returns {boolean} false if a newer one was carried out already
   */
  apply(seats) {
    if (seats.rev < this.#rev) return false;
    this.#rev = seats.rev;
    this.#last = seats;
    const next = new Map(seats.occupied.map(({ mid, trackId }) => [mid, trackId]));
    for (const [mid, id] of this.#occupants) {
      if (next.get(mid) !== id) this.#leave(id);
    }
    for (const [mid, id] of next) {
      if (this.#occupants.get(mid) !== id || !this.hooks.publication(id)?.track) this.#sit(mid, id);
    }
    this.#occupants = next;
    for (const id of seats.unseated ?? []) this.#state(id, 'unseated');
    return true;
  }

  /** Tracks have become known, or sections have come to be: look again. */
  refresh() {
    if (this.#last) this.apply(this.#last);
  }

  /**
   * A track's picture begins anew (unmuted): wait for its first frame.
   * @param {RemoteTrackPublication} publication
   */
  await(publication) {
    this.#watch(publication);
  }

  /** @param {string} id */
  #leave(id) {
    const publication = this.hooks.publication(id);
    const track = publication?.track;
    if (!publication || !track) return;
    publication.place(null);
    this.hooks.unsubscribed(publication, track);
  }

  /**
   * @param {string} mid
   * @param {string} id
   */
  #sit(mid, id) {
    const publication = this.hooks.publication(id);
    const track = this.hooks.receiver(mid)?.track;
    if (!publication || !track) return;
    publication.place(track);
    this.hooks.subscribed(publication);
    this.#watch(publication);
  }

  /** @param {RemoteTrackPublication} publication */
  #watch(publication) {
    // The server says when it goes on; a frame that was on its way does not.
    if (publication.streamState === 'paused') return undefined;
    if (publication.kind === 'audio') return this.#state(publication.id, 'active');
    this.#state(publication.id, 'waiting');
    const { track } = publication;
    publication.onFrame(IN_FLIGHT_MS, () => {
      if (publication.track === track && publication.streamState === 'waiting') this.#state(publication.id, 'active');
    });
    return undefined;
  }

  /**
   * @param {string} id
   * @param {import('./publication.js').StreamState} state
   */
  #state(id, state) {
    const publication = this.hooks.publication(id);
    if (!publication || publication.streamState === state) return;
    publication.streamState = state;
    this.hooks.changed(publication);
  }
}
