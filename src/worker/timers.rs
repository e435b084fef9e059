//! The next deadline over all sessions or rooms: a heap whose stale entries are skipped, so that moving a
//! deadline costs a push and an untouched session costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

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
    use std::time::Duration;

    use super::*;
    use crate::room::MemberKey;

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
