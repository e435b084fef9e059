//! What is read of a publisher's packet before anybody is sent it: layer, references, keyframe.

use crate::forward::frames::Frame;
use crate::forward::packet::{Codec, Pictures};
use crate::wire::descriptor::{Descriptor, Structure};
use crate::wire::vp8::Vp8;
use crate::wire::vp9::Vp9;
use crate::wire::{av1, h264};

/// What a packet tells in front of the picture itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Running numbers.
    pub pictures: Pictures,
    /// What the frame leans on.
    pub frame: Option<Frame>,
    /// Its spatial layer, if there are any.
    pub spatial: Option<u8>,
    /// Its temporal layer.
    pub temporal: u8,
    /// Its temporal layer can be taken from here on.
    pub sync: bool,
    /// First packet of a picture that leans on none before.
    pub keyframe: bool,
}

impl Told {
    /// What cannot be read begins nothing.
    pub fn read(codec: Codec, payload: &[u8]) -> Self {
        match codec {
            Codec::Vp8 => Vp8::parse(payload).map(Self::by_vp8).unwrap_or_default(),
            Codec::Vp9 => Vp9::parse(payload).map(Self::by_vp9).unwrap_or_default(),
            Codec::H264 => Self::beginning(h264::starts_keyframe(payload)),
            Codec::Av1 => Self::beginning(av1::starts_keyframe(payload)),
            Codec::Opus | Codec::Other => Self::default(),
        }
    }

    /// The same of a packet with a dependency descriptor, and the structure that it brings. VP9 tells
    /// in front of its payload what a frame leans on, for other codecs the descriptor does.
    pub fn read_described(
        codec: Codec,
        payload: &[u8],
        bytes: &[u8],
        known: Option<&Structure>,
    ) -> (Self, Option<Structure>) {
        if codec == Codec::Vp9 {
            return (Self::read(codec, payload), None);
        }
        match Descriptor::parse(bytes, known) {
            Ok((descriptor, brought)) => (Self::by_descriptor(&descriptor), brought),
            // It may be of any layer, and nobody can show it before the structure comes again.
            Err(_) => (Self { spatial: Some(0), ..Self::read(codec, payload) }, None),
        }
    }

    fn by_descriptor(descriptor: &Descriptor) -> Self {
        Self {
            frame: Some(Frame::of_descriptor(descriptor)),
            spatial: Some(descriptor.spatial),
            temporal: descriptor.temporal,
            keyframe: descriptor.starts_keyframe(),
            ..Self::default()
        }
    }

    fn beginning(keyframe: bool) -> Self {
        Self { keyframe, ..Self::default() }
    }

    fn by_vp8(vp8: Vp8) -> Self {
        Self {
            pictures: Pictures::Vp8(vp8),
            temporal: vp8.temporal.unwrap_or(0),
            sync: vp8.layer_sync,
            keyframe: vp8.keyframe,
            ..Self::default()
        }
    }

    /// Browsers say of each picture that one can go up there, so it is looked at what each leans on.
    /// Where that is not told, all temporal layers are taken for one.
    fn by_vp9(vp9: Vp9) -> Self {
        let temporal = if vp9.flexible { vp9.temporal } else { None };
        Self {
            pictures: Pictures::Vp9(vp9),
            frame: Frame::of_vp9(&vp9),
            spatial: vp9.spatial,
            temporal: temporal.unwrap_or(0),
            sync: false,
            keyframe: vp9.starts_keyframe(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payload and descriptor of each packet of a recording.
    fn packets(text: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let bytes = |hex: &str| -> Vec<u8> {
            let digits = hex.as_bytes().chunks_exact(2);
            let text = digits.map(|pair| std::str::from_utf8(pair).unwrap());
            text.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.map(|line| line.split(' ').collect::<Vec<_>>());
        fields.map(|fields| (bytes(fields[4]), bytes(fields[5]))).collect()
    }

    #[test]
    fn layers_of_av1_are_read_from_the_descriptor() {
        let recording = packets(include_str!("../../tests/fixtures/descriptors/av1-l3t3.txt"));
        let (mut structure, mut layers) = (None, Vec::new());
        for (at, (payload, bytes)) in recording.iter().enumerate() {
            let (told, brought) =
                Told::read_described(Codec::Av1, payload, bytes, structure.as_ref());
            structure = brought.or(structure);
            assert_eq!(told.keyframe, Told::read(Codec::Av1, payload).keyframe, "packet {at}");
            assert!(told.frame.is_some());
            layers.push((told.spatial.unwrap(), told.temporal));
        }
        assert_eq!(layers[..6], [(0, 0), (1, 0), (2, 0), (0, 2), (1, 2), (2, 2)]);
    }

    #[test]
    fn without_a_structure_a_frame_is_of_no_layer_that_could_be_left_out() {
        let recording = packets(include_str!("../../tests/fixtures/descriptors/av1-l3t3.txt"));
        let (payload, bytes) = &recording[5];
        let (told, brought) = Told::read_described(Codec::Av1, payload, bytes, None);
        assert_eq!(told, Told { spatial: Some(0), ..Told::default() });
        assert_eq!(brought, None);
    }

    #[test]
    fn vp9_tells_its_layers_itself() {
        let recording = packets(include_str!("../../tests/fixtures/descriptors/vp9-l3t3.txt"));
        for (payload, bytes) in &recording {
            let (told, brought) = Told::read_described(Codec::Vp9, payload, bytes, None);
            assert_eq!((told, brought), (Told::read(Codec::Vp9, payload), None));
            assert!(told.frame.is_some() && told.spatial.is_some());
        }
        assert!(Told::read(Codec::Vp9, &recording[0].0).keyframe);
    }

    #[test]
    fn a_plain_stream_has_one_layer() {
        let recording = packets(include_str!("../../tests/fixtures/descriptors/vp9-plain.txt"));
        let told = Told::read(Codec::Vp9, &recording[1].0);
        assert_eq!((told.spatial, told.temporal, told.frame), (None, 0, None));
        assert!(told.pictures.id().is_some());
        assert_eq!(Told::read(Codec::Vp8, &[]), Told::default());
    }
}
