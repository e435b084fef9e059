//! A camera with three simulcast layers of three temporal layers each, and what a browser's decoder
//! makes of it: enough of both to tell whether what a viewer was sent could be shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::rtp::{RtpWrite, SeqNo};

use super::peer::{Outgoing, Peer};

/// The rids of a simulcast camera, and what each takes in bit/s.
pub const LAYERS: [(&str, u64); 3] = [("q", 150_000), ("h", 500_000), ("f", 1_500_000)];

/// Frames of the layered camera in a second.
pub const FPS: u64 = 25;

/// What a packet of the layered camera says of its frame, behind the VP8 descriptor: enough to
/// tell whether a viewer could decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMark {
    pub mark: u8,
    pub layer: u8,
    /// Its number, and the number of the frame that it needs; the same for a keyframe.
    pub frame: u32,
    pub needs: u32,
    /// Which of how many packets this is.
    pub part: u8,
    pub parts: u8,
}

impl FrameMark {
    pub const LEN: usize = 12;

    fn write(self, out: &mut Vec<u8>) {
        out.extend([self.mark, self.layer]);
        out.extend(self.frame.to_be_bytes());
        out.extend(self.needs.to_be_bytes());
        out.extend([self.part, self.parts]);
    }

    /// Reads the mark of a received payload; its VP8 descriptor has six bytes and one of header.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let body = payload.get(7..7 + Self::LEN)?;
        let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        Some(Self {
            mark: body[0],
            layer: body[1],
            frame: number(2),
            needs: number(6),
            part: body[10],
            parts: body[11],
        })
    }
}

/// What a browser's decoder of one section knows at any moment: enough to ask for a keyframe when
/// a browser would.
#[derive(Debug, Default)]
pub struct Decoding {
    /// Packets of frames that are not whole: mark, layer, frame.
    parts: BTreeMap<(u8, u8, u32), BTreeSet<u8>>,
    decoded: BTreeSet<(u8, u8, u32)>,
    /// Whole frames that need one that has not come.
    waiting: Vec<FrameMark>,
    /// When a frame was last decoded, and when a keyframe was last asked for.
    last: Option<Instant>,
    asked: Option<Instant>,
    /// It has decoded since it began or asked for a keyframe.
    runs: bool,
}

impl Decoding {
    /// A browser that waits for a keyframe asks again after so long, and one that has shown pictures
    /// when it could show none for so long (libwebrtc, `VideoReceiveStream2`).
    const FOR_KEYFRAME: Duration = Duration::from_millis(200);
    pub const FOR_FRAME: Duration = Duration::from_secs(3);

    /// Takes a packet; whether a keyframe is to be asked for, when there was no picture for so long.
    pub fn take(&mut self, mark: FrameMark, patience: Duration, now: Instant) -> bool {
        let key = (mark.mark, mark.layer, mark.frame);
        if !self.decoded.contains(&key) {
            let parts = self.parts.entry(key).or_default();
            parts.insert(mark.part);
            if parts.len() == usize::from(mark.parts) {
                self.parts.remove(&key);
                self.waiting.push(mark);
                self.decode(now);
            }
        }
        let patience = if self.runs { patience } else { Self::FOR_KEYFRAME };
        let quiet = |at: Option<Instant>| at.is_none_or(|at| now - at >= patience);
        let since = *self.last.get_or_insert(now);
        let ask = quiet(Some(since)) && quiet(self.asked);
        if ask {
            self.asked = Some(now);
            self.runs = false;
        }
        ask
    }

    fn decode(&mut self, now: Instant) {
        loop {
            let can = |m: &FrameMark| {
                m.frame == m.needs || self.decoded.contains(&(m.mark, m.layer, m.needs))
            };
            let Some(at) = self.waiting.iter().position(can) else { return };
            let mark = self.waiting.remove(at);
            if mark.frame == mark.needs {
                self.decoded.clear();
                let newer = |m: &FrameMark| {
                    m.mark == mark.mark && m.layer == mark.layer && m.frame > mark.frame
                };
                self.waiting.retain(newer);
            }
            self.decoded.insert((mark.mark, mark.layer, mark.frame));
            self.last = Some(now);
            self.runs = true;
        }
    }
}

impl Outgoing {
    /// The packets' payloads of the next frame of a layered camera.
    fn encode(&mut self, mark: u8, layer: u8) -> Vec<Vec<u8>> {
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        let place = if keyframe { 0 } else { (self.frame + 1).wrapping_sub(self.base) % 4 };
        self.frame += 1;
        self.picture = (self.picture + 1) & 0x7fff;
        let frame = self.frame;
        // Of four frames the first takes two fifths, the others a fifth each.
        let cycle = LAYERS[usize::from(layer)].1 * 4 / FPS / 8;
        let (temporal, sync, needs, bytes) = match place {
            _ if keyframe => (0u8, false, frame, cycle * 5 / 4),
            0 => (0, false, self.base, cycle * 2 / 5),
            1 => (2, true, self.base, cycle / 5),
            2 => (1, true, self.base, cycle / 5),
            _ => (2, false, self.middle, cycle / 5),
        };
        if temporal == 0 {
            self.base = frame;
            self.tl0 = self.tl0.wrapping_add(1);
        } else if temporal == 1 {
            self.middle = frame;
        }
        let parts = bytes.div_ceil(1_100).max(1);
        let size = usize::try_from(bytes / parts).unwrap();
        let payload = |part: u64| {
            let [high, low] = (self.picture | 0x8000).to_be_bytes();
            let start = if part == 0 { 0x90 } else { 0x80 };
            let layers = (temporal << 6) | (u8::from(sync) << 5);
            let mut payload = vec![start, 0xe0, high, low, self.tl0, layers, u8::from(!keyframe)];
            let (part, parts) = (u8::try_from(part).unwrap(), u8::try_from(parts).unwrap());
            FrameMark { mark, layer, frame, needs, part, parts }.write(&mut payload);
            payload.resize(size.max(payload.len()), mark);
            payload
        };
        (0..parts).map(payload).collect()
    }
}

impl Peer {
    /// The server says which layers somebody wants.
    pub fn obey_layers(&mut self, rids: &[String]) {
        for stream in self.streams.iter_mut().filter(|s| s.rid.is_some()) {
            let active = stream.rid.is_some_and(|rid| rids.contains(&rid.to_string()));
            stream.keyframe_wanted |= active && !stream.active;
            stream.active = active;
        }
    }

    /// Sends one frame of each active layer of a simulcast camera, with three temporal layers: 0 2
    /// 1 2, the last of which needs the one before.
    pub fn film(&mut self, mark: u8, now: Instant) {
        let pt = self.rtc.codec_config().find(|p| p.spec().codec == Codec::Vp8).unwrap().pt();
        let mut layer = 0;
        for at in 0..self.streams.len() {
            let stream = &mut self.streams[at];
            if stream.rid.is_none() {
                continue;
            }
            layer += 1;
            stream.timestamp = stream.timestamp.wrapping_add(90_000 / u32::try_from(FPS).unwrap());
            if !stream.active {
                continue;
            }
            let payloads = stream.encode(mark, layer - 1);
            let (mid, rid, timestamp) = (stream.mid, stream.rid, stream.timestamp);
            let first = stream.seq;
            stream.seq += payloads.len() as u64;
            let last = payloads.len() - 1;
            let mut api = self.rtc.direct_api();
            let Some(tx) = api.stream_tx_by_mid(mid, rid) else { continue };
            for (seq, (part, payload)) in (first..).zip(payloads.into_iter().enumerate()) {
                let write = RtpWrite::new(pt, SeqNo::from(seq), timestamp, now, payload);
                tx.write_rtp(write.marker(part == last).nackable(true));
            }
        }
        self.handle_time(now);
    }
}
