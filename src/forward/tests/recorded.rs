//! Forwarding of layers that build on each other, over what browsers sent: see
//! `tests/fixtures/descriptors/README.md`. What leans on what is taken from the descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::forward::frames::Frame;
use crate::forward::packet::{Codec, Packet, Pictures};
use crate::forward::segment::Segments;
use crate::forward::*;
use crate::wire::descriptor::Descriptor;
use crate::wire::vp9::Vp9;
use crate::wire::{av1, vp9};

macro_rules! recording {
    ($name:literal) => {
        Recording::read(
            $name,
            include_str!(concat!("../../../tests/fixtures/descriptors/", $name, ".txt")),
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
            packet.descriptor = Some(bytes(fields[5]).into());
            packets.push((packet, descriptor));
        }
        // It ends within a picture.
        let whole = packets.iter().rposition(|(packet, _)| packet.marker).unwrap() + 1;
        packets.truncate(whole);
        Self { name, packets }
    }

    /// Three simulcast layers of AV1, whose frames are counted together.
    fn simulcast() -> Self {
        let name = "av1-simulcast";
        let text = include_str!("../../../tests/fixtures/descriptors/av1-simulcast.txt");
        let (mut structures, mut packets) = (BTreeMap::new(), Vec::new());
        for (line, n) in text.lines().filter(|line| !line.starts_with('#')).zip(0u64..) {
            let fields: Vec<&str> = line.split(' ').collect();
            let layer = ["q", "h", "f"].iter().position(|rid| *rid == fields[3]).unwrap();
            let (payload, raw) = (bytes(fields[4]), bytes(fields[5]));
            let (descriptor, brought) = Descriptor::parse(&raw, structures.get(&layer)).unwrap();
            structures.extend(brought.map(|structure| (layer, structure)));
            let before = packets
                .iter()
                .filter(|(packet, _): &&(Packet, _)| usize::from(packet.layer) == layer);
            let packet = Packet {
                layer: u8::try_from(layer).unwrap(),
                stacked: false,
                seq: 1_000 * (u64::try_from(layer).unwrap() + 1) + before.count() as u64,
                timestamp: fields[1].parse().unwrap(),
                marker: fields[2] == "1",
                descriptor: Some(raw.into()),
                arrived: crate::test_clock() + Duration::from_millis(n * 10),
                ..of_av1(&payload, &descriptor)
            };
            packets.push((packet, descriptor));
        }
        Self { name, packets }
    }

    /// Nothing is missing in the numbers under which frames were sent.
    fn check_numbers(&self, sent: &Sent) {
        let (mut frames, mut pictures) = (BTreeSet::new(), BTreeSet::new());
        for (next, (at, numbers)) in (0u64..).zip(sent) {
            let (packet, descriptor) = &self.packets[*at];
            assert_eq!(numbers.seq, next, "{}: a hole", self.name);
            let frame = numbers.frame.unwrap();
            for back in descriptor.references.as_slice() {
                assert!(frames.contains(&frame.wrapping_sub(*back)), "{}: {frame}", self.name);
            }
            assert!(frames.last().is_none_or(|last| *last <= frame), "{}: {frame}", self.name);
            frames.insert(frame);
            let Pictures::Vp9(vp9) = packet.pictures else { continue };
            let id = numbers.pictures.and_then(|ids| ids.picture_id).or(vp9.picture_id).unwrap();
            let leans = vp9.references.iter().filter(|back| **back > 0);
            for back in leans {
                assert!(pictures.contains(&(id - u16::from(*back), vp9.spatial)), "{}", self.name);
            }
            let lower = (id, vp9.spatial.and_then(|spatial| spatial.checked_sub(1)));
            assert!(!vp9.inter_layer || pictures.contains(&lower), "{}: {id}", self.name);
            pictures.insert((id, vp9.spatial));
        }
    }

    /// Sends it to a viewer that is given `target` of each packet's place.
    fn watch(&self, target: impl FnMut(usize) -> Target) -> Sent {
        let mut forwarder = Forwarder::new(Kind::Video, 0);
        forwarder.assign();
        forwarder.open();
        self.watch_on(&mut forwarder, 0, target)
    }

    /// The same from a place on.
    fn watch_on(
        &self,
        forwarder: &mut Forwarder,
        from: usize,
        mut target: impl FnMut(usize) -> Target,
    ) -> Sent {
        let mut sent = Vec::new();
        for (at, (packet, _)) in self.packets.iter().enumerate().skip(from) {
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
        self.check_numbers(sent);
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

#[test]
fn who_comes_later_begins_with_what_came_before_and_goes_on_from_there() {
    for recording in all() {
        for target in targets() {
            let mut segments = Segments::default();
            recording.packets[..20].iter().for_each(|(packet, _)| segments.take(packet));
            let mut forwarder = Forwarder::new(Kind::Video, 0);
            forwarder.assign();
            forwarder.open();
            forwarder.aim(Some(target));
            let now = crate::test_clock();
            let before = segments.of(target.layer, u64::MAX, now).unwrap();
            assert_eq!(before.len(), 20, "all layers of the stream");
            let begun = forwarder.begin_with(before, now);
            let place = |packet: &Packet| usize::try_from(packet.seq).unwrap();
            let mut sent: Sent =
                begun.into_iter().map(|(packet, numbers)| (place(packet), numbers)).collect();
            sent.extend(recording.watch_on(&mut forwarder, 20, |_| target));
            recording.check(&sent);
            assert_eq!(recording.frames(&sent), recording.within(target), "{}", recording.name);
        }
    }
}

#[test]
fn simulcast_layers_whose_frames_are_counted_together_are_joined_without_a_seam() {
    let recording = Recording::simulcast();
    for target in targets() {
        let sent = recording.watch(|_| target);
        recording.check_numbers(&sent);
        let first = sent.iter().position(|(at, _)| recording.packets[*at].0.layer == target.layer);
        let own = sent.iter().skip(first.unwrap()).map(|(at, _)| &recording.packets[*at].0);
        assert!(own.clone().all(|packet| packet.layer == target.layer));
        assert!(own.clone().all(|packet| packet.temporal <= target.temporal));
        assert!(own.count() > 3);
    }
}
