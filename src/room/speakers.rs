//! Who speaks: from the audio levels that the browsers write beside each packet (RFC 6464), with
//! hysteresis, told at most five times a second.

use std::time::{Duration, Instant};

/// Time between two looks, and so between two events.
pub const EVERY: Duration = Duration::from_millis(200);

/// Somebody above this speaks, in dBov. A quiet voice at arm's length is at about −45; a fan or
/// a keyboard stays below −50.
const STARTS_AT: f32 = -45.0;

/// Somebody below this for [`HOLD`] has stopped. The gap keeps one sentence one event.
pub(super) const STOPS_AT: f32 = -55.0;
const HOLD: Duration = Duration::from_millis(600);

/// Levels without packets for this long count as silence: discontinuous transmission sends one
/// every 400 ms.
const SILENT_AFTER: Duration = Duration::from_millis(500);

/// What silence is, in dBov.
const SILENCE: f32 = -127.0;

/// Weight of a new level when it is louder, and when it is quieter than the mean. A syllable is
/// heard within 60 ms, a pause between words is not taken for an end.
const ATTACK: f32 = 0.4;
const RELEASE: f32 = 0.08;

/// How loud one participant is.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    mean: f32,
    heard: Option<Instant>,
    loud: Option<Instant>,
    speaking: bool,
    /// Who decides was told that it is loud.
    told: bool,
}

impl Default for Voice {
    fn default() -> Self {
        Self { mean: SILENCE, heard: None, loud: None, speaking: false, told: false }
    }
}

impl Voice {
    /// A packet with this level in dBov (−127 silence, 0 the loudest) came.
    pub fn hear(&mut self, level: i8, now: Instant) {
        let level = f32::from(level.clamp(-127, 0));
        let weight = if level > self.mean { ATTACK } else { RELEASE };
        self.set(self.mean + (level - self.mean) * weight, now);
    }

    /// Looks at the mean; whether this voice speaks now.
    pub fn decide(&mut self, now: Instant) -> bool {
        let silent = |at: Instant| now.saturating_duration_since(at) >= SILENT_AFTER;
        if self.heard.is_none_or(silent) {
            self.mean = SILENCE;
        }
        if self.mean > STARTS_AT {
            self.speaking = true;
        } else if self.loud.is_none_or(|at| now.saturating_duration_since(at) >= HOLD) {
            self.speaking = false;
        }
        self.speaking
    }

    /// Takes the mean that another worker measured.
    pub fn set(&mut self, mean: f32, now: Instant) {
        self.mean = mean;
        self.heard = Some(now);
        if self.mean > STOPS_AT {
            self.loud = Some(now);
        }
    }

    /// The mean in dBov.
    #[must_use]
    pub fn mean(&self) -> f32 {
        self.mean
    }

    /// Whether it is as loud as somebody who begins to speak.
    #[must_use]
    pub fn is_loud(&self) -> bool {
        self.mean > STARTS_AT
    }

    /// When it was last as loud as somebody who goes on speaking.
    #[must_use]
    pub fn loud(&self) -> Option<Instant> {
        self.loud
    }

    /// Whether that is at least so long ago.
    #[must_use]
    pub fn is_idle(&self, time: Duration, now: Instant) -> bool {
        self.loud.is_none_or(|at| now.saturating_duration_since(at) >= time)
    }

    /// The mean in dBov if it is loud, for another to decide by who does not know yet: once between
    /// two reports at most.
    pub fn report_start(&mut self) -> Option<f32> {
        let new = self.is_loud() && !self.told;
        self.told |= new;
        new.then_some(self.mean)
    }

    /// The mean in dBov if it matters to who speaks, for another to decide by; once more when it
    /// has stopped to matter.
    pub fn report(&mut self, now: Instant) -> Option<f32> {
        let silent = |at: Instant| now.saturating_duration_since(at) >= SILENT_AFTER;
        if self.heard.is_none_or(silent) {
            self.mean = SILENCE;
        }
        self.told = self.is_loud();
        let before = std::mem::replace(&mut self.speaking, self.mean > STOPS_AT);
        (before || self.speaking).then_some(self.mean)
    }

    /// Is silent at once: muted.
    pub fn silence(&mut self) {
        *self = Self::default();
    }

    /// How loud, from 0 to 1 in steps of 0.1: coarse, so that only what can be seen is told.
    #[must_use]
    pub fn level(&self) -> f32 {
        ((self.mean - SILENCE) / -SILENCE * 10.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(voice: &mut Voice, from: Instant, ms: u64, level: i8) -> Instant {
        let mut now = from;
        for _ in 0..ms / 20 {
            now += Duration::from_millis(20);
            voice.hear(level, now);
        }
        now
    }

    #[test]
    fn a_voice_is_heard_within_a_fifth_of_a_second_and_held_over_a_pause() {
        let mut voice = Voice::default();
        let now = talk(&mut voice, crate::test_clock(), 200, -25);
        assert!(voice.decide(now));
        let now = talk(&mut voice, now, 400, -127);
        assert!(voice.decide(now), "a pause of 400 ms is no end");
        let now = talk(&mut voice, now, 2_000, -127);
        voice.decide(now);
        assert!(!voice.decide(now + HOLD));
    }

    #[test]
    fn noise_between_the_two_thresholds_changes_nothing() {
        let mut voice = Voice::default();
        let now = talk(&mut voice, crate::test_clock(), 3_000, -50);
        assert!(!voice.decide(now), "noise does not start a speaker");
        let now = talk(&mut voice, now, 500, -20);
        assert!(voice.decide(now));
        let now = talk(&mut voice, now, 3_000, -50);
        assert!(voice.decide(now), "nor does it end one");
    }

    #[test]
    fn a_start_is_reported_at_once_and_once_between_two_reports() {
        let mut voice = Voice::default();
        let now = talk(&mut voice, crate::test_clock(), 40, -20);
        assert_eq!(voice.report_start(), None, "not loud yet");
        assert!(voice.report(now).is_none());
        let now = talk(&mut voice, now, 20, -20);
        assert!(voice.report_start().is_some_and(|mean| mean > STARTS_AT));
        let now = talk(&mut voice, now, 20, -20);
        assert_eq!(voice.report_start(), None, "it is known");
        assert!(voice.report(now).is_some());
        let now = talk(&mut voice, now, 3_000, -50);
        assert!(voice.report(now).is_some(), "not loud, but who speaks goes on");
        talk(&mut voice, now, 40, -20);
        assert!(voice.report_start().is_some(), "loud again");
    }

    #[test]
    fn packets_that_stop_are_silence() {
        let mut voice = Voice::default();
        let now = talk(&mut voice, crate::test_clock(), 500, -20);
        assert!(voice.decide(now));
        voice.decide(now + SILENT_AFTER);
        assert!(!voice.decide(now + SILENT_AFTER + HOLD));
        assert!(voice.level() < 0.1);
    }
}
