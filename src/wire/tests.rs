//! What browsers write in front of their video, read as they sent it: see
//! `tests/fixtures/descriptors/README.md`.

use std::collections::BTreeSet;

use super::descriptor::{
    Descriptor, Structure, Unreadable, with_active_targets, write_frame_number,
};
use super::vp8::Vp8;
use super::vp9::{Scalability, Vp9};
use super::{av1, h264, vp9};

macro_rules! recording {
    ($name:literal) => {
        packets(include_str!(concat!("../../tests/fixtures/descriptors/", $name, ".txt")))
    };
}

/// One packet of a recording.
struct Packet<'a> {
    marker: bool,
    rid: &'a str,
    payload: Vec<u8>,
    descriptor: Vec<u8>,
}

fn packets(text: &str) -> Vec<Packet<'_>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let packets = lines.map(|line| {
        let mut fields = line.split(' ').skip(2);
        let mut next = || fields.next().unwrap();
        Packet {
            marker: next() == "1",
            rid: next(),
            payload: bytes(next()),
            descriptor: bytes(next()),
        }
    });
    packets.collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// The packets of one simulcast layer.
fn of_rid<'a, 'b>(packets: &'b [Packet<'a>], rid: &'b str) -> impl Iterator<Item = &'b Packet<'a>> {
    packets.iter().filter(move |packet| packet.rid == rid)
}

/// The descriptors of packets of one stream, and the structure that they speak of.
fn descriptors<'b>(packets: impl Iterator<Item = &'b Packet<'b>>) -> (Vec<Descriptor>, Structure) {
    let mut structure = None;
    let mut descriptors = Vec::new();
    for packet in packets {
        let (descriptor, brought) =
            Descriptor::parse(&packet.descriptor, structure.as_ref()).unwrap();
        structure = brought.or(structure);
        descriptors.push(descriptor);
    }
    (descriptors, structure.unwrap())
}

fn with_descriptors() -> [(&'static str, Vec<Packet<'static>>); 7] {
    [
        ("vp9-l3t3", recording!("vp9-l3t3")),
        ("vp9-l3t3-key", recording!("vp9-l3t3-key")),
        ("vp9-l3t3-slow", recording!("vp9-l3t3-slow")),
        ("av1-l1t3", recording!("av1-l1t3")),
        ("av1-l3t3", recording!("av1-l3t3")),
        ("av1-l3t3-slow", recording!("av1-l3t3-slow")),
        ("av1-simulcast", recording!("av1-simulcast")),
    ]
}

#[test]
fn vp8_numbers_run_on_in_each_simulcast_layer() {
    let packets = recording!("vp8-simulcast");
    for rid in ["q", "h", "f"] {
        let parsed = of_rid(&packets, rid).map(|packet| Vp8::parse(&packet.payload).unwrap());
        let parsed: Vec<Vp8> = parsed.collect();
        assert!(parsed[0].keyframe && parsed[0].temporal == Some(0), "{rid}");
        assert!(parsed.iter().all(|vp8| vp8.wide), "{rid}");
        let temporal: BTreeSet<u8> = parsed.iter().filter_map(|vp8| vp8.temporal).collect();
        assert_eq!(temporal, BTreeSet::from([0, 1, 2]), "{rid}");
        assert!(parsed.iter().any(|vp8| vp8.layer_sync && vp8.temporal == Some(2)), "{rid}");
        for pair in parsed.windows(2) {
            let (before, now) = (pair[0], pair[1]);
            let step = u16::from(now.begins);
            assert_eq!(now.picture_id, before.picture_id.map(|id| (id + step) & 0x7fff), "{rid}");
            let step = u8::from(now.begins && now.temporal == Some(0));
            assert_eq!(now.tl0, before.tl0.map(|tl0| tl0.wrapping_add(step)), "{rid}");
        }
        let unused = parsed.iter().filter(|vp8| vp8.non_reference);
        assert!(unused.map(|vp8| vp8.temporal).all(|temporal| temporal == Some(2)), "{rid}");
    }
}

#[test]
fn vp9_layers_are_the_same_in_payload_and_extension() {
    for (name, packets) in with_descriptors().into_iter().filter(|(name, _)| name.contains("vp9")) {
        let (descriptors, structure) = descriptors(packets.iter());
        assert!(vp9::starts_keyframe(&packets[0].payload), "{name}");
        let mut scalability = Scalability::parse(&packets[0].payload).unwrap();
        for (packet, descriptor) in packets.iter().zip(&descriptors) {
            let vp9 = Vp9::parse(&packet.payload).unwrap();
            scalability = Scalability::parse(&packet.payload).unwrap_or(scalability);
            assert!(scalability.layers > descriptor.spatial, "{name}");
            assert_eq!(vp9.spatial, Some(descriptor.spatial), "{name}");
            assert_eq!(vp9.temporal, Some(descriptor.temporal), "{name}");
            assert_eq!(
                (vp9.begins, vp9.ends_frame()),
                (descriptor.head.first, descriptor.head.last)
            );
            assert_eq!(vp9.starts_keyframe(), descriptor.starts_keyframe(), "{name}");
            assert!(vp9.ends || !packet.marker, "{name}");
            let size = scalability.size(descriptor.spatial).map(|(w, h)| (w.into(), h.into()));
            assert_eq!(size, structure.size(descriptor.spatial), "{name}");
        }
    }
}

#[test]
fn vp9_pictures_go_from_the_lowest_layer_to_the_marker() {
    let packets = recording!("vp9-l3t3-key");
    let parsed: Vec<Vp9> =
        packets.iter().map(|packet| Vp9::parse(&packet.payload).unwrap()).collect();
    assert_eq!(parsed.iter().filter(|vp9| vp9.starts_keyframe()).count(), 2);
    for (at, pair) in parsed.windows(2).enumerate() {
        let (before, now) = (pair[0], pair[1]);
        let step = u16::from(packets[at].marker);
        assert_eq!(now.picture_id, before.picture_id.map(|id| (id + step) & 0x7fff));
        let next = match (packets[at].marker, before.ends) {
            (true, _) => Some(0),
            (false, true) => before.spatial.map(|spatial| spatial + 1),
            (false, false) => before.spatial,
        };
        assert_eq!(now.spatial, next, "packet {at}");
        assert_eq!(now.begins, before.ends, "packet {at}");
    }
    for (packet, vp9) in packets.iter().zip(&parsed) {
        let patched = vp9.patch(&packet.payload, 0x1234, 0x56).unwrap();
        let expected = Vp9 { picture_id: Some(0x1234), tl0: vp9.tl0.map(|_| 0x56), ..*vp9 };
        assert_eq!(Vp9::parse(&patched), Ok(expected));
        assert_eq!(patched[3..], packet.payload[3..], "flexible mode has no other number");
    }
}

#[test]
fn a_plain_vp9_stream_names_no_layers() {
    let packets = recording!("vp9-plain");
    for (at, packet) in packets.iter().enumerate() {
        let vp9 = Vp9::parse(&packet.payload).unwrap();
        assert_eq!((vp9.spatial, vp9.temporal, vp9.tl0), (None, None, None));
        assert_eq!((vp9.starts_keyframe(), vp9.ends), (at == 0, packet.marker));
        assert_eq!(vp9.scalability, at == 0);
    }
    assert_eq!(Scalability::parse(&packets[0].payload).unwrap().size(0), Some((960, 540)));
}

#[test]
fn av1_sequences_begin_where_a_structure_comes() {
    for (name, packets) in with_descriptors().into_iter().filter(|(name, _)| name.contains("av1")) {
        let rids: BTreeSet<&str> = packets.iter().map(|packet| packet.rid).collect();
        for rid in rids {
            let (descriptors, _) = descriptors(of_rid(&packets, rid));
            let begins: Vec<bool> = descriptors.iter().map(Descriptor::starts_keyframe).collect();
            assert!(begins[0], "{name} {rid}");
            let told: Vec<bool> =
                of_rid(&packets, rid).map(|packet| av1::starts_keyframe(&packet.payload)).collect();
            assert_eq!(begins, told, "{name} {rid}");
        }
    }
}

#[test]
fn h264_begins_with_its_parameter_set() {
    let packets = recording!("h264");
    let begins: Vec<bool> =
        packets.iter().map(|packet| h264::starts_keyframe(&packet.payload)).collect();
    assert!(begins[0] && !begins[1] && packets[0].descriptor.is_empty());
}

#[test]
fn structures_tell_layers_targets_and_sizes() {
    let (_, three) = descriptors(recording!("av1-l3t3").iter());
    assert_eq!((three.targets(), three.chains(), three.top()), (9, 3, (2, 2)));
    assert_eq!((three.size(0), three.size(2)), (Some((240, 135)), Some((960, 540))));
    for spatial in 0..3 {
        for temporal in 0..3 {
            let target = three.highest(spatial, temporal).unwrap();
            assert_eq!(three.layer_of(target), Some((spatial, temporal)));
            assert_eq!(three.chain_of(target), Some(spatial));
        }
    }
    let (_, one) = descriptors(recording!("av1-l1t3").iter());
    assert_eq!((one.targets(), one.chains(), one.top()), (3, 1, (0, 2)));
    let packets = recording!("av1-simulcast");
    for (rid, size) in [("q", (240, 135)), ("h", (480, 270)), ("f", (960, 540))] {
        let (_, structure) = descriptors(of_rid(&packets, rid));
        assert_eq!(structure.size(0), Some(size));
    }
}

#[test]
fn spatial_layers_without_bandwidth_are_not_active_at_first() {
    for packets in [recording!("av1-l3t3-slow"), recording!("vp9-l3t3-slow")] {
        let (descriptors, structure) = descriptors(packets.iter());
        assert_eq!(descriptors[0].active, Some(structure.mask_within(1, 2)));
        let more = descriptors.iter().position(|frame| frame.active == Some(structure.all()));
        let spatial = descriptors.iter().position(|frame| frame.spatial == 2);
        assert!(more.unwrap() < spatial.unwrap(), "told before it comes");
        assert!(!descriptors[spatial.unwrap()].brings_structure, "without a keyframe");
    }
}

#[test]
fn without_the_first_packet_nothing_can_be_told() {
    for (name, packets) in with_descriptors() {
        for packet in packets.iter().skip(3) {
            let alone = Descriptor::parse(&packet.descriptor, None);
            let brings = packet.descriptor.get(3).is_some_and(|flags| flags & 0x80 != 0);
            assert_eq!(alone.is_ok(), brings, "{name}");
            assert!(brings || alone == Err(Unreadable::Unknown), "{name}");
        }
    }
}

/// What a viewer of `targets`, one for each packet, is sent.
fn watch(frames: &[Descriptor], targets: impl Fn(usize) -> u8) -> BTreeSet<u16> {
    let shown = frames.iter().enumerate().filter(|(at, frame)| frame.is_in(targets(*at)));
    shown.map(|(_, frame)| frame.head.frame).collect()
}

fn assert_decodable(frames: &[Descriptor], sent: &BTreeSet<u16>, what: &str) {
    for frame in frames.iter().filter(|frame| sent.contains(&frame.head.frame)) {
        for back in frame.references.as_slice() {
            let number = frame.head.frame.wrapping_sub(*back);
            assert!(sent.contains(&number), "{what}: {number} missing for {:?}", frame.head);
        }
    }
}

#[test]
fn a_target_leans_on_nothing_outside_it_and_its_chain_is_whole() {
    for (name, packets) in with_descriptors() {
        let rids: BTreeSet<&str> = packets.iter().map(|packet| packet.rid).collect();
        for rid in rids {
            let (frames, structure) = descriptors(of_rid(&packets, rid));
            for target in 0..structure.targets() {
                let sent = watch(&frames, |_| target);
                assert!(sent.len() > 3, "{name} {rid}");
                assert_decodable(&frames, &sent, name);
                let chain = structure.chain_of(target).unwrap();
                for frame in frames.iter().filter(|frame| frame.is_in(target)) {
                    let back = u16::from(frame.chain(chain).unwrap());
                    let before = frame.head.frame.wrapping_sub(back);
                    assert!(sent.contains(&before), "{name} {rid}: the chain of {target}");
                }
            }
        }
    }
}

#[test]
fn a_viewer_can_go_up_where_a_frame_says_so() {
    for (name, packets) in with_descriptors() {
        if name == "av1-simulcast" {
            continue;
        }
        let (frames, structure) = descriptors(packets.iter());
        let (low, high) = (structure.highest(0, 0).unwrap(), structure.targets() - 1);
        let sent = watch(&frames, |_| low);
        let mut switches = 0;
        for (at, frame) in frames.iter().enumerate() {
            let number = |back: &u16| frame.head.frame.wrapping_sub(*back);
            let decodable = frame.references.as_slice().iter().all(|b| sent.contains(&number(b)));
            if frame.head.first && frame.switches_to(high) && decodable {
                switches += 1;
                let sent = watch(&frames, |n| if n < at { low } else { high });
                assert_decodable(&frames, &sent, name);
            }
        }
        assert!(switches > 1, "{name}: {switches} places to go up");
    }
}

#[test]
fn every_descriptor_can_be_written_again() {
    for (name, packets) in with_descriptors() {
        let (frames, structure) = descriptors(packets.iter());
        let mask = structure.mask_within(0, 1);
        for (packet, frame) in packets.iter().zip(frames) {
            let mut bytes = with_active_targets(&packet.descriptor, &structure, mask).unwrap();
            assert!(bytes.len() <= packet.descriptor.len() + 3, "{name}");
            write_frame_number(&mut bytes, 7).unwrap();
            let (written, brought) = Descriptor::parse(&bytes, Some(&structure)).unwrap();
            let mut expected = frame;
            (expected.head.frame, expected.active) = (7, Some(mask));
            assert_eq!(written, expected, "{name}");
            assert_eq!(brought.is_some(), frame.brings_structure, "{name}");
        }
    }
}
