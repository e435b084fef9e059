//! What a media thread does about its load: how long it lets packets gather before a tick, and how
//! much work it sheds when it cannot keep up. Pure; the thread tells it when ticks began and ended,
//! and how much of a core it had.
//!
//! A thread that has any idle time has nothing waiting. One that has none falls behind by what
//! is offered over what it can do, and everybody's sound with it; so some viewers' video is shed
//! instead, a share of the viewers wholly and not of everybody's packets, since a picture with
//! holes is none. A thread that is not given a core by the system has no idle time either, but
//! nothing to shed: it does what it does late, and soon has time again.

use std::time::{Duration, Instant};

use crate::units::Share;

/// How long the load is looked at before anything follows from it: a few frames.
const WINDOW: Duration = Duration::from_millis(100);

/// Busier than this the thread has no rest …
const FULL: f64 = 0.97;
/// … and with this much of a core it is because of the work …
const OWN: f64 = 0.75;
/// … and after so many windows of it not because of a burst.
const SUSTAINED: u32 = 3;

/// What was shed comes back where the load with it would stay below this: all at once if that is
/// sure, else a step (3 %) after each [`CALM`].
const ROOM: f64 = 0.92;
const CALM: Duration = Duration::from_secs(1);

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
    hold: Duration,
    shed: Share,
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
            hold: Duration::ZERO,
            shed: Share::NONE,
        }
    }

    /// How long packets may gather, counted from the beginning of the tick before.
    pub fn hold(&self) -> Duration {
        self.hold
    }

    /// A tick began and ended; the new share of viewers to be spared video, if that changes now.
    /// `cpu` tells the thread's CPU time so far, and is asked ten times a second.
    pub fn ticked(
        &mut self,
        began: Instant,
        ended: Instant,
        cpu: impl FnOnce() -> Duration,
    ) -> Option<Share> {
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
        let before = self.shed;
        self.shed = self.decide(load, own, longest, ended);
        (self.shed != before).then_some(self.shed)
    }

    fn decide(&mut self, load: f64, own: f64, longest: Duration, now: Instant) -> Share {
        self.full = if load >= FULL && own >= OWN { self.full + 1 } else { 0 };
        if load >= ROOM {
            self.calm = now;
        }
        if self.full >= SUSTAINED {
            // A tick takes as long as the backlog that it found is large.
            let steps = match longest.as_millis() {
                0..=25 => 1,
                26..=60 => 3,
                _ => 6,
            };
            return self.shed.more(steps);
        }
        if load < ROOM * (1.0 - self.shed.as_f64()) {
            return Share::NONE;
        }
        if now.saturating_duration_since(self.calm) >= CALM {
            self.calm = now;
            return self.shed.less(1);
        }
        self.shed
    }
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

    #[test]
    fn long_ticks_with_rests_between_shed_nothing_and_gather_packets() {
        let mut thread = Thread::new();
        thread.work((2, 33, 30), 1.0);
        assert_eq!((thread.pressure.shed, thread.pressure.hold()), (Share::NONE, Duration::ZERO));
        thread.work((26, 33, 30), 1.0);
        assert_eq!((thread.pressure.shed, thread.pressure.hold()), (Share::NONE, HOLD));
    }

    #[test]
    fn a_thread_without_rest_sheds_more_and_faster_the_further_it_is_behind() {
        let mut thread = Thread::new();
        thread.work((10, 10, 20), 1.0);
        assert_eq!(thread.pressure.shed, Share::NONE, "a burst is no overload");
        thread.work((10, 10, 10), 1.0);
        assert_eq!(thread.pressure.shed, Share::NONE.more(1));
        thread.work((200, 200, 1), 1.0);
        assert_eq!(thread.pressure.shed, Share::NONE.more(7));
    }

    #[test]
    fn a_thread_that_is_not_given_a_core_sheds_nothing() {
        let mut thread = Thread::new();
        thread.work((100, 100, 50), 0.5);
        assert_eq!(thread.pressure.shed, Share::NONE);
    }

    #[test]
    fn what_was_shed_comes_back_at_once_or_step_by_step_as_there_is_room() {
        let mut thread = Thread::new();
        thread.work((200, 200, 4), 1.0);
        assert_eq!(thread.pressure.shed, Share::NONE.more(12));
        thread.work((95, 100, 30), 1.0);
        assert_eq!(thread.pressure.shed, Share::NONE.more(12), "there is no room yet");
        thread.work((70, 100, 11), 1.0);
        assert_eq!(
            thread.pressure.shed,
            Share::NONE.more(11),
            "with all of it there would be none"
        );
        thread.work((30, 100, 1), 1.0);
        assert_eq!(thread.pressure.shed, Share::NONE);
    }
}
