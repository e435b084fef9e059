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
 * What a video track is sent as.
 * @param {import('./protocol.js').Source} source
 * @param {{width?: number, height?: number}} size
 * @param {boolean} simulcast
 * @returns {RTCRtpEncodingParameters[]}
 */
export function encodings(source, size, simulcast) {
  if (source === 'screen') return [{ maxBitrate: 1_500_000, maxFramerate: 15 }];
  if (!simulcast) return [{ maxBitrate: 800_000 }];
  // Chromium drops the last layers of a small picture, so the largest must be among those it keeps:
  // three from 960 pixels on, two from 480.
  const width = size.width ?? 640;
  const layers = width >= 960 ? 3 : width >= 480 ? 2 : 1;
  const all = [
    { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
    { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 400_000 },
    { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: width >= 960 ? 1_700_000 : 800_000 },
  ];
  return all.slice(3 - layers);
}
