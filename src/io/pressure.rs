//! What a media thread does about its load: how long it lets packets gather before a tick, and how
//! much work it sheds when it cannot keep up. Pure; the thread tells it when ticks began and ended.
//!
//! A thread that has any idle time has nothing waiting. One that has none falls behind by what
//! is offered over what it can do, and everybody's sound with it; so some viewers' video is shed
//! instead, a share of the viewers wholly and not of everybody's packets, since a picture with
//! holes is none.

use std::time::{Duration, Instant};

use crate::units::Share;

/// How long the load is looked at before anything follows from it: a few frames.
const WINDOW: Duration = Duration::from_millis(100);

/// Busier than this the thread cannot keep up.
const FULL: f64 = 0.97;

/// Less busy than this for [`CALM`] windows it can take a step more: one step is 3 %.
const ROOM: f64 = 0.92;
const CALM: u32 = 10;

/// Busier than this the thread lets packets gather, up to [`HOLD`] at [`FULL`]. Packets of one
/// moment share a wake of their viewer and a system call; when there is time to spare that is not
/// worth a delay.
const GATHER: f64 = 0.1;
const GATHERED: f64 = 0.5;
const HOLD: Duration = Duration::from_millis(1);

/// The load of one media thread.
#[derive(Debug)]
pub(super) struct Pressure {
    since: Instant,
    busy: Duration,
    longest: Duration,
    calm: u32,
    hold: Duration,
    shed: Share,
}

impl Pressure {
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            busy: Duration::ZERO,
            longest: Duration::ZERO,
            calm: 0,
            hold: Duration::ZERO,
            shed: Share::NONE,
        }
    }

    /// How long packets may gather, counted from the beginning of the tick before.
    pub fn hold(&self) -> Duration {
        self.hold
    }

    /// A tick began and ended; the new share to shed, if that changes now.
    pub fn ticked(&mut self, began: Instant, ended: Instant) -> Option<Share> {
        let took = ended.saturating_duration_since(began);
        self.busy += took;
        self.longest = self.longest.max(took);
        let time = ended.saturating_duration_since(self.since);
        if time < WINDOW {
            return None;
        }
        let load = self.busy.as_secs_f64() / time.as_secs_f64();
        let longest = self.longest;
        (self.since, self.busy, self.longest) = (ended, Duration::ZERO, Duration::ZERO);
        self.hold = HOLD.mul_f64(((load - GATHER) / (GATHERED - GATHER)).clamp(0.0, 1.0));
        self.calm = if load < ROOM { self.calm + 1 } else { 0 };
        let before = self.shed;
        if load >= FULL {
            // A tick takes as long as the backlog that it found is large.
            self.shed = before.more(match longest.as_millis() {
                0..=25 => 1,
                26..=60 => 3,
                _ => 6,
            });
        } else if self.calm >= CALM {
            self.calm = 0;
            self.shed = before.less(1);
        }
        (self.shed != before).then_some(self.shed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks of `busy` ms every `every` ms; what is shed at the end.
    fn work(pressure: &mut Pressure, now: &mut Instant, (busy, every, ticks): (u64, u64, u32)) {
        for _ in 0..ticks {
            let began = *now;
            *now += Duration::from_millis(every);
            pressure.ticked(began, began + Duration::from_millis(busy));
            pressure.ticked(*now, *now);
        }
    }

    #[test]
    fn long_ticks_with_rests_between_shed_nothing_and_gather_packets() {
        let mut now = crate::test_clock();
        let mut pressure = Pressure::new(now);
        work(&mut pressure, &mut now, (2, 33, 30));
        assert_eq!((pressure.shed, pressure.hold()), (Share::NONE, Duration::ZERO));
        work(&mut pressure, &mut now, (26, 33, 30));
        assert_eq!(pressure.shed, Share::NONE);
        assert!(pressure.hold() > Duration::from_micros(400), "{:?}", pressure.hold());
    }

    #[test]
    fn a_thread_without_rest_sheds_more_and_faster_the_further_it_is_behind() {
        let mut now = crate::test_clock();
        let mut pressure = Pressure::new(now);
        work(&mut pressure, &mut now, (10, 10, 11));
        assert_eq!(pressure.shed, Share::NONE.more(1));
        work(&mut pressure, &mut now, (200, 200, 1));
        assert_eq!(pressure.shed, Share::NONE.more(7));
    }

    #[test]
    fn what_was_shed_comes_back_step_by_step_after_a_second_with_room() {
        let mut now = crate::test_clock();
        let mut pressure = Pressure::new(now);
        work(&mut pressure, &mut now, (200, 200, 1));
        work(&mut pressure, &mut now, (95, 100, 30));
        assert_eq!(pressure.shed, Share::NONE.more(6), "there is no room yet");
        work(&mut pressure, &mut now, (50, 100, 11));
        assert_eq!(pressure.shed, Share::NONE.more(5));
        work(&mut pressure, &mut now, (50, 100, 60));
        assert_eq!(pressure.shed, Share::NONE);
    }
}
