//! What one viewer's network may be trusted with: an estimate that overshoots, dips and lags, made
//! into how much may be kept and how much more may be tried.

use std::time::{Duration, Instant};

use super::allocation::{Budget, with_spare};
use crate::model::Bandwidth;

/// What is new must have fitted for one to two of these: an estimate overshoots before it finds its
/// place.
const GENERATION: Duration = Duration::from_millis(1_000);

/// After a step up no other until its rate has been measured.
const BREATH: Duration = Duration::from_millis(600);

/// After a step down a step up needs [`CALM_SPARE`] until this has passed; twice as long each time
/// that a step up did not last. An estimate that hangs between two layers must not make the
/// picture flicker.
const CALM: Duration = Duration::from_secs(2);
const LONGEST_CALM: Duration = Duration::from_secs(16);

/// While a step up is being regretted, the next one is given two thirds of what there is.
const CALM_SPARE: (u64, u64) = (2, 3);

/// And so many times the calm is waited before as much is tried again, unless the network is found
/// to carry an eighth more.
const REGRETS: u32 = 8;

/// When so many times the calm nothing was lost, nothing waited, and nothing got better or worse, what
/// is padded for the next step comes through: an estimate that dips is believed to carry one part in
/// [`DIPS`] more.
const PATIENCE: u32 = 2;
const DIPS: u64 = 14;

/// A step up that lasted so long was right.
const LASTING: Duration = Duration::from_secs(12);

/// After a step down nothing more is looked for, and nothing gets better, until queues on the way have emptied.
const RECOVERS: Duration = Duration::from_secs(2);

/// So long after a step down pictures get better step by step, or to what takes half of what there is
/// at most: with little sent, an estimate is not tested, and may be far too high.
const CAREFUL: Duration = Duration::from_secs(30);
const SURE: u64 = 2;

/// What a viewer has already is given up when more packets are lost than this, or wait. An estimate
/// by itself falls to less than what is sent whenever packets are delayed; if the network really
/// carries no more, they wait.
const SOME_LOSS: f32 = 0.03;

/// Loss while packets wait on the way is of our own making: a queue there is full. If it lasts, less
/// is sent, whatever the estimate.
const OWN_LOSS: f32 = 0.015;
const LASTS: Duration = Duration::from_millis(1_500);

/// More loss than this is congestion, or a network that padding would make worse.
const MUCH_LOSS: f32 = 0.15;

/// With more loss than this the network carries far less than anybody knows yet: only what takes
/// least is sent until that is over.
const FLOOD: f32 = 0.25;

/// More than any network carries, and little enough to be added up.
const ENDLESS: u64 = u64::MAX / 4;

/// What is known of one viewer's network.
#[derive(Debug)]
pub(super) struct Network {
    bandwidth: Bandwidth,
    lows: Lows,
    calm_until: Option<Instant>,
    calm: Duration,
    raised: Option<Instant>,
    fell: Option<Instant>,
    flooded: Option<Instant>,
    /// It was flooded when it was looked at last.
    drowned: bool,
    /// Since when packets are lost while others wait on the way.
    full_since: Option<Instant>,
    /// Since when nothing is lost, nothing waits, and nothing got better or worse.
    smooth_since: Option<Instant>,
    /// All that was sent after a step up that did not last, and when it was given up.
    regretted: Option<(u64, Instant)>,
}

/// How far a viewer's pictures may change now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// How much may be sent beside the sound.
    pub budget: Budget,
    /// Pictures got worse a moment ago.
    pub fell: bool,
    /// No picture gets better.
    pub no_better: bool,
    /// A picture gets better by one rung at most, or to one that takes no more than this.
    pub careful: Option<u64>,
    /// Of each picture only what takes least.
    pub least: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            bandwidth: Bandwidth::default(),
            lows: Lows::default(),
            calm_until: None,
            calm: CALM,
            raised: None,
            fell: None,
            flooded: None,
            drowned: false,
            full_since: None,
            smooth_since: None,
            regretted: None,
        }
    }
}

impl Network {
    /// What it carries, as was said last.
    pub fn bandwidth(&self) -> Bandwidth {
        self.bandwidth
    }

    /// What it carries now; the estimate before that.
    pub fn learn(&mut self, bandwidth: Bandwidth, now: Instant) -> u64 {
        self.lows.note(bandwidth.estimate, now);
        let lost = bandwidth.loss > OWN_LOSS;
        let full = lost && bandwidth.queued;
        self.full_since = full.then(|| self.full_since.unwrap_or(now));
        let smooth = !(lost || bandwidth.queued || bandwidth.squeezed);
        self.smooth_since = smooth.then(|| self.smooth_since.unwrap_or(now));
        std::mem::replace(&mut self.bandwidth, bandwidth).estimate
    }

    /// What follows for pictures, when the sound takes so much, and all that is sent so much.
    pub fn terms(&mut self, sound: u64, sent: u64, now: Instant) -> Terms {
        let Bandwidth { estimate, loss, squeezed, flooded, .. } = self.bandwidth;
        self.lows.note(estimate, now);
        let evident = squeezed || loss > SOME_LOSS;
        let mut held = if evident { estimate } else { ENDLESS };
        if self.full_since.is_some_and(|at| now >= at + LASTS) {
            self.full_since = None;
            held = held.min(sent - sent / 20);
        }
        let low = self.lows.lowest(estimate);
        let careful = self.fell_within(CAREFUL, now);
        let recovers = self.fell_within(RECOVERS, now);
        Terms {
            budget: Budget {
                held: held.saturating_sub(sound),
                new: self.trust(now).gives(low).saturating_sub(sound),
                // A picture is missed so much that it is tried when it nearly fits: what really
                // comes through is known best once it is sent.
                first: if self.is_calm(now) { low } else { estimate + estimate / 4 }
                    .saturating_sub(sound),
            },
            fell: recovers,
            no_better: self.raised.is_some_and(|at| now < at + BREATH) || recovers,
            careful: careful.then(|| (low / SURE).saturating_sub(sound)),
            least: flooded || loss > FLOOD,
        }
    }

    /// How far an estimate is trusted with what a viewer does not have yet.
    fn trust(&self, now: Instant) -> Trust {
        let patient = self.smooth_since.is_some_and(|since| now >= since + self.calm * PATIENCE);
        let regretted = self.regretted.filter(|(_, at)| now < *at + self.calm * REGRETS);
        Trust { calm: self.is_calm(now), patient, regretted: regretted.map(|(rate, _)| rate) }
    }

    /// Whether pictures got worse so lately that a step up needs much to spare.
    fn is_calm(&self, now: Instant) -> bool {
        self.calm_until.is_some_and(|until| now < until)
    }

    fn fell_within(&self, time: Duration, now: Instant) -> bool {
        self.fell.is_some_and(|at| now < at + time)
    }

    /// With what estimate so much is sent in all to a viewer that has less, though it dips.
    pub fn enough(&self, rate: u64, now: Instant) -> u64 {
        self.trust(now).needs(with_spare(rate))
    }

    /// Whether nothing is lost, nothing waits, and nothing had to be given up a moment ago.
    pub fn is_well(&self, now: Instant) -> bool {
        let Bandwidth { loss, queued, squeezed, late, .. } = self.bandwidth;
        loss <= OWN_LOSS && !queued && !squeezed && !late && !self.fell_within(RECOVERS, now)
    }

    /// Whether to look for more would only keep the network full.
    pub fn is_congested(&self, now: Instant) -> bool {
        self.fell_within(RECOVERS, now) || self.bandwidth.loss > MUCH_LOSS
    }

    /// Whether it has just got so narrow that what waits to be sent would only be in the way.
    pub fn is_newly_flooded(&mut self, now: Instant) -> bool {
        let since = self.flooded.is_none_or(|at| now >= at + RECOVERS);
        let new = self.bandwidth.flooded && since;
        if new {
            self.flooded = Some(now);
        }
        new
    }

    /// Whether a flood has just run off that took much of what was sent since it was answered: a viewer
    /// asks for seconds to be sent again what its pictures begin with.
    pub fn has_run_off(&mut self) -> bool {
        let Bandwidth { flooded, loss, .. } = self.bandwidth;
        std::mem::replace(&mut self.drowned, flooded) && !flooded && loss > FLOOD
    }

    /// Notes that pictures got better or worse while so much was sent, and when they may get better
    /// again.
    pub fn settle(&mut self, rose: bool, fell: bool, sent: u64, now: Instant) {
        let lasted = self.raised.is_none_or(|at| now >= at + LASTING);
        if rose || fell {
            self.smooth_since = self.smooth_since.map(|_| now);
        }
        if fell {
            if !lasted {
                self.regretted = Some((sent, now));
            }
            self.calm = match lasted {
                true => CALM,
                false => (self.calm * 2).min(LONGEST_CALM),
            };
            self.calm_until = Some(now + self.calm);
            self.fell = Some(now);
        } else if rose {
            self.raised = Some(now);
        }
    }
}

/// How far an estimate is trusted.
#[derive(Clone, Copy, Debug)]
struct Trust {
    /// Pictures got worse lately.
    calm: bool,
    /// All has gone well for a while.
    patient: bool,
    /// What was too much of late, unless it is an eighth more than that.
    regretted: Option<u64>,
}

impl Trust {
    /// How much may be sent at this estimate.
    fn gives(self, estimate: u64) -> u64 {
        let (part, of) = CALM_SPARE;
        let gives = match (self.calm, self.patient) {
            (true, _) => estimate / of * part,
            (false, true) => estimate + estimate / DIPS,
            (false, false) => estimate,
        };
        let regretted = self.regretted.filter(|rate| estimate < an_eighth_more(*rate));
        regretted.map_or(gives, |rate| gives.min(rate))
    }

    /// The least estimate at which so much may be sent, whether or not all has gone well for a while,
    /// and when it dips.
    fn needs(self, rate: u64) -> u64 {
        let (part, of) = CALM_SPARE;
        let needs = if self.calm { rate / part * of } else { rate };
        let regretted = self.regretted.filter(|regretted| rate > *regretted);
        let needs = regretted.map_or(needs, |regretted| needs.max(an_eighth_more(regretted)));
        needs + needs / DIPS
    }
}

fn an_eighth_more(rate: u64) -> u64 {
    rate.saturating_add(rate / 8)
}

/// The lowest estimate of late.
#[derive(Clone, Copy, Debug, Default)]
struct Lows {
    /// Of the present generation and of the one before.
    present: Option<u64>,
    before: Option<u64>,
    since: Option<Instant>,
}

impl Lows {
    fn note(&mut self, estimate: u64, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= GENERATION {
            self.before = self.present.replace(estimate);
            self.since = Some(now);
        }
        self.present = Some(self.present.map_or(estimate, |low| low.min(estimate)));
    }

    fn lowest(&self, estimate: u64) -> u64 {
        [self.present, self.before].into_iter().flatten().fold(estimate, u64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(estimate: u64) -> Bandwidth {
        Bandwidth { estimate, ..Bandwidth::default() }
    }

    #[test]
    fn what_is_new_must_have_fitted_for_a_while() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let mut net = Network::default();
        net.learn(network(300_000), t);
        net.learn(network(2_000_000), at(100));
        assert_eq!(net.terms(50_000, 0, at(100)).budget.new, 250_000);
        net.terms(0, 0, at(1_100));
        assert_eq!(net.terms(0, 0, at(1_100)).budget.new, 300_000, "it was less a moment ago");
        net.terms(0, 0, at(2_200));
        assert_eq!(net.terms(0, 0, at(2_200)).budget.new, 2_000_000);
    }

    #[test]
    fn what_a_viewer_has_is_given_up_only_when_packets_are_lost_or_wait() {
        let t = crate::test_clock();
        let mut net = Network::default();
        net.learn(network(100_000), t);
        assert_eq!(net.terms(0, 0, t).budget.held, ENDLESS);
        net.learn(Bandwidth { loss: 0.05, ..network(100_000) }, t);
        assert_eq!(net.terms(40_000, 0, t).budget.held, 60_000);
        net.learn(Bandwidth { squeezed: true, ..network(100_000) }, t);
        assert_eq!(net.terms(0, 0, t).budget.held, 100_000);
    }

    #[test]
    fn loss_behind_a_full_queue_that_lasts_takes_a_step_down() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let lossy = |queued| Bandwidth { loss: 0.02, queued, ..network(900_000) };
        let mut net = Network::default();
        net.learn(lossy(false), t);
        net.learn(lossy(true), at(500));
        assert_eq!(net.terms(0, 500_000, at(1_999)).budget.held, ENDLESS);
        assert_eq!(net.terms(0, 500_000, at(2_000)).budget.held, 475_000);
        assert_eq!(
            net.terms(0, 400_000, at(2_001)).budget.held,
            ENDLESS,
            "one step, then it looks"
        );
    }

    #[test]
    fn a_flood_is_answered_at_once_and_emptied_once() {
        let t = crate::test_clock();
        let mut net = Network::default();
        net.learn(Bandwidth { flooded: true, ..network(2_000_000) }, t);
        assert!(net.is_newly_flooded(t) && net.terms(0, 0, t).least);
        assert!(!net.is_newly_flooded(t + Duration::from_millis(200)), "it was told");
        assert!(!net.has_run_off());
        net.learn(Bandwidth { loss: 0.5, ..network(200_000) }, t + Duration::from_millis(600));
        assert!(net.has_run_off() && !net.has_run_off(), "pictures begin anew once");
    }

    #[test]
    fn a_step_up_that_did_not_last_makes_the_next_one_wait_longer() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let mut net = Network::default();
        net.learn(network(900_000), t);
        net.settle(true, false, 0, t);
        assert!(net.terms(0, 0, at(500)).no_better && !net.terms(0, 0, at(700)).no_better);
        net.settle(false, true, 850_000, at(1_000));
        assert!(net.is_congested(at(2_999)) && !net.is_congested(at(3_000)));
        assert_eq!(net.terms(0, 0, at(4_999)).budget.new, 600_000);
        net.learn(Bandwidth { queued: true, ..network(900_000) }, at(4_000));
        let after = |net: &mut Network, ms| net.terms(0, 0, at(ms)).budget.new;
        assert_eq!(after(&mut net, 5_000), 850_000, "4 s: twice as long as the first");
        assert_eq!(after(&mut net, 32_999), 850_000, "that much was too much");
        assert_eq!(after(&mut net, 33_000), 900_000);
        net.settle(true, false, 0, at(34_000));
        net.settle(false, true, 300_000, at(35_000));
        assert_eq!(after(&mut net, 43_000), 900_000, "it carries far more than was too much");
    }

    #[test]
    fn a_picture_is_given_with_the_estimate_that_is_said_to_be_enough_for_it() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let picture = 500_000;
        for (what, fell, sent, ms) in [
            ("on a new network", false, 0, 0),
            ("after a step down", true, 0, 100),
            ("when as much was too much", true, 520_000, 4_500),
            ("when that is forgotten", true, 520_000, 80_000),
        ] {
            let fits = |estimate| {
                let mut net = Network::default();
                net.learn(network(estimate), t);
                net.settle(fell, false, 0, t);
                net.settle(false, fell, sent, t);
                net.learn(Bandwidth { queued: true, ..network(estimate) }, at(ms));
                (net.terms(0, 0, at(ms)).budget.new >= with_spare(picture), net)
            };
            let enough = fits(0).1.enough(picture, at(ms));
            assert!(fits(enough).0, "{what}: {enough}");
            assert!(!fits(enough - enough / 10).0, "{what}: {enough} is more than enough");
        }
    }

    #[test]
    fn after_a_step_down_half_of_what_there_is_may_be_taken_at_once() {
        let t = crate::test_clock();
        let mut net = Network::default();
        net.learn(network(900_000), t);
        assert_eq!(net.terms(50_000, 0, t).careful, None);
        net.settle(false, true, 0, t);
        assert_eq!(net.terms(50_000, 0, t).careful, Some(400_000));
        assert_eq!(net.terms(0, 0, t + CAREFUL).careful, None);
    }

    #[test]
    fn a_little_more_is_tried_when_all_went_well_for_a_while() {
        let t = crate::test_clock();
        let at = |ms| t + Duration::from_millis(ms);
        let mut net = Network::default();
        net.learn(network(700_000), t);
        assert_eq!(net.terms(0, 0, at(3_999)).budget.new, 700_000);
        assert_eq!(net.terms(0, 0, at(4_000)).budget.new, 750_000);
        net.learn(Bandwidth { queued: true, ..network(700_000) }, at(4_100));
        net.learn(network(700_000), at(4_200));
        assert_eq!(net.terms(0, 0, at(8_199)).budget.new, 700_000, "packets waited");
        net.settle(true, false, 0, at(8_200));
        assert_eq!(net.terms(0, 0, at(12_199)).budget.new, 700_000, "one step at a time");
        assert_eq!(net.terms(0, 0, at(12_200)).budget.new, 750_000);
    }
}
