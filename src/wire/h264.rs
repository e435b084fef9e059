//! H.264 NAL units (RFC 6184), as far as where a decoder can begin.

use super::Reader;

const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether a payload carries the beginning of a sequence parameter set. Browsers send it in front
/// of each keyframe; a stream that begins with the picture itself decodes to nothing.
#[must_use]
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    let Ok(head) = reader.u8() else { return false };
    match head & 0x1f {
        SPS => true,
        STAP_A => {
            while let Ok(length) = reader.u16() {
                match reader.bytes(usize::from(length)).map(|unit| unit.first().copied()) {
                    Ok(Some(unit)) if unit & 0x1f == SPS => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
            false
        }
        FU_A => matches!(reader.u8(), Ok(fu) if fu & 0x80 != 0 && fu & 0x1f == SPS),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_begins_at_its_parameter_set() {
        assert!(starts_keyframe(&[0x67, 0x42, 0xe0]));
        assert!(starts_keyframe(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68]));
        assert!(starts_keyframe(&[0x78, 0, 1, 0x68, 0, 1, 0x67]));
        assert!(starts_keyframe(&[0x7c, 0x87]));
        assert!(!starts_keyframe(&[0x65, 0x88]), "the picture itself");
        assert!(!starts_keyframe(&[0x7c, 0x07]), "not the first fragment");
        assert!(!starts_keyframe(&[0x78, 0xff, 0xff, 0x67]), "a length past the end");
        assert!(!starts_keyframe(&[]));
    }
}
