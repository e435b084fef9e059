//! Why a viewer sees what it sees: each seat's part of the decision, in words.

use std::time::{Duration, Instant};

use super::{Member, MemberKey, Occupant, Room, Track};
use crate::counts::DropReason;
use crate::forward::Forwarder;
use crate::forward::layers::Target;
use crate::ids::SeatIndex;
use crate::model::{Bandwidth, Connection, Kind, Quality};

/// What one seat carries, and why it is not more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The seat, and whose track.
    pub occupant: Occupant,
    /// The height at which it is shown, in device pixels; `None`: the page has not said.
    pub wanted: Option<u16>,
    /// What of a video is sent.
    pub served: Option<Target>,
    /// How much that is, in bit/s.
    pub bitrate: u64,
    /// Why it is not all that is wanted, in the protocol's words; `none` if it is.
    pub reason: &'static str,
}

/// More loss than this is heard and seen; and more than this hardly, with what is repaired.
const POOR_LOSS: f32 = 0.10;
const SOME_LOSS: f32 = 0.03;

/// With a longer round trip people fall into each other's words; with a longer one than this a
/// little.
const POOR_TRIP: Duration = Duration::from_millis(500);
const SOME_TRIP: Duration = Duration::from_millis(250);

/// A level that got better is told after this: one that comes and goes is no news.
const BETTER_AFTER: Duration = Duration::from_secs(4);

/// How well a member is connected, as the others were told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    level: Quality,
    reason: &'static str,
    better_since: Option<Instant>,
}

impl Told {
    /// Takes what holds now; whether that is to be told.
    fn note(&mut self, (level, reason): (Quality, &'static str), now: Instant) -> bool {
        if level >= self.level {
            self.better_since = None;
        } else if now < *self.better_since.get_or_insert(now) + BETTER_AFTER {
            return false;
        }
        let news = level != self.level;
        (self.level, self.reason) = (level, reason);
        news
    }
}

impl Member {
    /// Looks at how well this member is connected; what the others are to be told, if anything.
    pub(super) fn look_at_quality(&mut self, now: Instant) -> Option<Connection> {
        let holds = judge(&self.bandwidth(), self.lacks_picture(), self.lacks_detail());
        let identity = self.identity.clone();
        let told = &mut self.told_quality;
        let news = told.note(holds, now);
        news.then_some(Connection { identity, level: told.level, reason: told.reason })
    }
}

/// How well somebody is connected, and why, in words for everybody.
fn judge(network: &Bandwidth, no_picture: bool, no_detail: bool) -> (Quality, &'static str) {
    let Bandwidth { loss, lost_in, rtt, .. } = *network;
    let trip = rtt.unwrap_or_default();
    let worse = loss.max(lost_in);
    match () {
        () if worse > POOR_LOSS => (Quality::Poor, "Many packets are lost on the way."),
        () if trip > POOR_TRIP => (Quality::Poor, "Packets take long on the way."),
        () if no_picture => (Quality::Poor, "The network is too slow for all pictures."),
        () if worse > SOME_LOSS => (Quality::Good, "Some packets are lost on the way."),
        () if trip > SOME_TRIP => (Quality::Good, "Packets take a while on the way."),
        () if no_detail => (Quality::Good, "The network is too slow for the best pictures."),
        () => (Quality::Excellent, "Everything arrives."),
    }
}

impl Room {
    /// What a member here is sent, and what its network carries.
    #[must_use]
    pub fn watched(&self, key: MemberKey, now: Instant) -> Option<(Bandwidth, Vec<Watched>)> {
        let (_, member) = self.member(key)?;
        let mut all = Vec::new();
        for (seat, index) in member.seats.iter().zip(0u8..) {
            for kind in [Kind::Audio, Kind::Video] {
                let half = seat.half(kind);
                let track = half.slot().and_then(|slot| self.tracks.get(slot)?.as_ref());
                if let Some(track) = track {
                    all.push(member.watches(track, &half.forwarder, SeatIndex(index), now));
                }
            }
        }
        Some((member.bandwidth(), all))
    }
}

impl Member {
    fn watches(
        &self,
        track: &Track,
        forwarder: &Forwarder,
        seat: SeatIndex,
        now: Instant,
    ) -> Watched {
        let occupant = Occupant { seat, kind: track.info.kind, track: track.info.id };
        let ladder = track.layers.ladder(track.there(now));
        let (wanted, useful) = self.wants(track, &ladder);
        let served = forwarder.sends().filter(|_| track.info.kind == Kind::Video);
        let rung = match track.info.kind {
            Kind::Audio => ladder.rungs().last(),
            Kind::Video => ladder.rungs().iter().rfind(|r| served.is_some_and(|s| r.target <= s)),
        };
        let bitrate = rung.filter(|_| !track.is_silent()).map_or(0, |rung| u64::from(rung.bps));
        let reason = if track.is_silent() {
            "muted"
        } else if track.codec.is_some_and(|codec| !self.decodes.contains(&codec)) {
            "codec"
        } else if track.info.kind == Kind::Audio {
            "none"
        } else {
            let best = useful.checked_sub(1).and_then(|top| ladder.rungs().get(top));
            match (forwarder.spared(), forwarder.target(), best) {
                (Some(DropReason::Shed), ..) => "overload",
                (Some(_), ..) => "bandwidth",
                _ if wanted == Some(0) => "notVisible",
                (_, _, None) => "publisherLimited",
                (_, None, _) => "bandwidth",
                (_, Some(target), Some(best)) if target < best.target => "bandwidth",
                _ if forwarder.awaits_keyframe().is_some() => "waitingKeyframe",
                _ if track.falls_short(&ladder, wanted) => "publisherLimited",
                _ => "none",
            }
        };
        Watched { occupant, wanted, served, bitrate, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_named_and_what_got_better_is_told_once_it_lasts() {
        let t = crate::test_clock();
        let network = |loss, ms| Bandwidth {
            loss,
            rtt: Some(Duration::from_millis(ms)),
            ..Bandwidth::default()
        };
        let level = |network: &Bandwidth| judge(network, false, false).0;
        assert_eq!(level(&network(0.0, 40)), Quality::Excellent);
        assert_eq!(level(&network(0.05, 40)), Quality::Good);
        assert_eq!(level(&network(0.2, 40)), Quality::Poor);
        assert_eq!(level(&network(0.0, 600)), Quality::Poor);
        assert_eq!(judge(&network(0.0, 40), true, true).0, Quality::Poor);
        assert_eq!(judge(&network(0.0, 40), false, true).0, Quality::Good);
        let mut told = Told::default();
        let (good, poor) =
            (judge(&network(0.0, 40), false, false), judge(&network(0.2, 40), false, false));
        assert!(!told.note(good, t), "that is what everybody assumes");
        assert!(told.note(poor, t));
        assert!(!told.note(poor, t));
        assert!(!told.note(good, t), "it may come back");
        assert!(told.note(good, t + BETTER_AFTER));
    }
}
