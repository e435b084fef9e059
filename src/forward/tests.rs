#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::forward::packet::Codec;

fn at(ms: u64) -> Instant {
    crate::test_clock() + Duration::from_millis(ms)
}

fn packet(codec: Codec, layer: u8, seq: u64, keyframe: bool) -> Packet {
    let kind = if codec == Codec::Opus { Kind::Audio } else { Kind::Video };
    Packet {
        kind,
        codec,
        layer,
        seq,
        timestamp: u32::try_from(seq).unwrap() * 3_000,
        clock_rate: 90_000,
        marker: true,
        vp8: None,
        keyframe,
        level: None,
        voice: None,
        orientation: None,
        arrived: at(seq),
        wallclock: at(seq),
        payload: Arc::from([0u8; 100]),
    }
}

/// A video forwarder whose client knows its occupant, and the layers of its source.
fn open() -> (Forwarder, LayerTable) {
    let mut forwarder = Forwarder::new(Kind::Video, 0);
    forwarder.assign();
    forwarder.open();
    (forwarder, LayerTable::default())
}

fn offer(f: &mut Forwarder, layers: &mut LayerTable, packet: &Packet, ms: u64) -> Verdict {
    layers.hear(packet.layer, at(ms));
    f.offer(packet, layers.highest(at(ms)), at(ms))
}

fn sent(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Send(numbers) => numbers.seq,
        Verdict::Drop(reason) => panic!("dropped: {reason:?}"),
    }
}

#[test]
fn nothing_is_sent_before_the_client_knows_who_sits_there() {
    let mut forwarder = Forwarder::new(Kind::Video, 0);
    let layers = LayerTable::default();
    let key = packet(Codec::Vp9, 0, 1, true);
    assert_eq!(
        forwarder.offer(&key, layers.highest(at(0)), at(0)),
        Verdict::Drop(DropReason::Unpublished)
    );
    forwarder.assign();
    assert_eq!(
        forwarder.offer(&key, layers.highest(at(0)), at(0)),
        Verdict::Drop(DropReason::SeatPending)
    );
    forwarder.open();
    assert_eq!(sent(forwarder.offer(&key, layers.highest(at(0)), at(0))), 0);
}

#[test]
fn video_begins_with_a_keyframe_and_asks_for_one_until_then() {
    let (mut forwarder, mut layers) = open();
    let first = offer(&mut forwarder, &mut layers, &packet(Codec::H264, 0, 1, false), 0);
    assert_eq!(first, Verdict::Drop(DropReason::AwaitsKeyframe));
    assert_eq!(forwarder.awaits_keyframe(&layers, at(0)), Some(0));
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::H264, 0, 2, true), 0)), 0);
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::H264, 0, 3, false), 0)), 1);
    assert_eq!(forwarder.awaits_keyframe(&layers, at(0)), None);
}

#[test]
fn sound_begins_at_once() {
    let mut forwarder = Forwarder::new(Kind::Audio, 7);
    forwarder.assign();
    forwarder.open();
    let layers = LayerTable::default();
    assert_eq!(sent(forwarder.offer(&packet(Codec::Opus, 0, 9, false), None, at(0))), 7);
    assert_eq!(forwarder.awaits_keyframe(&layers, at(0)), None);
}

#[test]
fn a_higher_layer_is_taken_at_its_keyframe_and_the_old_one_held_until_then() {
    let (mut forwarder, mut layers) = open();
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 1, true), 0)), 0);
    let early = offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 2, 500, false), 10);
    assert_eq!(early, Verdict::Drop(DropReason::OtherLayer));
    assert_eq!(forwarder.awaits_keyframe(&layers, at(10)), Some(2), "it is asked for");
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 2, false), 20)), 1);
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 2, 501, true), 30)), 2);
    let old = offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 3, false), 40);
    assert_eq!(old, Verdict::Drop(DropReason::OtherLayer));
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 2, 502, false), 50)), 3);
}

#[test]
fn a_layer_that_stops_is_left_for_the_one_that_comes() {
    let (mut forwarder, mut layers) = open();
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 1, 1, true), 0)), 0);
    let low = offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 70, true), 100);
    assert_eq!(low, Verdict::Drop(DropReason::OtherLayer));
    let waits = offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 71, false), 1_500);
    assert!(matches!(waits, Verdict::Drop(_)));
    assert_eq!(forwarder.awaits_keyframe(&layers, at(1_500)), Some(0));
    assert_eq!(
        sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 72, true), 1_600)),
        1
    );
}

#[test]
fn a_payload_over_the_limit_goes_no_further() {
    let (mut forwarder, mut layers) = open();
    let sized =
        |size: usize| Packet { payload: vec![0; size].into(), ..packet(Codec::Vp9, 0, 1, true) };
    let large = offer(&mut forwarder, &mut layers, &sized(MAX_PAYLOAD + 1), 0);
    assert_eq!(large, Verdict::Drop(DropReason::PayloadTooLarge));
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &sized(MAX_PAYLOAD), 0)), 0);
}

#[test]
fn after_a_mute_video_begins_anew_with_a_keyframe() {
    let (mut forwarder, mut layers) = open();
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 1, true), 0)), 0);
    forwarder.restart();
    layers.forget();
    let between = offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 9, false), 900);
    assert_eq!(between, Verdict::Drop(DropReason::AwaitsKeyframe));
    assert_eq!(sent(offer(&mut forwarder, &mut layers, &packet(Codec::Vp9, 0, 10, true), 950)), 1);
}
