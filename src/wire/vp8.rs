//! The VP8 payload descriptor (RFC 7741 section 4.2).

use super::{Reader, WireError};

/// What a VP8 packet says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8 {
    /// The picture id, if there is one.
    pub picture_id: Option<u16>,
    /// The picture id has 15 bits, not 7.
    pub wide: bool,
    /// Running number of temporal base layer frames.
    pub tl0: Option<u8>,
    /// Temporal layer.
    pub temporal: Option<u8>,
    /// The frame leans on the temporal base layer only: from it on, its layer can be taken (Y).
    pub layer_sync: bool,
    /// No other frame leans on it (N).
    pub non_reference: bool,
    /// First packet of a frame.
    pub begins: bool,
    /// First packet of a keyframe.
    pub keyframe: bool,
}

impl Vp8 {
    /// Reads the descriptor in front of a payload.
    ///
    /// # Errors
    /// The payload ends within it.
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(payload);
        let mut vp8 = Self::default();
        let first = reader.u8()?;
        vp8.non_reference = first & 0x20 != 0;
        vp8.begins = first & 0x10 != 0 && first & 0x07 == 0;
        if first & 0x80 != 0 {
            let flags = reader.u8()?;
            if flags & 0x80 != 0 {
                let id = reader.u8()?;
                vp8.wide = id & 0x80 != 0;
                vp8.picture_id = Some(match vp8.wide {
                    true => (u16::from(id & 0x7f) << 8) | u16::from(reader.u8()?),
                    false => u16::from(id),
                });
            }
            if flags & 0x40 != 0 {
                vp8.tl0 = Some(reader.u8()?);
            }
            if flags & 0x30 != 0 {
                let byte = reader.u8()?;
                vp8.temporal = (flags & 0x20 != 0).then_some(byte >> 6);
                // RFC 7741 section 4.2: without a temporal layer the bit means nothing.
                vp8.layer_sync = flags & 0x20 != 0 && byte & 0x20 != 0;
            }
        }
        // RFC 7741 section 4.3: the lowest bit of the payload header is 0 in a keyframe.
        let header = reader.u8()?;
        vp8.keyframe = vp8.begins && header & 0x01 == 0;
        Ok(vp8)
    }
}

/// Whether a payload is the first packet of a keyframe.
#[must_use]
pub fn starts_keyframe(payload: &[u8]) -> bool {
    Vp8::parse(payload).is_ok_and(|vp8| vp8.keyframe)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_descriptor_of_a_browser_is_read() {
        let payload = [0x90, 0xe0, 0x92, 0x34, 0x56, 0x40, 0x10, 0, 0];
        let vp8 = Vp8::parse(&payload).unwrap();
        assert_eq!((vp8.picture_id, vp8.wide, vp8.tl0), (Some(0x1234), true, Some(0x56)));
        assert_eq!(vp8.temporal, Some(1));
        assert!(vp8.keyframe);
        let short = [0x90, 0x80, 0x12, 0x11];
        let vp8 = Vp8::parse(&short).unwrap();
        assert_eq!((vp8.picture_id, vp8.wide, vp8.keyframe), (Some(0x12), false, false));
    }

    #[test]
    fn only_the_first_packet_of_a_keyframe_starts_one() {
        assert!(starts_keyframe(&[0x10, 0x00]));
        assert!(!starts_keyframe(&[0x10, 0x01]), "an interframe");
        assert!(!starts_keyframe(&[0x00, 0x00]), "not the start of a partition");
        assert!(!starts_keyframe(&[0x11, 0x00]), "another partition");
        for end in 0..7 {
            let _ = Vp8::parse(&[0x90, 0xf0, 0x92, 0x34, 0x56, 0x40, 0x10][..end]);
        }
        assert!(!starts_keyframe(&[]));
    }

    #[test]
    fn temporal_layers_say_what_they_lean_on() {
        // X, N, S; I, L, T; temporal 2 with Y.
        let vp8 = Vp8::parse(&[0xb0, 0xe0, 0x92, 0x34, 0x56, 0xa0, 0x01]).unwrap();
        assert_eq!((vp8.temporal, vp8.tl0), (Some(2), Some(0x56)));
        assert!(vp8.layer_sync && vp8.non_reference && vp8.begins && !vp8.keyframe);
        let vp8 = Vp8::parse(&[0x90, 0xe0, 0x92, 0x34, 0x56, 0x80, 0x01]).unwrap();
        assert!(!vp8.layer_sync && !vp8.non_reference);
        let key_index_only = Vp8::parse(&[0x91, 0x10, 0xe3, 0x00]).unwrap();
        assert_eq!((key_index_only.temporal, key_index_only.layer_sync), (None, false));
        assert!(!key_index_only.begins, "the second partition");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(
            payload in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            if let Ok(vp8) = Vp8::parse(&payload) {
                let most = if vp8.wide { 0x7fff } else { 0x7f };
                prop_assert!(vp8.picture_id.unwrap_or(0) <= most);
                prop_assert!(vp8.temporal.unwrap_or(0) <= 3);
                prop_assert!(vp8.begins || !vp8.keyframe);
            }
        }
    }
}
