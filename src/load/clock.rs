//! The one place where the load generator reads clocks.

#![expect(clippy::disallowed_methods, reason = "this shell's clock is read here and nowhere else")]

use std::time::{Duration, Instant, SystemTime};

/// The clock of a run: nanoseconds since its beginning, on the machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// When the run began.
    #[must_use]
    pub fn beginning(&self) -> Instant {
        self.start
    }

    /// Nanoseconds from the beginning to `at`.
    #[must_use]
    pub fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.start))
    }

    /// How long ago a time of the system's clock (since 1970) was. The kernel stamps datagrams
    /// with it; only differences over a moment are taken, so a clock that is being set spoils one
    /// batch at most.
    #[must_use]
    pub fn since_stamp(&self, stamp: Duration) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(stamp)
    }
}

/// Whole nanoseconds; 584 years are the most.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
