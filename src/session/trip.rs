//! How long packets are under way, and whether they wait in a queue there.

use std::time::{Duration, Instant};

/// Packets that take so much longer than they did of late wait in a queue.
const QUEUED: Duration = Duration::from_millis(40);

/// They do so for good when they have for so long: feedback itself waits, and a single round trip says
/// little.
const STAYS: Duration = Duration::from_millis(500);

/// The shortest round trip is that of one to two of these. Afterwards a longer one is the network's
/// own: another route.
const GENERATION: Duration = Duration::from_secs(15);

/// The round trips of one session.
#[derive(Debug, Default)]
pub(super) struct Trip {
    last: Option<Duration>,
    /// The shortest of the present generation and of the one before.
    present: Option<Duration>,
    before: Option<Duration>,
    since: Option<Instant>,
    longer_since: Option<Instant>,
}

impl Trip {
    /// The engine says what the last one took.
    pub fn took(&mut self, rtt: Option<Duration>, now: Instant) {
        self.last = rtt;
        let Some(rtt) = rtt else { return };
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= GENERATION {
            self.before = self.present.take();
            self.since = Some(now);
        }
        self.present = Some(self.present.map_or(rtt, |least| least.min(rtt)));
        self.longer_since = self.is_longer().then(|| self.longer_since.unwrap_or(now));
    }

    /// The last one.
    pub fn rtt(&self) -> Option<Duration> {
        self.last
    }

    /// Whether the last one was much longer than the shortest.
    pub fn is_longer(&self) -> bool {
        let least = self.present.into_iter().chain(self.before).min();
        self.last.zip(least).is_some_and(|(rtt, least)| rtt > least + QUEUED)
    }

    /// Whether all of a while were.
    pub fn stays_longer(&self, now: Instant) -> bool {
        self.longer_since.is_some_and(|since| now >= since + STAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_longer_waits_in_a_queue_until_it_is_taken_for_another_route() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let took = |trip: &mut Trip, rtt, ms| {
            trip.took(Some(Duration::from_millis(rtt)), at(ms));
            (trip.is_longer(), trip.stays_longer(at(ms)))
        };
        let mut trip = Trip::default();
        assert_eq!(took(&mut trip, 30, 0), (false, false));
        assert_eq!(took(&mut trip, 71, 200), (true, false));
        assert_eq!(took(&mut trip, 70, 400), (false, false), "one trip says little");
        assert_eq!(took(&mut trip, 90, 600), (true, false));
        assert_eq!(took(&mut trip, 90, 1_099), (true, false));
        assert_eq!(took(&mut trip, 90, 1_100), (true, true));
        assert_eq!(took(&mut trip, 90, 15_000), (true, true));
        assert_eq!(took(&mut trip, 90, 30_000), (false, false), "that is how long it takes here");
    }
}
