//! What the control plane wants, carried out; and what rooms say, passed on.

use std::sync::Arc;
use std::time::Instant;

use super::command::{
    Answer, Command, Event, Join, MemberInfo, NewTrack, Opened, Question, Request, RoomInfo,
    SdpAnswer, Seats, StreamState, publishes,
};
use super::demux::Sources;
use super::guard::{Failed, guarded};
use super::lanes::WorkerLanes;
use super::sessions::Participant;
use super::{Hosted, Output, Worker};
use crate::counts::DropReason;
use crate::forward::packet::Codec;
use crate::ids::{RoomName, SessionId, TrackId};
use crate::model::{ErrorCode, Kind, Reason, Refusal, Retry, TrackInfo};
use crate::room::messages::{Message, Taken, refuse};
use crate::room::{MemberKey, NewMember, Room, RoomEvent};
use crate::session::channels::Lane;
use crate::session::streams::LineIndex;
use crate::session::{Offer, OfferError, Session};
use crate::wire::data::Frame;

impl From<&OfferError> for Refusal {
    fn from(error: &OfferError) -> Self {
        let code = match error {
            OfferError::TooLarge(_) => ErrorCode::TooLarge,
            OfferError::TooMany(_) => ErrorCode::TooMany,
            _ => ErrorCode::NegotiationFailed,
        };
        Self::new(code, error.to_string())
    }
}

/// A further offer.
struct Reoffer<'a> {
    nid: u64,
    sdp: &'a str,
    tracks: &'a [NewTrack],
}

impl Worker {
    pub(super) fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Join(join) => self.join(join, now),
            Command::Attach { session, id, media } => self.attach(session, id, *media, now),
            Command::Request { session, id, request } => {
                let Some(key) = self.sessions.find(session) else { return };
                let event = match self.request(key, request, now) {
                    Ok(()) => id.map(|id| Event::Done { id }),
                    Err(refusal) => Some(Event::Refused { id, refusal }),
                };
                if let Some(event) = event {
                    self.say(session, event);
                }
            }
            Command::Leave { session, reason } => {
                if let Some(key) = self.sessions.find(session) {
                    self.leave(key, reason, now);
                }
            }
            Command::Ask { ticket, question } => {
                let answer = self.answer(question, now);
                self.outputs.push_back(Output::Answer(ticket, answer));
            }
            Command::Shutdown => {
                self.stopping = true;
                for key in self.sessions.keys() {
                    self.leave(key, Reason::ServerShutdown, now);
                }
            }
        }
    }

    fn say(&mut self, session: SessionId, event: Event) {
        self.outputs.push_back(Output::Event(session, event));
    }

    fn join(&mut self, join: Join, now: Instant) {
        if let Err(refusal) = self.may_join(&join) {
            self.say(join.session, Event::Refused { id: None, refusal });
            self.outputs.push_back(Output::Over(join.session));
            return;
        }
        let at = self.open_room(&join.room, join.joined_at);
        let double = self.room_mut(at).and_then(|room| room.find(join.identity.as_str()));
        if let Some(double) = double {
            self.leave(double, Reason::DuplicateIdentity, now);
        }
        let key = self.sessions.insert(Participant {
            id: join.session,
            identity: join.identity.clone(),
            room: at,
            media: None,
            sources: Sources::default(),
            tracks: Vec::new(),
            nid: 0,
            connect_by: Some(now + self.config.limits.media_path),
            heard: now,
            dirty: false,
            timer: None,
        });
        let member =
            NewMember { key, identity: join.identity, name: join.name, joined_at: join.joined_at };
        if let Some(room) = self.room_mut(at) {
            room.join(member);
        }
        let answer = join.media.map(|opened| self.adopt(key, *opened, now));
        self.welcome(key, at, answer);
        self.set_timer(key, now);
        self.touch_room(at);
    }

    fn may_join(&self, join: &Join) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::new(ErrorCode::ServerShutdown, "The server stops."));
        }
        if let Some(media) = &join.media {
            self.may_publish(media.tracks.len(), 0)?;
        }
        let room = self.rooms.get(&join.room).and_then(|at| self.room_list.get(*at));
        let members = room.and_then(Option::as_ref).map_or(0, |hosted| hosted.room.len());
        if members >= join.max_members as usize {
            let max = join.max_members;
            let text = format!("The room has {max} members, which is as many as it may have.");
            return Err(Refusal::new(ErrorCode::RoomFull, text));
        }
        Ok(())
    }

    fn may_publish(&self, new: usize, known: usize) -> Result<(), Refusal> {
        let limit = usize::from(self.config.limits.tracks);
        if new + known > limit {
            let text = format!("A participant may publish at most {limit} tracks.");
            return Err(Refusal::new(ErrorCode::TooMany, text));
        }
        Ok(())
    }

    fn open_room(&mut self, name: &RoomName, created_at: u64) -> usize {
        if let Some(at) = self.rooms.get(name) {
            return *at;
        }
        let room =
            Room::new(name.clone(), created_at, self.config.limits.seats, self.config.first_seq);
        let hosted = Some(Hosted { room, timer: None });
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
        at
    }

    /// The first event of a session: the room as of this moment.
    fn welcome(&mut self, key: MemberKey, at: usize, answer: Option<SdpAnswer>) {
        let seats = self.seats(key);
        let Some(room) = self.room_mut(at) else { return };
        let everybody = room.participants();
        room.announce(key);
        let Some(me) = everybody.iter().find(|(k, _)| *k == key).map(|(_, me)| me.clone()) else {
            return;
        };
        let others = everybody.into_iter().filter(|(k, _)| *k != key);
        let participants = others.map(|(_, info)| info).collect();
        let Some(session) = self.sessions.get(key).map(|participant| participant.id) else {
            return;
        };
        self.say(session, Event::Joined { participants, me, answer, seats });
    }

    fn attach(&mut self, session: SessionId, id: Option<u64>, opened: Opened, now: Instant) {
        let Some(key) = self.sessions.find(session) else { return };
        let participant = self.sessions.get(key);
        let refusal = if participant.is_some_and(|participant| participant.media.is_some()) {
            let text = "The first offer was answered already.";
            Err(Refusal::new(ErrorCode::NegotiationFailed, text))
        } else {
            self.may_publish(opened.tracks.len(), 0)
        };
        if let Err(refusal) = refusal {
            return self.say(session, Event::Refused { id, refusal });
        }
        let answer = self.adopt(key, opened, now);
        self.say(session, Event::Answer(answer));
        if let Some(id) = id {
            self.say(session, Event::Done { id });
        }
        self.set_timer(key, now);
    }

    /// Takes over the engine that the joiner built, and publishes what its offer publishes.
    fn adopt(&mut self, key: MemberKey, opened: Opened, now: Instant) -> SdpAnswer {
        self.demux.name(opened.session.ufrag(), key);
        if let Some(participant) = self.sessions.get_mut(key) {
            participant.nid = opened.nid;
            participant.media = Some(Box::new(opened.session));
        }
        let tracks = self.publish(key, &opened.tracks, now);
        self.equip(key, now);
        SdpAnswer { nid: opened.nid, sdp: opened.sdp, tracks }
    }

    fn request(&mut self, key: MemberKey, request: Request, now: Instant) -> Result<(), Refusal> {
        match request {
            Request::Offer { nid, sdp, tracks } => {
                self.reoffer(key, &Reoffer { nid, sdp: &sdp, tracks: &tracks }, now)
            }
            Request::Mute { track, muted } => {
                self.own(key, track, |room| room.mute(key, track, muted, now))
            }
            Request::Unpublish { track } => {
                self.own(key, track, |room| room.unpublish(key, track, now))?;
                if let Some(participant) = self.sessions.get_mut(key) {
                    let is = |slot: &&mut Option<_>| matches!(slot, Some((id, _)) if *id == track);
                    participant.tracks.iter_mut().filter(is).for_each(|slot| *slot = None);
                }
                Ok(())
            }
            Request::Seated { rev } => {
                self.in_room(key, |room| room.seated(key, rev, now));
                Ok(())
            }
        }
    }

    fn own(
        &mut self,
        key: MemberKey,
        track: TrackId,
        work: impl FnOnce(&mut Room) -> bool,
    ) -> Result<(), Refusal> {
        let mut found = false;
        self.in_room(key, |room| found = work(room));
        if found {
            return Ok(());
        }
        let text = format!("There is no track {track} of yours.");
        Err(Refusal::new(ErrorCode::NoSuchTrack, text))
    }

    fn reoffer(
        &mut self,
        key: MemberKey,
        offer: &Reoffer<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Reoffer { nid, sdp, tracks } = *offer;
        let gone = || Refusal::new(ErrorCode::Internal, "The session is over.");
        let known = self.sessions.get(key).map(|p| (p.nid, p.tracks.iter().flatten().count()));
        let (newest, published) = known.ok_or_else(gone)?;
        if nid <= newest {
            let text = format!("Offer {nid} is not newer than offer {newest}.");
            return Err(Refusal::new(ErrorCode::NegotiationFailed, text));
        }
        let new = tracks.iter().filter(|track| !self.carries(key, &track.mid)).count();
        self.may_publish(new, published)?;
        let participant = self.sessions.get_mut(key).ok_or_else(gone)?;
        let Some(media) = participant.media.as_mut() else {
            let text = "The first offer is still being answered.";
            return Err(Refusal::new(ErrorCode::NegotiationFailed, text));
        };
        let listed = publishes(tracks);
        let offer = Offer { sdp, publishes: &listed };
        let before = media.ufrag().to_owned();
        let answer = guarded(&mut self.totals, || Ok(media.reoffer(&offer)))
            .unwrap_or_else(|Failed| Err(OfferError::Engine("it panicked".to_owned())));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, OfferError::Engine(_)) {
                    participant.media = None;
                    self.leave(key, Reason::StateMismatch, now);
                }
                return Err(Refusal::from(&error));
            }
        };
        participant.nid = nid;
        if media.ufrag() != before {
            let gone = participant.sources.forget_unproven();
            self.demux.name(media.ufrag(), key);
            self.demux.unbind(key, &gone);
        }
        let tracks = self.publish(key, tracks, now);
        if let Some(session) = self.sessions.get(key).map(|participant| participant.id) {
            self.say(session, Event::Answer(SdpAnswer { nid, sdp: answer, tracks }));
        }
        self.equip(key, now);
        self.touch(key);
        Ok(())
    }

    fn carries(&self, key: MemberKey, mid: &str) -> bool {
        let carried = |participant: &Participant| {
            let line = participant.media.as_ref()?.line_of(mid)?;
            participant.tracks.get(usize::from(line.0)).copied().flatten()
        };
        self.sessions.get(key).and_then(carried).is_some()
    }

    /// Publishes what an offer names; what its lines carry already keeps its id.
    fn publish(
        &mut self,
        key: MemberKey,
        tracks: &[NewTrack],
        now: Instant,
    ) -> Vec<(String, TrackId)> {
        let mut named = Vec::new();
        for track in tracks {
            let Some(participant) = self.sessions.get_mut(key) else { break };
            let line = participant.media.as_ref().and_then(|media| media.line_of(&track.mid));
            let Some(line) = line.map(|line: LineIndex| usize::from(line.0)) else { continue };
            if participant.tracks.len() <= line {
                participant.tracks.resize(line + 1, None);
            }
            if let Some(Some((id, _))) = participant.tracks.get(line) {
                named.push((track.cid.clone(), *id));
                continue;
            }
            self.track_number += 1;
            let id = TrackId { worker: self.config.id, number: self.track_number };
            let info = TrackInfo {
                id,
                source: track.source,
                kind: track.source.kind(),
                name: track.name.clone(),
                muted: track.muted,
                width: track.width,
                height: track.height,
            };
            let at = participant.room;
            let line_number = u8::try_from(line).unwrap_or(u8::MAX);
            let slot = self.room_mut(at).and_then(|room| room.publish(key, info, line_number, now));
            let place =
                self.sessions.get_mut(key).and_then(|participant| participant.tracks.get_mut(line));
            if let (Some(place), Some(slot)) = (place, slot) {
                *place = Some((id, slot));
                named.push((track.cid.clone(), id));
            }
            self.touch_room(at);
        }
        named
    }

    /// Tells the room how many seats the session has now, and what it decodes.
    fn equip(&mut self, key: MemberKey, now: Instant) {
        let media = self.sessions.get(key).and_then(|participant| participant.media.as_ref());
        let Some(lines) = media.map(|media| media.seats()) else { return };
        let codecs = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];
        let decodes = codecs.into_iter().filter(|codec| lines.decodes(*codec)).collect();
        let pairs = lines.pairs();
        self.in_room(key, |room| room.equip(key, pairs, decodes, now));
    }

    /// A session's seats in the client's words.
    fn seats(&self, key: MemberKey) -> Seats {
        let Some(participant) = self.sessions.get(key) else { return Seats::default() };
        let room = self.room_list.get(participant.room).and_then(Option::as_ref);
        let Some((rev, want, occupants, unseated)) = room.and_then(|h| h.room.seats_of(key)) else {
            return Seats::default();
        };
        let lines = participant.media.as_ref().map(|media| media.seats());
        let mid = |o: &crate::room::Occupant| Some((lines?.mid(o.seat, o.kind)?, o.track));
        Seats { rev, want, occupied: occupants.iter().filter_map(mid).collect(), unseated }
    }

    pub(super) fn handle_message(
        &mut self,
        key: MemberKey,
        lane: Lane,
        bytes: &[u8],
        now: Instant,
    ) {
        let limit = self.config.limits.data_bytes;
        let reliable = lane == Lane::Reliable;
        let Some(at) = self.sessions.get(key).map(|participant| participant.room) else { return };
        let mut touched = Vec::new();
        let Self { sessions, room_list, totals, .. } = self;
        let Some(Some(hosted)) = room_list.get_mut(at) else { return };
        let mut lanes = WorkerLanes { sessions, touched: &mut touched, totals };
        let taken = match read(bytes, limit) {
            Ok(frame) => {
                let message = Message { from: key, frame: &frame, reliable };
                hosted.room.message(message, &mut lanes, now)
            }
            Err((id, refusal)) => {
                refuse(key, id, reliable, &refusal, &mut lanes);
                Taken::Refused
            }
        };
        match taken {
            Taken::By(receivers) => {
                totals.data_in += 1;
                totals.data_out += u64::from(receivers);
            }
            Taken::Waits => totals.data_in += 1,
            Taken::Refused => {
                totals.data_refused += 1;
                totals.drops.count(DropReason::DataMalformed);
            }
        }
        touched.into_iter().for_each(|key| self.touch(key));
        self.touch_room(at);
    }

    /// Ends a session. The others are told by its room, the client by good-bye.
    pub(super) fn leave(&mut self, key: MemberKey, reason: Reason, now: Instant) {
        let Some(participant) = self.sessions.get(key) else { return };
        let (id, at) = (participant.id, participant.room);
        if let Some(room) = self.room_mut(at) {
            room.leave(key, reason, now);
        }
        let Some(mut participant) = self.sessions.remove(key) else { return };
        self.demux.forget(key, &participant.sources);
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
        if reason != Reason::Client {
            let (retry, after_ms) = retry_after(reason);
            self.say(id, Event::Goodbye { reason, retry, after_ms });
        }
        self.outputs.push_back(Output::Over(id));
        self.touch_room(at);
    }

    pub(super) fn handle_room_event(&mut self, at: usize, event: RoomEvent) {
        match event {
            RoomEvent::Notice { cause, notice } => {
                let notice = Arc::new(notice);
                self.tell_all(at, Some(cause), &Event::Notice(notice));
            }
            RoomEvent::Speakers(speakers) => self.tell_all(at, None, &Event::Speakers(speakers)),
            RoomEvent::Seats { to } => {
                let seats = self.seats(to);
                self.tell(to, Event::Seats(seats));
            }
            RoomEvent::Undecodable { viewer, publisher, track, active } => {
                let name =
                    self.sessions.get(viewer).map(|participant| participant.identity.clone());
                let state = StreamState { track, viewer: None, active, reason: "codec" };
                self.tell(viewer, Event::StreamState(state.clone()));
                self.tell(publisher, Event::StreamState(StreamState { viewer: name, ..state }));
            }
            RoomEvent::AskKeyframe { publisher, line, layer } => {
                let media = self.sessions.get_mut(publisher).and_then(|p| p.media.as_mut());
                if media.is_some_and(|media| media.request_keyframe(LineIndex(line), layer)) {
                    self.totals.keyframe_requests_out += 1;
                    self.touch(publisher);
                }
            }
        }
    }

    fn tell(&mut self, key: MemberKey, event: Event) {
        if let Some(id) = self.sessions.get(key).map(|participant| participant.id) {
            self.say(id, event);
        }
    }

    fn tell_all(&mut self, at: usize, but: Option<MemberKey>, event: &Event) {
        let keys = self.room_mut(at).map(|room| room.keys()).unwrap_or_default();
        for key in keys.into_iter().filter(|key| Some(*key) != but) {
            self.tell(key, event.clone());
        }
    }

    fn answer(&mut self, question: Question, now: Instant) -> Answer {
        match question {
            Question::Rooms => {
                let rooms = self.room_list.iter().flatten().map(|hosted| &hosted.room);
                let mut rooms: Vec<RoomInfo> = rooms.map(|room| self.room_info(room)).collect();
                rooms.sort_by(|a, b| a.name.cmp(&b.name));
                Answer::Rooms(rooms)
            }
            Question::Room(name) => {
                let at = self.rooms.get(&name).and_then(|at| self.room_list.get(*at));
                Answer::Room(at.and_then(Option::as_ref).map(|hosted| self.room_info(&hosted.room)))
            }
            Question::CloseRoom(name) => {
                let Some(at) = self.rooms.get(&name).copied() else { return Answer::Done(false) };
                let keys = self.room_mut(at).map(|room| room.keys()).unwrap_or_default();
                for key in keys {
                    self.leave(key, Reason::RoomDeleted, now);
                }
                self.settle(now);
                self.rooms.remove(&name);
                if let Some(place) = self.room_list.get_mut(at) {
                    *place = None;
                }
                Answer::Done(true)
            }
            Question::Remove(name, identity) => {
                let at = self.rooms.get(&name).copied();
                let key = at.and_then(|at| self.room_mut(at)?.find(identity.as_str()));
                match key {
                    Some(key) => self.leave(key, Reason::Removed, now),
                    None => return Answer::Done(false),
                }
                Answer::Done(true)
            }
        }
    }

    fn room_info(&self, room: &Room) -> RoomInfo {
        let member = |(key, info): (MemberKey, _)| {
            let participant = self.sessions.get(key)?;
            let media = participant.media.as_ref();
            let seats =
                room.seats_of(key).map(|(_, _, occupants, _)| occupants).unwrap_or_default();
            let count = |kind| {
                let of_kind = seats.iter().filter(|occupant| occupant.kind == kind).count();
                (kind, u32::try_from(of_kind).unwrap_or(u32::MAX))
            };
            Some(MemberInfo {
                info,
                session: participant.id,
                connected: media.is_some_and(|media| media.is_connected()),
                receiving: vec![count(Kind::Audio), count(Kind::Video)],
            })
        };
        RoomInfo {
            name: room.name().clone(),
            created_at: room.created_at(),
            participants: room.participants().into_iter().filter_map(member).collect(),
        }
    }
}

/// Reads a data message; a refusal carries the id that it is to be told under.
fn read(bytes: &[u8], limit: usize) -> Result<Frame<'_>, (u32, Refusal)> {
    let frame = Frame::parse(bytes).map_err(|error| {
        let refusal = Refusal::new(ErrorCode::BadMessage, error.to_string());
        (crate::wire::data::id_of(bytes).unwrap_or(0), refusal)
    })?;
    if frame.kind != crate::wire::data::Kind::Message {
        let text = "Only the server sends taken and refused.";
        return Err((frame.id, Refusal::new(ErrorCode::BadMessage, text)));
    }
    if frame.payload.len() > limit {
        let text = format!("A message may hold at most {limit} bytes.");
        return Err((frame.id, Refusal::new(ErrorCode::TooLarge, text)));
    }
    Ok(frame)
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
