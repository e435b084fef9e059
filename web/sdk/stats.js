// @ts-check
// What is known of each track: the browser's own count, and the server's word on how it serves it.

/** @typedef {import('./protocol.js').SeatStats} SeatStats */
/** @typedef {import('./participant.js').Participant} Participant */
/** @typedef {import('./publication.js').TrackPublication} TrackPublication */

/**
 * One remote track: what the server says of its seat, if it has one, over the browser's `inbound-rtp` figures.
 * @typedef {{trackId: string, identity: string, source: string, kind: string} & Partial<SeatStats>
 *   & Record<string, any>} Seat
 */

/**
 * Track id → the browser's whole report, as it was before there was more.
 * @typedef {Map<string, RTCStatsReport> & {server: {estimate: number, loss: number, rtt: number | null} | null, seats: Seat[]}} Stats
 */

/**
 * @param {RTCPeerConnection | undefined} pc
 * @param {TrackPublication[]} own
 * @param {Iterable<Participant>} others
 * @param {import('./protocol.js').ServerStats | null} answer  null: the server does not say
 * @returns {Promise<Stats>}
 */
export async function gather(pc, own, others, answer) {
  /** @type {Map<string, RTCStatsReport>} */
  const reports = new Map();
  const read = async (/** @type {TrackPublication} */ { id, track }) => {
    const report = track && pc && await pc.getStats(track);
    if (report) reports.set(id, report);
    return report;
  };
  await Promise.all(own.map(read));
  const each = [...others].flatMap(({ identity, trackPublications }) =>
    [...trackPublications.values()].map(async (publication) => {
      const { id, source, kind } = publication;
      const seat = answer?.seats.find(({ trackId }) => trackId === id);
      return { ...inbound(await read(publication)), trackId: id, identity, source, kind, ...seat };
    }));
  const seats = await Promise.all(each);
  const server = answer && { estimate: answer.estimate, loss: answer.loss, rtt: answer.rtt };
  return Object.assign(reports, { server, seats });
}

/** @param {RTCStatsReport | null | undefined} report */
function inbound(report) {
  /** @type {Record<string, any>} */
  let found = {};
  report?.forEach((entry) => { if (entry.type === 'inbound-rtp') found = entry; });
  return found;
}
