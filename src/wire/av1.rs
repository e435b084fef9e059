//! The AV1 aggregation header ("RTP Payload Format For AV1", section 4.4).

/// Whether a payload is the first packet of a new coded video sequence: the N bit.
#[must_use]
pub fn starts_keyframe(payload: &[u8]) -> bool {
    payload.first().is_some_and(|head| head & 0x08 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_n_bit_begins_a_sequence() {
        assert!(starts_keyframe(&[0x18, 0]));
        assert!(!starts_keyframe(&[0x10, 0]));
        assert!(!starts_keyframe(&[]));
    }
}
