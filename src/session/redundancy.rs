//! Sound that survives loss (RFC 2198). Inside Fanlight every packet carries one frame of Opus. A
//! client that sends frames twice has them unwrapped here, and what was lost on its way is filled
//! in; a client on whose way packets are lost is sent them twice, if it can take them.

use std::sync::Arc;
use std::time::Duration;

use crate::forward::packet::Packet;
use crate::wire::red::{self, Earlier, Red};

/// Most earlier frames that a packet is sent with.
const MOST: usize = 2;

/// A payload with its earlier ones stays below this, or it goes without.
const MAX_PAYLOAD: usize = 1_000;

/// Of the loss that is told, so much goes into the mean: about two seconds count.
const NEW: f32 = 0.1;

/// From this much loss on one earlier frame goes along, and two; below half of it no more.
const LEVELS: [f32; MOST] = [0.01, 0.05];

/// Below these estimates, in bit/s, so many earlier frames would take from the sound itself what it
/// needs.
const NARROW: [u64; MOST] = [150_000, 600_000];

/// Loss while packets wait in a queue comes from sending too much. After that so many looks go by
/// without any: five seconds.
const HOLD_OFF: u32 = 25;

/// What is known of a client's network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// What part of packets was lost in the last second.
    pub loss: f32,
    /// What it carries, in bit/s.
    pub estimate: u64,
    /// Packets wait in a queue on the way.
    pub queued: bool,
}

/// How often frames are sent to a client, as its network asks for.
#[derive(Debug, Default)]
pub(super) struct Redundancy {
    loss: f32,
    level: usize,
    hold_off: u32,
}

impl Redundancy {
    /// The engine says how the network does, five times a second.
    pub fn measured(&mut self, Path { loss, estimate, queued }: Path) {
        self.hold_off = if queued { HOLD_OFF } else { self.hold_off.saturating_sub(1) };
        self.loss += (loss - self.loss) * NEW;
        let asked = LEVELS.iter().filter(|from| self.loss >= **from).count();
        let kept = LEVELS.iter().filter(|from| self.loss >= **from / 2.0).count();
        let carried = match self.hold_off {
            0 => NARROW.iter().filter(|least| estimate >= **least).count(),
            _ => 0,
        };
        self.level = self.level.clamp(asked, kept).min(carried);
    }

    /// How many earlier frames go with each.
    pub fn level(&self) -> usize {
        self.level
    }
}

/// The last frames that a stream was sent.
#[derive(Debug, Default)]
pub(super) struct Recent {
    frames: [Option<Frame>; MOST],
}

#[derive(Clone, Debug)]
struct Frame {
    seq: u64,
    timestamp: u32,
    payload: Arc<[u8]>,
}

impl Recent {
    /// A payload together with up to `level` frames before it, or nothing, if there are none that
    /// a receiver could use; and keeps it for those that follow.
    pub fn wrap(
        &mut self,
        (seq, timestamp): (u64, u32),
        payload: &Arc<[u8]>,
        (level, pt): (usize, u8),
    ) -> Option<Arc<[u8]>> {
        let mut earlier: [Earlier<'_>; MOST] = [Earlier::default(); MOST];
        let mut count = 0;
        let mut bytes = payload.len();
        // A receiver counts back from the packet: what is carried must lie right before it.
        for (frame, distance) in self.frames.iter().flatten().zip(1..).take(level) {
            let back = timestamp.wrapping_sub(frame.timestamp);
            bytes += frame.payload.len() + 4;
            let fits = back <= red::MAX_BACK && frame.payload.len() <= red::MAX_BYTES;
            if frame.seq.checked_add(distance) != Some(seq) || !fits || bytes > MAX_PAYLOAD {
                break;
            }
            if let Some(into) = earlier.get_mut(count) {
                *into = Earlier { back, payload: &frame.payload };
                count += 1;
            }
        }
        let earlier = earlier.get_mut(..count).unwrap_or_default();
        earlier.reverse();
        let wrapped = (count > 0).then(|| red::write(pt, earlier, payload).into());
        if self.frames.first().and_then(Option::as_ref).is_none_or(|newest| newest.seq < seq) {
            self.frames.rotate_right(1);
            if let Some(newest) = self.frames.first_mut() {
                *newest = Some(Frame { seq, timestamp, payload: payload.clone() });
            }
        }
        wrapped
    }
}

/// Which of the last 64 packets of a stream came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub ssrc: u32,
    /// One more than the newest.
    next: u64,
    mask: u64,
}

impl Came {
    /// Begins with the packet `seq`; what was before it is not missed.
    pub fn new(ssrc: u32, seq: u64) -> Self {
        Self { ssrc, next: seq, mask: u64::MAX }
    }

    /// Whether a packet comes for the first time.
    pub fn first(&mut self, seq: u64) -> bool {
        let shift = |by: u64| u32::try_from(by).ok().filter(|by| *by < u64::BITS);
        if let Some(ahead) = seq.checked_sub(self.next) {
            let moved = shift(ahead.saturating_add(1)).map_or(0, |by| self.mask << by);
            self.mask = moved | 1;
            self.next = seq.saturating_add(1);
            return true;
        }
        let Some(behind) = shift(self.next - seq - 1) else { return false };
        let first = self.mask & (1 << behind) == 0;
        self.mask |= 1 << behind;
        first
    }
}

/// Takes a redundant packet apart: its own frame stays in it, and frames of packets that did not come
/// are put in front of it. Whether it could be read.
pub(super) fn unwrap(packet: &mut Packet, came: &mut Came, missed: &mut Vec<Packet>) -> bool {
    let payload = packet.payload.clone();
    let Ok(red) = Red::parse(&payload) else { return false };
    packet.payload = red.own.into();
    let before = missed.len();
    for (earlier, distance) in red.earlier().zip(1..) {
        let Some(seq) = packet.seq.checked_sub(distance) else { break };
        if earlier.payload.is_empty() || !came.first(seq) {
            continue;
        }
        let micros = u64::from(earlier.back) * 1_000_000 / u64::from(packet.clock_rate.max(1));
        let back = Duration::from_micros(micros);
        missed.push(Packet {
            seq,
            timestamp: packet.timestamp.wrapping_sub(earlier.back),
            marker: false,
            captured: packet.captured.map(|at| at.saturating_sub(micros)),
            wallclock: packet.wallclock.checked_sub(back).unwrap_or(packet.wallclock),
            payload: earlier.payload.into(),
            ..packet.clone()
        });
    }
    if let Some(missed) = missed.get_mut(before..) {
        missed.reverse();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(loss: f32, estimate: u64) -> Path {
        Path { loss, estimate, queued: false }
    }

    fn payload(n: u8) -> Arc<[u8]> {
        vec![n; 60].into()
    }

    #[test]
    fn loss_asks_for_more_and_none_for_less() {
        let mut redundancy = Redundancy::default();
        for (loss, level) in [(0.0, 0), (0.03, 1), (0.1, 2), (0.03, 2), (0.008, 1), (0.0, 0)] {
            (0..100).for_each(|_| redundancy.measured(path(loss, 2_000_000)));
            assert_eq!(redundancy.level(), level, "{loss}");
        }
        for (estimate, level) in [(700_000, 2), (300_000, 1), (100_000, 0)] {
            (0..100).for_each(|_| redundancy.measured(path(0.1, estimate)));
            assert_eq!(redundancy.level(), level, "{estimate} bit/s");
        }
    }

    #[test]
    fn a_single_loss_asks_for_nothing() {
        let mut redundancy = Redundancy::default();
        redundancy.measured(path(0.05, 2_000_000));
        assert_eq!(redundancy.level(), 0);
    }

    #[test]
    fn loss_behind_a_queue_asks_for_nothing_either() {
        let mut redundancy = Redundancy::default();
        (0..100).for_each(|_| redundancy.measured(path(0.1, 2_000_000)));
        assert_eq!(redundancy.level(), 2);
        redundancy.measured(Path { queued: true, ..path(0.1, 2_000_000) });
        assert_eq!(redundancy.level(), 0);
        (1..HOLD_OFF).for_each(|_| redundancy.measured(path(0.1, 2_000_000)));
        assert_eq!(redundancy.level(), 0, "the queue was there a moment ago");
        redundancy.measured(path(0.1, 2_000_000));
        assert_eq!(redundancy.level(), 2);
    }

    #[test]
    fn frames_that_lie_right_before_go_along() {
        let mut recent = Recent::default();
        assert_eq!(recent.wrap((1, 960), &payload(1), (2, 111)), None, "there is none before");
        let second = recent.wrap((2, 1_920), &payload(2), (2, 111)).unwrap();
        let red = Red::parse(&second).unwrap();
        assert_eq!(red.own, &payload(2)[..]);
        assert_eq!(red.earlier().map(|e| e.back).collect::<Vec<_>>(), [960]);
        let third = recent.wrap((3, 2_880), &payload(3), (2, 111)).unwrap();
        let red = Red::parse(&third).unwrap();
        let carried: Vec<_> = red.earlier().map(|e| (e.back, e.payload[0])).collect();
        assert_eq!(carried, [(960, 2), (1_920, 1)]);
        let fourth = recent.wrap((4, 3_840), &payload(4), (1, 111)).unwrap();
        assert_eq!(Red::parse(&fourth).unwrap().earlier().count(), 1);
    }

    #[test]
    fn frames_that_a_receiver_would_misplace_do_not() {
        let mut recent = Recent::default();
        recent.wrap((1, 960), &payload(1), (2, 111));
        assert_eq!(recent.wrap((3, 2_880), &payload(3), (2, 111)), None, "one is missing");
        assert_eq!(recent.wrap((4, 60_000), &payload(4), (2, 111)), None, "too long ago");
        assert_eq!(recent.wrap((5, 60_960), &vec![5; 990].into(), (2, 111)), None, "too large");
        assert!(recent.wrap((6, 61_920), &payload(6), (0, 111)).is_none(), "not asked for");
    }

    #[test]
    fn what_came_is_known_for_a_while() {
        let mut came = Came::new(7, 100);
        assert!(!came.first(99), "what was before is not missed");
        assert!(came.first(100));
        assert!(!came.first(100));
        assert!(came.first(103));
        assert!(came.first(102));
        assert!(!came.first(102));
        assert!(came.first(101));
        assert!(came.first(1_000));
        assert!(!came.first(200), "too long ago to be of use");
        assert!(came.first(999));
    }
}
