// @ts-check
// The signaling messages as types; `docs/protocol.md` is the contract.

/** @typedef {'camera' | 'microphone' | 'screen' | 'screenAudio'} Source */

/**
 * @typedef {object} TrackInfo
 * @property {string} id
 * @property {Source} source
 * @property {'audio' | 'video'} kind
 * @property {string} [name]
 * @property {boolean} muted
 * @property {number} [width]
 * @property {number} [height]
 */

/**
 * @typedef {object} ParticipantInfo
 * @property {string} identity
 * @property {string} name
 * @property {number} joinedAt
 * @property {TrackInfo[]} tracks
 */

/**
 * @typedef {object} Answer
 * @property {number} nid
 * @property {string} sdp
 * @property {Record<string, string>} tracks  the client's own name for each track → its id
 */

/**
 * @typedef {object} Seats
 * @property {number} rev
 * @property {{audio: number, video: number}} want
 * @property {{mid: string, trackId: string}[]} occupied
 * @property {string[]} [unseated]
 */

/**
 * @typedef {object} Welcome
 * @property {string} protocol
 * @property {{version: string, node: string}} server
 * @property {{id: string, graceMs: number}} session
 * @property {string} room
 * @property {ParticipantInfo & {permissions: object}} me
 * @property {ParticipantInfo[]} participants
 * @property {RTCIceServer[]} iceServers
 * @property {{intervalMs: number, timeoutMs: number}} ping
 * @property {{dataBytes: number, messageBytes: number, offerBytes: number, seats: number, tracks: number}} limits
 * @property {boolean} resumed
 * @property {Answer} [answer]
 */

/**
 * @typedef {object} Goodbye
 * @property {string} reason
 * @property {'none' | 'resume' | 'rejoin'} retry
 * @property {number} afterMs
 */

/**
 * A track as an offer names it.
 * @typedef {object} OfferedTrack
 * @property {string} mid
 * @property {string} cid
 * @property {Source} source
 * @property {string} [name]
 * @property {boolean} muted
 * @property {number} [width]
 * @property {number} [height]
 */

/**
 * What a viewer wants of a video track; one that is not named is not wanted.
 * @typedef {object} Intent
 * @property {string} trackId
 * @property {number} height  device pixels
 * @property {number} [priority]
 * @property {boolean} [pinned]
 */

/** @typedef {'excellent' | 'good' | 'poor' | 'lost'} Quality */

/**
 * How the server serves one seat.
 * @typedef {object} SeatStats
 * @property {string} trackId
 * @property {string} mid
 * @property {{height: number} | null} wanted  null: the page has not said
 * @property {{layer: number, temporal: number | null} | null} served  layer 0 is the smallest picture
 * @property {number} bitrate  bits per second
 * @property {'none' | 'bandwidth' | 'publisherLimited' | 'waitingKeyframe' | 'notVisible' | 'codec' | 'muted' | 'overload'} reason
 *   why it is less than wanted
 */

/**
 * @typedef {object} ServerStats
 * @property {number} estimate  bits per second that the way to this client carries
 * @property {number} loss  0 to 1, of what was sent to this client
 * @property {number | null} rtt  ms
 * @property {SeatStats[]} seats
 */

/**
 * @typedef {object} Envelope
 * @property {string} type
 * @property {number} [id]
 * @property {number} [seq]
 * @property {any} [data]
 */

/** The protocol version that is spoken here. */
export const PROTOCOL = '1';

/** The SDK's own version, told to the server. */
export const VERSION = '0.1.0';

/** The WebSocket sub-protocol. */
export const SUBPROTOCOL = 'fanlight.v1';

/**
 * @param {{room: string, name: string, offer?: object}} data
 * @returns {Envelope}
 */
export function hello({ room, name, offer }) {
  const client = { sdk: 'js', version: VERSION };
  return { type: 'hello', data: { protocols: [PROTOCOL], room, name, client, ...(offer ? { offer } : {}) } };
}

/**
 * @param {string} url  the server's http(s) origin
 * @returns {string} the address of its WebSocket
 */
export function socketUrl(url) {
  const address = new URL('/v1/ws', url);
  address.protocol = address.protocol === 'http:' ? 'ws:' : 'wss:';
  return address.href;
}
