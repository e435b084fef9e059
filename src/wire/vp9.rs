//! The VP9 payload descriptor (RFC 9628 section 4.2), as far as the start of a keyframe.

use super::Reader;

/// Whether a payload is the first packet of a keyframe: begins a frame, predicted from nothing
/// before and, where there are layers, of the lowest spatial layer.
#[must_use]
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    let Ok(first) = reader.u8() else { return false };
    let (has_id, predicted, layered, begins) =
        (first & 0x80 != 0, first & 0x40 != 0, first & 0x20 != 0, first & 0x08 != 0);
    if predicted || !begins {
        return false;
    }
    if has_id && !matches!(reader.u8(), Ok(id) if id & 0x80 == 0 || reader.u8().is_ok()) {
        return false;
    }
    // Spatial layer in bits 1–3, and whether it depends on a lower one in bit 0.
    !layered || matches!(reader.u8(), Ok(layer) if (layer >> 1) & 0x07 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_begins_in_the_lowest_layer_only() {
        assert!(starts_keyframe(&[0x88, 0x05]));
        assert!(starts_keyframe(&[0x8a, 0x85, 0x01]));
        assert!(starts_keyframe(&[0xa8, 0x05, 0x00]));
        assert!(!starts_keyframe(&[0xa8, 0x05, 0x02]), "spatial layer 1");
        assert!(!starts_keyframe(&[0xc8, 0x05]), "inter-predicted");
        assert!(!starts_keyframe(&[0x80, 0x05]), "not the beginning of a frame");
        assert!(!starts_keyframe(&[]));
        assert!(!starts_keyframe(&[0xa8]));
    }
}
