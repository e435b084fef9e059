//! What a media thread does about its load: how long it lets packets gather before a tick, and what
//! its worker is to leave out when it cannot keep up. Pure; the thread tells it when ticks began and
//! ended, and how much of a core it had.
//!
//! A thread that has any idle time has nothing waiting. One that has none falls behind by what
//! is offered over what it can do, and everybody's sound with it; so some viewers' video is shed
//! instead, a share of the viewers wholly and not of everybody's packets, since a picture with
//! holes is none. A thread that is not given a core by the system has no idle time either, but
//! nothing to shed: it does what it does late, and soon has time again.

use std::time::{Duration, Instant};

use crate::units::Share;
use crate::worker::relief::Relief;

/// How long the load is looked at before anything follows from it: a few frames.
const WINDOW: Duration = Duration::from_millis(100);

/// Busier than this the thread has no rest …
const FULL: f64 = 0.97;
/// … and with this much of a core it is because of the work …
const OWN: f64 = 0.6;
/// … and after so many windows of it not because of a burst. Probes, which nobody misses at once, are
/// left out from the first on.
const SUSTAINED: u32 = 2;

/// A tick that took so long makes what viewers' estimators see worthless: packets seem to wait in the
/// network. They see it for some time after.
const LATE: Duration = Duration::from_millis(30);
const SEEN: Duration = Duration::from_secs(2);

/// Video comes back where the load with it would stay below this, half of that at a time, after each
/// [`CALM`]; and once all of it is back, probes and haste in eighths: all at once they would be the next
/// overload, unless the thread has half of its time left.
const ROOM: f64 = 0.92;
const HALF: f64 = 0.5;
const CALM: Duration = Duration::from_millis(500);
const PROBES: u8 = 4;

/// From this load on the thread lets packets gather, and from [`GATHERED`] on for [`HOLD`].
/// Packets of one moment share a wake of their viewer and a system call; when there is time to
/// spare that is not worth a delay.
const GATHER: f64 = 0.1;
const GATHERED: f64 = 0.25;
const HOLD: Duration = Duration::from_millis(1);

/// The load of one media thread.
#[derive(Debug)]
pub(super) struct Pressure {
    since: Instant,
    /// CPU time of the thread at that moment.
    cpu: Duration,
    busy: Duration,
    longest: Duration,
    /// Windows without rest in a row.
    full: u32,
    calm: Instant,
    /// When probes were last taken to be worthless.
    late: Instant,
    /// The highest load of a window since then.
    peak: f64,
    hold: Duration,
    relief: Relief,
}

impl Pressure {
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            cpu: Duration::ZERO,
            busy: Duration::ZERO,
            longest: Duration::ZERO,
            full: 0,
            calm: now,
            late: now,
            peak: 0.0,
            hold: Duration::ZERO,
            relief: Relief::NONE,
        }
    }

    /// What is left out at present.
    pub fn relief(&self) -> Relief {
        self.relief
    }

    /// How long packets may gather, counted from the beginning of the tick before.
    pub fn hold(&self) -> Duration {
        self.hold
    }

    /// A tick began and ended; what is to be left out, if that changes now.
    /// `cpu` tells the thread's CPU time so far, and is asked ten times a second.
    pub fn ticked(
        &mut self,
        began: Instant,
        ended: Instant,
        cpu: impl FnOnce() -> Duration,
    ) -> Option<Relief> {
        let took = ended.saturating_duration_since(began);
        self.busy += took;
        self.longest = self.longest.max(took);
        let time = ended.saturating_duration_since(self.since);
        if time < WINDOW {
            return None;
        }
        let share = |part: Duration| part.as_secs_f64() / time.as_secs_f64();
        let cpu = cpu();
        let own = share(cpu.saturating_sub(self.cpu));
        let load = share(self.busy);
        let longest = self.longest;
        (self.since, self.cpu, self.busy, self.longest) =
            (ended, cpu, Duration::ZERO, Duration::ZERO);
        self.hold = HOLD.mul_f64(((load - GATHER) / (GATHERED - GATHER)).clamp(0.0, 1.0));
        let before = self.relief;
        self.relief = self.decide(load, own, longest, ended);
        (self.relief != before).then_some(self.relief)
    }

    fn decide(&mut self, load: f64, own: f64, longest: Duration, now: Instant) -> Relief {
        let Relief { probes, haste, video } = self.relief;
        self.full = if load >= FULL && own >= OWN { self.full + 1 } else { 0 };
        self.peak = self.peak.max(load);
        if load >= ROOM {
            self.calm = now;
            self.peak = 0.0;
        }
        let late = self.full > 0 || longest >= LATE;
        let probes = if late { Share::WHOLE } else { probes };
        if late {
            self.late = now;
        }
        if self.full >= SUSTAINED {
            // Each step is given time to show.
            self.full = 0;
            // A tick takes as long as the backlog that it found is large.
            let steps = match longest.as_millis() {
                0..=25 => 1,
                26..=60 => 3,
                _ => 6,
            };
            return Relief { probes, haste: Share::WHOLE, video: video.more(steps) };
        }
        if now.saturating_duration_since(self.calm) < CALM {
            return Relief { probes, haste, video };
        }
        self.calm = now;
        let peak = std::mem::replace(&mut self.peak, 0.0);
        match video {
            Share::NONE if now < self.late + SEEN => Relief { probes, haste, video },
            Share::NONE if peak < HALF => Relief::NONE,
            Share::NONE => {
                let probes = probes.less(PROBES);
                Relief { probes, haste: haste.min(probes), video }
            }
            _ => Relief { probes, haste, video: video.less(steps_back(peak, video)) },
        }
    }
}

/// How many steps of the video may come back at once: half of what there is room for, if all of the
/// load is video that is not shed.
fn steps_back(load: f64, shed: Share) -> u8 {
    let sent = Share::WHOLE.steps() - shed.steps();
    let step = load / f64::from(sent.max(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let steps = ((ROOM - load) / step / 2.0).clamp(1.0, 32.0) as u8;
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thread {
        pressure: Pressure,
        now: Instant,
        cpu: Duration,
    }

    impl Thread {
        fn new() -> Self {
            let now = crate::test_clock();
            Self { pressure: Pressure::new(now), now, cpu: Duration::ZERO }
        }

        /// Ticks of `busy` ms every `every` ms, with this share of a core while busy.
        fn work(&mut self, (busy, every, ticks): (u64, u64, u32), core: f64) {
            for _ in 0..ticks {
                let began = self.now;
                let ended = began + Duration::from_millis(busy);
                self.now += Duration::from_millis(every);
                self.cpu += (ended - began).mul_f64(core);
                let cpu = self.cpu;
                self.pressure.ticked(began, ended, || cpu);
                self.pressure.ticked(self.now, self.now, || cpu);
            }
        }
    }

    fn shed(thread: &Thread) -> Share {
        thread.pressure.relief.video
    }

    #[test]
    fn long_ticks_with_rests_between_shed_nothing_and_gather_packets() {
        let mut thread = Thread::new();
        thread.work((2, 33, 30), 1.0);
        assert_eq!(
            (thread.pressure.relief, thread.pressure.hold()),
            (Relief::NONE, Duration::ZERO)
        );
        thread.work((26, 33, 30), 1.0);
        assert_eq!((thread.pressure.relief, thread.pressure.hold()), (Relief::NONE, HOLD));
    }

    #[test]
    fn a_thread_without_rest_leaves_out_probes_and_then_video_the_more_the_further_it_is_behind() {
        let mut thread = Thread::new();
        thread.work((10, 10, 11), 1.0);
        let probes = Relief { probes: Share::WHOLE, ..Relief::NONE };
        assert_eq!(thread.pressure.relief, probes, "a burst is no overload");
        thread.work((10, 10, 10), 1.0);
        assert_eq!(shed(&thread), Share::NONE.more(1));
        assert_eq!(thread.pressure.relief.haste, Share::WHOLE, "for all, to keep more pictures");
        thread.work((10, 10, 20), 1.0);
        assert_eq!(shed(&thread), Share::NONE.more(2), "each step is given time to show");
        thread.work((200, 200, 2), 1.0);
        assert_eq!(shed(&thread), Share::NONE.more(8));
    }

    #[test]
    fn a_thread_that_is_not_given_a_core_sheds_nothing() {
        let mut thread = Thread::new();
        thread.work((100, 100, 50), 0.5);
        assert_eq!(shed(&thread), Share::NONE);
        assert_eq!(thread.pressure.relief.probes, Share::WHOLE, "but its lateness proves nothing");
    }

    #[test]
    fn what_was_shed_comes_back_as_there_is_room_and_probes_last() {
        let mut thread = Thread::new();
        thread.work((200, 200, 4), 1.0);
        assert_eq!(shed(&thread), Share::NONE.more(12));
        thread.work((95, 100, 30), 1.0);
        assert_eq!(shed(&thread), Share::NONE.more(12), "there is no room yet");
        thread.work((80, 100, 6), 1.0);
        assert_eq!(shed(&thread), Share::NONE.more(11), "all of it would be too much");
        thread.work((30, 100, 11), 1.0);
        assert_eq!(shed(&thread), Share::NONE, "half of the room is more than that");
        assert_eq!(thread.pressure.relief.probes, Share::WHOLE, "ticks are as long as they were");
        thread.work((8, 10, 250), 1.0);
        let left = Share::WHOLE.less(PROBES);
        assert_eq!(
            thread.pressure.relief,
            Relief { probes: left, haste: left, video: Share::NONE }
        );
        thread.work((4, 10, 110), 1.0);
        assert_eq!(thread.pressure.relief, Relief::NONE, "half of the time is left");
    }
}
