//! When to ask a publisher for a keyframe, and how seldom: wishes of all viewers are merged.

use std::time::{Duration, Instant};

use super::layers::MAX_LAYERS;

/// Shortest time between two requests for the same layer. A keyframe costs as much as many
/// ordinary frames; browsers need 50–150 ms to make one. Shorter turns a storm of joins into a
/// storm of keyframes, longer lets a viewer wait who has just lost one.
const EVERY: Duration = Duration::from_millis(500);

/// The same while no keyframe has come: the request was lost, or its answer is still on the way.
/// Browsers make none sooner than this after another.
const UNANSWERED: Duration = Duration::from_millis(300);

/// The same for a layer that viewers wait for with another one on the screen: that of all viewers who
/// would like it, and have not lost anything.
const EVERY_BETTER: Duration = Duration::from_secs(2);

/// The open wishes for keyframes of one track.
#[derive(Clone, Debug, Default)]
pub struct KeyframeAsks {
    layers: [Ask; MAX_LAYERS],
    /// One keyframe begins all layers.
    shared: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ask {
    /// How long after the last request the next may follow, if there is a wish.
    wanted: Option<Duration>,
    asked: Option<Instant>,
    /// A keyframe came since.
    answered: bool,
}

impl KeyframeAsks {
    /// Somebody needs a keyframe of `layer`.
    pub fn want(&mut self, layer: u8) {
        if let Some(ask) = self.ask(layer) {
            ask.wanted = Some(if ask.answered { EVERY } else { UNANSWERED });
        }
    }

    /// Somebody who sees another layer would like this one.
    pub fn hope(&mut self, layer: u8) {
        if let Some(ask) = self.ask(layer) {
            ask.wanted.get_or_insert(EVERY_BETTER);
        }
    }

    /// A keyframe of all layers came, and one will begin all of them from now on.
    pub fn all_came(&mut self) {
        self.shared = true;
        self.layers.iter_mut().for_each(Ask::came);
    }

    /// A keyframe of `layer` came: nobody waits any more.
    pub fn came(&mut self, layer: u8) {
        self.shared = false;
        if let Some(ask) = self.ask(layer) {
            ask.came();
        }
    }

    /// A layer for which the publisher is to be asked now; counts as asked.
    pub fn poll(&mut self, now: Instant) -> Option<u8> {
        let mut asks = (0u8..).zip(&mut self.layers);
        let (layer, ask) = asks.find(|(_, ask)| ask.due(now).is_some_and(|due| due <= now))?;
        *ask = Ask { wanted: None, asked: Some(now), answered: false };
        Some(layer)
    }

    /// When [`KeyframeAsks::poll`] has something to say; `None` without open wishes.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.layers.iter().filter_map(|ask| ask.due(now)).min()
    }

    fn ask(&mut self, layer: u8) -> Option<&mut Ask> {
        let layer = if self.shared { 0 } else { layer };
        self.layers.get_mut(usize::from(layer))
    }
}

impl Ask {
    fn came(&mut self) {
        self.wanted = None;
        self.answered = true;
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let every = self.wanted?;
        Some(self.asked.map_or(now, |at| at.checked_add(every).unwrap_or(now)))
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
        asks.came(1);
        asks.want(1);
        assert_eq!(asks.poll(t + Duration::from_millis(499)), None);
        assert_eq!(asks.deadline(t), Some(t + EVERY));
        assert_eq!(asks.poll(t + EVERY), Some(1));
        assert_eq!(asks.deadline(t), None);
    }

    #[test]
    fn a_request_that_is_not_answered_is_repeated_sooner() {
        let t = crate::test_clock();
        let mut asks = KeyframeAsks::default();
        asks.want(1);
        assert_eq!(asks.poll(t), Some(1));
        asks.want(1);
        assert_eq!(asks.poll(t + Duration::from_millis(299)), None);
        assert_eq!(asks.poll(t + UNANSWERED), Some(1));
    }

    #[test]
    fn who_only_hopes_for_better_waits_longer_than_who_sees_nothing() {
        let t = crate::test_clock();
        let mut asks = KeyframeAsks::default();
        asks.hope(2);
        assert_eq!(asks.poll(t), Some(2));
        asks.came(2);
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
