//! The VP9 payload descriptor (RFC 9628 section 4.2).

use std::sync::Arc;

use super::{Reader, WireError};

/// Frames that one frame can lean on in flexible mode.
pub const MAX_REFERENCES: usize = 3;

/// What a VP9 packet says about itself. A picture has one frame in each spatial layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp9 {
    /// The picture id, if there is one.
    pub picture_id: Option<u16>,
    /// The picture id has 15 bits, not 7.
    pub wide: bool,
    /// Running number of temporal base layer pictures; never there in flexible mode.
    pub tl0: Option<u8>,
    /// Temporal layer.
    pub temporal: Option<u8>,
    /// Spatial layer.
    pub spatial: Option<u8>,
    /// The frame leans on an earlier picture.
    pub predicted: bool,
    /// The frame leans on the lower spatial layer of its own picture.
    pub inter_layer: bool,
    /// From this picture on higher temporal layers can be taken: what follows leans on nothing of
    /// them before it.
    pub switching_up: bool,
    /// References are told by each packet, not by the scalability structure.
    pub flexible: bool,
    /// First packet of a frame.
    pub begins: bool,
    /// Last packet of a frame.
    pub ends: bool,
    /// No higher spatial layer of the picture leans on the frame.
    pub not_a_reference: bool,
    /// A scalability structure is there, see [`Scalability::parse`].
    pub scalability: bool,
    /// In flexible mode: how many pictures back the frames lie that this one leans on, in its own
    /// spatial layer; 0: no more of them.
    pub references: [u8; MAX_REFERENCES],
}

impl Vp9 {
    /// Reads the descriptor in front of a payload.
    ///
    /// # Errors
    /// The payload ends within it, or it leans on more frames than it may.
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(payload);
        let vp9 = Self::read(&mut reader)?;
        if vp9.scalability {
            Scalability::read(&mut reader)?;
        }
        Ok(vp9)
    }

    /// Everything in front of the scalability structure.
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = reader.u8()?;
        let mut vp9 = Self {
            predicted: flags & 0x40 != 0,
            flexible: flags & 0x10 != 0,
            begins: flags & 0x08 != 0,
            ends: flags & 0x04 != 0,
            scalability: flags & 0x02 != 0,
            not_a_reference: flags & 0x01 != 0,
            ..Self::default()
        };
        if flags & 0x80 != 0 {
            let id = reader.u8()?;
            vp9.wide = id & 0x80 != 0;
            vp9.picture_id = Some(match vp9.wide {
                true => (u16::from(id & 0x7f) << 8) | u16::from(reader.u8()?),
                false => u16::from(id),
            });
        }
        if flags & 0x20 != 0 {
            let layers = reader.u8()?;
            vp9.temporal = Some(layers >> 5);
            vp9.switching_up = layers & 0x10 != 0;
            vp9.spatial = Some((layers >> 1) & 0x07);
            vp9.inter_layer = layers & 0x01 != 0;
            if !vp9.flexible {
                vp9.tl0 = Some(reader.u8()?);
            }
        }
        if vp9.predicted && vp9.flexible {
            vp9.references = read_references(reader)?;
        }
        Ok(vp9)
    }

    /// First packet of a picture that leans on none before, and so of the lowest spatial layer.
    #[must_use]
    pub fn starts_keyframe(&self) -> bool {
        self.begins && !self.predicted && self.spatial.unwrap_or(0) == 0
    }

    /// Last packet of a frame: the RTP marker belongs to it if the frame is in the highest spatial
    /// layer that is sent on.
    #[must_use]
    pub fn ends_frame(&self) -> bool {
        self.ends
    }

    /// Copies a payload, this descriptor in front of it, with other running numbers. Their widths
    /// stay: of a picture id of 7 bits only these are written, and what is not there is not added.
    #[must_use]
    pub fn patch(&self, payload: &[u8], picture_id: u16, tl0: u8) -> Option<Arc<[u8]>> {
        let mut copy: Arc<[u8]> = Arc::from(payload);
        let bytes = Arc::get_mut(&mut copy)?;
        if self.picture_id.is_some() {
            let [high, low] = picture_id.to_be_bytes();
            match self.wide {
                true => *bytes.get_mut(1..)?.first_chunk_mut()? = [high | 0x80, low],
                false => *bytes.get_mut(1)? = low & 0x7f,
            }
        }
        if self.tl0.is_some() {
            // Behind the flags, the picture id and the layers.
            let at = match (self.picture_id, self.wide) {
                (None, _) => 2,
                (Some(_), false) => 3,
                (Some(_), true) => 4,
            };
            *bytes.get_mut(at)? = tl0;
        }
        Some(copy)
    }
}

/// `P_DIFF`: a byte each, the lowest bit says whether another follows.
fn read_references(reader: &mut Reader<'_>) -> Result<[u8; MAX_REFERENCES], WireError> {
    let mut references = [0; MAX_REFERENCES];
    for reference in &mut references {
        let byte = reader.u8()?;
        *reference = byte >> 1;
        if byte & 0x01 == 0 {
            return Ok(references);
        }
    }
    Err(WireError)
}

/// Whether a payload is the first packet of a keyframe: begins a frame, predicted from nothing
/// before and, where there are layers, of the lowest spatial layer.
#[must_use]
pub fn starts_keyframe(payload: &[u8]) -> bool {
    Vp9::parse(payload).is_ok_and(|vp9| vp9.starts_keyframe())
}

/// The scalability structure: which spatial layers there are (RFC 9628 section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalability {
    /// How many spatial layers, 1 to 8.
    pub layers: u8,
    sizes: Option<[(u16, u16); 8]>,
}

impl Scalability {
    /// The structure that a payload's descriptor brings, if it brings one. Keyframes do.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let vp9 = Vp9::read(&mut reader).ok()?;
        vp9.scalability.then(|| Self::read(&mut reader).ok())?
    }

    /// Width and height of a spatial layer, if they were told.
    #[must_use]
    pub fn size(&self, spatial: u8) -> Option<(u16, u16)> {
        self.sizes?.get(..usize::from(self.layers))?.get(usize::from(spatial)).copied()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = reader.u8()?;
        let layers = (flags >> 5).saturating_add(1);
        let mut sizes = None;
        if flags & 0x10 != 0 {
            let mut told = [(0, 0); 8];
            for size in told.iter_mut().take(usize::from(layers)) {
                *size = (reader.u16()?, reader.u16()?);
            }
            sizes = Some(told);
        }
        if flags & 0x08 != 0 {
            // The group of pictures: what each leans on. Only its length matters here.
            for _ in 0..reader.u8()? {
                let references = (reader.u8()? >> 2) & 0x03;
                reader.bytes(usize::from(references))?;
            }
        }
        Ok(Self { layers, sizes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_descriptor_of_a_browser_is_read() {
        // I, L, B, E, V; 15 bits of picture id, temporal 0, spatial 0, structure of three layers.
        let mut payload = vec![0xae, 0x92, 0x34, 0x00, 0x56, 0x58];
        for (width, height) in [(320u16, 180u16), (640, 360), (1280, 720)] {
            payload.extend_from_slice(&width.to_be_bytes());
            payload.extend_from_slice(&height.to_be_bytes());
        }
        // A group of two pictures: the first leans on one, the second on two.
        payload.extend_from_slice(&[2, 0x04, 4, 0x58, 1, 2, 0xff]);
        let vp9 = Vp9::parse(&payload).unwrap();
        assert_eq!((vp9.picture_id, vp9.wide, vp9.tl0), (Some(0x1234), true, Some(0x56)));
        assert_eq!((vp9.temporal, vp9.spatial), (Some(0), Some(0)));
        assert!(vp9.starts_keyframe() && vp9.ends_frame() && vp9.scalability);
        assert!(!vp9.predicted && !vp9.inter_layer && !vp9.flexible && !vp9.not_a_reference);
        let scalability = Scalability::parse(&payload).unwrap();
        assert_eq!((scalability.layers, scalability.size(2)), (3, Some((1280, 720))));
        assert_eq!(scalability.size(3), None);
        for end in 0..payload.len() - 1 {
            assert_eq!(Vp9::parse(&payload[..end]), Err(WireError), "{end} bytes");
            assert_eq!(Scalability::parse(&payload[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn layers_and_their_dependencies_are_read() {
        // P, L, Z without picture id; temporal 2, switching up, spatial 1, inter-layer.
        let vp9 = Vp9::parse(&[0x61, 0x53, 0x07, 0]).unwrap();
        assert_eq!((vp9.temporal, vp9.spatial, vp9.tl0), (Some(2), Some(1), Some(7)));
        assert!(vp9.predicted && vp9.switching_up && vp9.inter_layer && vp9.not_a_reference);
        assert!(!vp9.begins && !vp9.ends_frame() && !vp9.starts_keyframe());
        let plain = Vp9::parse(&[0x88, 0x05]).unwrap();
        assert_eq!((plain.picture_id, plain.wide), (Some(5), false));
        assert_eq!((plain.temporal, plain.spatial, plain.tl0), (None, None, None));
        assert_eq!(Scalability::parse(&[0x88, 0x05]), None);
    }

    #[test]
    fn flexible_mode_has_references_and_no_running_number() {
        let vp9 = Vp9::parse(&[0xfc, 0x05, 0x20, 0x03, 0x05, 0x02, 0]).unwrap();
        assert!(vp9.flexible && vp9.begins && vp9.ends);
        assert_eq!((vp9.temporal, vp9.tl0), (Some(1), None));
        assert_eq!(vp9.references, [1, 2, 1]);
        let four = [0xfc, 0x05, 0x20, 0x03, 0x05, 0x03, 0x02];
        assert_eq!(Vp9::parse(&four), Err(WireError), "three are the most");
        assert_eq!(Vp9::parse(&four[..5]), Err(WireError));
    }

    #[test]
    fn a_keyframe_begins_in_the_lowest_layer_only() {
        assert!(starts_keyframe(&[0x88, 0x05]));
        assert!(starts_keyframe(&[0x8a, 0x85, 0x01, 0x00]));
        assert!(starts_keyframe(&[0xa8, 0x05, 0x00, 0x01]));
        assert!(!starts_keyframe(&[0xa8, 0x05, 0x02, 0x01]), "spatial layer 1");
        assert!(!starts_keyframe(&[0xc8, 0x05]), "inter-predicted");
        assert!(!starts_keyframe(&[0x80, 0x05]), "not the beginning of a frame");
        assert!(!starts_keyframe(&[]));
        assert!(!starts_keyframe(&[0xa8]));
    }

    #[test]
    fn a_copy_has_other_numbers_of_the_same_width() {
        let patched = |payload: &[u8]| {
            Vp9::parse(payload).unwrap().patch(payload, 0x0234, 9).unwrap().to_vec()
        };
        assert_eq!(patched(&[0xa8, 0x85, 0x01, 0x00, 7, 1]), [0xa8, 0x82, 0x34, 0x00, 9, 1]);
        assert_eq!(patched(&[0xa8, 0x05, 0x00, 7, 1]), [0xa8, 0x34, 0x00, 9, 1]);
        assert_eq!(patched(&[0x28, 0x00, 7, 1]), [0x28, 0x00, 9, 1]);
        assert_eq!(patched(&[0x08, 1, 2, 3]), [0x08, 1, 2, 3]);
        assert_eq!(patched(&[0xb8, 0x05, 0x00, 7]), [0xb8, 0x34, 0x00, 7], "flexible");
        let vp9 = Vp9::parse(&[0xa8, 0x85, 0x01, 0x00, 7]).unwrap();
        assert_eq!(vp9.patch(&[0xa8, 0x85], 1, 1), None, "another payload");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_and_patched_in_place(
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            picture_id in 0..0x8000u16,
            tl0: u8,
        ) {
            let _ = Scalability::parse(&payload).map(|scalability| scalability.size(7));
            if let Ok(vp9) = Vp9::parse(&payload) {
                let patched = vp9.patch(&payload, picture_id, tl0).unwrap();
                prop_assert_eq!(patched.len(), payload.len());
                let mask = if vp9.wide { 0x7fff } else { 0x7f };
                let expected = Vp9 {
                    picture_id: vp9.picture_id.map(|_| picture_id & mask),
                    tl0: vp9.tl0.map(|_| tl0),
                    ..vp9
                };
                prop_assert_eq!(Vp9::parse(&patched), Ok(expected));
            }
        }
    }
}
