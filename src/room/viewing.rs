//! What each member receives: its seats, who sits there, and when packets may flow.

use std::time::{Duration, Instant};

use super::catching_up::beginning;
use super::fanout::Sink;
use super::seating::{self, Candidate, Pair, Place};
use super::{ASK_AGAIN, Member, MemberKey, Occupant, Room, RoomEvent, Track};
use crate::forward::Forwarder;
use crate::forward::packet::Codec;
use crate::ids::{SeatIndex, TrackId};
use crate::model::Kind;

/// Who begins with what came before does so with the next packet. If it has not by then, its network has
/// got too narrow for that, or nothing comes.
const BEGINS_WITHIN: Duration = Duration::from_millis(100);

/// A viewer that asks for a keyframe so soon after one was sent, and so many of its round trips, has not
/// got all of that yet: what it lacks is being sent again. Another would only be in the way. Round trips
/// that take longer than usual say that what was sent is lost in a full queue.
const REPAIRED: Duration = Duration::from_millis(300);
const TRIPS: u32 = 4;
const REPAIRED_AT_LATEST: Duration = Duration::from_millis(600);

/// A new occupant's packets flow after this time even if the client has not said that it knows:
/// a client whose signaling hangs still sees a picture, at the worst under the wrong name for as
/// long as its signaling hangs.
const SEATED_AT_LATEST: Duration = Duration::from_millis(500);

/// A track's place in the room's list, and its id.
type Placed = (usize, TrackId);

/// An audio and a video track, if there are any.
type Halves = [Option<Placed>; 2];

/// One half of a seat: an outgoing stream and whose track it carries.
#[derive(Debug)]
pub(super) struct Half {
    pub forwarder: Forwarder,
    track: Option<Placed>,
    /// The revision with which the client is told, and when it was.
    pending: Option<(u64, Instant)>,
}

/// One seat.
#[derive(Debug)]
pub(super) struct Seat {
    place: Place,
    audio: Half,
    video: Half,
}

impl Half {
    /// The place of the track that it carries.
    pub(super) fn slot(&self) -> Option<usize> {
        self.track.map(|(slot, _)| slot)
    }
}

impl Seat {
    /// Nobody sits here.
    pub(super) fn is_free(&self) -> bool {
        self.place.pair.is_none()
    }

    fn new(first_seq: u16) -> Self {
        let half =
            |kind| Half { forwarder: Forwarder::new(kind, first_seq), track: None, pending: None };
        Self { place: Place::default(), audio: half(Kind::Audio), video: half(Kind::Video) }
    }

    pub(super) fn half(&self, kind: Kind) -> &Half {
        match kind {
            Kind::Audio => &self.audio,
            Kind::Video => &self.video,
        }
    }

    pub(super) fn half_mut(&mut self, kind: Kind) -> &mut Half {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        }
    }

    /// Puts the occupant's tracks into the halves; whether anything changed.
    fn fill(&mut self, [audio, video]: Halves) -> bool {
        let mut changed = false;
        for (half, track) in [(&mut self.audio, audio), (&mut self.video, video)] {
            if half.track == track {
                continue;
            }
            changed = true;
            half.track = track;
            half.pending = None;
            match track {
                Some(_) => half.forwarder.assign(),
                None => half.forwarder.clear(),
            }
        }
        changed
    }

    /// Marks the halves whose occupant the client is told of only with `rev`.
    fn tell(&mut self, rev: u64, now: Instant) {
        for half in [&mut self.audio, &mut self.video] {
            if half.track.is_some() && half.forwarder.is_pending() && half.pending.is_none() {
                half.pending = Some((rev, now));
            }
        }
    }
}

impl Member {
    /// When this member's seats have something to do by themselves.
    pub(super) fn due(&self) -> Option<Instant> {
        let halves = self.seats.iter().flat_map(|seat| [&seat.audio, &seat.video]);
        let waiting = halves.filter_map(|half| half.pending).map(|(_, at)| at + SEATED_AT_LATEST);
        waiting.filter(|_| self.connected).chain(self.replan).min()
    }

    /// Its sounds that others are not sent begin or cease to be sent to it: without a hole.
    pub(super) fn leave_out_sound(&mut self) {
        self.seats.iter_mut().for_each(|seat| seat.audio.forwarder.leave_out());
    }

    /// Whether a track sits in one of its seats.
    pub(super) fn sees(&self, id: TrackId) -> bool {
        let halves = self.seats.iter().flat_map(|seat| [&seat.audio, &seat.video]);
        halves.filter_map(|half| half.track).any(|(_, known)| known == id)
    }
}

impl Room {
    /// A member has so many seats now, and decodes these codecs.
    pub fn equip(&mut self, key: MemberKey, seats: u8, decodes: Vec<Codec>, now: Instant) {
        let first_seq = self.first_seq;
        let limit = usize::from(self.max_seats);
        let Some((at, _)) = self.member(key) else { return };
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else { return };
        while member.seats.len() < usize::from(seats).min(limit) {
            member.seats.push(Seat::new(first_seq));
        }
        member.decodes = decodes;
        self.reseat(at, now);
        self.rebuild_sinks();
        self.tell_undecodable();
    }

    /// A member's media path stands: what waits for it may flow.
    pub fn connected(&mut self, key: MemberKey, now: Instant) {
        let Some((at, _)) = self.member(key) else { return };
        if let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) {
            member.connected = true;
        }
        self.adapt_soon(at, now);
        self.open_seats(now);
    }

    /// A member knows its seats as of `rev`.
    pub fn seated(&mut self, key: MemberKey, rev: u64, now: Instant) {
        let Some((at, _)) = self.member(key) else { return };
        if let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) {
            member.acknowledged = member.acknowledged.max(rev.min(member.rev));
        }
        self.open_seats(now);
    }

    /// A viewer lost its picture in this seat.
    pub fn keyframe_wanted(&mut self, key: MemberKey, seat: SeatIndex, now: Instant) {
        let Some((_, member)) = self.member(key) else { return };
        let Some(half) = member.seats.get(seat.index()).map(|seat| &seat.video) else { return };
        let (Some(slot), Some(sent)) = (half.slot(), half.forwarder.sends()) else { return };
        let layer = sent.layer;
        let trips = member.bandwidth().rtt.unwrap_or_default() * TRIPS;
        let repaired = (REPAIRED + trips).min(REPAIRED_AT_LATEST);
        if half.forwarder.last_keyframe().is_some_and(|at| now < at + repaired) {
            return;
        }
        if let Some(track) = self.tracks.get_mut(slot).and_then(Option::as_mut) {
            track.asks.want(layer);
            self.ask_at = Some(now);
        }
    }

    /// Who sits in a member's seats, how many seats it should have, who has none, and the number
    /// of this state.
    #[must_use]
    pub fn seats_of(&self, key: MemberKey) -> Option<(u64, u8, Vec<Occupant>, Vec<TrackId>)> {
        let (_, member) = self.member(key)?;
        let mut occupants = Vec::new();
        for (seat, index) in member.seats.iter().zip(0u8..) {
            for kind in [Kind::Audio, Kind::Video] {
                if let Some((_, track)) = seat.half(kind).track {
                    occupants.push(Occupant { seat: SeatIndex(index), kind, track });
                }
            }
        }
        Some((member.rev, member.wanted, occupants, member.unseated.clone()))
    }

    /// How many halves of a member's seats are occupied: audio, video.
    #[must_use]
    pub fn receiving(&self, key: MemberKey) -> (u32, u32) {
        let mut count = (0, 0);
        for seat in self.member(key).into_iter().flat_map(|(_, member)| &member.seats) {
            count.0 += u32::from(seat.audio.track.is_some());
            count.1 += u32::from(seat.video.track.is_some());
        }
        count
    }

    /// How many halves of seats are occupied: audio, video.
    #[must_use]
    pub fn occupied(&self) -> (u32, u32) {
        let mut count = (0, 0);
        for seat in self.members.iter().flatten().flat_map(|member| &member.seats) {
            count.0 += u32::from(seat.audio.track.is_some());
            count.1 += u32::from(seat.video.track.is_some());
        }
        count
    }

    /// Plans everybody's seats anew.
    pub(super) fn reseat_all(&mut self, now: Instant) {
        for at in 0..self.members.len() {
            self.reseat(at, now);
        }
        self.rebuild_sinks();
        self.tell_undecodable();
    }

    /// Plans the seats of one member that is here anew, and tells it if anything changed.
    pub(super) fn reseat(&mut self, at: usize, now: Instant) {
        if self.members.get(at).and_then(Option::as_ref).is_none_or(|m| m.key.is_none()) {
            return;
        }
        let candidates = self.candidates(at);
        let max_seats = self.max_seats;
        let Self { members, tracks, .. } = self;
        let pair_tracks: Vec<(Pair, Halves)> = candidates
            .iter()
            .map(|candidate| (candidate.pair, tracks_of(members, tracks, candidate.pair)))
            .collect();
        let Some(member) = members.get_mut(at).and_then(Option::as_mut) else { return };
        let wanted = seating::wanted_seats(candidates.len(), max_seats).max(member.wanted);
        let mut changed = wanted != member.wanted;
        member.wanted = wanted;
        let places: Vec<Place> = member.seats.iter().map(|seat| seat.place).collect();
        let plan = seating::plan(&places, &candidates, now);
        for (seat, pair) in plan.moves {
            if let Some(seat) = member.seats.get_mut(seat) {
                seat.place = Place { pair, changed: Some(now) };
            }
        }
        let find = |pair: Pair| pair_tracks.iter().find(|(p, _)| *p == pair).map(|(_, t)| *t);
        for seat in &mut member.seats {
            changed |= seat.fill(seat.place.pair.and_then(find).unwrap_or([None, None]));
        }
        let unseated = plan.unseated.iter().filter_map(|pair| find(*pair)).flatten().flatten();
        let unseated: Vec<TrackId> = unseated.map(|(_, id)| id).collect();
        changed |= unseated != member.unseated;
        member.unseated = unseated;
        member.replan = plan.again;
        if changed {
            member.rev += 1;
            let rev = member.rev;
            member.seats.iter_mut().for_each(|seat| seat.tell(rev, now));
            member.seats_untold = true;
            self.seats_untold = true;
            self.adapt_soon(at, now);
        }
    }

    /// Everybody but this member who publishes something.
    fn candidates(&self, viewer: usize) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (at, member) in self.members.iter().enumerate() {
            let Some(member) = member.as_ref().filter(|_| at != viewer) else { continue };
            for screen in [false, true] {
                let pair = Pair { member: at, screen };
                if tracks_of(&self.members, &self.tracks, pair) != [None, None] {
                    let shown = self.shown(viewer, pair);
                    let (spoke, came) = (member.spoke, member.came);
                    candidates.push(Candidate { pair, shown, spoke, came });
                }
            }
        }
        candidates
    }

    /// Compiles who is sent what, so that a packet walks a list.
    pub(super) fn rebuild_sinks(&mut self) {
        let Self { members, tracks, .. } = self;
        self.wishes_untold = true;
        for track in tracks.iter_mut().flatten() {
            track.sinks.clear();
        }
        for (at, member) in members.iter().enumerate() {
            let Some(member) = member else { continue };
            let pinned = member.pinned(tracks);
            for (seat, index) in member.seats.iter().zip(0u8..) {
                for half in [&seat.audio, &seat.video] {
                    let track = half.track.and_then(|(slot, _)| tracks.get_mut(slot));
                    if let Some(track) = track.and_then(Option::as_mut) {
                        let pinned = pinned.contains(&track.publisher);
                        track.sinks.push(Sink { member: at, seat: SeatIndex(index), pinned });
                    }
                }
            }
        }
    }

    /// Lets packets flow to halves whose client knows of them, and plans what had to wait.
    pub(super) fn open_seats(&mut self, now: Instant) {
        let mut opened = false;
        for member in self.members.iter_mut().flatten().filter(|member| member.connected) {
            let acknowledged = member.acknowledged;
            let halves =
                member.seats.iter_mut().flat_map(|seat| [&mut seat.audio, &mut seat.video]);
            for half in halves {
                let Some((rev, at)) = half.pending else { continue };
                if rev <= acknowledged || at + SEATED_AT_LATEST <= now {
                    half.pending = None;
                    half.forwarder.open();
                    opened = true;
                }
            }
        }
        if opened {
            self.ask_at = Some(now);
            self.wishes_untold = true;
        }
        let due =
            |m: &Option<Member>| m.as_ref().and_then(|m| m.replan).is_some_and(|at| at <= now);
        if self.members.iter().any(due) {
            self.reseat_all(now);
        }
    }

    /// The streams of a track begin anew where they can.
    pub(super) fn restart_sinks(&mut self, slot: usize, now: Instant) {
        let Self { members, tracks, .. } = self;
        let Some(track) = tracks.get(slot).and_then(Option::as_ref) else { return };
        for sink in &track.sinks {
            let member = members.get_mut(sink.member).and_then(Option::as_mut);
            if let Some(seat) = member.and_then(|m| m.seats.get_mut(sink.seat.index())) {
                seat.half_mut(track.info.kind).forwarder.restart();
            }
        }
        self.ask_at = Some(now);
    }

    /// Asks publishers for the keyframes that somebody waits for.
    pub(super) fn ask_keyframes(&mut self, now: Instant) {
        let Self { members, tracks, events, .. } = self;
        let mut next: Option<Instant> = None;
        for member in members.iter().flatten().filter(|member| member.connected) {
            for half in member.seats.iter().map(|seat| &seat.video) {
                let (Some((slot, _)), None) = (half.track, half.pending) else { continue };
                let Some(track) = tracks.get_mut(slot).and_then(Option::as_mut) else { continue };
                let Some(layer) = half.forwarder.awaits_keyframe() else { continue };
                // As long as nothing has come nobody knows which layers there are.
                let layer = if track.layers.known() == 0 { 0 } else { layer };
                if track.is_silent() {
                    continue;
                }
                let before = beginning(&track.segments, &half.forwarder, member.spare(now), now);
                let begins = before.is_some();
                let again = now + if begins { BEGINS_WITHIN } else { ASK_AGAIN };
                next = Some(next.map_or(again, |next| next.min(again)));
                if begins {
                    // The next packet brings what came before it.
                    continue;
                }
                match half.forwarder.sends() {
                    Some(sent) if !half.forwarder.is_stopped() && sent.layer != layer => {
                        track.asks.hope(layer);
                    }
                    _ => track.asks.want(layer),
                }
            }
        }
        for track in tracks.iter_mut().flatten() {
            let publisher = members.get(track.publisher).and_then(Option::as_ref);
            let Some(publisher) = publisher else { continue };
            while let Some(layer) = track.asks.poll(now) {
                events.push_back(match publisher.key {
                    Some(publisher) => {
                        RoomEvent::AskKeyframe { publisher, line: track.line, layer }
                    }
                    None => track.ask_far(publisher.at, layer),
                });
            }
            next = [next, track.asks.deadline(now)].into_iter().flatten().min();
        }
        self.ask_at = next;
    }
}

/// The audio and the video track of a pair.
fn tracks_of(members: &[Option<Member>], tracks: &[Option<Track>], pair: Pair) -> Halves {
    let mut found = [None, None];
    let Some(member) = members.get(pair.member).and_then(Option::as_ref) else { return found };
    for slot in &member.tracks {
        let Some(track) = tracks.get(*slot).and_then(Option::as_ref) else { continue };
        if track.info.source.is_screen() != pair.screen {
            continue;
        }
        let [audio, video] = &mut found;
        let half = if track.info.kind == Kind::Audio { audio } else { video };
        half.get_or_insert((*slot, track.info.id));
    }
    found
}
