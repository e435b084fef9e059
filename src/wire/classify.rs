//! STUN, DTLS, RTP or RTCP, from the first bytes (RFC 7983, RFC 5761).

/// Largest datagram taken in, in bytes: what fits into an Ethernet frame.
pub const MAX_DATAGRAM: usize = 1_500;

/// Smallest: an RTP header.
pub const MIN_DATAGRAM: usize = 12;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Connectivity checks (RFC 8489).
    Stun,
    /// Handshake and data channels (RFC 6347).
    Dtls,
    /// Media.
    Rtp,
    /// Reports and feedback.
    Rtcp,
}

/// Tells what a datagram is; `None` if WebRTC knows nothing of the kind, or its size is wrong.
#[must_use]
pub fn classify(bytes: &[u8]) -> Option<Class> {
    if !(MIN_DATAGRAM..=MAX_DATAGRAM).contains(&bytes.len()) {
        return None;
    }
    match *bytes.first()? {
        0..=3 => Some(Class::Stun),
        20..=63 => Some(Class::Dtls),
        // RFC 5761 section 4: RTCP packet types 192–223 in the second byte.
        128..=191 => match *bytes.get(1)? {
            192..=223 => Some(Class::Rtcp),
            _ => Some(Class::Rtp),
        },
        _ => None,
    }
}

/// Whether a DTLS datagram begins with a plaintext ClientHello: content type 22, epoch 0, handshake
/// type 1 (RFC 6347 section 4).
#[must_use]
pub fn dtls_is_client_hello(bytes: &[u8]) -> bool {
    bytes.first() == Some(&22) && bytes.get(3..5) == Some(&[0, 0]) && bytes.get(13) == Some(&1)
}

/// Whether an RTCP datagram begins with feedback on when packets arrived, and so is nothing else if it is
/// sent by itself: packet type 205, format 15 (draft-holmer-rmcat-transport-wide-cc-extensions-01 section
/// 3.1). The header is not encrypted (RFC 3711 section 3.4).
#[must_use]
pub fn is_arrival_feedback(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 205, ..] if first & 31 == 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        let with = |first, second| {
            let mut bytes = [0; 20];
            bytes[..2].copy_from_slice(&[first, second]);
            classify(&bytes)
        };
        assert_eq!(with(0, 1), Some(Class::Stun));
        assert_eq!(with(22, 0), Some(Class::Dtls));
        assert_eq!(with(0x80, 111), Some(Class::Rtp));
        assert_eq!(with(0x90, 0x80 | 96), Some(Class::Rtp));
        assert_eq!(with(0x80, 200), Some(Class::Rtcp));
        for none in [4, 19, 64, 127, 192, 255] {
            assert_eq!(with(none, 0), None, "{none}");
        }
    }

    #[test]
    fn a_datagram_has_12_to_1500_bytes() {
        assert_eq!(classify(&[0x80; 11]), None);
        assert!(classify(&[0x80; 12]).is_some());
        assert!(classify(&[0x80; 1500]).is_some());
        assert_eq!(classify(&[0x80; 1501]), None);
    }

    #[test]
    fn feedback_on_arrivals_is_told_from_other_feedback() {
        assert!(is_arrival_feedback(&[0x8f, 205, 0, 5]));
        assert!(is_arrival_feedback(&[0xaf, 205, 0, 5]), "padded");
        assert!(!is_arrival_feedback(&[0x81, 205, 0, 3]), "a NACK");
        assert!(!is_arrival_feedback(&[0x8f, 206, 0, 3]), "REMB");
        assert!(!is_arrival_feedback(&[]));
    }

    #[test]
    fn only_a_client_hello_is_one() {
        let mut hello = [0u8; 60];
        hello[..5].copy_from_slice(&[22, 254, 253, 0, 0]);
        hello[13] = 1;
        assert!(dtls_is_client_hello(&hello));
        let alert = {
            let mut a = hello;
            a[0] = 21;
            a
        };
        let certificate = {
            let mut c = hello;
            c[13] = 11;
            c
        };
        let encrypted = {
            let mut e = hello;
            e[4] = 1;
            e
        };
        for other in [alert, certificate, encrypted] {
            assert!(!dtls_is_client_hello(&other));
        }
        assert!(!dtls_is_client_hello(&hello[..13]));
    }
}
