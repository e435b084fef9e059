//! Redundant audio (RFC 2198): a payload that carries earlier ones again.

use super::{Reader, WireError};

/// Earlier payloads that are looked at; browsers send one or two.
pub const MAX_EARLIER: usize = 4;

/// An earlier payload lies at most so many ticks back.
pub const MAX_BACK: u32 = 0x3fff;

/// And has at most so many bytes.
pub const MAX_BYTES: usize = 0x3ff;

const FOLLOWED: u8 = 0x80;

/// A payload that was sent before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier<'a> {
    /// How many ticks of the clock before the packet's own timestamp it belongs.
    pub back: u32,
    /// The payload; empty where nothing was sent.
    pub payload: &'a [u8],
}

/// What a redundant payload carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Red<'a> {
    /// The payload of the packet itself.
    pub own: &'a [u8],
    earlier: [Earlier<'a>; MAX_EARLIER],
    count: usize,
}

impl<'a> Red<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// It ends too early, or has more than [`MAX_EARLIER`] earlier ones.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(payload);
        let mut lengths = [(0, 0); MAX_EARLIER];
        let mut count: usize = 0;
        while reader.u8()? & FOLLOWED != 0 {
            let [high, middle, low] = *reader.array()?;
            let field = u32::from_be_bytes([0, high, middle, low]);
            let length = usize::from(u16::from_be_bytes([middle, low])) & MAX_BYTES;
            *lengths.get_mut(count).ok_or(WireError)? = (field >> 10, length);
            count = count.saturating_add(1);
        }
        let mut earlier = [Earlier::default(); MAX_EARLIER];
        for (into, (back, length)) in earlier.iter_mut().zip(lengths).take(count) {
            *into = Earlier { back, payload: reader.bytes(length)? };
        }
        Ok(Self { own: reader.rest(), earlier, count })
    }

    /// The earlier payloads, newest first.
    pub fn earlier(&self) -> impl Iterator<Item = Earlier<'a>> + '_ {
        self.earlier.iter().take(self.count).rev().copied()
    }
}

/// Puts earlier payloads, oldest first, in front of a payload of type `pt`. Those that have no place
/// in the format ([`MAX_BACK`], [`MAX_BYTES`]) are for the caller to leave out.
#[must_use]
pub fn write(pt: u8, earlier: &[Earlier<'_>], own: &[u8]) -> Vec<u8> {
    let carried = earlier.iter().fold(own.len(), |sum, e| sum.saturating_add(e.payload.len()));
    let headers = earlier.len().saturating_mul(4).saturating_add(1);
    let mut bytes = Vec::with_capacity(headers.saturating_add(carried));
    for Earlier { back, payload } in earlier {
        let length = u32::try_from(payload.len().min(MAX_BYTES)).unwrap_or(0);
        let [_, high, middle, low] = ((back.min(&MAX_BACK) << 10) | length).to_be_bytes();
        bytes.extend([FOLLOWED | pt, high, middle, low]);
    }
    bytes.push(pt & !FOLLOWED);
    for Earlier { payload, .. } in earlier {
        bytes.extend(payload.iter().take(MAX_BYTES));
    }
    bytes.extend(own);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_standard_draws_is_read() {
        // RFC 2198 section 4: one earlier payload, 20 ms back at 48 kHz.
        let back = 960u32;
        let field = (back << 10) | 3;
        let [_, a, b, c] = field.to_be_bytes();
        let bytes = [0x80 | 111, a, b, c, 111, 1, 2, 3, 9, 8];
        let red = Red::parse(&bytes).unwrap();
        assert_eq!(red.own, [9, 8]);
        let earlier: Vec<Earlier<'_>> = red.earlier().collect();
        assert_eq!(earlier, [Earlier { back, payload: &[1, 2, 3] }]);
    }

    #[test]
    fn a_payload_that_ends_early_is_refused() {
        let whole = write(111, &[Earlier { back: 960, payload: &[1; 40] }], &[2; 40]);
        for end in 0..45 {
            assert_eq!(Red::parse(&whole[..end]), Err(WireError), "{end} bytes");
        }
        assert!(Red::parse(&whole[..45]).is_ok(), "the packet's own may be empty");
        let many = write(111, &[Earlier { back: 960, payload: &[1] }; MAX_EARLIER + 1], &[2]);
        assert_eq!(Red::parse(&many), Err(WireError));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            earlier in prop::collection::vec(
                (0..=MAX_BACK, prop::collection::vec(any::<u8>(), 0..=MAX_BYTES)),
                0..=MAX_EARLIER,
            ),
            own in prop::collection::vec(any::<u8>(), 0..400),
            pt in 0u8..128,
        ) {
            let blocks: Vec<Earlier<'_>> = earlier
                .iter()
                .map(|(back, payload)| Earlier { back: *back, payload })
                .collect();
            let bytes = write(pt, &blocks, &own);
            let red = Red::parse(&bytes).unwrap();
            let mut read: Vec<Earlier<'_>> = red.earlier().collect();
            read.reverse();
            prop_assert_eq!(read, blocks);
            prop_assert_eq!(red.own, &own[..]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Red::parse(&bytes);
        }
    }
}
