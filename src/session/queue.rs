//! What the video says that waits here to be sent: how much the network carries, or that the estimator
//! is wrong.

use std::time::{Duration, Instant};

use super::pace::LEAST;

/// A queue of video that takes longer than this to leave says sooner than the estimator that the
/// network got narrow: what leaves is then all that it carries.
const SQUEEZED: Duration = Duration::from_millis(250);

/// How long what leaves is counted before it is believed, and how long it holds after the queue was
/// empty.
const COUNTED: Duration = Duration::from_millis(200);
const HOLDS: Duration = Duration::from_millis(1_500);

/// When video waits here for so long while packets take no longer on the way and none is lost, the
/// estimator is wrong: it takes for the network's what is this machine's, whose packets leave late.
const DOUBT: Duration = Duration::from_millis(500);

/// What leaves while video waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    since: Option<Instant>,
    bytes: u64,
    /// What the network carries by this, in bit/s, and when that was found.
    carries: Option<(u64, Instant)>,
    /// Since when video waits here while nothing says that it would on the way.
    doubted: Option<Instant>,
}

impl Queue {
    /// So many bytes of all kinds have left, and so many of video still wait.
    pub fn left(&mut self, bytes: u64, waiting: u64, estimate: u64, now: Instant) {
        if waiting == 0 {
            self.empty();
            return;
        }
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes;
        let time = now.saturating_duration_since(since);
        if time < COUNTED {
            return;
        }
        let rate = (u128::from(self.bytes) * 8_000_000).checked_div(time.as_micros());
        let rate = u64::try_from(rate.unwrap_or(0)).unwrap_or(u64::MAX).min(estimate);
        let takes = u128::from(waiting) * 8_000 / u128::from(rate.max(1));
        if takes > SQUEEZED.as_millis() {
            self.carries = Some(((rate - rate / 10).max(LEAST), now));
        }
        self.since = Some(now);
        self.bytes = 0;
    }

    /// Nothing waits any more.
    pub fn empty(&mut self) {
        self.since = None;
        self.bytes = 0;
    }

    /// What the network carries by what left, in bit/s, if that is known.
    pub fn carries(&mut self, now: Instant) -> Option<u64> {
        self.carries = self.carries.filter(|(_, at)| now.saturating_duration_since(*at) < HOLDS);
        self.carries.map(|(rate, _)| rate)
    }

    /// Video waits here while nothing says that it would on the way, or that is not so.
    pub fn doubt(&mut self, doubtful: bool, now: Instant) {
        self.doubted = doubtful.then(|| self.doubted.unwrap_or(now));
    }

    /// Whether it has been so for long enough to say that the estimator is wrong. That is said once,
    /// and all that was counted is forgotten.
    pub fn proves_wrong(&mut self, now: Instant) -> bool {
        let wrong = self.doubted.is_some_and(|since| now >= since + DOUBT);
        if wrong {
            *self = Self::default();
        }
        wrong
    }
}
