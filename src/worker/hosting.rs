//! The rooms of a worker. A room is at home on one worker; there it is decided what happens, in
//! which order. Another worker with sessions of the room has an annex: a copy that asks the home
//! and applies what the home decided. The home's own sessions go the same way with no way to go.

use std::time::Instant;

use super::command::{Event, Join, SdpAnswer};
use super::demux::Sources;
use super::guard::guarded;
use super::relief::PutOff;
use super::sessions::Participant;
use super::{Output, Worker};
use crate::ids::{RoomName, SessionId, TrackId, WorkerId};
use crate::model::{ErrorCode, ParticipantInfo, Reason, Refusal, Retry};
use crate::relay::message::{Ask, Control, Entry, Joining, Status, Tell};
use crate::room::{MemberKey, NewMember, Room, RoomConfig};
use crate::session::Session;

/// A room on this worker.
#[derive(Debug)]
pub(super) struct Hosted {
    pub room: Room,
    /// When it is to be woken, as the timers know it.
    pub timer: Option<Instant>,
    pub side: Side,
    /// Sessions of it on this worker, those that wait to be let in among them.
    pub here: u32,
    /// Packets that had gone on at the last measurement.
    pub measured: u64,
}

/// What a worker is to a room.
#[derive(Debug)]
pub(super) enum Side {
    /// Here is decided what happens.
    Home {
        /// Workers that have a copy.
        annexes: Vec<WorkerId>,
    },
    /// Here is a copy.
    Annex { home: WorkerId },
}

impl Worker {
    pub(super) fn join(&mut self, join: Join, now: Instant) {
        let tracks = join.media.as_ref().map_or(0, |media| media.tracks.len());
        let may = if self.stopping { Err(stopping()) } else { self.may_publish(tracks, 0) };
        let at = may.and_then(|()| self.open_room(&join.room, join.home, join.joined_at));
        let at = match at {
            Ok(at) => at,
            Err(refusal) => {
                self.say(join.session, Event::Refused { id: None, refusal });
                self.outputs.push_back(Output::Over(join.session));
                return;
            }
        };
        let key = self.sessions.insert(Participant {
            id: join.session,
            identity: join.identity.clone(),
            room: at,
            media: None,
            sources: Sources::default(),
            tracks: Vec::new(),
            pending: Some(None),
            nid: 0,
            connect_by: Some(now + self.config.limits.media_path),
            heard: now,
            dirty: false,
            put_off: PutOff::default(),
            timer: None,
        });
        if let Some(Some(hosted)) = self.room_list.get_mut(at) {
            hosted.here += 1;
        }
        let (answer, tracks) = match join.media {
            Some(opened) => {
                let (answer, tracks) = self.adopt(key, *opened);
                (Some(answer), tracks)
            }
            None => (None, Vec::new()),
        };
        if let Some(participant) = self.sessions.get_mut(key) {
            participant.pending = Some(answer);
        }
        let joining = Joining {
            session: join.session,
            identity: join.identity,
            name: join.name,
            joined_at: join.joined_at,
            max_members: join.max_members,
            tracks,
        };
        self.ask(at, Ask::Join(Box::new(joining)), now);
        self.set_timer(key, now);
        self.touch_room(at);
    }

    /// A room's place here, made if there is none.
    pub(super) fn open_room(
        &mut self,
        name: &RoomName,
        home: WorkerId,
        created_at: u64,
    ) -> Result<usize, Refusal> {
        let me = self.config.id;
        if let Some(at) = self.rooms.get(name).copied() {
            let known = self.room_list.get(at).and_then(Option::as_ref).map(|h| h.home(me));
            // A room moves only once it is gone everywhere; the next attempt finds it so.
            return if known == Some(home) { Ok(at) } else { Err(moved()) };
        }
        let room = Room::new(RoomConfig {
            name: name.clone(),
            here: me,
            home: home == me,
            created_at,
            max_seats: self.config.limits.seats,
            loudest: self.config.limits.loudest,
            first_seq: self.config.first_seq,
        });
        let side =
            if home == me { Side::Home { annexes: Vec::new() } } else { Side::Annex { home } };
        let hosted = Some(Hosted { room, timer: None, side, here: 0, measured: 0 });
        let at = match self.room_list.iter().position(Option::is_none) {
            Some(at) => {
                self.room_list[at] = hosted;
                at
            }
            None => {
                self.room_list.push(hosted);
                self.room_list.len() - 1
            }
        };
        self.rooms.insert(name.clone(), at);
        Ok(at)
    }

    /// Asks a room's home, which may be this worker.
    pub(super) fn ask(&mut self, at: usize, ask: Ask, now: Instant) {
        let Some(Some(hosted)) = self.room_list.get(at) else { return };
        match hosted.side {
            Side::Home { .. } => self.decide(at, self.config.id, ask, now),
            Side::Annex { home } => {
                let name = hosted.room.name().clone();
                self.send(home, Control::Ask(name, ask));
            }
        }
    }

    /// The annex's part of [`Control::Tell`].
    pub(super) fn handle_tell(
        &mut self,
        from: WorkerId,
        name: &RoomName,
        tell: Tell,
        now: Instant,
    ) {
        let Some(at) = self.rooms.get(name).copied() else { return };
        let Some(Some(hosted)) = self.room_list.get_mut(at) else { return };
        let Side::Annex { home } = &hosted.side else { return };
        if *home != from {
            return;
        }
        match tell {
            Tell::Open(snapshot) => {
                // Entries from before it are forgotten with what they made.
                hosted.room.restore(*snapshot, now);
                self.inlets.close(|inlet| inlet.room == at);
            }
            Tell::Entry(entry) => self.apply(at, entry, now),
            Tell::Refused(session, refusal) => self.refuse_join(session, refusal, now),
            Tell::Forget(worker) => {
                hosted.room.forget_worker(worker);
                self.retry_room(at, now);
            }
        }
    }

    /// Lets something happen in this worker's copy of a room.
    pub(super) fn apply(&mut self, at: usize, entry: Entry, now: Instant) {
        let Some(Some(hosted)) = self.room_list.get_mut(at) else { return };
        let room = &mut hosted.room;
        match entry {
            Entry::Joined(session, worker, info) => {
                return self.apply_joined(at, (session, worker), *info, now);
            }
            Entry::Left(session, reason) => return self.apply_left(at, session, reason, now),
            Entry::Published(session, track) => {
                let lines = self.lines_of(session);
                let line = lines.iter().find(|(id, _)| *id == track.id).map_or(0, |(_, l)| *l);
                if let Some(room) = self.room_mut(at) {
                    room.publish(session, track, line, now);
                }
                self.place_tracks(at, session);
            }
            Entry::Unpublished(session, track) => {
                room.unpublish(session, track, now);
                self.inlets.close(|inlet| inlet.track == track);
            }
            Entry::Muted(session, track, muted) => room.mute(session, track, muted, now),
            Entry::Speakers(speaking) => room.speakers(&speaking, now),
            Entry::Heard(heard) => self.hear_only(at, heard, now),
        }
        self.touch_room(at);
    }

    fn apply_joined(
        &mut self,
        at: usize,
        (session, worker): (SessionId, WorkerId),
        info: ParticipantInfo,
        now: Instant,
    ) {
        let key = self.sessions.find(session);
        if key.is_some() {
            // Whoever comes now is told of what is said from now on, and of nothing before.
            self.say_events(at, now);
        }
        let lines = self.lines_of(session);
        if let Some(room) = self.room_mut(at) {
            room.admit(NewMember { session, at: worker, key, info, lines }, now);
        }
        self.touch_room(at);
        let Some(key) = key else { return };
        self.place_tracks(at, session);
        self.equip(key, now);
        let pending = self.sessions.get_mut(key).and_then(|participant| participant.pending.take());
        self.welcome(key, at, pending.flatten());
    }

    fn apply_left(&mut self, at: usize, session: SessionId, reason: Reason, now: Instant) {
        let Some(room) = self.room_mut(at) else { return };
        let tracks = room.tracks_of(session);
        room.leave(session, reason, now);
        self.inlets.close(|inlet| tracks.iter().any(|(id, _)| *id == inlet.track));
        if let Some(key) = self.sessions.find(session) {
            self.end(key, reason, now);
        }
        self.touch_room(at);
        self.close_if_left(at);
    }

    /// Tells what has happened in a room so far.
    pub(super) fn say_events(&mut self, at: usize, now: Instant) {
        while let Some(event) = self.room_mut(at).and_then(Room::poll_event) {
            self.handle_room_event(at, event, now);
        }
    }

    /// The first event of a session: the room as of this moment.
    fn welcome(&mut self, key: MemberKey, at: usize, answer: Option<SdpAnswer>) {
        let seats = self.seats(key);
        let Some(session) = self.sessions.get(key).map(|participant| participant.id) else {
            return;
        };
        let Some(room) = self.room_mut(at) else { return };
        let everybody = room.participants();
        let Some(me) = everybody.iter().find(|(id, _)| *id == session).map(|(_, me)| me.clone())
        else {
            return;
        };
        let others = everybody.into_iter().filter(|(id, _)| *id != session);
        let participants = others.map(|(_, info)| info).collect();
        self.say(session, Event::Joined { participants, me, answer, seats });
    }

    /// The lines of a session's tracks, if it is here.
    fn lines_of(&self, session: SessionId) -> Vec<(TrackId, u8)> {
        let participant = self.sessions.find(session).and_then(|key| self.sessions.get(key));
        let lines = participant.into_iter().flat_map(|p| p.tracks.iter().zip(0u8..));
        lines.filter_map(|(track, line)| track.map(|(id, _)| (id, line))).collect()
    }

    /// Notes where the room has a session's tracks: from now on their packets are forwarded.
    fn place_tracks(&mut self, at: usize, session: SessionId) {
        let Some(key) = self.sessions.find(session) else { return };
        let tracks = self.room_mut(at).map(|room| room.tracks_of(session)).unwrap_or_default();
        let Some(participant) = self.sessions.get_mut(key) else { return };
        for (id, place) in participant.tracks.iter_mut().flatten() {
            *place = tracks.iter().find(|(known, _)| known == id).map(|(_, slot)| *slot);
        }
    }

    /// Ends a session. The others are told by its room, the client by good-bye.
    pub(super) fn leave(&mut self, key: MemberKey, reason: Reason, now: Instant) {
        let Some(participant) = self.sessions.get(key) else { return };
        let (session, at) = (participant.id, participant.room);
        self.end(key, reason, now);
        self.ask(at, Ask::Leave(session, reason), now);
        self.touch_room(at);
        self.close_if_left(at);
    }

    /// Closes a session's engine and tells its client.
    pub(super) fn end(&mut self, key: MemberKey, reason: Reason, now: Instant) {
        let Some(mut participant) = self.sessions.remove(key) else { return };
        self.demux.forget(key, &participant.sources);
        if let Some(Some(hosted)) = self.room_list.get_mut(participant.room) {
            hosted.here = hosted.here.saturating_sub(1);
        }
        if let Some(media) = participant.media.as_mut() {
            let drained = &mut self.drained;
            let media: &mut Session = media;
            // It ends either way.
            let _ = guarded(&mut self.totals, || {
                media.close(drained, now);
                Ok(())
            });
            self.drained.events.clear();
        }
        let id = participant.id;
        if participant.pending.is_some() && reason != Reason::Client {
            self.say(id, Event::Refused { id: None, refusal: moved() });
        } else if reason != Reason::Client {
            let (retry, after_ms) = retry_after(reason);
            self.say(id, Event::Goodbye { reason, retry, after_ms });
        }
        self.outputs.push_back(Output::Over(id));
    }

    /// A session is not let in by its room.
    pub(super) fn refuse_join(&mut self, session: SessionId, refusal: Refusal, now: Instant) {
        let Some(key) = self.sessions.find(session) else { return };
        let Some(participant) = self.sessions.get(key) else { return };
        let at = participant.room;
        if participant.pending.is_none() {
            return;
        }
        self.say(session, Event::Refused { id: None, refusal });
        self.end(key, Reason::Client, now);
        self.close_if_left(at);
    }

    /// An annex without sessions closes at once: the home has everything.
    fn close_if_left(&mut self, at: usize) {
        let Some(Some(hosted)) = self.room_list.get(at) else { return };
        if let Side::Annex { home } = hosted.side
            && hosted.here == 0
        {
            let name = hosted.room.name().clone();
            self.send(home, Control::Ask(name, Ask::Close));
            self.drop_room(at);
        }
    }

    /// Forgets a room.
    pub(super) fn drop_room(&mut self, at: usize) {
        let Some(hosted) = self.room_list.get_mut(at).and_then(Option::take) else { return };
        self.rooms.remove(hosted.room.name());
        self.inlets.close(|inlet| inlet.room == at);
    }

    /// Forgets all that is shared with another worker: the link to it broke.
    pub(super) fn unlink(&mut self, with: WorkerId, now: Instant) {
        for at in 0..self.room_list.len() {
            let Some(Some(hosted)) = self.room_list.get(at) else { continue };
            match &hosted.side {
                Side::Home { annexes } if annexes.contains(&with) => self.lose_annex(at, with, now),
                Side::Annex { home } if *home == with => {
                    for key in self.sessions.keys() {
                        if self.sessions.get(key).is_some_and(|p| p.room == at) {
                            self.end(key, Reason::Migration, now);
                        }
                    }
                    self.drop_room(at);
                }
                Side::Home { .. } | Side::Annex { .. } => {}
            }
        }
    }

    /// Tells a room's home how a member here is doing, if the home is elsewhere.
    pub(super) fn tell_status(&mut self, key: MemberKey, now: Instant) {
        let Some(participant) = self.sessions.get(key) else { return };
        let (at, session) = (participant.room, participant.id);
        let Some(Some(hosted)) = self.room_list.get(at) else { return };
        if matches!(hosted.side, Side::Annex { .. }) {
            let status = self.status(&hosted.room, key);
            self.ask(at, Ask::Status(session, status), now);
        }
    }

    /// How a member here is doing.
    pub(super) fn status(&self, room: &Room, key: MemberKey) -> Status {
        let media = self.sessions.get(key).and_then(|participant| participant.media.as_ref());
        Status {
            connected: media.is_some_and(|media| media.is_connected()),
            receiving: room.receiving(key),
        }
    }
}

impl Hosted {
    /// The room's home.
    pub fn home(&self, me: WorkerId) -> WorkerId {
        match self.side {
            Side::Home { .. } => me,
            Side::Annex { home } => home,
        }
    }
}

pub(super) fn stopping() -> Refusal {
    Refusal::new(ErrorCode::ServerShutdown, "The server stops.")
}

fn moved() -> Refusal {
    let text = "The room is being moved, try again in a moment.";
    Refusal { retry_after_ms: Some(1_000), ..Refusal::new(ErrorCode::ServerBusy, text) }
}

/// What a client that is told good-bye may do, and how long it should wait before it does.
fn retry_after(reason: Reason) -> (Retry, u64) {
    match reason {
        Reason::Removed | Reason::RoomDeleted | Reason::DuplicateIdentity | Reason::Client => {
            (Retry::None, 0)
        }
        // A node that stops is back, or replaced, after a moment; all at once would be a storm.
        Reason::ServerShutdown | Reason::Migration => (Retry::Rejoin, 1_000),
        _ => (Retry::Rejoin, 0),
    }
}
