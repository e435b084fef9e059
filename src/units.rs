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
}
