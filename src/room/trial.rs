//! When a viewer that sees nothing is sent a picture though its network is not known to carry it.
//!
//! The engine looks for room by padding and probes, but it pads only where it has sent something
//! before, and once there is nothing left to send again its padding is too small to say much. What
//! really comes through is known once a picture is sent.

use std::time::{Duration, Instant};

/// How long a viewer sees nothing before the first trial, and at most; each one that was in vain
/// makes the next wait twice as long.
const FIRST: Duration = Duration::from_secs(6);
const LONGEST: Duration = Duration::from_secs(60);

/// A picture that lasted so long was no trial.
const LASTING: Duration = Duration::from_secs(12);

/// The trials of one viewer.
#[derive(Debug)]
pub(super) struct Trial {
    /// Since when it sees nothing, or something.
    dark: Option<Instant>,
    bright: Option<Instant>,
    /// It saw something once.
    began: bool,
    wait: Duration,
}

impl Default for Trial {
    fn default() -> Self {
        Self { dark: None, bright: None, began: false, wait: FIRST }
    }
}

impl Trial {
    /// Whether a picture is to be sent all the same. `well`: nothing is lost, and nothing waits.
    pub fn is_due(&mut self, sees: bool, well: bool, now: Instant) -> bool {
        if sees {
            self.dark = None;
            self.began = true;
            let since = *self.bright.get_or_insert(now);
            if now.saturating_duration_since(since) >= LASTING {
                self.wait = FIRST;
            }
            return false;
        }
        self.bright = None;
        let since = *self.dark.get_or_insert(now);
        if !self.began {
            // Nothing is known of its network yet.
            return true;
        }
        let due = well && now.saturating_duration_since(since) >= self.wait;
        if due {
            self.dark = Some(now);
            self.wait = (self.wait * 2).min(LONGEST);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_nothing_is_tried_at_once_the_first_time_and_then_ever_more_seldom() {
        let t = crate::test_clock();
        let mut trial = Trial::default();
        let mut due = |seconds: std::ops::Range<u64>, sees, well| {
            let at = |s: &u64| trial.is_due(sees, well, t + Duration::from_secs(*s));
            seconds.filter(at).collect::<Vec<u64>>()
        };
        assert_eq!(due(0..2, false, true), [0, 1], "nothing is known yet");
        assert_eq!(due(2..4, true, true), [0; 0]);
        assert_eq!(due(4..180, false, true), [10, 22, 46, 94, 154]);
        assert_eq!(due(180..220, false, false), [0; 0], "not while packets get lost");
        assert_eq!(due(220..221, false, true), [220]);
        assert_eq!(due(221..234, true, true), [0; 0], "it lasted");
        assert_eq!(due(234..245, false, true), [240]);
    }
}
