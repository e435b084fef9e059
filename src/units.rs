//! Numbers that count in circles, and the arithmetic that belongs to them.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::Duration;

/// Ticks of an RTP clock in `elapsed`, modulo 2³² as RTP timestamps are (RFC 3550 section 5.1).
#[must_use]
pub fn rtp_ticks(elapsed: Duration, clock_rate: u32) -> u32 {
    let ticks = elapsed.as_micros().saturating_mul(u128::from(clock_rate));
    let ticks = ticks.checked_div(1_000_000).unwrap_or(0) & u128::from(u32::MAX);
    u32::try_from(ticks).unwrap_or(0)
}

/// How far `later` is after `earlier` on a circle of 2³²; negative when it is before.
#[must_use]
pub fn rtp_since(later: u32, earlier: u32) -> i32 {
    later.wrapping_sub(earlier).cast_signed()
}

/// A share in steps of 1/32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const WHOLE: Self = Self(32);

    /// So many steps more, up to everything.
    #[must_use]
    pub fn more(self, steps: u8) -> Self {
        Self(self.0.saturating_add(steps).min(Self::WHOLE.0))
    }

    /// So many steps less, down to nothing.
    #[must_use]
    pub fn less(self, steps: u8) -> Self {
        Self(self.0.saturating_sub(steps))
    }

    /// Whether the n-th of many is within the share. Neighbours are taken from all over it.
    #[must_use]
    pub fn holds(self, n: u32) -> bool {
        // Reversed bits spread what is taken evenly over any run of numbers.
        let place = u8::try_from(n.checked_rem(u32::from(Self::WHOLE.0)).unwrap_or(0))
            .unwrap_or(0)
            .reverse_bits()
            >> 3;
        place < self.0
    }

    /// From 0 to 32.
    #[must_use]
    pub fn steps(self) -> u8 {
        self.0
    }

    /// From 0 to 1.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_the_clock_rate() {
        assert_eq!(rtp_ticks(Duration::from_millis(20), 48_000), 960);
        assert_eq!(rtp_ticks(Duration::from_secs(100_000), 90_000), 410_065_408, "modulo 2^32");
    }

    #[test]
    fn distance_is_counted_over_the_seam() {
        assert_eq!(rtp_since(5, u32::MAX), 6);
        assert_eq!(rtp_since(u32::MAX, 5), -6);
    }

    #[test]
    fn a_share_takes_its_part_of_any_run_of_numbers() {
        let half = Share::NONE.more(16);
        for from in [0, 7, 1_000] {
            assert_eq!((from..from + 32).filter(|n| half.holds(*n)).count(), 16);
            assert_eq!((from..from + 4).filter(|n| half.holds(*n)).count(), 2);
        }
        assert!(!(0..100).any(|n| Share::NONE.holds(n)));
        assert!((0..100).all(|n| Share::NONE.more(40).holds(n)));
        assert_eq!(half.less(20), Share::NONE);
    }
}
