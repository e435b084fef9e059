//! The next deadline over all sessions or rooms: a heap whose stale entries are skipped, so that moving a
//! deadline costs a push and an untouched session costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A deadline further away than this may be met late by up to [`GRID`]: what waits so long is a
/// check or a report, and idle sessions that are woken together cost a thread one wake.
const FAR: Duration = Duration::from_millis(500);
const GRID: Duration = Duration::from_millis(50);

/// A deadline as it is kept: far ones on a grid that all sessions share.
#[must_use]
pub fn coarse(at: Instant, now: Instant, epoch: Instant) -> Instant {
    if at.saturating_duration_since(now) < FAR {
        return at;
    }
    let steps = at.saturating_duration_since(epoch).as_millis().div_ceil(GRID.as_millis());
    epoch + GRID * u32::try_from(steps).unwrap_or(u32::MAX)
}

/// Deadlines by key.
#[derive(Debug)]
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// A session wants to be woken at `at`. What it wanted before is skipped when it comes up,
    /// because the session then says another time.
    pub fn set(&mut self, key: K, at: Instant) {
        self.heap.push(Reverse((at, key)));
    }

    /// The earliest entry, stale or not: waking too early is harmless.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A session whose entry is due. `current` tells what a session wants now.
    pub fn pop(&mut self, now: Instant, current: impl Fn(K) -> Option<Instant>) -> Option<K> {
        while self.next().is_some_and(|at| at <= now) {
            let Reverse((at, key)) = self.heap.pop()?;
            if current(key) == Some(at) {
                return Some(key);
            }
        }
        None
    }

    /// How many entries there are, stale ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::MemberKey;

    #[test]
    fn far_deadlines_share_a_grid_and_near_ones_are_kept() {
        let epoch = crate::test_clock();
        let at = |ms| epoch + Duration::from_millis(ms);
        assert_eq!(coarse(at(1_499), at(1_000), epoch), at(1_499));
        assert_eq!(coarse(at(1_501), at(1_000), epoch), at(1_550));
        assert_eq!(coarse(at(1_549), at(1_000), epoch), at(1_550));
        assert_eq!(coarse(at(1_550), at(1_000), epoch), at(1_550));
    }

    #[test]
    fn only_the_newest_wish_of_a_session_wakes_it() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let key = MemberKey { index: 1, generation: 0 };
        let mut timers = Timers::default();
        timers.set(key, at(10));
        timers.set(key, at(30));
        let current = |_| Some(at(30));
        assert_eq!(timers.pop(at(20), current), None);
        assert_eq!(timers.next(), Some(at(30)));
        assert_eq!(timers.pop(at(30), current), Some(key));
        assert!(timers.is_empty());
    }
}
