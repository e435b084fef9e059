//! When to ask a publisher for a keyframe, and how seldom: wishes of all viewers are merged.

use std::time::{Duration, Instant};

use super::layers::MAX_LAYERS;

/// Shortest time between two requests for the same layer. A keyframe costs as much as many
/// ordinary frames; browsers need 50–150 ms to make one. Shorter turns a storm of joins into a
/// storm of keyframes, longer lets a viewer wait who has just lost one.
const EVERY: Duration = Duration::from_millis(500);

/// The same for a layer that viewers wait for with another one on the screen: that of all viewers who
/// would like it, and have not lost anything.
const EVERY_BETTER: Duration = Duration::from_secs(2);

/// The open wishes for keyframes of one track.
#[derive(Clone, Debug, Default)]
pub struct KeyframeAsks {
    wanted: [Option<Duration>; MAX_LAYERS],
    asked: [Option<Instant>; MAX_LAYERS],
    /// One keyframe begins all layers.
    shared: bool,
}

impl KeyframeAsks {
    /// Somebody needs a keyframe of `layer`.
    pub fn want(&mut self, layer: u8) {
        let layer = if self.shared { 0 } else { layer };
        if let Some(wanted) = self.wanted.get_mut(usize::from(layer)) {
            *wanted = Some(EVERY);
        }
    }

    /// Somebody who sees another layer would like this one.
    pub fn hope(&mut self, layer: u8) {
        let layer = if self.shared { 0 } else { layer };
        if let Some(wanted) = self.wanted.get_mut(usize::from(layer)) {
            wanted.get_or_insert(EVERY_BETTER);
        }
    }

    /// A keyframe of all layers came, and one will begin all of them from now on.
    pub fn all_came(&mut self) {
        self.shared = true;
        self.wanted = [None; MAX_LAYERS];
    }

    /// A keyframe of `layer` came: nobody waits any more.
    pub fn came(&mut self, layer: u8) {
        self.shared = false;
        if let Some(wanted) = self.wanted.get_mut(usize::from(layer)) {
            *wanted = None;
        }
    }

    /// A layer for which the publisher is to be asked now; counts as asked.
    pub fn poll(&mut self, now: Instant) -> Option<u8> {
        for ((layer, wanted), asked) in (0u8..).zip(&mut self.wanted).zip(&mut self.asked) {
            let Some(every) = *wanted else { continue };
            if asked.is_none_or(|at| now.saturating_duration_since(at) >= every) {
                *wanted = None;
                *asked = Some(now);
                return Some(layer);
            }
        }
        None
    }

    /// When [`KeyframeAsks::poll`] has something to say; `None` without open wishes.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = |(every, asked): (Option<Duration>, Option<Instant>)| {
            let every = every?;
            Some(asked.map_or(now, |at| at.checked_add(every).unwrap_or(now)))
        };
        self.wanted.into_iter().zip(self.asked).filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wishes_make_one_request_and_the_next_one_half_a_second_later() {
        let t = crate::test_clock();
        let mut asks = KeyframeAsks::default();
        for _ in 0..100 {
            asks.want(1);
        }
        assert_eq!(asks.deadline(t), Some(t));
        assert_eq!(asks.poll(t), Some(1));
        assert_eq!(asks.poll(t), None);
        asks.want(1);
        assert_eq!(asks.poll(t + Duration::from_millis(499)), None);
        assert_eq!(asks.deadline(t), Some(t + EVERY));
        assert_eq!(asks.poll(t + EVERY), Some(1));
        assert_eq!(asks.deadline(t), None);
    }

    #[test]
    fn who_only_hopes_for_better_waits_longer_than_who_sees_nothing() {
        let t = crate::test_clock();
        let mut asks = KeyframeAsks::default();
        asks.hope(2);
        assert_eq!(asks.poll(t), Some(2));
        asks.hope(2);
        assert_eq!(asks.poll(t + EVERY), None);
        assert_eq!(asks.deadline(t), Some(t + EVERY_BETTER));
        asks.want(2);
        assert_eq!(asks.poll(t + EVERY), Some(2));
    }

    #[test]
    fn a_keyframe_that_came_by_itself_ends_the_wish() {
        let t = crate::test_clock();
        let mut asks = KeyframeAsks::default();
        asks.want(0);
        asks.came(0);
        assert_eq!(asks.poll(t), None);
    }

    #[test]
    fn where_one_keyframe_begins_all_layers_one_is_asked_for() {
        let t = crate::test_clock();
        let mut asks = KeyframeAsks::default();
        asks.want(2);
        asks.all_came();
        assert_eq!(asks.poll(t), None);
        asks.want(1);
        asks.want(2);
        assert_eq!((asks.poll(t), asks.poll(t)), (Some(0), None));
    }
}
