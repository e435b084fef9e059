// What runs in a page to keep count over time of what is presented, received and sent. Sent to
// the browser as text, like inject.mjs, whose stage comes before.

/** Puts the recorder beside the stage. */
export function recorder() {
  const test = window.__test;
  const frames = [];
  const samples = [];
  const SAMPLE_MS = 200;

  const largest = (list) => list.reduce((a, b) => ((b.bytesReceived ?? 0) > (a.bytesReceived ?? 0) ? b : a), {});

  const sample = async () => {
    const at = performance.now();
    const all = [...(await test.connections.at(-1).getStats()).values()];
    const inbound = all.filter(({ type }) => type === 'inbound-rtp');
    const video = largest(inbound.filter(({ kind }) => kind === 'video'));
    const audio = largest(inbound.filter(({ kind }) => kind === 'audio'));
    const wire = all.find(({ type }) => type === 'transport') ?? {};
    return {
      at,
      bytes: video.bytesReceived ?? 0,
      width: video.frameWidth ?? 0,
      whole: video.framesReceived ?? 0,
      decoded: video.framesDecoded ?? 0,
      dropped: video.framesDropped ?? 0,
      wire: wire.bytesReceived ?? 0,
      lost: video.packetsLost ?? 0,
      again: video.retransmittedBytesReceived ?? 0,
      nacks: video.nackCount ?? 0,
      asked: video.pliCount ?? 0,
      freezes: video.freezeCount ?? 0,
      heard: audio.totalSamplesReceived ?? 0,
      made: (audio.concealedSamples ?? 0) - (audio.silentConcealedSamples ?? 0),
      audio: audio.bytesReceived ?? 0,
      audioLost: audio.packetsLost ?? 0,
    };
  };

  /** Begins to keep count of the picture in an element. */
  test.record = (video) => {
    const look = (now, { presentationTime, width, rtpTimestamp }) => {
      frames.push({ at: presentationTime ?? now, width, rtp: rtpTimestamp });
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
    const keep = async () => {
      samples.push(await sample());
      setTimeout(keep, SAMPLE_MS);
    };
    keep();
  };

  /** What was presented and received since then, by the page's own clock. */
  test.since = async (from) => {
    const now = await sample();
    const before = samples.findLast(({ at }) => at <= from) ?? samples[0] ?? now;
    const presented = frames.filter(({ at }) => at >= from);
    const earlier = frames.findLast(({ at }) => at < from);
    let last = { at: from, width: earlier?.width ?? presented[0]?.width };
    const seen = { gap: 0, gapAt: 0, changes: [] };
    for (const frame of presented) {
      if (frame.at - last.at > seen.gap) Object.assign(seen, { gap: frame.at - last.at, gapAt: last.at - from });
      if (frame.width !== last.width) seen.changes.push({ after: frame.at - from, width: frame.width });
      last = frame;
    }
    return {
      ...seen,
      ms: now.at - from,
      width: last.width,
      // The time since the newest frame is a gap as well, which has not ended yet.
      open: now.at - last.at,
      frames: presented.length,
      first: presented.find(({ rtp }) => rtp !== earlier?.rtp)?.at - from,
      bytes: now.bytes - before.bytes,
      bitrate: ((now.bytes - before.bytes) * 8000) / (now.at - before.at),
      decoded: now.decoded - before.decoded,
      made: (now.made - before.made) / Math.max(1, now.heard - before.heard),
      heard: now.heard - before.heard,
    };
  };

  /** What this page sends of its picture, by layer, smallest first; and what holds it back, and its network. */
  test.sent = async () => {
    const all = [...(await test.connections.at(-1).getStats()).values()];
    const pair = all.find(({ type, nominated }) => type === 'candidate-pair' && nominated);
    const carries = Math.round((pair?.availableOutgoingBitrate ?? 0) / 1000);
    return all
      .filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video')
      .map(({ rid, active, bytesSent, retransmittedBytesSent = 0, framesSent, frameWidth = 0, ...more }) => ({
        rid, active, bytes: bytesSent - retransmittedBytesSent, frames: framesSent, width: frameWidth,
        limited: more.qualityLimitationReason, carries,
      }))
      .sort((a, b) => a.width - b.width);
  };

  /** Every sample since then: what is new in each since the one before. */
  test.samples = (from) => samples.filter(({ at }) => at >= from).map((each, n, all) => {
    const before = all[n - 1] ?? each;
    const news = Object.entries(each).map(([key, value]) => [key, Math.round(value - before[key])]);
    return { ...Object.fromEntries(news), width: each.width, at: Math.round(each.at - from) };
  });
}
