//! Forwarding of layers that build on each other, over what browsers sent: see
//! `tests/fixtures/descriptors/README.md`. What leans on what is taken from the descriptors.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own")]

use std::collections::{BTreeMap, BTreeSet};

use super::frames::Frame;
use super::packet::{Codec, Pictures};
use super::*;
use crate::wire::descriptor::Descriptor;
use crate::wire::vp9::Vp9;
use crate::wire::{av1, vp9};

macro_rules! recording {
    ($name:literal) => {
        Recording::read(
            $name,
            include_str!(concat!("../../tests/fixtures/descriptors/", $name, ".txt")),
        )
    };
}

fn all() -> [Recording; 6] {
    [
        recording!("vp9-l3t3"),
        recording!("vp9-l3t3-key"),
        recording!("vp9-l3t3-slow"),
        recording!("av1-l1t3"),
        recording!("av1-l3t3"),
        recording!("av1-l3t3-slow"),
    ]
}

/// One stream as a browser sent it.
struct Recording {
    name: &'static str,
    packets: Vec<(Packet, Descriptor)>,
}

/// What a viewer got of it: the place of each packet, and its numbers.
type Sent = Vec<(usize, Numbers)>;

impl Recording {
    fn read(name: &'static str, text: &str) -> Self {
        let mut structure = None;
        let mut packets: Vec<(Packet, Descriptor)> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split(' ').collect();
            let (timestamp, payload) = (fields[1].parse().unwrap(), bytes(fields[4]));
            let (descriptor, brought) =
                Descriptor::parse(&bytes(fields[5]), structure.as_ref()).unwrap();
            structure = brought.or(structure);
            let mut packet = match name.starts_with("vp9") {
                true => of_vp9(&payload),
                false => of_av1(&payload, &descriptor),
            };
            // Between these packets the browser sent padding.
            packet.seq = u64::try_from(packets.len()).unwrap();
            packet.timestamp = timestamp;
            packet.marker = fields[2] == "1";
            packets.push((packet, descriptor));
        }
        // It ends within a picture.
        let whole = packets.iter().rposition(|(packet, _)| packet.marker).unwrap() + 1;
        packets.truncate(whole);
        Self { name, packets }
    }

    /// Sends it to a viewer that is given `target` of each packet's place.
    fn watch(&self, mut target: impl FnMut(usize) -> Target) -> Sent {
        let mut forwarder = Forwarder::new(Kind::Video, 0);
        forwarder.assign();
        forwarder.open();
        let mut sent = Vec::new();
        for (at, (packet, _)) in self.packets.iter().enumerate() {
            forwarder.aim(Some(target(at)));
            if let Verdict::Send(numbers) = forwarder.offer(packet, packet.arrived) {
                sent.push((at, numbers));
            }
        }
        sent
    }

    /// Frames of which every packet is within the two layers.
    fn within(&self, target: Target) -> BTreeSet<u16> {
        let within = |frame: &&Descriptor| {
            frame.spatial <= target.layer && frame.temporal <= target.temporal
        };
        let frames = self.packets.iter().map(|(_, frame)| frame).filter(within);
        frames.map(|frame| frame.head.frame).collect()
    }

    fn frames(&self, sent: &Sent) -> BTreeSet<u16> {
        sent.iter().map(|(at, _)| self.packets[*at].1.head.frame).collect()
    }

    /// Nothing is missing of what was sent, and a viewer can tell.
    fn check(&self, sent: &Sent) {
        let name = self.name;
        for (next, (_, numbers)) in (0u64..).zip(sent) {
            assert_eq!(numbers.seq, next, "{name}: a hole");
        }
        let frames = self.frames(sent);
        let places: BTreeSet<usize> = sent.iter().map(|(at, _)| *at).collect();
        for (at, (_, frame)) in self.packets.iter().enumerate() {
            let number = frame.head.frame;
            assert_eq!(places.contains(&at), frames.contains(&number), "{name}: part of {number}");
            for back in frame.references.as_slice().iter().filter(|_| places.contains(&at)) {
                assert!(frames.contains(&(number - back)), "{name}: {number} leans on {back} back");
            }
        }
        // Where a layer does not come that was to come, the browser tells of no end.
        let ended = self.packets.iter().filter(|(packet, _)| packet.marker);
        let ended: BTreeSet<u32> = ended.map(|(packet, _)| packet.timestamp).collect();
        let mut pictures = BTreeMap::<u32, Vec<bool>>::new();
        for (at, numbers) in sent {
            if !ended.contains(&self.packets[*at].0.timestamp) {
                continue;
            }
            pictures.entry(numbers.timestamp).or_default().push(numbers.marker);
        }
        for (timestamp, markers) in pictures {
            assert_eq!(markers.last(), Some(&true), "{name}: {timestamp} has no end");
            let more = markers.iter().filter(|marker| **marker).count();
            assert_eq!(more, 1, "{name}: {timestamp} ends twice");
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn blank(codec: Codec, payload: &[u8]) -> Packet {
    let now = crate::test_clock();
    Packet {
        kind: Kind::Video,
        codec,
        layer: 0,
        stacked: true,
        temporal: 0,
        sync: false,
        seq: 0,
        timestamp: 0,
        clock_rate: 90_000,
        marker: false,
        pictures: Pictures::None,
        frame: None,
        descriptor: None,
        keyframe: false,
        level: None,
        voice: None,
        orientation: None,
        arrived: now,
        captured: None,
        wallclock: now,
        payload: payload.into(),
    }
}

fn of_vp9(payload: &[u8]) -> Packet {
    let vp9 = Vp9::parse(payload).unwrap();
    Packet {
        layer: vp9.spatial.unwrap(),
        temporal: vp9.temporal.unwrap(),
        pictures: Pictures::Vp9(vp9),
        frame: Frame::of_vp9(&vp9),
        keyframe: vp9::starts_keyframe(payload),
        ..blank(Codec::Vp9, payload)
    }
}

fn of_av1(payload: &[u8], descriptor: &Descriptor) -> Packet {
    Packet {
        layer: descriptor.spatial,
        temporal: descriptor.temporal,
        frame: Some(Frame::of_descriptor(descriptor)),
        keyframe: av1::starts_keyframe(payload),
        ..blank(Codec::Av1, payload)
    }
}

fn targets() -> impl Iterator<Item = Target> {
    (0..9).map(|n| Target { layer: n / 3, temporal: n % 3 })
}

/// Numbers without order, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, faces: u8) -> u8 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((self.0 >> 40) % u64::from(faces)).unwrap()
    }
}

#[test]
fn each_target_is_sent_whole_and_nothing_beside_it() {
    for recording in all() {
        for target in targets() {
            let sent = recording.watch(|_| target);
            recording.check(&sent);
            assert_eq!(recording.frames(&sent), recording.within(target), "{}", recording.name);
        }
    }
}

#[test]
fn up_and_down_at_any_time_leaves_no_frame_that_cannot_be_decoded() {
    let (mut dice, mut changes) = (Dice(1), 0);
    for _ in 0..20 {
        for recording in all() {
            let mut target = Target { layer: 2, temporal: 2 };
            let sent = recording.watch(|_| {
                if dice.below(4) == 0 {
                    changes += 1;
                    target = Target { layer: dice.below(3), temporal: dice.below(3) };
                }
                target
            });
            recording.check(&sent);
            let base = recording.within(Target { layer: 0, temporal: 0 });
            assert!(recording.frames(&sent).is_superset(&base), "{}", recording.name);
        }
    }
    assert!(changes > 1_000);
}

#[test]
fn a_higher_layer_comes_back_with_the_next_keyframe() {
    let recording = recording!("vp9-l3t3-key");
    let (low, high) = (Target { layer: 0, temporal: 2 }, Target { layer: 2, temporal: 2 });
    let sent = recording.watch(|at| if (10..40).contains(&at) { low } else { high });
    let top: Vec<usize> =
        sent.iter().map(|(at, _)| *at).filter(|at| recording.packets[*at].0.layer == 2).collect();
    let second =
        recording.packets.iter().skip(1).position(|(packet, _)| packet.keyframe).unwrap() + 1;
    assert!(top.iter().any(|at| *at < 10) && !top.iter().any(|at| (13..second).contains(at)));
    let after =
        recording.packets.iter().skip(second).filter(|(packet, _)| packet.layer == 2).count();
    assert_eq!(top.iter().filter(|at| **at >= second).count(), after, "all of it from there on");
}

#[test]
fn what_comes_in_another_order_closes_up_all_the_same() {
    let mut recording = recording!("vp9-l3t3");
    // The last packet of each lower layer behind the first of the upper one.
    for at in (1..recording.packets.len() - 1).step_by(7) {
        if recording.packets[at].0.timestamp == recording.packets[at + 1].0.timestamp {
            recording.packets.swap(at, at + 1);
        }
    }
    for target in targets() {
        let sent = recording.watch(|_| target);
        let frames = recording.frames(&sent);
        assert_eq!(frames, recording.within(target));
        let seqs: BTreeSet<u64> = sent.iter().map(|(_, numbers)| numbers.seq).collect();
        assert_eq!(seqs.len(), sent.len(), "each number once");
    }
}
