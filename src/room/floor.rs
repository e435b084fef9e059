//! Who has the floor. In a room with many microphones only the loudest are heard by others; so few
//! that a viewer's network, ears and processor bear them. The home decides, for the whole room; every
//! copy is told, and holds the sound of the others back. What a microphone sent just before it was
//! elected is sent then, so that its first syllable is heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fanout::{Passing, Watchers};
use super::pre_roll::SILENT_BYTES;
use super::speakers::Voice;
use super::{Member, Room, RoomEvent, Track};
use crate::counts::DropReason;
use crate::forward::Verdict;
use crate::forward::packet::Packet;
use crate::ids::SessionId;
use crate::model::{Kind, Source};

/// With so many open microphones, or fewer, everybody is heard: a round of people that talk as they
/// would at a table, where nobody's laugh may be missing.
pub const SMALL: usize = 6;

/// Who was not loud for this long gives way to anybody. A pause between words is shorter; who is
/// displaced in one loses nothing but gets its place back with its next syllable.
const PAUSE: Duration = Duration::from_millis(400);

/// While all who are heard speak, a place is kept for this long at least, and only somebody louder
/// by so many dB takes it then. Less would chop sentences, more would make a shout be missed.
const HOLD: Duration = Duration::from_secs(1);
const MARGIN: f32 = 6.0;

/// How loud a microphone is taken to be whose browser does not say, in dBov: it is heard as long as
/// nobody who speaks up needs its place.
const UNKNOWN_LEVEL: i8 = -44;

/// Somebody with an open microphone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The place in the room's list of members.
    pub member: usize,
    /// The session.
    pub session: SessionId,
}

/// Who is heard, as the home of a room decides it.
#[derive(Debug)]
pub struct Floor {
    /// How many are heard of more than `small`: the loudest, and the dominant speaker, who keeps the
    /// place.
    most: usize,
    small: usize,
    /// There are more open microphones than `small`.
    contested: bool,
    places: Vec<Place>,
    dominant: Option<Place>,
}

/// Somebody, and since when.
#[derive(Clone, Copy, Debug)]
struct Place {
    who: Who,
    since: Instant,
}

impl Floor {
    /// Everybody is heard, until more microphones are open than a small room has: then so many of
    /// the loudest beside the dominant speaker; 0: everybody all the same.
    #[must_use]
    pub fn new(loudest: u8) -> Self {
        let most = usize::from(loudest) + 1;
        let small = if loudest == 0 { usize::MAX } else { SMALL.max(most) };
        Self { most, small, contested: false, places: Vec::new(), dominant: None }
    }

    /// Who is heard; `None`: everybody.
    #[must_use]
    pub fn heard(&self) -> Option<Arc<[SessionId]>> {
        self.contested.then(|| self.places.iter().map(|place| place.who.session).collect())
    }

    /// These microphones are open now, and no others. Whether others are heard than before.
    pub fn open(&mut self, all: &[(Who, Voice)], now: Instant) -> bool {
        let before = (self.contested, self.places.len());
        let is_open = |place: &Place| all.iter().any(|(who, _)| *who == place.who);
        self.places.retain(is_open);
        self.dominant = self.dominant.filter(is_open);
        let contested = all.len() > self.small;
        if !contested {
            self.places.clear();
        } else if !self.contested {
            // Whoever spoke last begins.
            let mut all: Vec<&(Who, Voice)> = all.iter().collect();
            all.sort_by(|(_, a), (_, b)| {
                b.loud().cmp(&a.loud()).then(b.mean().total_cmp(&a.mean()))
            });
            let place = |(who, _): &(Who, Voice)| Place { who: *who, since: now };
            self.places = all.into_iter().take(self.most).map(place).collect();
        }
        self.contested = contested;
        before != (self.contested, self.places.len())
    }

    /// Somebody who is not heard speaks. Whether it has a place now.
    pub fn speak_up(
        &mut self,
        (who, voice): (Who, Voice),
        others: impl Fn(Who) -> Option<Voice>,
        now: Instant,
    ) -> bool {
        if !self.contested || self.places.iter().any(|place| place.who == who) {
            return false;
        }
        let new = Place { who, since: now };
        if self.places.len() < self.most {
            self.places.push(new);
            return true;
        }
        let dominant = self.dominant.map(|dominant| dominant.who);
        let others = |place: &Place| others(place.who).unwrap_or_default();
        let places = self.places.iter_mut().filter(|place| Some(place.who) != dominant);
        let places: Vec<&mut Place> = places.collect();
        let idle = |place: &&mut Place| others(place).is_idle(PAUSE, now);
        let gives_way = |place: &&mut Place| {
            now.saturating_duration_since(place.since) >= HOLD
                && voice.mean() >= others(place).mean() + MARGIN
        };
        let (silent, speaking): (Vec<_>, Vec<_>) = places.into_iter().partition(idle);
        let longest = silent.into_iter().min_by_key(|place| others(place).loud());
        let place = longest.or_else(|| {
            let quietest =
                |a: &&mut Place, b: &&mut Place| others(a).mean().total_cmp(&others(b).mean());
            speaking.into_iter().filter(gives_way).min_by(quietest)
        });
        place.map(|place| *place = new).is_some()
    }

    /// Decides who dominates among those who speak: whoever did, until it is silent, or another is
    /// clearly louder.
    pub fn dominate(&mut self, speaking: &[(Who, Voice)], now: Instant) {
        let loudest = speaking.iter().max_by(|(_, a), (_, b)| a.mean().total_cmp(&b.mean()));
        let Some((who, voice)) = loudest else { return };
        let same = self.dominant.and_then(|place| {
            speaking.iter().find(|(who, _)| *who == place.who).map(|(_, voice)| (place, voice))
        });
        let stays = same.is_some_and(|(place, dominant)| {
            now.saturating_duration_since(place.since) < HOLD
                || voice.mean() < dominant.mean() + MARGIN
        });
        if !stays {
            self.dominant = Some(Place { who: *who, since: now });
        }
    }

    /// Who dominates: speaks, or was the last to.
    #[must_use]
    pub fn dominant(&self) -> Option<SessionId> {
        self.dominant.map(|place| place.who.session)
    }

    fn has(&self, who: Who) -> bool {
        !self.contested || self.places.iter().any(|place| place.who == who)
    }
}

impl Track {
    /// Whether its sound is not heard; then these packets are kept for when it is.
    pub(super) fn holds_back(
        &mut self,
        packets: &[Passing],
        watchers: &mut impl Watchers,
        now: Instant,
    ) -> bool {
        if !self.quiet {
            return false;
        }
        let sinks = self.held_back();
        for Passing { packet, .. } in packets {
            watchers.dropped(DropReason::Quiet, self.pre_roll.hold(packet, now) * sinks);
        }
        true
    }

    /// How many viewers it is held back from while it is quiet.
    fn held_back(&self) -> usize {
        self.sinks.iter().filter(|sink| !sink.pinned).count()
    }
}

impl Member {
    /// Whether one of its microphones is open.
    fn is_open(&self, tracks: &[Option<Track>]) -> bool {
        let own = self.tracks.iter().filter_map(|slot| tracks.get(*slot)?.as_ref());
        own.map(|track| &track.info).any(|info| info.source == Source::Microphone && !info.muted)
    }
}

impl Room {
    /// Who is heard as of now, in this copy; `None`: everybody.
    #[must_use]
    pub fn heard(&self) -> Option<Arc<[SessionId]>> {
        self.heard.clone()
    }

    /// Whether a new track of a member is not heard for now.
    pub(super) fn begins_quiet(&self, source: Source, session: SessionId) -> bool {
        let heard = self.heard.as_ref().filter(|_| source == Source::Microphone);
        heard.is_some_and(|heard| !heard.contains(&session))
    }

    /// Others are heard from now on, as the home decided. Those who are new are heard from 200 ms
    /// ago on.
    pub fn hear_only(
        &mut self,
        heard: Option<Arc<[SessionId]>>,
        watchers: &mut impl Watchers,
        now: Instant,
    ) {
        self.heard = heard;
        for slot in 0..self.tracks.len() {
            let Some(track) = self.tracks.get(slot).and_then(Option::as_ref) else { continue };
            let publisher = self.members.get(track.publisher).and_then(Option::as_ref);
            let Some(session) = publisher.map(|member| member.session) else { continue };
            let quiet = self.begins_quiet(track.info.source, session);
            if quiet != track.quiet {
                self.turn(slot, quiet, watchers, now);
            }
        }
    }

    fn turn(&mut self, slot: usize, quiet: bool, watchers: &mut impl Watchers, now: Instant) {
        let Self { members, tracks, sent, .. } = self;
        let Some(track) = tracks.get_mut(slot).and_then(Option::as_mut) else { return };
        track.quiet = quiet;
        let (packets, old) = track.pre_roll.take_held(now);
        watchers.dropped(DropReason::Quiet, old * track.held_back());
        for sink in &track.sinks {
            let Some(member) = members.get_mut(sink.member).and_then(Option::as_mut) else {
                continue;
            };
            let seat = member.seats.get_mut(sink.seat.index());
            let (Some(seat), Some(key)) = (seat, member.key) else { continue };
            let forwarder = &mut seat.half_mut(Kind::Audio).forwarder;
            if quiet {
                forwarder.leave_out();
            }
            if quiet || sink.pinned {
                continue;
            }
            let mut passed = Vec::with_capacity(packets.len());
            for packet in &packets {
                match forwarder.offer(packet, packet.arrived) {
                    Verdict::Send(numbers) => passed.push((packet, numbers)),
                    Verdict::Drop(reason) => watchers.dropped(reason, 1),
                }
            }
            if !passed.is_empty() {
                *sent += passed.len() as u64;
                watchers.send(key, sink.seat, &passed);
            }
        }
    }

    /// How loud a packet is, if it is not silence by itself and that matters.
    pub(super) fn level_of(&self, packet: &Packet) -> Option<i8> {
        let sound = || packet.payload.len() > SILENT_BYTES && self.heard.is_some();
        packet.level.or_else(|| sound().then_some(UNKNOWN_LEVEL))
    }

    /// Microphones were opened or closed: at home it is decided anew who is heard.
    pub(super) fn open_floor(&mut self, now: Instant) {
        if !self.home {
            return;
        }
        let Self { members, tracks, floor, .. } = self;
        let open = members.iter().enumerate().filter_map(|(at, member)| {
            let member = member.as_ref().filter(|member| member.is_open(tracks))?;
            Some((Who { member: at, session: member.session }, member.voice))
        });
        let open: Vec<(Who, Voice)> = open.collect();
        if floor.open(&open, now) {
            self.events.push_back(RoomEvent::Heard(floor.heard()));
        }
    }

    /// A member may have begun to speak: the home is told at once, and decides at once if it is not
    /// heard.
    pub(super) fn speak_up(&mut self, at: usize, now: Instant) {
        let Self { members, tracks, floor, events, home, .. } = self;
        let Some(member) = members.get_mut(at).and_then(Option::as_mut) else { return };
        if !member.voice.is_loud() {
            return;
        }
        let session = member.session;
        if !*home {
            if let Some(level) = member.voice.report_start() {
                events.push_back(RoomEvent::Levels(vec![(session, level)]));
            }
            return;
        }
        // What is told of somebody may come after the mute.
        if !member.is_open(tracks) {
            return;
        }
        let new = (Who { member: at, session }, member.voice);
        let voice = |who: Who| {
            let member = members.get(who.member)?.as_ref()?;
            (member.session == who.session).then_some(member.voice)
        };
        if floor.speak_up(new, voice, now) {
            events.push_back(RoomEvent::Heard(floor.heard()));
        }
    }

    /// Looks who dominates, and whether somebody speaks and is not heard.
    pub(super) fn look_at_floor(&mut self, speaking: &[(Who, Voice)], now: Instant) {
        self.floor.dominate(speaking, now);
        let mut waiting: Vec<&(Who, Voice)> =
            speaking.iter().filter(|(who, _)| !self.floor.has(*who)).collect();
        waiting.sort_by(|(_, a), (_, b)| b.mean().total_cmp(&a.mean()));
        // Nobody who is less loud finds a place that the loudest few did not.
        waiting.truncate(self.floor.most);
        waiting.into_iter().for_each(|(who, _)| self.speak_up(who.member, now));
    }
}

#[cfg(test)]
mod tests;
