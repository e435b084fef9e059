#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::forward::packet::Codec;
use crate::model::Kind;
use crate::wire::vp8::Vp8;
use crate::wire::vp9::Vp9;

fn at(ms: u64) -> Instant {
    crate::test_clock() + Duration::from_millis(ms)
}

/// A VP8 packet of a source: its number, its time, whether it begins a keyframe.
fn packet(seq: u64, ms: u64, keyframe: bool) -> Packet {
    let picture = u16::try_from(seq & 0x7fff).unwrap();
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let tl0 = u8::try_from(seq & 0xff).unwrap();
    let payload = [0x90, 0xc0, high, low, tl0, u8::from(!keyframe), 0, 0];
    Packet {
        kind: Kind::Video,
        codec: Codec::Vp8,
        layer: 0,
        temporal: 0,
        sync: false,
        seq,
        timestamp: u32::try_from((ms * 90) & 0xffff_ffff).unwrap().wrapping_add(12_345),
        clock_rate: 90_000,
        marker: true,
        stacked: false,
        pictures: Vp8::parse(&payload).map_or(Pictures::None, Pictures::Vp8),
        frame: None,
        descriptor: None,
        keyframe,
        level: None,
        voice: None,
        orientation: None,
        arrived: at(ms),
        captured: None,
        wallclock: at(ms),
        payload: Arc::from(payload),
    }
}

#[test]
fn a_stream_begins_below_65536_whatever_the_source_counts() {
    let mut rewriter = Rewriter::new(500);
    let first = packet(900_000, 0, true);
    rewriter.start(&first, at(0));
    assert_eq!(rewriter.rewrite(&first).unwrap().seq, 500);
    assert_eq!(rewriter.rewrite(&packet(900_001, 33, false)).unwrap().seq, 501);
}

#[test]
fn a_new_source_goes_on_where_the_last_one_stopped() {
    let mut rewriter = Rewriter::new(0);
    rewriter.start(&packet(70, 0, true), at(0));
    let before = rewriter.rewrite(&packet(70, 0, true)).unwrap();
    let other = packet(5_000, 100, true);
    rewriter.start(&other, at(100));
    let after = rewriter.rewrite(&other).unwrap();
    assert_eq!(after.seq, before.seq + 1);
    assert_eq!(rtp_since(after.timestamp, before.timestamp), 9_000, "100 ms at 90 kHz");
    assert_eq!(before.pictures, None, "nothing is moved yet");
    let (old, new) = (packet(70, 0, true).pictures, after.pictures.unwrap());
    assert_eq!(new.picture_id.unwrap(), old.id().unwrap() + 1);
    assert_eq!(new.tl0.unwrap(), old.tl0().unwrap() + 1);
    assert_eq!(rewriter.rewrite(&packet(4_999, 90, false)), Err(DropReason::TooOld));
}

#[test]
fn a_gap_stays_a_gap_and_a_late_packet_fills_it_once() {
    let mut rewriter = Rewriter::new(0);
    rewriter.start(&packet(10, 0, true), at(0));
    for seq in [10, 11, 14] {
        assert_eq!(rewriter.rewrite(&packet(seq, seq, false)).unwrap().seq, seq - 10);
    }
    assert_eq!(rewriter.rewrite(&packet(12, 12, false)).unwrap().seq, 2);
    assert_eq!(rewriter.rewrite(&packet(12, 12, false)), Err(DropReason::Duplicate));
    assert_eq!(rewriter.rewrite(&packet(14, 14, false)), Err(DropReason::Duplicate));
    // The engine asks for the hundred packets before the newest.
    assert_eq!(rewriter.rewrite(&packet(113, 113, false)).unwrap().seq, 103);
    assert_eq!(rewriter.rewrite(&packet(13, 13, false)).unwrap().seq, 3);
    assert_eq!(rewriter.rewrite(&packet(13, 13, false)), Err(DropReason::Duplicate));
    assert_eq!(rewriter.rewrite(&packet(300, 300, false)).unwrap().seq, 290);
    assert_eq!(rewriter.rewrite(&packet(120, 120, false)), Err(DropReason::TooOld));
}

#[test]
fn a_jump_of_the_source_leaves_no_hole_and_no_backward_clock() {
    let mut rewriter = Rewriter::new(0);
    rewriter.start(&packet(0, 0, true), at(0));
    let before = rewriter.rewrite(&packet(0, 0, true)).unwrap();
    let hours = packet(1, 3 * 3_600_000, false);
    let after = rewriter.rewrite(&hours).unwrap();
    assert_eq!(after.seq, 1);
    assert!(rtp_since(after.timestamp, before.timestamp) > 0);
    let far = packet(100_000, 3 * 3_600_000 + 33, false);
    assert_eq!(rewriter.rewrite(&far).unwrap().seq, 2);
}

#[derive(Clone, Debug)]
enum Step {
    Next,
    Lose(u64),
    Late(u64),
    Again,
    Switch(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Next),
        1 => (1..40u64).prop_map(Step::Lose),
        1 => (1..30u64).prop_map(Step::Late),
        1 => Just(Step::Again),
        1 => (0..1_000_000u64).prop_map(Step::Switch),
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn whatever_happens_upstream_the_stream_has_no_seam(steps in steps(), first in 0..0x8000u16) {
        let mut rewriter = Rewriter::new(first);
        let (mut seq, mut ms) = (1_000, 0);
        let (mut lost, mut skipped) = (0, 0);
        let mut sent: Vec<(u64, u32)> = Vec::new();
        rewriter.start(&packet(seq, ms, true), at(ms));
        let begins = rewriter.rewrite(&packet(seq, ms, true)).unwrap();
        sent.push((begins.seq, begins.timestamp));
        for step in steps {
            ms += 20;
            let offered = match step {
                Step::Next => { seq += 1; packet(seq, ms, false) }
                Step::Lose(n) => { seq += n + 1; skipped += n; packet(seq, ms, false) }
                Step::Late(n) => packet(seq.saturating_sub(n), ms, false),
                Step::Again => packet(seq, ms, false),
                Step::Switch(to) => {
                    seq = to;
                    let begins = packet(seq, ms, true);
                    rewriter.start(&begins, at(ms));
                    begins
                }
            };
            let late = matches!(step, Step::Late(_));
            if let Ok(numbers) = rewriter.rewrite(&offered) {
                prop_assert!(!sent.iter().any(|(known, _)| *known == numbers.seq), "sent twice");
                if late { lost += 1; }
                sent.push((numbers.seq, numbers.timestamp));
            }
        }
        sent.sort_unstable();
        if let (Some(low), Some(high)) = (sent.first(), sent.last()) {
            let holes = high.0 - low.0 + 1 - sent.len() as u64;
            prop_assert!(holes <= skipped + lost + 2, "{holes} holes, {skipped} lost upstream");
            prop_assert_eq!(low.0, u64::from(first));
            let backwards = sent.windows(2).any(|pair| rtp_since(pair[1].1, pair[0].1) < 0);
            prop_assert!(!backwards || lost > 0, "the clock runs backwards");
        }
    }
}

/// A VP8 packet of a temporal layer.
fn layered(seq: u64, temporal: u8) -> Packet {
    Packet { temporal, ..packet(seq, seq * 33, seq == 100) }
}

#[test]
fn left_out_packets_leave_no_hole_and_late_ones_find_their_place() {
    let mut rewriter = Rewriter::new(0);
    rewriter.start(&layered(100, 0), at(0));
    let picture = |numbers: Numbers| numbers.pictures.and_then(|ids| ids.picture_id);
    assert_eq!(rewriter.rewrite(&layered(100, 0)).unwrap().seq, 0);
    // 101 is late; 102 is left out; 103 goes; 104 and 105 are left out; 106 goes.
    rewriter.thin(&layered(102, 2));
    let after = rewriter.rewrite(&layered(103, 0)).unwrap();
    assert_eq!((after.seq, picture(after)), (2, Some(102)));
    rewriter.thin(&layered(104, 2));
    rewriter.thin(&layered(105, 2));
    let later = rewriter.rewrite(&layered(106, 0)).unwrap();
    assert_eq!((later.seq, picture(later)), (3, Some(103)));
    let late = rewriter.rewrite(&layered(101, 0)).unwrap();
    assert_eq!((late.seq, picture(late)), (1, None), "before all that was left out");
    assert_eq!(rewriter.rewrite(&layered(104, 2)), Err(DropReason::Thinned));
    assert_eq!(rewriter.rewrite(&layered(103, 0)), Err(DropReason::Duplicate));
}

#[test]
fn a_frame_of_several_packets_takes_one_picture_away() {
    let mut rewriter = Rewriter::new(0);
    let of = |seq: u64, picture: u64| Packet { seq, ..layered(picture, 0) };
    rewriter.start(&of(10, 100), at(0));
    rewriter.rewrite(&of(10, 100)).unwrap();
    for seq in 11..14 {
        rewriter.thin(&of(seq, 101));
    }
    let next = rewriter.rewrite(&of(14, 102)).unwrap();
    assert_eq!((next.seq, next.pictures.unwrap().picture_id), (1, Some(101)));
}

#[test]
fn layers_of_one_publisher_are_joined_by_its_clock_and_not_by_when_they_came() {
    let mut rewriter = Rewriter::new(0);
    let taken = |packet: Packet, ms: u64| Packet { captured: Some(ms * 1_000), ..packet };
    let low = taken(packet(70, 0, true), 1_000);
    rewriter.start(&low, at(0));
    let before = rewriter.rewrite(&low).unwrap();
    // Taken 33 ms later, but 60 ms under way.
    let high = taken(packet(5_000, 93, true), 1_033);
    rewriter.start(&high, at(93));
    let after = rewriter.rewrite(&high).unwrap();
    assert_eq!(rtp_since(after.timestamp, before.timestamp), 2_970);
    // A clock that cannot be right is not believed.
    let other = taken(packet(9_000, 193, true), 90_000);
    rewriter.start(&other, at(193));
    let wrong = rewriter.rewrite(&other).unwrap();
    assert_eq!(rtp_since(wrong.timestamp, after.timestamp), 9_000);
}

proptest! {
    #[test]
    fn whatever_is_left_out_what_goes_has_no_hole_and_keeps_its_order(
        kept in prop::collection::vec(any::<bool>(), 1..200),
    ) {
        let mut rewriter = Rewriter::new(7);
        rewriter.start(&layered(100, 0), at(0));
        rewriter.rewrite(&layered(100, 0)).unwrap();
        let (mut seq, mut picture) = (7, 100);
        for (kept, n) in kept.into_iter().zip(101u64..) {
            let packet = layered(n, 0);
            if kept {
                let numbers = rewriter.rewrite(&packet).unwrap();
                (seq, picture) = (seq + 1, picture + 1);
                prop_assert_eq!(numbers.seq, seq);
                let own = packet.pictures.id();
                let id = numbers.pictures.map_or(own, |ids| ids.picture_id);
                prop_assert_eq!(id, Some(picture));
            } else {
                rewriter.thin(&packet);
            }
        }
    }
}

#[test]
fn frames_of_a_descriptor_are_counted_on_and_keep_their_distances() {
    let mut rewriter = Rewriter::new(0);
    let described = |seq: u64, frame: u16| {
        let [high, low] = frame.to_be_bytes();
        let descriptor = Some(Arc::from([0xc1, high, low]));
        Packet { pictures: Pictures::None, descriptor, ..packet(seq, seq, false) }
    };
    rewriter.start(&described(10, 65_534), at(10));
    assert_eq!(rewriter.rewrite(&described(10, 65_534)).unwrap().frame, Some(65_534));
    rewriter.thin(&described(11, 65_535));
    assert_eq!(rewriter.rewrite(&described(12, 0)).unwrap().frame, Some(0), "not closed up");
    rewriter.start(&described(900, 77), at(20));
    assert_eq!(rewriter.rewrite(&described(900, 77)).unwrap().frame, Some(1));
    assert_eq!(rewriter.rewrite(&described(901, 79)).unwrap().frame, Some(3));
    assert_eq!(rewriter.rewrite(&packet(902, 902, false)).unwrap().frame, None);
}

#[test]
fn pictures_of_vp9_are_counted_on_and_keep_their_distances() {
    let mut rewriter = Rewriter::new(0);
    let of = |seq: u64, id: u8| {
        let vp9 = Vp9::parse(&[0xbc, 0x80, id, 0x00]).unwrap();
        Packet { pictures: Pictures::Vp9(vp9), ..packet(seq, seq, false) }
    };
    let picture = |numbers: Numbers| numbers.pictures.and_then(|ids| ids.picture_id);
    rewriter.start(&of(10, 5), at(10));
    assert_eq!(picture(rewriter.rewrite(&of(10, 5)).unwrap()), None);
    rewriter.thin(&of(11, 6));
    let after = rewriter.rewrite(&of(12, 7)).unwrap();
    assert_eq!((after.seq, picture(after)), (1, None), "others count from the id");
    rewriter.start(&of(900, 100), at(20));
    let next = rewriter.rewrite(&of(900, 100)).unwrap();
    assert_eq!((next.seq, picture(next)), (2, Some(8)));
}
