//! What one person sends: audio packets evenly, video as whole frames, back to back.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{KeyframeRequest, MediaKind, Mid, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite, SeqNo};

use super::clock::Clock;
use super::mark::{AUDIO_HEAD, Mark, VIDEO_HEAD};
use super::options::Options;
use super::plan::chance;
use crate::model::Kind;
use crate::units::rtp_ticks;

/// Bytes around the payload until the first datagram shows how many they are.
const AROUND: usize = 44;

/// Rids and what share of the rate they have, from the lowest: a sixteenth, a quarter, all.
const LAYERS: [(&str, u32); 3] = [("q", 16), ("h", 4), ("f", 1)];

/// What a publisher sends.
#[derive(Debug)]
pub(super) struct Publisher {
    run: u32,
    number: u32,
    keyframe_factor: u32,
    pub audio: Option<Stream>,
    pub video: Vec<Stream>,
}

/// The rate of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    /// Frames per second; an audio packet is a frame.
    frames: u32,
    /// Thousandths of packets per second.
    packets: u64,
    /// Bytes of a datagram.
    bytes: usize,
}

/// One encoding of one track.
#[derive(Debug)]
pub(super) struct Stream {
    pub mid: Mid,
    pub rid: Option<Rid>,
    pub kind: Kind,
    layer: u8,
    rate: Rate,
    /// When its next frame is due.
    pub due: Instant,
    origin: Instant,
    sequence: u64,
    number: u32,
    picture: u16,
    base: u8,
    /// Packets owed, in thousandths of a packet times frames per second.
    owed: u64,
    keyframe: bool,
    around: usize,
}

/// What one frame came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub kind: Kind,
    pub layer: u8,
    pub packets: u64,
    /// Bytes of each payload.
    pub payload: usize,
    /// Nanoseconds from the beginning of the run, as it stands in each packet.
    pub at: u64,
}

/// The rids that a simulcast publisher offers.
pub(super) fn rids() -> impl Iterator<Item = &'static str> {
    LAYERS.iter().map(|(rid, _)| *rid)
}

impl Publisher {
    /// A publisher whose tracks have these m-lines. It begins to send at `from` at the earliest,
    /// at a point of the frame that the seed chooses.
    pub fn new(
        options: &Options,
        (run, number): (u32, u32),
        (audio, video): (Option<Mid>, Option<Mid>),
        from: Instant,
    ) -> Self {
        let phase = |index: u64, frames: u32| {
            let share = chance(options.seed, u64::from(number) * 2 + index);
            from + Duration::from_secs(1).mul_f64(share) / frames.max(1)
        };
        let sound = Rate {
            frames: options.audio_pps,
            packets: u64::from(options.audio_pps) * 1_000,
            bytes: options.audio_bytes,
        };
        let start = phase(0, options.video_fps);
        let layer = |mid: Mid, index: u8, rid: &str, share: u32| {
            let rate = layer_rate(options, share);
            Stream::new((mid, Some(Rid::from(rid))), Kind::Video, index, rate, start)
        };
        let pictures = |mid: Mid| match options.simulcast {
            true => (0..).zip(LAYERS).map(|(n, (rid, share))| layer(mid, n, rid, share)).collect(),
            false => {
                let rate = layer_rate(options, 1);
                vec![Stream::new((mid, None), Kind::Video, 0, rate, start)]
            }
        };
        let at = phase(1, options.audio_pps);
        Self {
            run,
            number,
            keyframe_factor: options.keyframe_factor,
            audio: audio.map(|mid| Stream::new((mid, None), Kind::Audio, 0, sound, at)),
            video: video.map(pictures).unwrap_or_default(),
        }
    }

    /// When the next frame is due.
    pub fn due(&self) -> Option<Instant> {
        self.audio.iter().chain(&self.video).map(|stream| stream.due).min()
    }

    pub fn handle_keyframe_request(&mut self, request: &KeyframeRequest) {
        let wanted = |stream: &&mut Stream| {
            stream.mid == request.mid && (request.rid.is_none() || stream.rid == request.rid)
        };
        for stream in self.video.iter_mut().filter(wanted) {
            stream.keyframe = true;
        }
    }

    /// Writes the frame that is due first into the engine, and tells what it was.
    pub fn write(&mut self, rtc: &mut Rtc, clock: &Clock, now: Instant) -> Option<Sent> {
        let Self { run, number, keyframe_factor, audio, video } = self;
        let stream = audio.iter_mut().chain(video).min_by_key(|stream| stream.due)?;
        let packets = stream.begin(*keyframe_factor);
        let mark = Mark {
            run: *run,
            publisher: *number,
            kind: stream.kind,
            layer: stream.layer,
            number: stream.number,
            sent: clock.nanos(now),
        };
        let payload = stream.payload_bytes();
        stream.write(rtc, packets, mark, now);
        let (kind, layer) = (stream.kind, stream.layer);
        Some(Sent { kind, layer, packets: u64::from(packets), payload, at: mark.sent })
    }

    /// The datagrams of a frame were larger than its payloads by `around` bytes.
    pub fn learn(&mut self, sent: &Sent, around: usize) {
        let same = |stream: &&mut Stream| stream.kind == sent.kind && stream.layer == sent.layer;
        for stream in self.audio.iter_mut().chain(&mut self.video).filter(same) {
            stream.around = around;
        }
    }
}

/// The rate of a layer with one `share`-th of the bytes; at least one packet per frame, then a
/// smaller one.
fn layer_rate(options: &Options, share: u32) -> Rate {
    let whole = u64::from(options.video_pps) * 1_000 / u64::from(share);
    let least = u64::from(options.video_fps) * 1_000;
    let packets = whole.max(least).max(1);
    let bytes = options.video_bytes as u64 * whole / packets;
    let bytes = usize::try_from(bytes).unwrap_or(options.video_bytes);
    Rate { frames: options.video_fps, packets, bytes: bytes.max(120) }
}

impl Stream {
    fn new(
        (mid, rid): (Mid, Option<Rid>),
        kind: Kind,
        layer: u8,
        rate: Rate,
        due: Instant,
    ) -> Self {
        Self {
            mid,
            rid,
            kind,
            layer,
            rate,
            due,
            origin: due,
            sequence: 1_000,
            number: 0,
            picture: 0,
            base: 0,
            owed: 0,
            keyframe: true,
            around: AROUND,
        }
    }

    /// How many packets the frame that is due has; it is due no longer.
    fn begin(&mut self, keyframe_factor: u32) -> u32 {
        let frame = u64::from(self.rate.frames) * 1_000;
        self.owed += self.rate.packets;
        let packets = self.owed / frame.max(1);
        self.owed -= packets * frame;
        self.due += Duration::from_secs(1) / self.rate.frames.max(1);
        self.picture = (self.picture + 1) & 0x7fff;
        self.base = self.base.wrapping_add(1);
        let more = if self.keyframe && self.kind == Kind::Video { keyframe_factor } else { 1 };
        u32::try_from(packets).unwrap_or(u32::MAX).saturating_mul(more)
    }

    fn payload_bytes(&self) -> usize {
        self.rate.bytes.saturating_sub(self.around)
    }

    fn write(&mut self, rtc: &mut Rtc, packets: u32, mark: Mark, now: Instant) {
        let codec = if self.kind == Kind::Video { Codec::Vp8 } else { Codec::Opus };
        let pt = rtc.codec_config().find(|p| p.spec().codec == codec).map(|p| p.pt());
        let mut api = rtc.direct_api();
        let Some((pt, tx)) = pt.zip(api.stream_tx_by_mid(self.mid, self.rid)) else { return };
        let clock_rate = if self.kind == Kind::Video { 90_000 } else { 48_000 };
        let time = rtp_ticks(self.due.saturating_duration_since(self.origin), clock_rate);
        let keyframe = std::mem::take(&mut self.keyframe);
        let bytes = self.payload_bytes();
        for part in 0..packets {
            let mut payload = Vec::with_capacity(bytes);
            match self.kind {
                Kind::Video => payload.extend(self.video_head(part == 0, keyframe)),
                // RFC 6716 section 3.1: SILK and CELT, 20 ms, one frame.
                Kind::Audio => payload.push(0x78),
            }
            payload.extend(Mark { number: self.number, ..mark }.write());
            payload.resize(bytes.max(payload.len()), 0x55);
            let level = (self.kind == Kind::Audio).then_some(-30);
            let ext = ExtensionValues {
                audio_level: level,
                voice_activity: level.map(|_| true),
                ..Default::default()
            };
            tx.write_rtp(
                RtpWrite::new(pt, SeqNo::from(self.sequence), time, now, payload)
                    .marker(part + 1 == packets && self.kind == Kind::Video)
                    .ext_vals(ext)
                    .nackable(self.kind == Kind::Video),
            );
            self.sequence += 1;
            self.number = self.number.wrapping_add(1);
        }
    }

    /// RFC 7741 section 4.2 with a picture id of 15 bits, TL0PICIDX and temporal layer 0 (without
    /// which there must be no TL0PICIDX), then section 4.3: what
    /// the head of a keyframe of 640 × 360 looks like, or the same length of another frame.
    fn video_head(&self, first: bool, keyframe: bool) -> [u8; VIDEO_HEAD] {
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        let start = if first { 0x90 } else { 0x80 };
        let frame = 0x10 | u8::from(!keyframe);
        let [wl, wh] = 640_u16.to_le_bytes();
        let [hl, hh] = 360_u16.to_le_bytes();
        [start, 0xe0, high, low, self.base, 0, frame, 2, 0, 0x9d, 0x01, 0x2a, wl, wh, hl, hh]
    }
}

/// How the engine calls a kind.
pub(super) fn media_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}

// A mark must fit behind the head of the smallest datagram that the options allow.
const _: () = assert!(AUDIO_HEAD + super::mark::MARK + AROUND < 90);

#[cfg(test)]
mod tests {
    use super::super::options::tests::options;
    use super::*;
    use crate::test_clock;
    use crate::wire::vp8::Vp8;

    fn publisher(words: &str, number: u32) -> Publisher {
        let mids = (Some(Mid::from("0")), Some(Mid::from("1")));
        Publisher::new(&options(words), (1, number), mids, test_clock())
    }

    #[test]
    fn a_second_has_exactly_the_packets_that_were_asked_for() {
        let mut publisher = publisher("meeting --video-pps 155 --video-fps 24", 0);
        let video = &mut publisher.video[0];
        let sizes: Vec<u32> = (0..24).map(|_| video.begin(1)).collect();
        assert_eq!(sizes.iter().sum::<u32>(), 155);
        assert!(sizes.iter().all(|n| (6..=7).contains(n)), "{sizes:?}");
    }

    #[test]
    fn publishers_are_not_in_phase() {
        let due = |n| publisher("meeting", n).video[0].due;
        let spread: Vec<Duration> = (0..10).map(|n| due(n) - test_clock()).collect();
        assert!(spread.iter().all(|at| *at < Duration::from_secs(1) / 30), "{spread:?}");
        assert!(spread.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn layers_have_a_sixteenth_a_quarter_and_all_of_the_bytes() {
        let publisher = publisher("meeting --simulcast", 0);
        let bytes = |stream: &Stream| stream.rate.packets * stream.rate.bytes as u64 / 1_000;
        let bytes: Vec<u64> = publisher.video.iter().map(bytes).collect();
        assert_eq!(bytes, [11_250, 45_000, 180_000]);
    }

    #[test]
    fn a_keyframe_is_seen_as_one_and_may_be_larger() {
        let mut publisher = publisher("meeting --keyframe-factor 5", 0);
        let video = &mut publisher.video[0];
        let head = Vp8::parse(&video.video_head(true, true)).unwrap();
        assert!(head.keyframe && head.wide && head.tl0.is_some() && head.temporal == Some(0));
        assert!(!Vp8::parse(&video.video_head(true, false)).unwrap().keyframe);
        assert!(!Vp8::parse(&video.video_head(false, true)).unwrap().keyframe);
        assert_eq!(video.begin(5), 25);
        video.keyframe = false;
        assert_eq!(video.begin(5), 5);
    }
}
