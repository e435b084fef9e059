#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own")]

use proptest::prelude::*;

use super::*;

/// A template in the words of the specification: layers, indications, references, chains.
type Written<'a> = (u8, u8, &'a str, &'a [u16], &'a [u8]);

/// One spatial and three temporal layers, as browsers send them.
const L1T3: [Written<'_>; 5] = [
    (0, 0, "SSS", &[], &[0]),
    (0, 0, "SSS", &[4], &[4]),
    (0, 1, "-DS", &[2], &[2]),
    (0, 2, "--D", &[1], &[1]),
    (0, 2, "--D", &[1], &[3]),
];

/// Two spatial layers of one temporal one, the upper leaning on the lower.
const L2T1: [Written<'_>; 4] = [
    (0, 0, "SR", &[2], &[2, 1]),
    (0, 0, "SS", &[], &[0, 0]),
    (1, 0, "-S", &[2, 1], &[1, 1]),
    (1, 0, "-S", &[1], &[1, 1]),
];

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap()
}

fn write_indications(writer: &mut BitWriter, text: &str) {
    for symbol in text.bytes() {
        let place = b"-DSR".iter().position(|known| *known == symbol);
        writer.bits(count(place.unwrap()), 2);
    }
}

/// `ns(n)` of the specification.
fn write_below(writer: &mut BitWriter, n: u32, value: u32) {
    let width = 32 - n.leading_zeros();
    let short = (1 << width) - n;
    match value < short {
        true => writer.bits(value, width - 1),
        false => writer.bits(value + short, width),
    }
}

fn write_structure(writer: &mut BitWriter, offset: u8, templates: &[Written<'_>], sizes: &[u32]) {
    let (targets, chains) = (count(templates[0].2.len()), count(templates[0].4.len()));
    writer.bits(u32::from(offset), 6);
    writer.bits(targets - 1, 5);
    for pair in templates.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        writer.bits(if to.0 > from.0 { 2 } else { u32::from(to.1 > from.1) }, 2);
    }
    writer.bits(3, 2);
    for template in templates {
        write_indications(writer, template.2);
    }
    for template in templates {
        for diff in template.3 {
            writer.flag(true);
            writer.bits(u32::from(*diff) - 1, 4);
        }
        writer.flag(false);
    }
    write_below(writer, targets + 1, chains);
    if chains > 0 {
        for target in 0..targets {
            write_below(writer, chains, target * chains / targets);
        }
        for diff in templates.iter().flat_map(|template| template.4) {
            writer.bits(u32::from(*diff), 4);
        }
    }
    writer.flag(!sizes.is_empty());
    for size in sizes {
        writer.bits(size - 1, 16);
    }
}

/// The first packet of a keyframe: template 10, frame 0x1234.
fn keyframe(templates: &[Written<'_>], sizes: &[u32]) -> Vec<u8> {
    let mut writer = BitWriter::after(&[0x80 | 10, 0x12, 0x34]);
    writer.bits(0b10000, 5);
    write_structure(&mut writer, 10, templates, sizes);
    writer.finish()
}

fn structure_of(templates: &[Written<'_>]) -> Structure {
    Descriptor::parse(&keyframe(templates, &[]), None).unwrap().1.unwrap()
}

fn read(bytes: &[u8], structure: &Structure) -> Descriptor {
    let (descriptor, brought) = Descriptor::parse(bytes, Some(structure)).unwrap();
    assert_eq!(brought, None);
    descriptor
}

#[test]
fn a_keyframe_brings_its_structure() {
    let bytes = keyframe(&L1T3, &[1280, 720]);
    let (descriptor, structure) = Descriptor::parse(&bytes, None).unwrap();
    let structure = structure.unwrap();
    assert!(descriptor.starts_keyframe() && descriptor.brings_structure);
    let head = Head { first: true, last: false, template: 10, frame: 0x1234 };
    assert_eq!((descriptor.head, Head::parse(&bytes)), (head, Ok(head)));
    assert_eq!((descriptor.spatial, descriptor.temporal), (0, 0));
    assert_eq!(descriptor.active, Some(0b111));
    assert_eq!((descriptor.chain(0), descriptor.chain(1)), (Some(0), None));
    assert_eq!((structure.targets(), structure.chains(), structure.top()), (3, 1, (0, 2)));
    assert_eq!((structure.size(0), structure.size(1)), (Some((1280, 720)), None));
    assert_eq!((structure.chain_of(2), structure.chain_of(3)), (Some(0), None));
    for end in 0..bytes.len() - 1 {
        let cut = Descriptor::parse(&bytes[..end], None).map(|_| ());
        let expected = if end == 3 { Unreadable::Unknown } else { Unreadable::Malformed };
        assert_eq!(cut, Err(expected), "{end} bytes");
    }
}

#[test]
fn later_frames_are_told_by_their_template() {
    let structure = structure_of(&L1T3);
    let base = read(&[0xc0 | 11, 0, 5], &structure);
    assert!(base.head.first && base.head.last && !base.starts_keyframe());
    assert_eq!((base.references.as_slice(), base.chain(0)), (&[4][..], Some(4)));
    let middle = read(&[12, 0, 7], &structure);
    assert_eq!((middle.head.frame, middle.temporal, middle.active), (7, 1, None));
    assert!(!middle.is_in(0) && middle.is_in(1) && !middle.switches_to(1));
    assert!(middle.switches_to(2) && !middle.is_in(3));
    let top = read(&[14, 0, 8], &structure);
    assert_eq!((top.temporal, top.chain(0)), (2, Some(3)));
    assert_eq!(top.indications.of(2), Indication::Discardable);
}

#[test]
fn a_frame_of_another_structure_is_unknown_and_not_malformed() {
    let structure = structure_of(&L1T3);
    let parse = |bytes: &[u8]| Descriptor::parse(bytes, Some(&structure)).map(|_| ());
    assert_eq!(parse(&[0xc0 | 15, 0, 1]), Err(Unreadable::Unknown));
    assert_eq!(parse(&[0xc0 | 9, 0, 1]), Err(Unreadable::Unknown));
    assert_eq!(parse(&[0xc0 | 11, 0]), Err(Unreadable::Malformed));
    assert_eq!(Descriptor::parse(&[0xc0, 0, 1], None).map(|_| ()), Err(Unreadable::Unknown));
    let mut own = keyframe(&L1T3, &[]);
    own[0] = 0x80 | 15;
    assert_eq!(parse(&own), Err(Unreadable::Malformed), "beside the structure that it brings");
}

#[test]
fn template_ids_go_round() {
    let mut writer = BitWriter::after(&[0x80 | 62, 0, 1]);
    writer.bits(0b10000, 5);
    write_structure(&mut writer, 62, &L1T3, &[]);
    let structure = Descriptor::parse(&writer.finish(), None).unwrap().1.unwrap();
    assert_eq!(read(&[63, 0, 1], &structure).temporal, 0);
    assert_eq!(read(&[0, 0, 1], &structure).temporal, 1);
    assert_eq!(read(&[2, 0, 1], &structure).temporal, 2);
}

#[test]
fn a_frame_can_differ_from_its_template() {
    let structure = structure_of(&L2T1);
    let mut writer = BitWriter::after(&[0xc0 | 12, 0, 9]);
    writer.bits(0b01111, 5);
    writer.bits(0b01, 2);
    write_indications(&mut writer, "-R");
    for (size, diff) in [(1, 3), (2, 200), (3, 4096)] {
        writer.bits(size, 2);
        writer.bits(diff - 1, 4 * size);
    }
    writer.bits(0, 2);
    writer.bits(200, 8);
    writer.bits(0, 8);
    let bytes = writer.finish();
    let frame = read(&bytes, &structure);
    assert_eq!((frame.spatial, frame.active), (1, Some(0b01)));
    assert_eq!(frame.indications.of(1), Indication::Required);
    assert_eq!(frame.references.as_slice(), [3, 200, 4096]);
    assert_eq!((frame.chain(0), frame.chain(1)), (Some(200), Some(0)));
    for end in 4..bytes.len() - 1 {
        let cut = Descriptor::parse(&bytes[..end], Some(&structure)).map(|_| ());
        assert_eq!(cut, Err(Unreadable::Malformed), "{end} bytes");
    }
}

#[test]
fn targets_are_found_by_their_layers() {
    let temporal = structure_of(&L1T3);
    assert_eq!(temporal.highest(0, 1), Some(1));
    assert_eq!(temporal.highest(3, 7), Some(2));
    assert_eq!(temporal.mask_within(0, 1), 0b011);
    let spatial = structure_of(&L2T1);
    assert_eq!((spatial.layer_of(0), spatial.layer_of(1)), (Some((0, 0)), Some((1, 0))));
    assert_eq!(spatial.layer_of(2), None);
    assert_eq!((spatial.highest(0, 2), spatial.highest(1, 0)), (Some(0), Some(1)));
    assert_eq!((spatial.all(), spatial.mask_within(0, 0)), (0b11, 0b01));
    assert_eq!((spatial.chain_of(0), spatial.chain_of(1)), (Some(0), Some(1)));
    // Each target shows an upper layer only.
    let upper: [Written<'_>; 2] = [(0, 0, "-", &[], &[]), (1, 0, "S", &[], &[])];
    let upper = structure_of(&upper);
    assert_eq!((upper.highest(0, 0), upper.highest(1, 0)), (None, Some(0)));
    assert_eq!((upper.chains(), upper.chain_of(0)), (0, None));
}

#[test]
fn structures_beyond_what_codecs_know_are_refused() {
    let parse = |idc: &[u32]| {
        let mut writer = BitWriter::after(&[0x80, 0, 1]);
        writer.bits(0b10000, 5);
        writer.bits(0, 11);
        idc.iter().for_each(|idc| writer.bits(*idc, 2));
        writer.bits(3, 2);
        writer.bits(0, 8 * 64);
        Descriptor::parse(&writer.finish(), None).map(|(_, structure)| structure.unwrap().top())
    };
    assert_eq!(parse(&[0; 63]), Ok((0, 0)));
    assert_eq!(parse(&[0; 64]), Err(Unreadable::Malformed), "65 templates");
    assert_eq!(parse(&[2; 3]), Ok((3, 0)));
    assert_eq!(parse(&[2; 4]), Err(Unreadable::Malformed), "five spatial layers");
    assert_eq!(parse(&[1; 7]), Ok((0, 7)));
    assert_eq!(parse(&[1; 8]), Err(Unreadable::Malformed), "nine temporal layers");
    let nine: [Written<'_>; 1] = [(0, 0, "S", &[1; 9], &[])];
    let nine = Descriptor::parse(&keyframe(&nine, &[]), None).map(|_| ());
    assert_eq!(nine, Err(Unreadable::Malformed), "nine references");
}

#[test]
fn the_frame_number_is_replaced_in_place() {
    let structure = structure_of(&L1T3);
    let mut bytes = [0xc0 | 12, 0xff, 0xff];
    let before = read(&bytes, &structure);
    write_frame_number(&mut bytes, 0x0102).unwrap();
    let head = Head { frame: 0x0102, ..before.head };
    assert_eq!(read(&bytes, &structure), Descriptor { head, ..before });
    assert_eq!(write_frame_number(&mut bytes[..2], 1), None);
    assert_eq!(write_frame_number(&mut [], 1), None);
}

#[test]
fn active_targets_are_written_beside_everything_else() {
    let structure = structure_of(&L1T3);
    let short = [0xc0 | 12, 0, 7];
    let bytes = with_active_targets(&short, &structure, 0b011).unwrap();
    assert_eq!(bytes, [0xc0 | 12, 0, 7, 0b0100_0011]);
    let expected = Descriptor { active: Some(0b011), ..read(&short, &structure) };
    assert_eq!(read(&bytes, &structure), expected);
    let again = with_active_targets(&bytes, &structure, 0b001).unwrap();
    assert_eq!(again, [0xc0 | 12, 0, 7, 0b0100_0001], "replaced, not added");

    let key = keyframe(&L1T3, &[640, 360]);
    let bytes = with_active_targets(&key, &structure_of(&L2T1), 0b011).unwrap();
    let (before, brought) = Descriptor::parse(&key, None).unwrap();
    let expected = Descriptor { active: Some(0b011), ..before };
    assert_eq!(Descriptor::parse(&bytes, None), Ok((expected, brought)));
    assert_eq!(with_active_targets(&short[..2], &structure, 1), None);
    assert_eq!(with_active_targets(&key[..9], &structure, 1), None);
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..255),
        known: bool,
        active: u32,
        frame: u16,
    ) {
        let structure = structure_of(if known { &L1T3[..] } else { &L2T1[..] });
        if let Ok((descriptor, brought)) = Descriptor::parse(&bytes, Some(&structure)) {
            let used = brought.as_ref().unwrap_or(&structure);
            let written = with_active_targets(&bytes, &structure, active).unwrap();
            prop_assert!(written.len() <= bytes.len().max(4) + 4);
            let expected = Descriptor { active: Some(active & used.all()), ..descriptor };
            prop_assert_eq!(Descriptor::parse(&written, Some(&structure)), Ok((expected, brought)));
            let mut moved = bytes.clone();
            write_frame_number(&mut moved, frame).unwrap();
            prop_assert_eq!(Head::parse(&moved), Ok(Head { frame, ..descriptor.head }));
        }
    }

    /// Random bytes seldom are a structure; a broken one often nearly is.
    #[test]
    fn a_broken_structure_is_read_or_refused(
        flips in proptest::collection::vec((3..40usize, any::<u8>()), 1..6),
        spatial in 0..5u8,
        temporal in 0..9u8,
    ) {
        let mut bytes = keyframe(&L1T3, &[640, 360]);
        for (at, flip) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
        }
        if let Ok((descriptor, Some(structure))) = Descriptor::parse(&bytes, None) {
            let mask = structure.mask_within(spatial, temporal);
            prop_assert_eq!(mask & !structure.all(), 0);
            prop_assert_eq!(structure.highest(spatial, temporal).is_none(), mask == 0);
            prop_assert!(descriptor.spatial <= structure.top().0);
            prop_assert!(descriptor.temporal <= structure.top().1);
        }
    }
}
