#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::forward::layers::LayerTable;
use crate::forward::packet::{Codec, Pictures};

mod recorded;

fn at(ms: u64) -> Instant {
    crate::test_clock() + Duration::from_millis(ms)
}

fn packet(codec: Codec, layer: u8, seq: u64, keyframe: bool) -> Packet {
    let kind = if codec == Codec::Opus { Kind::Audio } else { Kind::Video };
    Packet {
        kind,
        codec,
        layer,
        temporal: 0,
        sync: false,
        seq,
        timestamp: u32::try_from(seq).unwrap() * 3_000,
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
        arrived: at(seq),
        captured: None,
        wallclock: at(seq),
        payload: Arc::from([0u8; 100]),
    }
}

fn whole(layer: u8) -> Option<Target> {
    Some(Target { layer, temporal: u8::MAX })
}

/// A video forwarder whose client knows its occupant, and that is to send this layer.
fn open(layer: u8) -> Forwarder {
    let mut forwarder = Forwarder::new(Kind::Video, 0);
    forwarder.assign();
    forwarder.open();
    forwarder.aim(whole(layer));
    forwarder
}

fn sent(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Send(numbers) => numbers.seq,
        Verdict::Drop(reason) => panic!("dropped: {reason:?}"),
    }
}

fn vp9(layer: u8, seq: u64, keyframe: bool) -> Packet {
    packet(Codec::Vp9, layer, seq, keyframe)
}

/// A frame of one packet of a stream with three temporal layers: 0 2 1 2, each a step up.
fn thinnable(seq: u64) -> Packet {
    let temporal = [0, 2, 1, 2][usize::try_from(seq % 4).unwrap()];
    Packet { temporal, sync: temporal > 0, ..vp9(0, seq, seq == 0) }
}

#[test]
fn nothing_is_sent_before_the_client_knows_who_sits_there() {
    let mut forwarder = Forwarder::new(Kind::Video, 0);
    let key = vp9(0, 1, true);
    assert_eq!(forwarder.offer(&key, at(0)), Verdict::Drop(DropReason::Unpublished));
    forwarder.assign();
    forwarder.aim(whole(0));
    assert_eq!(forwarder.offer(&key, at(0)), Verdict::Drop(DropReason::SeatPending));
    forwarder.open();
    assert_eq!(sent(forwarder.offer(&key, at(0))), 0);
}

#[test]
fn video_begins_with_a_keyframe_and_asks_for_one_until_then() {
    let mut forwarder = open(0);
    let first = forwarder.offer(&packet(Codec::H264, 0, 1, false), at(0));
    assert_eq!(first, Verdict::Drop(DropReason::AwaitsKeyframe));
    assert_eq!(forwarder.awaits_keyframe(), Some(0));
    assert_eq!(sent(forwarder.offer(&packet(Codec::H264, 0, 2, true), at(0))), 0);
    assert_eq!(sent(forwarder.offer(&packet(Codec::H264, 0, 3, false), at(0))), 1);
    assert_eq!(forwarder.awaits_keyframe(), None);
}

#[test]
fn sound_begins_at_once() {
    let mut forwarder = Forwarder::new(Kind::Audio, 7);
    forwarder.assign();
    forwarder.open();
    assert_eq!(sent(forwarder.offer(&packet(Codec::Opus, 0, 9, false), at(0))), 7);
    assert_eq!(forwarder.awaits_keyframe(), None);
}

#[test]
fn a_higher_layer_is_taken_at_its_keyframe_and_the_old_one_held_until_then() {
    let mut forwarder = open(2);
    assert_eq!(sent(forwarder.offer(&vp9(0, 1, true), at(0))), 0, "whatever begins first");
    let early = forwarder.offer(&vp9(2, 500, false), at(10));
    assert_eq!(early, Verdict::Drop(DropReason::OtherLayer));
    assert_eq!(forwarder.awaits_keyframe(), Some(2), "it is asked for");
    assert_eq!((forwarder.sends().map(|t| t.layer), forwarder.needs()), (Some(0), 0b101));
    assert_eq!(sent(forwarder.offer(&vp9(0, 2, false), at(20))), 1);
    assert_eq!(sent(forwarder.offer(&vp9(2, 501, true), at(30))), 2);
    let old = forwarder.offer(&vp9(0, 3, false), at(40));
    assert_eq!(old, Verdict::Drop(DropReason::OtherLayer));
    assert_eq!(sent(forwarder.offer(&vp9(2, 502, false), at(50))), 3);
    assert_eq!(forwarder.needs(), 0b100);
}

#[test]
fn a_larger_picture_than_is_wanted_is_not_begun_with() {
    let mut forwarder = open(1);
    let large = forwarder.offer(&vp9(2, 1, true), at(0));
    assert_eq!(large, Verdict::Drop(DropReason::OtherLayer));
    assert_eq!(sent(forwarder.offer(&vp9(1, 9, true), at(10))), 0);
}

#[test]
fn on_the_way_down_frames_are_left_out_at_once_and_the_smaller_picture_waits_for_its_keyframe() {
    let mut forwarder = open(1);
    let large = |seq, temporal| Packet { temporal, ..vp9(1, seq, seq == 0) };
    assert_eq!(sent(forwarder.offer(&large(0, 0), at(0))), 0);
    assert_eq!(sent(forwarder.offer(&large(1, 1), at(0))), 1);
    assert!(forwarder.aim(whole(0)));
    let thinned = forwarder.offer(&large(2, 1), at(0));
    assert_eq!(thinned, Verdict::Drop(DropReason::Thinned));
    assert_eq!(sent(forwarder.offer(&large(3, 0), at(0))), 2, "without a hole");
    assert_eq!(sent(forwarder.offer(&vp9(0, 700, true), at(0))), 3);
}

#[test]
fn frames_are_left_out_and_come_back_where_they_can_be_decoded() {
    let mut forwarder = open(0);
    let offer = |f: &mut Forwarder, seq| f.offer(&thinnable(seq), at(seq));
    assert_eq!((0..4).map(|n| sent(offer(&mut forwarder, n))).collect::<Vec<_>>(), [0, 1, 2, 3]);
    forwarder.aim(Some(Target { layer: 0, temporal: 0 }));
    let thin = Verdict::Drop(DropReason::Thinned);
    assert_eq!(sent(offer(&mut forwarder, 4)), 4);
    assert!((5..8).all(|n| offer(&mut forwarder, n) == thin));
    assert_eq!(sent(offer(&mut forwarder, 8)), 5);
    forwarder.aim(whole(0));
    let unsynced = Packet { sync: false, ..thinnable(9) };
    assert_eq!(forwarder.offer(&unsynced, at(9)), thin, "it may need what was left out");
    assert_eq!(sent(offer(&mut forwarder, 10)), 6);
    assert_eq!(sent(offer(&mut forwarder, 11)), 7);
}

#[test]
fn a_frame_is_left_out_whole_or_not_at_all() {
    let mut forwarder = open(0);
    let part = |seq, keyframe| Packet { timestamp: 90_000, temporal: 2, ..vp9(0, seq, keyframe) };
    assert_eq!(sent(forwarder.offer(&part(0, true), at(0))), 0);
    forwarder.aim(Some(Target { layer: 0, temporal: 0 }));
    assert_eq!(sent(forwarder.offer(&part(1, false), at(0))), 1, "the frame had begun");
}

#[test]
fn a_paused_video_sends_nothing_and_begins_anew_with_a_keyframe() {
    let mut forwarder = open(0);
    assert_eq!(sent(forwarder.offer(&vp9(0, 1, true), at(0))), 0);
    assert!(forwarder.aim(None));
    let paused = forwarder.offer(&vp9(0, 2, true), at(0));
    assert_eq!(paused, Verdict::Drop(DropReason::Paused));
    assert_eq!((forwarder.needs(), forwarder.awaits_keyframe()), (0, None));
    forwarder.aim(whole(0));
    assert_eq!(forwarder.awaits_keyframe(), Some(0));
    let between = forwarder.offer(&vp9(0, 3, false), at(0));
    assert_eq!(between, Verdict::Drop(DropReason::AwaitsKeyframe));
    assert_eq!(sent(forwarder.offer(&vp9(0, 4, true), at(0))), 1);
}

#[test]
fn a_viewer_that_is_spared_still_needs_the_layer_and_begins_anew_after() {
    let mut forwarder = open(0);
    assert_eq!(sent(forwarder.offer(&vp9(0, 1, true), at(0))), 0);
    assert!(!forwarder.spare(Some(DropReason::Shed)));
    let spared = forwarder.offer(&vp9(0, 2, false), at(0));
    assert_eq!(spared, Verdict::Drop(DropReason::Shed));
    assert_eq!((forwarder.needs(), forwarder.awaits_keyframe()), (1, None));
    assert!(forwarder.spare(None), "now it needs a keyframe");
    assert_eq!(forwarder.awaits_keyframe(), Some(0));
    assert_eq!(sent(forwarder.offer(&vp9(0, 3, true), at(0))), 1);
}

#[test]
fn a_payload_over_the_limit_goes_no_further() {
    let mut forwarder = open(0);
    let sized = |size: usize| Packet { payload: vec![0; size].into(), ..vp9(0, 1, true) };
    let large = forwarder.offer(&sized(MAX_PAYLOAD + 1), at(0));
    assert_eq!(large, Verdict::Drop(DropReason::PayloadTooLarge));
    assert_eq!(sent(forwarder.offer(&sized(MAX_PAYLOAD), at(0))), 0);
}

#[test]
fn after_a_mute_video_begins_anew_with_a_keyframe() {
    let mut forwarder = open(0);
    assert_eq!(sent(forwarder.offer(&vp9(0, 1, true), at(0))), 0);
    forwarder.restart();
    let between = forwarder.offer(&vp9(0, 9, false), at(900));
    assert_eq!(between, Verdict::Drop(DropReason::AwaitsKeyframe));
    assert_eq!(sent(forwarder.offer(&vp9(0, 10, true), at(950))), 1);
}

/// Sound: its number, and 20 ms for each.
fn sound(seq: u64) -> Packet {
    let timestamp = u32::try_from(seq).unwrap() * 960;
    let time = at(seq * 20);
    Packet {
        timestamp,
        clock_rate: 48_000,
        arrived: time,
        wallclock: time,
        ..packet(Codec::Opus, 0, seq, false)
    }
}

#[test]
fn sound_that_was_left_out_leaves_no_hole_and_the_clock_goes_on() {
    let mut forwarder = Forwarder::new(Kind::Audio, 0);
    forwarder.assign();
    forwarder.open();
    let offer = |forwarder: &mut Forwarder, seq| {
        let packet = sound(seq);
        match forwarder.offer(&packet, packet.arrived) {
            Verdict::Send(numbers) => Some((numbers.seq, numbers.timestamp)),
            Verdict::Drop(_) => None,
        }
    };
    assert_eq!(offer(&mut forwarder, 10), Some((0, 9_600)));
    assert_eq!(offer(&mut forwarder, 12), Some((2, 11_520)), "what was lost leaves a hole");
    forwarder.leave_out();
    assert_eq!(offer(&mut forwarder, 11), Some((1, 10_560)), "a late one fills it");
    assert_eq!(offer(&mut forwarder, 60), Some((3, 57_600)), "left out: no hole");
    assert_eq!(offer(&mut forwarder, 59), None, "nor a place for what comes late of it");
    assert_eq!(offer(&mut forwarder, 62), Some((5, 59_520)), "lost since then");
    forwarder.leave_out();
    // After a minute the source's clock may have stopped; time has not.
    assert_eq!(offer(&mut forwarder, 3_062), Some((6, 59_520 + 3_000 * 960)));
    forwarder.leave_out();
    forwarder.restart();
    assert_eq!(offer(&mut forwarder, 3_070), Some((7, 59_520 + 3_008 * 960)), "muted meanwhile");
}

#[test]
fn a_stream_whose_layers_begin_to_build_on_each_other_is_begun_anew() {
    let mut forwarder = open(2);
    assert_eq!(sent(forwarder.offer(&vp9(0, 1, true), at(1))), 0);
    let stacked = |seq, layer, keyframe| Packet {
        layer,
        stacked: true,
        timestamp: 90_000,
        ..packet(Codec::Av1, 0, seq, keyframe)
    };
    assert_eq!(sent(forwarder.offer(&stacked(2, 0, true), at(2))), 1);
    assert_eq!(sent(forwarder.offer(&stacked(3, 1, false), at(3))), 2);
    assert_eq!(sent(forwarder.offer(&stacked(4, 2, false), at(4))), 3);
    assert_eq!((forwarder.needs(), forwarder.awaits_keyframe()), (0b111, None));
    let plain = Packet { timestamp: 180_000, ..vp9(2, 5, true) };
    assert_eq!(sent(forwarder.offer(&plain, at(5))), 4);
    assert_eq!(forwarder.needs(), 0b100);
}

#[test]
fn a_layer_that_slept_costs_what_it_did_and_a_slow_one_is_measured() {
    let mut table = LayerTable::default();
    let mut seq = 0;
    let mut run = |table: &mut LayerTable, from: u64, to: u64, every: u64| {
        for ms in (from..to).step_by(usize::try_from(every).unwrap()) {
            seq += 1;
            table.hear(&packet(Codec::Vp8, 1, seq, false), at(ms));
        }
        table.ladder(0b10).rungs()[0].bps
    };
    let whole = 170 * 8 * 25;
    let near = |bps: u32, to: u32| bps.abs_diff(to) < to / 20;
    let steady = run(&mut table, 0, 3_000, 40);
    assert!(near(steady, whole), "{steady}");
    // It sleeps and wakes in the midst of what is counted at once; a moment, and a while.
    for (from, to) in [(3_800, 4_100), (5_050, 5_400), (9_800, 10_000), (12_200, 14_000)] {
        let bps = run(&mut table, from, to, 40);
        assert!(near(bps, whole), "{bps} after {from}");
    }
    let slow = run(&mut table, 14_400, 30_000, 400);
    assert!(near(slow, whole / 10), "{slow}");
}
