//! What happens to a room, in the order that its home decides. Every copy of the room applies the
//! same entries in the same order, so that all have the same members, tracks and speakers, and
//! everybody is told of them in the same order.

use std::sync::Arc;
use std::time::Instant;

use super::adapting::Adapting;
use super::catching_up::CaughtUp;
use super::explaining::Told;
use super::pre_roll::PreRoll;
use super::speakers::EVERY;
use super::upstream::Upstream;
use super::{
    Member, MemberKey, NewMember, Outbox, Room, RoomEvent, Status, Track, TrackSlot, Voice, put,
};
use crate::forward::keyframe::KeyframeAsks;
use crate::forward::layers::LayerTable;
use crate::forward::segment::Segments;
use crate::ids::{SessionId, TrackId, WorkerId};
use crate::model::{Notice, ParticipantInfo, Reason, Source, Speaker, TrackInfo};
use crate::relay::message::Snapshot;

/// A member as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its session.
    pub session: SessionId,
    /// Its key, if its session is here.
    pub key: Option<MemberKey>,
    /// What everybody sees.
    pub info: ParticipantInfo,
    /// What its worker said of it last, if that is another.
    pub status: Status,
}

impl Room {
    /// A member came with its tracks. The others are told.
    pub fn admit(&mut self, new: NewMember, now: Instant) {
        let (cause, notice) = (new.session, Notice::Joined(new.info.clone()));
        self.take_in(new);
        self.events.push_back(RoomEvent::Notice { cause, notice });
        self.reseat_all(now);
        self.open_floor(now);
    }

    /// Becomes the room as it is at its home; nobody is told.
    pub fn restore(&mut self, snapshot: Snapshot, now: Instant) {
        self.created_at = snapshot.created_at;
        self.members.clear();
        self.tracks.clear();
        self.events.clear();
        self.heard = snapshot.heard;
        for (session, at, info) in snapshot.members {
            self.take_in(NewMember { session, at, key: None, info, lines: Vec::new() });
        }
        self.note_speakers(&snapshot.speaking, now);
    }

    /// The room as of now, for another copy to begin with.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let member = |member: &Member| (member.session, member.at, self.describe(member));
        Snapshot {
            created_at: self.created_at,
            members: self.in_order().into_iter().map(member).collect(),
            speaking: self.speaking.clone(),
            heard: self.heard(),
        }
    }

    fn take_in(&mut self, new: NewMember) {
        let ParticipantInfo { identity, name, joined_at, tracks } = new.info;
        let member = Member {
            session: new.session,
            at: new.at,
            key: new.key,
            identity,
            name,
            joined_at,
            tracks: Vec::new(),
            came: self.came,
            status: Status::default(),
            voice: Voice::default(),
            spoke: None,
            outbox: Outbox::default(),
            seats: Vec::new(),
            wanted: 0,
            rev: 0,
            acknowledged: 0,
            connected: false,
            seats_untold: false,
            unseated: Vec::new(),
            decodes: Vec::new(),
            told_undecodable: Vec::new(),
            replan: None,
            adapting: Adapting::default(),
            told_quality: Told::default(),
            caught_up: CaughtUp::default(),
        };
        self.came += 1;
        self.empty_since = None;
        let at = put(&mut self.members, member);
        for info in tracks {
            let line = new.lines.iter().find(|(id, _)| *id == info.id).map_or(0, |(_, line)| *line);
            self.put_track(at, info, line);
        }
    }

    fn put_track(&mut self, publisher: usize, info: TrackInfo, line: u8) {
        let member = self.members.get(publisher).and_then(Option::as_ref);
        let quiet = member.is_some_and(|m| self.begins_quiet(info.source, m.session));
        let track = Track {
            info,
            publisher,
            line,
            held: false,
            quiet,
            pre_roll: PreRoll::default(),
            codec: None,
            sinks: Vec::new(),
            outlets: Vec::new(),
            new_outlets: Vec::new(),
            wished: 0,
            needed: 0,
            layers: LayerTable::default(),
            far: None,
            upstream: Upstream::default(),
            asks: KeyframeAsks::default(),
            segments: Segments::default(),
        };
        let slot = put(&mut self.tracks, track);
        if let Some(member) = self.members.get_mut(publisher).and_then(Option::as_mut) {
            member.tracks.push(slot);
        }
    }

    /// A member published a track, on this line if it is here. The others are told.
    pub fn publish(&mut self, session: SessionId, info: TrackInfo, line: u8, now: Instant) {
        let Some(at) = self.by_session(session) else { return };
        let Some(member) = self.members.get(at).and_then(Option::as_ref) else { return };
        let notice = Notice::Published { identity: member.identity.clone(), track: info.clone() };
        self.put_track(at, info, line);
        self.events.push_back(RoomEvent::Notice { cause: session, notice });
        self.reseat_all(now);
        self.open_floor(now);
    }

    /// A member took a track away. The others are told.
    pub fn unpublish(&mut self, session: SessionId, id: TrackId, now: Instant) {
        let Some((at, slot)) = self.own_track(session, id) else { return };
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else { return };
        member.tracks.retain(|known| *known != slot);
        member.voice.silence();
        let identity = member.identity.clone();
        if let Some(track) = self.tracks.get_mut(slot) {
            *track = None;
        }
        let notice = Notice::Unpublished { identity, track: id };
        self.events.push_back(RoomEvent::Notice { cause: session, notice });
        self.reseat_all(now);
        self.open_floor(now);
        self.look_soon(now);
    }

    /// A member muted or unmuted a track; from here on no packet of a muted track goes on. The
    /// others are told.
    pub fn mute(&mut self, session: SessionId, id: TrackId, muted: bool, now: Instant) {
        let Some((at, slot)) = self.own_track(session, id) else { return };
        let Self { members, tracks, events, .. } = self;
        let Some(track) = tracks.get_mut(slot).and_then(Option::as_mut) else { return };
        if track.info.muted == muted {
            return;
        }
        track.info.muted = muted;
        track.held = false;
        track.layers.forget();
        track.segments.forget();
        let Some(member) = members.get_mut(at).and_then(Option::as_mut) else { return };
        if track.info.source == Source::Microphone {
            member.voice.silence();
        }
        let notice =
            Notice::TrackUpdated { identity: member.identity.clone(), track: track.info.clone() };
        events.push_back(RoomEvent::Notice { cause: session, notice });
        self.restart_sinks(slot, now);
        self.open_floor(now);
        self.adapt_all(now);
        self.look_soon(now);
    }

    /// Silences a track at once, before the room's order has it: what its publisher was told is
    /// silent must be.
    pub fn hold(&mut self, session: SessionId, id: TrackId, held: bool) {
        let Some((_, slot)) = self.own_track(session, id) else { return };
        if let Some(track) = self.tracks.get_mut(slot).and_then(Option::as_mut) {
            track.held = held;
        }
    }

    /// A member left; the others are told before and after.
    pub fn leave(&mut self, session: SessionId, reason: Reason, now: Instant) {
        let Some(at) = self.by_session(session) else { return };
        let Some(member) = self.members.get(at).and_then(Option::as_ref) else { return };
        let identity = member.identity.clone();
        let tracks = member.tracks.clone();
        let leaving = Notice::Leaving { identity: identity.clone(), reason };
        self.events.push_back(RoomEvent::Notice { cause: session, notice: leaving });
        for slot in tracks {
            if let Some(track) = self.tracks.get_mut(slot) {
                *track = None;
            }
        }
        if let Some(place) = self.members.get_mut(at) {
            *place = None;
        }
        self.reseat_all(now);
        let left = Notice::Left { identity, reason };
        self.events.push_back(RoomEvent::Notice { cause: session, notice: left });
        if self.is_empty() {
            self.empty_since = Some(now);
        }
        self.open_floor(now);
        self.look_soon(now);
    }

    /// Who speaks, as the home decided.
    pub fn speakers(&mut self, speaking: &[Speaker], now: Instant) {
        // Somebody may have left between the decision and its place in the order.
        let here = |s: &&Speaker| self.find(s.identity.as_str()).is_some();
        let speaking: Vec<Speaker> = speaking.iter().filter(here).cloned().collect();
        let changed = self.note_speakers(&speaking, now);
        self.events.push_back(RoomEvent::Speakers(self.speaking.clone()));
        if changed {
            self.reseat_all(now);
        }
    }

    /// Notes when members spoke last; whether others speak than before.
    fn note_speakers(&mut self, speaking: &[Speaker], now: Instant) -> bool {
        let before = std::mem::replace(&mut self.speaking, Arc::from(speaking));
        let mut changed = false;
        for member in self.members.iter_mut().flatten() {
            let among = |list: &[Speaker]| list.iter().any(|s| s.identity == member.identity);
            let (spoke, speaks) = (among(&before), among(speaking));
            if speaks {
                member.spoke = Some(now);
            } else if spoke {
                // It spoke until the look before this one, so those who still speak come first.
                member.spoke = now.checked_sub(EVERY);
            }
            changed |= spoke != speaks;
        }
        changed
    }

    /// How loud members of another worker were.
    pub fn hear_levels(&mut self, levels: &[(SessionId, f32)], now: Instant) {
        for (session, level) in levels {
            let at = self.by_session(*session);
            if let Some(member) = at.and_then(|at| self.members.get_mut(at)?.as_mut()) {
                member.voice.set(*level, now);
            }
            if let Some(at) = at {
                self.speak_up(at, now);
            }
        }
        self.look_soon(now);
    }

    /// Tells the home how loud the members here are.
    pub(super) fn report_levels(&mut self, now: Instant) {
        let members = self.members.iter_mut().flatten().filter(|member| member.key.is_some());
        let loud = |m: &mut Member| m.voice.report(now).map(|level| (m.session, level));
        let levels: Vec<(SessionId, f32)> = members.filter_map(loud).collect();
        if !levels.is_empty() {
            self.events.push_back(RoomEvent::Levels(levels));
            self.look_soon(now);
        }
    }

    /// How a member elsewhere is doing.
    pub fn set_status(&mut self, session: SessionId, status: Status) {
        let at = self.by_session(session);
        if let Some(member) = at.and_then(|at| self.members.get_mut(at)?.as_mut()) {
            member.status = status;
        }
    }

    /// Whether a session is a member, and on this worker: nobody else may speak for it.
    #[must_use]
    pub fn is_at(&self, session: SessionId, worker: WorkerId) -> bool {
        let member = self.by_session(session).and_then(|at| self.members.get(at)?.as_ref());
        member.is_some_and(|member| member.at == worker)
    }

    /// The members as an operator sees them, in the order in which they came.
    #[must_use]
    pub fn listed(&self) -> Vec<Listed> {
        let listed = |member: &Member| Listed {
            session: member.session,
            key: member.key,
            info: self.describe(member),
            status: member.status,
        };
        self.in_order().into_iter().map(listed).collect()
    }

    /// The sessions that another worker has, in the order in which they came.
    #[must_use]
    pub fn sessions_at(&self, worker: WorkerId) -> Vec<SessionId> {
        let there = self.in_order().into_iter().filter(|member| member.at == worker);
        there.map(|member| member.session).collect()
    }

    /// A member's tracks and their places.
    #[must_use]
    pub fn tracks_of(&self, session: SessionId) -> Vec<(TrackId, TrackSlot)> {
        let at = self.by_session(session);
        let member = at.and_then(|at| self.members.get(at)?.as_ref());
        let slots = member.into_iter().flat_map(|member| &member.tracks);
        let named =
            |slot: &usize| Some((self.tracks.get(*slot)?.as_ref()?.info.id, TrackSlot(*slot)));
        slots.filter_map(named).collect()
    }

    fn own_track(&self, session: SessionId, id: TrackId) -> Option<(usize, usize)> {
        let at = self.by_session(session)?;
        let member = self.members.get(at)?.as_ref()?;
        let slot = self.by_track(id)?;
        member.tracks.contains(&slot).then_some((at, slot))
    }
}
