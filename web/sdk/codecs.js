// @ts-check

/**
 * The codecs of a video line: VP8 first, and only profiles that all browsers share. Each further
 * one costs kilobytes of SDP per seat.
 * @param {RTCRtpTransceiver} transceiver
 * @param {boolean} sends
 */
export function preferCodecs(transceiver, sends) {
  const side = sends ? globalThis.RTCRtpSender : globalThis.RTCRtpReceiver;
  const all = side?.getCapabilities?.('video')?.codecs;
  if (!all || !transceiver.setCodecPreferences) return;
  const rank = (/** @type {RTCRtpCodec} */ codec) => {
    const type = codec.mimeType.toLowerCase();
    const line = codec.sdpFmtpLine ?? '';
    if (type === 'video/vp8') return 0;
    if (type === 'video/vp9' && !/profile-id=[1-9]/.test(line)) return 1;
    if (type === 'video/h264' && /profile-level-id=42e01f/i.test(line) && /packetization-mode=1/.test(line)) return 2;
    if (type === 'video/av1' && !/profile=[1-9]/.test(line)) return 3;
    if (type === 'video/rtx') return 4;
    return -1;
  };
  const kept = all.filter((codec) => rank(codec) >= 0).sort((a, b) => rank(a) - rank(b));
  try {
    transceiver.setCodecPreferences(kept);
  } catch {
    // A browser that does not know one of its own codecs keeps its order.
  }
}

/**
 * What a video track is sent as: one encoding, or several of rising size with the whole picture last.
 * @param {import('./protocol.js').Source} source
 * @param {{width?: number, height?: number}} size
 * @param {boolean} simulcast
 * @returns {RTCRtpEncodingParameters[]}
 */
export function encodings(source, { width, height }, simulcast) {
  const pixels = width && height ? width * height : 640 * 360;
  // A shared window changes its size; a second layer would then cost the sharp one.
  if (source === 'screen') return [{ maxBitrate: pixels > 1280 * 720 ? 2_500_000 : 1_500_000, maxFramerate: 15, ...TEMPORAL }];
  // Chromium drops the last layers of a small picture, so there are only as many as it keeps.
  const layers = simulcast ? LAYERS.filter(({ from }) => pixels >= from) : [];
  if (layers.length === 0) return [{ maxBitrate: bitrate(pixels, true), ...TEMPORAL }];
  return [...layers, { rid: 'f', scale: 1 }].map(({ rid, scale }) => ({
    rid,
    scaleResolutionDownBy: scale,
    maxBitrate: bitrate(pixels / scale ** 2, scale === 1),
    ...TEMPORAL,
  }));
}

/** The layers below the whole picture, and from how many pixels of it each is sent. */
const LAYERS = [{ rid: 'q', scale: 4, from: 960 * 540 }, { rid: 'h', scale: 2, from: 640 * 360 }];

/** Three temporal layers, so that the server can thin a picture out without a change of size. */
const TEMPORAL = { scalabilityMode: 'L1T3' };

/**
 * Bits per second: 155 k for 320×180, 505 k for 640×360; the largest layer gets more for each pixel, 1.4 M for 960×540.
 * @param {number} pixels
 * @param {boolean} largest
 */
function bitrate(pixels, largest) {
  return Math.min(2_500_000, Math.round(pixels ** 0.85 * (largest ? 0.0196 : 0.014)) * 1000);
}

/**
 * A section that sends. Never `addTrack`: that would take one of the seats.
 * @param {RTCPeerConnection} pc
 * @param {MediaStreamTrack | string} what
 * @param {RTCRtpEncodingParameters[] | undefined} sendEncodings
 * @returns {RTCRtpTransceiver}
 */
export function sendingSection(pc, what, sendEncodings) {
  const add = (/** @type {RTCRtpEncodingParameters[] | undefined} */ list) =>
    pc.addTransceiver(what, { direction: 'sendonly', sendEncodings: list });
  try {
    return add(sendEncodings);
  } catch {
    // A browser without temporal layers.
    return add(sendEncodings?.map((encoding) => ({ ...encoding, scalabilityMode: undefined })));
  }
}

/** The newest change of each sender. @type {WeakMap<RTCRtpSender, Promise<void>>} */
const turns = new WeakMap();

/**
 * Switches a sender's encodings on and off. One change at a time, the newest wins; a browser that refuses
 * goes on sending what it sent.
 * @param {RTCRtpSender} sender
 * @param {string[]} rids  what is wanted; `*`: all, none: nothing
 * @returns {Promise<void>}
 */
export function switchLayers(sender, rids) {
  const turn = Promise.resolve(turns.get(sender)).then(async () => {
    for (let tries = 0; tries < 3 && turns.get(sender) === turn; tries += 1) {
      try {
        // Read right before: parameters are good for one change, and for none that a negotiation has overtaken.
        const parameters = sender.getParameters();
        if (activate(parameters.encodings ?? [], rids)) await sender.setParameters(parameters);
        return;
      } catch {
        // A negotiation came between, most likely: read again.
      }
    }
  });
  turns.set(sender, turn);
  return turn;
}

/**
 * @param {RTCRtpEncodingParameters[]} list  changed in place; number and order are the browser's
 * @param {string[]} rids
 * @returns {boolean} whether anything changes
 */
export function activate(list, rids) {
  // Without rids there is one encoding, and names that are not known here say no more than "somebody watches".
  const named = list.some(({ rid = '' }) => rids.includes(rid));
  const before = list.map(({ active = true }) => active);
  for (const encoding of list) encoding.active = rids.length > 0 && (!named || rids.includes(encoding.rid ?? ''));
  return list.some(({ active }, n) => active !== before[n]);
}
