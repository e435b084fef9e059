//! What a worker leaves out while it cannot keep up, so that what it delivers stays the most that it
//! can: first what nobody misses, then pictures, never sound.

use std::time::{Duration, Instant};

use crate::units::Share;

/// Sound waits so long at most for the next packet, which comes after 20 ms as a rule: a wake of an
/// engine costs more than what it sends.
const PAIR: Duration = Duration::from_millis(30);

/// How often a viewer's feedback on when packets arrived is read: often enough to know what it loses,
/// since nothing else is asked of it meanwhile (`Pace::strain`). To read it costs as much as to send
/// four packets.
const FEEDBACK: Duration = Duration::from_millis(200);

/// What is left out, as shares of the viewers: `video` is a part of `haste`, and that of `probes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relief {
    /// Nothing better is looked for, neither by padding nor by probes, and what waits to be sent
    /// is taken to wait for the worker and not for the viewer's network.
    pub probes: Share,
    /// Sound waits for the next packet, so that they leave together, and most feedback is not read.
    pub haste: Share,
    /// No video is sent.
    pub video: Share,
}

impl Relief {
    /// Nothing is left out.
    pub const NONE: Self = Self { probes: Share::NONE, haste: Share::NONE, video: Share::NONE };
}

/// What is put off for a viewer that is in no haste.
#[derive(Debug, Default)]
pub(super) struct PutOff {
    /// Since when a packet of sound waits for the next one.
    sound: Option<Instant>,
    /// When feedback was last read.
    feedback: Option<Instant>,
}

impl PutOff {
    /// Whether sound that was just written waits for the next packet.
    pub fn lets_sound_wait(&mut self, now: Instant) -> bool {
        let first = self.sound.take().is_none();
        self.sound = first.then_some(now);
        first
    }

    /// Until when sound waits.
    pub fn sound_due(&self) -> Option<Instant> {
        self.sound.map(|since| since + PAIR)
    }

    /// All that was written leaves; whether sound waited.
    pub fn woken(&mut self) -> bool {
        self.sound.take().is_some()
    }

    /// Whether feedback that came goes unread.
    pub fn skips_feedback(&mut self, now: Instant) -> bool {
        let skips = self.feedback.is_some_and(|at| now < at + FEEDBACK);
        if !skips {
            self.feedback = Some(now);
        }
        skips
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_leaves_in_pairs_and_alone_when_nothing_follows() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let mut viewer = PutOff::default();
        assert!(viewer.lets_sound_wait(at(0)));
        assert_eq!(viewer.sound_due(), Some(at(30)));
        assert!(!viewer.lets_sound_wait(at(20)));
        assert_eq!(viewer.sound_due(), None);
        assert!(viewer.lets_sound_wait(at(40)));
        viewer.woken();
        assert_eq!(viewer.sound_due(), None);
    }

    #[test]
    fn feedback_is_read_five_times_a_second() {
        let t = crate::test_clock();
        let mut viewer = PutOff::default();
        let read = (0..1_000u64).step_by(50);
        let read = read.filter(|ms| !viewer.skips_feedback(t + Duration::from_millis(*ms)));
        assert_eq!(read.collect::<Vec<_>>(), [0, 200, 400, 600, 800]);
    }
}
