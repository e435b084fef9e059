//! How much the bandwidth estimator is asked to look for.
//!
//! The estimator rises little above what is sent. It finds room for a better picture only if it is
//! told what that would take: it then pads up to the one rate and probes up to the other. Each rise
//! of the second sets off a probe at once, and where padding and its own probes get nowhere, such
//! rises are made here.

use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;

use super::pace::LOSSY;
use crate::model::{FIRST_ESTIMATE, Need};

/// Where the estimate of a viewer's bandwidth begins.
pub(super) const START: Bitrate = Bitrate::bps(FIRST_ESTIMATE);

/// What is asked of the estimator beyond the next better picture, so that it is found to fit with
/// something to spare; and beyond all that is wanted, for keyframes and the estimate's own dips.
const NEXT: f64 = 1.15;
const FULL: f64 = 1.5;

/// How soon a probe follows one that found more, and one that did not. Sooner, the rise of the one
/// is not seen before the next is sent; later, a call takes long to recover after a step up.
const AFTER_RISE: Duration = Duration::from_millis(600);
const AFTER_NONE: Duration = Duration::from_millis(1_500);

/// So many probes may be set off without the estimate moving at all before the estimator is taken to be
/// stuck: it refuses to probe while packets are delayed more and more, and learns that this is over
/// only with its next estimate (str0m 0.25, `propagate_estimate`).
const UNANSWERED: u8 = 2;

/// An estimate that is enough for the next step is probed seldom: what is padded says the rest, and a
/// probe that finds less than there is lowers it.
const AFTER_ENOUGH: Duration = Duration::from_secs(4);

/// What is looked for just before a probe, as a part of what was: a change that the engine sees as
/// a rise when it is taken back.
const LESS: f64 = 0.5;

/// What the estimator is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wanted {
    /// It pads up to this.
    pub least: Bitrate,
    /// It probes up to this; up to twice as much for a moment.
    pub most: Bitrate,
    /// It is to forget everything but this, and begin anew.
    pub anew: Option<Bitrate>,
}

/// What is known of a session's network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// What it carries, in bit/s.
    pub estimate: u64,
    /// What the estimator itself says.
    pub says: u64,
    /// What part of packets is lost.
    pub loss: f32,
    /// A queue on the way has been full for a while.
    pub full: bool,
}

/// What one session has asked its estimator for.
#[derive(Debug, Default)]
pub(super) struct Probing {
    need: Need,
    asked: Option<Wanted>,
    /// When the last probe was set off here, and the estimate before it.
    last: Option<(Instant, u64)>,
    /// Less was asked for so that the next rise sets off a probe.
    lowered: bool,
    /// What the estimator says, and how many probes were set off since it began to say so.
    says: u64,
    unanswered: u8,
}

impl Probing {
    /// How much is sent and could be used.
    pub fn needs(&mut self, need: Need) {
        self.need = need;
    }

    /// How much is sent, in bit/s.
    pub fn sent(&self) -> u64 {
        self.need.sent
    }

    /// Whether more could be used than is sent.
    pub fn misses(&self) -> bool {
        self.need.next > self.need.sent
    }

    /// What to ask for while nothing better is to be looked for, if that is something else than before.
    pub fn nothing(&mut self) -> Option<Wanted> {
        let nothing = Wanted { least: Bitrate::ZERO, most: Bitrate::ZERO, anew: None };
        (self.asked.replace(nothing) != Some(nothing)).then_some(nothing)
    }

    /// What was asked for no longer holds.
    pub fn begin_anew(&mut self) {
        self.asked = None;
    }

    /// The estimator is wrong with what it says: it is to begin anew with what is sent, if that is more.
    pub fn anew(&mut self, says: u64, now: Instant) -> Wanted {
        let rate = says.max(self.need.sent + self.need.sent / 4);
        let begin = Bitrate::bps(rate);
        let wanted = Wanted { least: Bitrate::ZERO, most: begin, anew: Some(begin) };
        self.last = Some((now, rate));
        self.lowered = true;
        self.asked = Some(wanted);
        wanted
    }

    /// What to ask for, if that is something else than before.
    pub fn wish(&mut self, found: Found, now: Instant) -> Option<Wanted> {
        let Found { estimate, says, loss, full } = found;
        if self.need.full == 0 {
            return None;
        }
        // More packets would only wait as well, and sound behind them.
        let next = if full { self.need.sent } else { self.need.next };
        let need = Need { next, ..self.need };
        if std::mem::replace(&mut self.says, says) != says {
            self.unanswered = 0;
        }
        let mut wanted = wanted(need, estimate);
        if let Some(asked) =
            self.asked.filter(|_| loss < LOSSY && self.is_stuck(need, estimate, now))
        {
            self.last = Some((now, estimate));
            self.lowered = true;
            let less = Wanted { most: asked.most * LESS, ..wanted };
            self.asked = Some(match self.unanswered {
                UNANSWERED.. => {
                    let estimate = Bitrate::bps(estimate);
                    Wanted { most: estimate, anew: Some(estimate), ..wanted }
                }
                _ => less,
            });
            self.unanswered = (self.unanswered + 1) % (UNANSWERED + 1);
            return self.asked;
        }
        let far =
            |new: Bitrate, old: Bitrate| (new.as_f64() - old.as_f64()).abs() > old.as_f64() * 0.2;
        if let Some(old) = self.asked {
            let rises = wanted.most > old.most && !self.lowered;
            if rises && !self.is_due(estimate, now) {
                wanted.most = old.most;
            }
            if !far(wanted.least, old.least) && !far(wanted.most, old.most) {
                return None;
            }
            if rises && wanted.most > old.most {
                self.last = Some((now, estimate));
            }
        }
        self.lowered = false;
        self.asked = Some(wanted);
        self.asked
    }

    /// Whether something is missing that nothing found room for yet, for long enough to probe.
    ///
    /// The engine pads in small packets when there is little to pad, which do not count for its
    /// estimator, and probes by itself once in five seconds, and only while little is in use.
    fn is_stuck(&mut self, need: Need, estimate: u64, now: Instant) -> bool {
        let Need { sent, next, .. } = need;
        let (since, _) = *self.last.get_or_insert((now, estimate));
        let due = if estimate > need.enough {
            now >= since + AFTER_ENOUGH
        } else {
            self.is_due(estimate, now)
        };
        next > sent && due
    }

    /// Whether the last probe was long enough ago. Each change of the estimate changes what is asked for
    /// as well; if each such rise set off a probe, none would leave the estimate time to settle.
    fn is_due(&self, estimate: u64, now: Instant) -> bool {
        let Some((since, before)) = self.last else { return true };
        // What the last one found may be not all that there is.
        let rose = estimate > before + before / 4;
        now >= since + if rose { AFTER_RISE } else { AFTER_NONE }
    }
}

/// What to ask for. A probe for all that is wanted would flood a network that carries a tenth of it.
fn wanted(need: Need, estimate: u64) -> Wanted {
    #[expect(clippy::cast_precision_loss, reason = "a rate, not a sum of money")]
    let times = |rate: u64, factor: f64| Bitrate::from(rate as f64 * factor);
    let least = if need.next > need.sent { times(need.next, NEXT) } else { Bitrate::ZERO };
    let reach = times(need.next, NEXT).max(times(estimate, FULL));
    Wanted { least, most: times(need.full, FULL).max(START).min(reach), anew: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Need =
        Need { sent: 500_000, next: 1_000_000, enough: 1_200_000, full: 4_000_000 };

    #[test]
    fn the_estimator_is_asked_to_pad_only_while_something_is_missing() {
        let mbps = Bitrate::mbps;
        let wants = |need, estimate| {
            let Wanted { least, most, .. } = wanted(need, estimate);
            (least, most)
        };
        assert_eq!(wants(MISSING, 8_000_000), (Bitrate::kbps(1_150), mbps(6)));
        assert_eq!(wants(MISSING, 600_000), (Bitrate::kbps(1_150), Bitrate::kbps(1_150)));
        let whole = Need { sent: 4_000_000, next: 4_000_000, ..MISSING };
        assert_eq!(wants(whole, 8_000_000), (Bitrate::ZERO, mbps(6)));
    }

    /// No loss, and no queue.
    const WELL: (f32, bool) = (0.0, false);

    /// At which milliseconds of the first seven seconds a probe is set off: less is asked for, and
    /// more when asked again; and when the estimator begins anew.
    fn probes(
        need: Need,
        (loss, full): (f32, bool),
        estimate: impl Fn(u64) -> u64,
    ) -> (Vec<u64>, Vec<u64>) {
        let t = crate::test_clock();
        let mut probing = Probing::default();
        probing.needs(need);
        let mut most = Bitrate::ZERO;
        let (mut probes, mut anew) = (Vec::new(), Vec::new());
        for ms in (0..7_000).step_by(100) {
            let (now, estimate) = (t + Duration::from_millis(ms), estimate(ms));
            let found = Found { estimate, says: estimate, loss, full };
            if let Some(wanted) = probing.wish(found, now) {
                if wanted.anew.is_some() {
                    anew.push(ms);
                } else if wanted.most < most {
                    probes.push(ms);
                }
                most = wanted.most;
            }
        }
        (probes, anew)
    }

    #[test]
    fn what_is_missing_is_probed_for() {
        let drifts = |ms| 600_000 + ms;
        let finds = |ms| if ms < 1_800 { drifts(ms) } else { 800_000 + ms };
        let (none, whole) = (Vec::<u64>::new(), Need { sent: 4_000_000, ..MISSING });
        assert_eq!(probes(MISSING, WELL, drifts), (vec![1_600, 3_100, 4_600, 6_100], none.clone()));
        let (at, _) = probes(MISSING, WELL, finds);
        assert_eq!(at, [1_600, 2_200, 3_700, 5_200, 6_700], "sooner after one that found more");
        assert_eq!(probes(MISSING, (0.05, false), drifts).0, none, "packets get lost");
        assert_eq!(probes(MISSING, (0.0, true), drifts).0, none, "packets wait");
        assert_eq!(probes(whole, WELL, |ms| 4_200_000 + ms).0, none, "nothing is missing");
    }

    #[test]
    fn an_estimate_that_suffices_is_probed_seldom_and_one_that_moves_is_not_probed_each_time() {
        let enough = |ms| 1_210_000 + ms;
        assert_eq!(probes(MISSING, WELL, enough).0, [4_100], "it suffices");
        let calm = Need { enough: 1_680_000, ..MISSING };
        assert_eq!(probes(calm, WELL, enough).0.len(), 4, "not after a step down");
        let t = crate::test_clock();
        let mut probing = Probing::default();
        probing.needs(MISSING);
        let mut rises = Vec::new();
        let mut most = Bitrate::ZERO;
        for ms in (0..6_000).step_by(200) {
            // A probe finds less than there is, and it climbs again.
            let estimate = 700_000 + ms % 1_000 * 500;
            let found = Found { estimate, says: estimate, loss: 0.0, full: false };
            if let Some(wanted) = probing.wish(found, t + Duration::from_millis(ms)) {
                if wanted.most > most {
                    rises.push(ms);
                }
                most = wanted.most;
            }
        }
        assert!(rises.windows(2).all(|two| two[1] - two[0] >= 600), "{rises:?}");
        assert!(rises.len() > 3, "{rises:?}");
    }

    #[test]
    fn an_estimator_that_answers_no_probe_begins_anew() {
        let (at, anew) = probes(MISSING, WELL, |_| 600_000);
        assert_eq!((at, anew), (vec![1_600, 3_100, 6_100], vec![4_600]));
    }
}
