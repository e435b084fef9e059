//! STUN as far as demultiplexing needs it (RFC 8489), and the reply of a plain STUN server.

use std::net::{IpAddr, SocketAddr};

use super::{Reader, WireError};

const COOKIE: u32 = 0x2112_A442;
const USERNAME: u16 = 0x0006;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// Longest plain request that is answered, in bytes: an answer must not be much larger than what
/// provoked it, and a client that only wants its address needs no more.
const MAX_PLAIN: usize = 256;

/// What a STUN message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A good answer.
    Success,
    /// A bad answer.
    Error,
}

/// A STUN message.
#[derive(Clone, Copy, Debug)]
pub struct Stun<'a> {
    /// What it is.
    pub class: Class,
    /// 1 is Binding.
    pub method: u16,
    /// The transaction id.
    pub transaction: &'a [u8; 12],
    /// Receiver's and sender's user name, if there is a USERNAME of that form (RFC 8445).
    pub username: Option<(&'a str, &'a str)>,
    /// A Binding request that only asks for its address: no user name, and nothing in it that must
    /// be understood.
    pub plain: bool,
}

impl<'a> Stun<'a> {
    /// Reads one whole datagram.
    ///
    /// # Errors
    /// It is no STUN message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16()?;
        let length = reader.u16()?;
        let cookie = reader.u32()?;
        let transaction = reader.array()?;
        let whole = usize::from(length) == reader.rest().len();
        if kind >> 14 != 0 || cookie != COOKIE || !whole || length % 4 != 0 {
            return Err(WireError);
        }
        let (mut username, mut named, mut demanding) = (None, false, false);
        while !reader.rest().is_empty() {
            let attribute = reader.u16()?;
            let length = usize::from(reader.u16()?);
            let value = reader.bytes(length)?;
            reader.bytes(length.wrapping_neg() & 3)?;
            if attribute == USERNAME {
                named = true;
                username = std::str::from_utf8(value).ok().and_then(|text| text.split_once(':'));
            } else if attribute < 0x8000 {
                demanding = true;
            }
        }
        if named && username.is_none() {
            username = Some(("", ""));
        }
        // RFC 8489 section 5: the class bits are bits 4 and 8 of the type.
        let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        };
        let method = (kind & 0x000f) | ((kind & 0x00e0) >> 1) | ((kind & 0x3e00) >> 2);
        let plain = !named && !demanding && bytes.len() <= MAX_PLAIN;
        Ok(Self { class, method, transaction, username, plain })
    }

    /// Whether the method is Binding.
    #[must_use]
    pub fn is_binding(&self) -> bool {
        self.method == 1
    }
}

/// Writes the answer to a plain Binding request: XOR-MAPPED-ADDRESS alone. Returns its length, 32
/// bytes for IPv4 and 44 for IPv6.
pub fn write_binding_reply(transaction: &[u8; 12], to: SocketAddr, out: &mut [u8; 44]) -> usize {
    let mut bytes = Vec::with_capacity(44);
    let address: Vec<u8> = match to.ip() {
        IpAddr::V4(ip) => {
            ip.octets().iter().zip(COOKIE.to_be_bytes()).map(|(a, k)| a ^ k).collect()
        }
        IpAddr::V6(ip) => {
            let key = COOKIE.to_be_bytes().into_iter().chain(*transaction);
            ip.octets().iter().zip(key).map(|(a, k)| a ^ k).collect()
        }
    };
    let value = u16::try_from(address.len()).unwrap_or(0).saturating_add(4);
    bytes.extend_from_slice(&0x0101u16.to_be_bytes());
    bytes.extend_from_slice(&value.saturating_add(4).to_be_bytes());
    bytes.extend_from_slice(&COOKIE.to_be_bytes());
    bytes.extend_from_slice(transaction);
    bytes.extend_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes.extend_from_slice(&[0, if to.is_ipv4() { 1 } else { 2 }]);
    bytes.extend_from_slice(&(to.port() ^ 0x2112).to_be_bytes());
    bytes.extend_from_slice(&address);
    for (place, byte) in out.iter_mut().zip(&bytes) {
        *place = *byte;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (attribute, value) in attributes {
            body.extend_from_slice(&attribute.to_be_bytes());
            body.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&COOKIE.to_be_bytes());
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn a_request_names_both_sides() {
        let bytes = message(1, &[(USERNAME, b"00abc:xyz"), (0x0008, &[0; 20])]);
        let stun = Stun::parse(&bytes).unwrap();
        assert!(stun.is_binding());
        assert_eq!(stun.class, Class::Request);
        assert_eq!(stun.username, Some(("00abc", "xyz")));
        assert!(!stun.plain);
    }

    #[test]
    fn a_bare_request_is_plain_and_one_that_demands_anything_is_not() {
        assert!(Stun::parse(&message(1, &[])).unwrap().plain);
        assert!(Stun::parse(&message(1, &[(0x8022, b"software")])).unwrap().plain);
        assert!(!Stun::parse(&message(1, &[(0x0003, &[0; 4])])).unwrap().plain, "CHANGE-REQUEST");
        assert!(!Stun::parse(&message(1, &[(0x0026, &[0; 4])])).unwrap().plain, "PADDING");
        assert!(!Stun::parse(&message(1, &[(0x8022, &[b'x'; 250])])).unwrap().plain, "over 256 B");
        let no_colon = message(1, &[(USERNAME, b"nobody")]);
        assert_eq!(Stun::parse(&no_colon).unwrap().username, Some(("", "")));
    }

    #[test]
    fn classes_and_methods_are_told_apart() {
        let of = |kind| Stun::parse(&message(kind, &[])).map(|s| (s.class, s.method));
        assert_eq!(of(0x0101).unwrap(), (Class::Success, 1));
        assert_eq!(of(0x0111).unwrap(), (Class::Error, 1));
        assert_eq!(of(0x0011).unwrap(), (Class::Indication, 1));
        assert_eq!(of(0x0003).unwrap(), (Class::Request, 3), "TURN Allocate");
    }

    #[test]
    fn anything_cut_or_bent_is_refused() {
        let good = message(1, &[(USERNAME, b"00abc:xyz")]);
        for end in 0..good.len() {
            assert!(Stun::parse(&good[..end]).is_err(), "{end} bytes");
        }
        let mut cookie = good.clone();
        cookie[4] = 0;
        let mut long = good;
        long[21 + 2] = 200;
        assert!(Stun::parse(&cookie).is_err());
        assert!(Stun::parse(&long).is_err());
    }

    #[test]
    fn the_reply_says_the_address_and_nothing_else() {
        let mut out = [0; 44];
        let to = SocketAddr::from(([192, 0, 2, 1], 32853));
        let len = write_binding_reply(&[7; 12], to, &mut out);
        assert_eq!(len, 32);
        let reply = Stun::parse(&out[..len]).unwrap();
        assert_eq!((reply.class, reply.method), (Class::Success, 1));
        // RFC 5769 section 2.2 has this very address, masked.
        assert_eq!(out[24..32], [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let v6 = SocketAddr::new("2001:db8::1".parse().unwrap(), 1);
        let len = write_binding_reply(&[7; 12], v6, &mut out);
        assert_eq!(len, 44);
        assert!(Stun::parse(&out).is_ok());
    }
}
