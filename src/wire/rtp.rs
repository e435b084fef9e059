//! The RTP header (RFC 3550 section 5.1) and its extensions (RFC 8285), as far as a packet can be
//! judged before it is decrypted.

use super::{Reader, WireError};

/// An RTP header in a whole datagram.
#[derive(Clone, Copy, Debug)]
pub struct RtpHeader<'a> {
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    extensions: Extensions<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Extensions<'a> {
    None,
    OneByte(&'a [u8]),
    TwoByte(&'a [u8]),
}

impl<'a> RtpHeader<'a> {
    /// Reads the header of one whole datagram.
    ///
    /// # Errors
    /// It is no RTP packet: wrong version, or a field reaches past the end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        let second = reader.u8()?;
        if first >> 6 != 2 {
            return Err(WireError);
        }
        let sequence = reader.u16()?;
        let timestamp = reader.u32()?;
        let ssrc = reader.u32()?;
        let sources = usize::from(first & 0x0f);
        reader.bytes(sources.saturating_mul(4))?;
        let mut extensions = Extensions::None;
        if first & 0x10 != 0 {
            let profile = reader.u16()?;
            let words = usize::from(reader.u16()?);
            let body = reader.bytes(words.saturating_mul(4))?;
            extensions = match profile {
                0xBEDE => Extensions::OneByte(body),
                // RFC 8285 section 4.3: 0x100 and four bits of the application's own.
                _ if profile >> 4 == 0x100 => Extensions::TwoByte(body),
                _ => Extensions::None,
            };
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence,
            timestamp,
            ssrc,
            extensions,
        })
    }

    /// The value of an extension; `None` if it is not there. Id 0 is padding and never there.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        if id == 0 {
            return None;
        }
        let (body, two) = match self.extensions {
            Extensions::None => return None,
            Extensions::OneByte(body) => (body, false),
            Extensions::TwoByte(body) => (body, true),
        };
        let mut reader = Reader::new(body);
        while let Ok(head) = reader.u8() {
            if head == 0 {
                continue;
            }
            let (found, length) = match two {
                true => (head, usize::from(reader.u8().ok()?)),
                // RFC 8285 section 4.2: id 15 ends the list.
                false if head >> 4 == 15 => return None,
                false => (head >> 4, usize::from(head & 0x0f).saturating_add(1)),
            };
            let value = reader.bytes(length).ok()?;
            if found == id {
                return Some(value);
            }
        }
        None
    }
}

/// Whether a protected RTCP datagram can be one: version, a length that its first packet keeps, and
/// room for index and tag (RFC 3711 section 3.4). The rest is encrypted.
#[must_use]
pub fn rtcp_is_sound(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let (Ok(first), Ok(_), Ok(words)) = (reader.u8(), reader.u8(), reader.u16()) else {
        return false;
    };
    let first_packet = usize::from(words).saturating_add(1).saturating_mul(4);
    first >> 6 == 2 && first_packet <= bytes.len() && bytes.len() >= 28
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(extension: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x90, 0x80 | 96, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4];
        bytes.extend_from_slice(extension);
        bytes.extend_from_slice(&[0; 20]);
        bytes
    }

    #[test]
    fn one_byte_extensions_are_found_by_id() {
        let bytes = packet(&[0xBE, 0xDE, 0, 2, 0x30, b'0', 0, 0x41, b'h', b'i', 0, 0]);
        let header = RtpHeader::parse(&bytes).unwrap();
        assert!(header.marker);
        assert_eq!((header.payload_type, header.sequence, header.ssrc), (96, 7, 0x0102_0304));
        assert_eq!(header.extension(3), Some(&b"0"[..]));
        assert_eq!(header.extension(4), Some(&b"hi"[..]));
        assert_eq!(header.extension(5), None);
        assert_eq!(header.extension(0), None);
    }

    #[test]
    fn two_byte_extensions_are_found_by_id() {
        let bytes = packet(&[0x10, 0x00, 0, 2, 3, 1, b'0', 0, 4, 2, b'h', b'i']);
        let header = RtpHeader::parse(&bytes).unwrap();
        assert_eq!(header.extension(3), Some(&b"0"[..]));
        assert_eq!(header.extension(4), Some(&b"hi"[..]));
    }

    #[test]
    fn hostile_headers_are_refused_and_hostile_extensions_are_not_there() {
        let good = packet(&[0xBE, 0xDE, 0, 1, 0x30, b'0', 0, 0]);
        for end in 0..20 {
            assert!(RtpHeader::parse(&good[..end]).is_err(), "{end} bytes");
        }
        let mut version = good;
        version[0] = 0x50;
        let mut sources = vec![0x8f, 96];
        sources.resize(20, 0);
        let length = packet(&[0xBE, 0xDE, 0xff, 0xff]);
        for bad in [version, sources, length] {
            assert!(RtpHeader::parse(&bad).is_err());
        }
        let fifteen = packet(&[0xBE, 0xDE, 0, 1, 0xf0, 0, 0x30, b'0']);
        assert_eq!(RtpHeader::parse(&fifteen).unwrap().extension(3), None);
        let past = packet(&[0xBE, 0xDE, 0, 1, 0x3f, 0, 0, 0]);
        assert_eq!(RtpHeader::parse(&past).unwrap().extension(3), None);
    }

    #[test]
    fn rtcp_must_have_room_for_its_tag() {
        let mut bytes = vec![0x80, 200, 0, 6];
        bytes.resize(28, 0);
        assert!(rtcp_is_sound(&bytes));
        assert!(!rtcp_is_sound(&bytes[..27]));
        bytes[3] = 7;
        assert!(!rtcp_is_sound(&bytes), "the first packet reaches past the end");
        bytes[3] = 6;
        bytes[0] = 0x40;
        assert!(!rtcp_is_sound(&bytes));
    }
}
