//! The newest keyframe of each layer and what followed it: who joins or changes layers is served
//! from here, at once, instead of asking the publisher for a keyframe that all others pay for.

use std::time::{Duration, Instant};

use super::layers::MAX_LAYERS;
use super::packet::Packet;

/// Most packets and bytes of a segment. With more a new keyframe is cheaper; together with [`AGE`]
/// these bound what a publisher can make the server keep: 1.5 MB per track.
const PACKETS: usize = 640;
const BYTES: usize = 512 * 1024;

/// How long after its keyframe a segment is of use: the viewer decodes all of it before it is up to
/// date.
const AGE: Duration = Duration::from_millis(2_500);

/// Without a packet for so long a segment has no end to go on from: screen shares send five frames
/// per second.
const TAIL: Duration = Duration::from_millis(250);

/// Most packets that are kept for a keyframe that is still to come: as many as the engine asks to have
/// sent again.
const EARLY: usize = 100;

/// A packet so far behind the newest is none of the same stream.
const ANEW: u64 = 512;

/// A keyframe and all packets after it, in order; or packets behind a hole, which the beginning of a
/// keyframe may fill.
#[derive(Clone, Debug, Default)]
struct Segment {
    packets: Vec<Packet>,
    bytes: usize,
    /// One more than the newest number that was seen.
    next: u64,
}

/// The newest segment of each layer.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    segments: [Segment; MAX_LAYERS],
    /// Layers come in one stream, and all of it is in the first segment.
    shared: bool,
}

impl Segments {
    /// A packet came.
    pub fn take(&mut self, packet: &Packet) {
        self.shared = packet.stacked;
        if let Some(segment) = self.segments.get_mut(place(packet)) {
            segment.take(packet);
        }
    }

    /// What came already of that which follows a keyframe that comes late: holes may be left.
    pub fn after(&self, keyframe: &Packet) -> &[Packet] {
        let packets = self.segments.get(place(keyframe)).map_or(&[][..], |s| &s.packets);
        let up_to = |seq: u64| packets.partition_point(|packet| packet.seq <= seq);
        let (from, to) = (up_to(keyframe.seq), up_to(keyframe.seq.saturating_add(EARLY as u64)));
        packets.get(from..to).unwrap_or_default()
    }

    /// The packets of a layer's segment if it is whole, fresh, and of at most so many bytes.
    #[must_use]
    pub fn of(&self, layer: u8, bytes: u64, now: Instant) -> Option<&[Packet]> {
        let layer = if self.shared { 0 } else { layer };
        let segment = self.segments.get(usize::from(layer))?;
        let (first, last) = (segment.packets.first()?, segment.packets.last()?);
        let span = last.seq.saturating_sub(first.seq).saturating_add(1);
        let whole = span == segment.packets.len() as u64;
        let fresh = now.saturating_duration_since(first.arrived) < AGE;
        let ends = now.saturating_duration_since(last.arrived) < TAIL;
        let fits = segment.bytes as u64 <= bytes;
        (first.keyframe && whole && fresh && ends && fits).then_some(&segment.packets)
    }

    /// Bytes of payload that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.bytes))
    }

    /// Forgets everything: the track was silent on purpose.
    pub fn forget(&mut self) {
        self.segments.iter_mut().for_each(Segment::clear);
    }
}

/// Which segment a packet belongs to.
fn place(packet: &Packet) -> usize {
    usize::from(if packet.stacked { 0 } else { packet.layer })
}

impl Segment {
    fn take(&mut self, packet: &Packet) {
        if packet.seq.saturating_add(ANEW) < self.next {
            *self = Self::default();
        }
        let behind_hole = packet.seq > self.next;
        self.next = self.next.max(packet.seq.saturating_add(1));
        match self.packets.first() {
            Some(first) if first.keyframe && packet.seq <= first.seq => return,
            // Nothing leans on what was before it.
            _ if packet.keyframe => self.forget_before(packet.seq),
            None if !behind_hole => return,
            _ => {}
        }
        self.insert(packet);
        let begun = self.packets.first().is_some_and(|first| first.keyframe);
        let most = if begun { PACKETS } else { EARLY };
        if self.packets.len() > most || self.bytes > BYTES {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.packets.clear();
        self.bytes = 0;
    }

    fn forget_before(&mut self, seq: u64) {
        self.packets.retain(|packet| packet.seq > seq);
        self.bytes = self.packets.iter().map(|packet| packet.payload.len()).sum();
    }

    /// Puts a packet in its place; one that is there already changes nothing.
    fn insert(&mut self, packet: &Packet) {
        let after = self.packets.iter().rposition(|known| known.seq <= packet.seq);
        let at = match after {
            Some(at) if self.packets.get(at).is_some_and(|known| known.seq == packet.seq) => return,
            Some(at) => at.saturating_add(1),
            None => 0,
        };
        self.packets.insert(at, packet.clone());
        self.bytes = self.bytes.saturating_add(packet.payload.len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::forward::packet::{Codec, Pictures};
    use crate::model::Kind;

    fn packet(seq: u64, keyframe: bool, bytes: usize) -> Packet {
        let at = crate::test_clock();
        Packet {
            kind: Kind::Video,
            codec: Codec::H264,
            layer: 1,
            temporal: 0,
            sync: false,
            seq,
            timestamp: 0,
            clock_rate: 90_000,
            marker: true,
            stacked: false,
            pictures: Pictures::None,
            frame: None,
            descriptor: None,
            keyframe,
            level: None,
            voice: None,
            orientation: None,
            arrived: at,
            captured: None,
            wallclock: at,
            payload: Arc::from(vec![0; bytes]),
        }
    }

    fn seqs(segments: &Segments) -> Option<Vec<u64>> {
        let packets = segments.of(1, u64::MAX, crate::test_clock())?;
        Some(packets.iter().map(|packet| packet.seq).collect())
    }

    #[test]
    fn a_segment_begins_with_a_keyframe_and_is_of_use_while_it_has_no_hole() {
        let mut segments = Segments::default();
        segments.take(&packet(1, false, 100));
        assert_eq!(seqs(&segments), None);
        segments.take(&packet(2, true, 100));
        segments.take(&packet(4, false, 100));
        assert_eq!(seqs(&segments), None, "one is missing");
        segments.take(&packet(3, false, 100));
        segments.take(&packet(3, false, 100));
        segments.take(&packet(1, false, 100));
        assert_eq!(seqs(&segments), Some(vec![2, 3, 4]));
        segments.take(&packet(9, true, 100));
        assert_eq!(seqs(&segments), Some(vec![9]), "a newer keyframe");
        segments.forget();
        assert_eq!(seqs(&segments), None);
    }

    #[test]
    fn what_came_before_the_first_packet_of_its_keyframe_is_kept_for_it() {
        let mut segments = Segments::default();
        let first = packet(10, true, 100);
        (7..9).for_each(|seq| segments.take(&packet(seq, false, 100)));
        for seq in [12, 14, 11] {
            segments.take(&packet(seq, false, 100));
        }
        let after: Vec<u64> = segments.after(&first).iter().map(|packet| packet.seq).collect();
        assert_eq!(after, [11, 12, 14]);
        segments.take(&first);
        segments.take(&packet(13, false, 100));
        segments.take(&first);
        assert_eq!(seqs(&segments), Some(vec![10, 11, 12, 13, 14]));
        assert_eq!(segments.bytes(), 500);
        segments.take(&packet(9, true, 100));
        assert_eq!(seqs(&segments), Some(vec![10, 11, 12, 13, 14]), "an older keyframe");
        assert!(segments.after(&packet(1, true, 100)).len() == 5);
        assert!(segments.after(&packet(900, true, 100)).is_empty());
    }

    #[test]
    fn without_a_keyframe_little_is_kept_and_only_behind_a_hole() {
        let mut segments = Segments::default();
        for seq in 1..=EARLY as u64 {
            segments.take(&packet(seq, false, 10));
        }
        assert_eq!(segments.bytes(), 10 * EARLY, "before the first there may have been one");
        (101..1_000).for_each(|seq| segments.take(&packet(seq, false, 10)));
        assert_eq!(segments.bytes(), 0);
        segments.take(&packet(1_001, false, 10));
        assert_eq!(segments.bytes(), 10);
    }

    #[test]
    fn a_stream_whose_numbers_begin_anew_begins_anew() {
        let mut segments = Segments::default();
        segments.take(&packet(5_000, true, 10));
        segments.take(&packet(100, true, 10));
        segments.take(&packet(101, false, 10));
        assert_eq!(seqs(&segments), Some(vec![100, 101]));
    }

    #[test]
    fn a_segment_is_old_after_a_while_and_may_be_too_large_for_a_viewer() {
        let mut segments = Segments::default();
        segments.take(&packet(1, true, 1_000));
        let t = crate::test_clock();
        assert!(segments.of(1, 1_000, t).is_some());
        assert!(segments.of(1, 999, t).is_none());
        assert!(segments.of(1, 1_000, t + TAIL).is_none(), "it has no end");
        let late = Packet { arrived: t + AGE, ..packet(2, false, 0) };
        segments.take(&late);
        assert!(segments.of(1, 1_000, t + AGE).is_none());
        assert!(segments.of(0, 1_000, t).is_none(), "another layer");
    }

    #[test]
    fn a_segment_over_the_limits_is_given_up_until_the_next_keyframe() {
        let mut segments = Segments::default();
        segments.take(&packet(0, true, 10));
        for seq in 1..PACKETS as u64 {
            segments.take(&packet(seq, false, 10));
        }
        assert_eq!(seqs(&segments).map(|seqs| seqs.len()), Some(PACKETS));
        segments.take(&packet(PACKETS as u64, false, 10));
        assert_eq!(seqs(&segments), None);
        segments.take(&packet(5_000, true, BYTES));
        assert_eq!(segments.bytes(), BYTES);
        assert!(seqs(&segments).is_some());
        segments.take(&packet(5_001, false, 1));
        assert_eq!(seqs(&segments), None);
    }
}
