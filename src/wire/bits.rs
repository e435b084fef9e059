//! Single bits, most significant first, as the AV1 specifications write their fields.

use super::WireError;

/// Reads bits from the front of a slice, never past its end. A copy remembers a place.
#[derive(Clone, Copy, Debug)]
pub struct BitReader<'a> {
    rest: &'a [u8],
    /// The bit that is next, in the first byte of `rest`.
    mask: u8,
    taken: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, mask: 0x80, taken: 0 }
    }

    /// How many bits were read.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The next bit.
    ///
    /// # Errors
    /// There is none.
    pub fn flag(&mut self) -> Result<bool, WireError> {
        let (byte, tail) = self.rest.split_first().ok_or(WireError)?;
        let set = byte & self.mask != 0;
        self.mask = self.mask.rotate_right(1);
        if self.mask == 0x80 {
            self.rest = tail;
        }
        self.taken = self.taken.saturating_add(1);
        Ok(set)
    }

    /// The next `count` bits as a number; of more than 32 only the last 32 count.
    ///
    /// # Errors
    /// There are fewer.
    pub fn bits(&mut self, count: u32) -> Result<u32, WireError> {
        let mut value = 0u32;
        for _ in 0..count {
            value = (value << 1) | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// The next `count` bits, at most eight, as a byte.
    ///
    /// # Errors
    /// There are fewer, or they make more than a byte.
    pub fn byte(&mut self, count: u32) -> Result<u8, WireError> {
        u8::try_from(self.bits(count)?).map_err(|_| WireError)
    }

    /// A number below `n`, of as few bits as that allows: `ns(n)` of the AV1 specifications.
    ///
    /// # Errors
    /// There are fewer bits.
    pub fn below(&mut self, n: u32) -> Result<u32, WireError> {
        let width = u32::BITS.saturating_sub(n.leading_zeros());
        let short = 1u32.checked_shl(width).unwrap_or(0).wrapping_sub(n);
        let value = self.bits(width.saturating_sub(1))?;
        if value < short {
            return Ok(value);
        }
        let last = u32::from(self.flag()?);
        Ok((value << 1).wrapping_sub(short).wrapping_add(last))
    }
}

/// Writes bits one after the other; what is left of the last byte is zero.
#[derive(Clone, Debug)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// The bit that is next, in the last byte; 0x80 begins another.
    mask: u8,
}

impl BitWriter {
    /// Goes on behind whole bytes.
    #[must_use]
    pub fn after(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), mask: 0x80 }
    }

    /// One bit.
    pub fn flag(&mut self, set: bool) {
        if self.mask == 0x80 {
            self.bytes.push(0);
        }
        if set && let Some(last) = self.bytes.last_mut() {
            *last |= self.mask;
        }
        self.mask = self.mask.rotate_right(1);
    }

    /// The lowest `count` bits of a number.
    pub fn bits(&mut self, value: u32, count: u32) {
        for place in (0..count).rev() {
            self.flag(value & 1u32.checked_shl(place).unwrap_or(0) != 0);
        }
    }

    /// What was read between two places of one reader.
    ///
    /// # Errors
    /// The first place is behind the second, and the bytes end.
    pub fn copy(&mut self, mut from: BitReader<'_>, to: &BitReader<'_>) -> Result<(), WireError> {
        while from.taken() != to.taken() {
            self.flag(from.flag()?);
        }
        Ok(())
    }

    /// All bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_from_the_most_significant_and_not_past_the_end() {
        let mut reader = BitReader::new(&[0b1010_0000, 0xff, 0x01]);
        assert!(reader.flag().unwrap());
        assert_eq!(reader.bits(2), Ok(0b01));
        assert_eq!(reader.bits(9), Ok(0b0_0000_1111));
        assert_eq!(reader.taken(), 12);
        assert_eq!(reader.byte(8), Ok(0xf0));
        assert_eq!(reader.bits(5), Err(WireError));
        assert_eq!(BitReader::new(&[0xff, 0xff]).byte(9), Err(WireError));
        assert_eq!(BitReader::new(&[]).bits(0), Ok(0));
    }

    #[test]
    fn numbers_below_a_bound_take_as_few_bits_as_they_can() {
        // The table of the specification for five values.
        for (bits, value, taken) in
            [(0b000, 0, 2), (0b010, 1, 2), (0b100, 2, 2), (0b110, 3, 3), (0b111, 4, 3)]
        {
            let bytes = [bits << 5];
            let mut reader = BitReader::new(&bytes);
            assert_eq!((reader.below(5), reader.taken()), (Ok(value), taken));
        }
        let mut reader = BitReader::new(&[]);
        assert_eq!((reader.below(1), reader.taken()), (Ok(0), 0));
        assert_eq!(BitReader::new(&[]).below(2), Err(WireError));
        assert_eq!(BitReader::new(&[0xff; 4]).below(33), Ok(32));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = BitWriter::after(&[7]);
        writer.bits(0b101, 3);
        writer.bits(0x1234, 16);
        writer.flag(true);
        let bytes = writer.finish();
        assert_eq!(bytes.len(), 4);
        let mut reader = BitReader::new(&bytes);
        assert_eq!(reader.bits(8), Ok(7));
        let place = reader;
        assert_eq!((reader.bits(3), reader.bits(16), reader.flag()), (Ok(5), Ok(0x1234), Ok(true)));
        let mut copy = BitWriter::after(&[7]);
        copy.copy(place, &reader).unwrap();
        assert_eq!(copy.finish(), bytes);
        assert!(BitWriter::after(&[]).copy(reader, &place).is_err());
    }
}
