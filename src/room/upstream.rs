//! What publishers are told of who wants their layers, so that they need not send the rest.

use std::time::{Duration, Instant};

use super::{Room, RoomEvent, Track};
use crate::forward::layers::{MAX_LAYERS, bit};
use crate::model::Kind;

/// A layer that was asked for and has not come in this time is not sent by its publisher, whose
/// network or machine does not carry it.
const WAKES_WITHIN: Duration = Duration::from_secs(3);

/// A layer that nobody wants is given up after this: somebody may want it again in a moment.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// What a publisher was told of one track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upstream {
    /// The layers that are wanted, as it knows, one bit each.
    told: u8,
    /// When it was told to send each.
    woken: [Option<Instant>; MAX_LAYERS],
    /// Since when each is wanted by nobody.
    unwanted: [Option<Instant>; MAX_LAYERS],
}

impl Default for Upstream {
    fn default() -> Self {
        Self { told: u8::MAX, woken: [None; MAX_LAYERS], unwanted: [None; MAX_LAYERS] }
    }
}

impl Upstream {
    /// The layers of `known` that could be had: those that sleep because they were told to, and
    /// those that were just told to wake.
    fn asleep(&self, known: u8, now: Instant) -> u8 {
        let mut layers = 0;
        for (woken, layer) in self.woken.iter().zip(0u8..) {
            let waking = woken.is_some_and(|at| now < at + WAKES_WITHIN);
            if self.told & bit(layer) == 0 || waking {
                layers |= bit(layer);
            }
        }
        layers & known
    }

    /// Takes what is wanted now, of the layers that are known to be; what the publisher is to be told,
    /// if that is something new, and when to look again.
    fn want(&mut self, wanted: u8, known: u8, now: Instant) -> (Option<u8>, Option<Instant>) {
        let (mut told, mut again) = (self.told, None);
        // A layer that has never come may still do so, as the publisher finds out what its network
        // carries: nobody can want it yet, and once it was given up nobody ever would. The smallest
        // costs little, and whose network gets narrow needs it at once; a browser that has to begin
        // with it changes all its layers for that, in half a second.
        let wanted = if wanted == 0 { 0 } else { wanted | !known | bit(0) };
        let layers = self.woken.iter_mut().zip(&mut self.unwanted).zip(0u8..);
        for ((woken, unwanted), layer) in layers {
            let bit = bit(layer);
            if wanted & bit != 0 {
                *unwanted = None;
                if told & bit == 0 {
                    *woken = Some(now);
                    told |= bit;
                }
            } else if told & bit != 0 {
                let until = *unwanted.get_or_insert(now) + GIVE_UP_AFTER;
                if until <= now {
                    told &= !bit;
                } else {
                    again = Some(again.map_or(until, |other: Instant| other.min(until)));
                }
            }
        }
        let changed = (told ^ self.told) & known != 0;
        self.told = told;
        (changed.then_some(told), again)
    }
}

impl Track {
    /// The layers that could be had, one bit each.
    pub(super) fn there(&self, now: Instant) -> u8 {
        match &self.far {
            Some(summary) => summary.there,
            None => self.layers.live(now) | self.upstream.asleep(self.layers.known(), now),
        }
    }
}

impl Room {
    /// The next publisher here that is to be told of who wants its layers.
    pub(super) fn poll_upstream(&mut self, now: Instant) -> Option<RoomEvent> {
        let Self { members, tracks, upstream_at, .. } = self;
        let mut next = None;
        for track in tracks.iter_mut().flatten().filter(|track| track.info.kind == Kind::Video) {
            let publisher = members.get(track.publisher).and_then(Option::as_ref);
            let Some(publisher) = publisher.and_then(|member| member.key) else { continue };
            let far = track.outlets.iter().fold(0, |layers, outlet| layers | outlet.layers);
            let wanted = track.needed(members) | far;
            let (told, again) = track.upstream.want(wanted, track.layers.known(), now);
            if let Some(layers) = told {
                let (track, line) = (track.info.id, track.line);
                return Some(RoomEvent::Layers { publisher, line, track, layers });
            }
            next = [next, again].into_iter().flatten().min();
        }
        *upstream_at = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wants_is_told_at_once_and_what_nobody_wants_after_a_while() {
        let t = crate::test_clock();
        let mut up = Upstream::default();
        assert_eq!(up.want(0b010, 0b111, t), (None, Some(t + GIVE_UP_AFTER)));
        let later = t + GIVE_UP_AFTER;
        let (told, again) = up.want(0b010, 0b111, later);
        assert_eq!(
            (told.map(|told| told & 0b111), again),
            (Some(0b011), None),
            "the smallest stays"
        );
        let (told, _) = up.want(0b100, 0b111, later);
        assert_eq!(told.map(|told| told & 0b111), Some(0b111), "upward at once");
        let (told, _) = up.want(0b110, 0b111, later + GIVE_UP_AFTER);
        assert_eq!(told, None, "it was wanted again in time");
        let mut single = Upstream::default();
        single.want(0b001, 0b001, t);
        let (told, _) = single.want(0b001, 0b001, later);
        assert_eq!(told, None, "there are no others that could be given up");
    }

    #[test]
    fn a_layer_that_has_never_come_is_given_up_with_all_others_only() {
        let t = crate::test_clock();
        let mut up = Upstream::default();
        up.want(0b001, 0b011, t);
        let (told, _) = up.want(0b001, 0b011, t + GIVE_UP_AFTER);
        assert_eq!(told.map(|told| told & 0b111), Some(0b101), "the third may yet come");
        up.want(0, 0b011, t + GIVE_UP_AFTER);
        let (told, _) = up.want(0, 0b011, t + GIVE_UP_AFTER * 2);
        assert_eq!(told.map(|told| told & 0b111), Some(0), "nobody watches");
        let (told, _) = up.want(0b001, 0b011, t + GIVE_UP_AFTER * 3);
        assert_eq!(told.map(|told| told & 0b111), Some(0b101), "it gets another chance");
    }

    #[test]
    fn a_layer_that_was_told_to_sleep_can_be_had_and_one_that_does_not_wake_cannot() {
        let t = crate::test_clock();
        let mut up = Upstream::default();
        up.want(0b001, 0b111, t);
        let asleep = t + GIVE_UP_AFTER;
        up.want(0b001, 0b111, asleep);
        assert_eq!(up.asleep(0b111, asleep), 0b110);
        assert_eq!(up.asleep(0b011, asleep), 0b010, "the third never came");
        up.want(0b101, 0b111, asleep);
        assert_eq!(up.asleep(0b111, asleep), 0b110, "it is waking");
        assert_eq!(up.asleep(0b111, asleep + WAKES_WITHIN), 0b010, "it does not wake");
    }
}
