//! What the control plane wants, carried out; and what rooms say, passed on.

use std::sync::Arc;
use std::time::Instant;

use super::command::{
    Answer, Command, Event, MemberInfo, NewTrack, Opened, Question, Request, RoomInfo, SdpAnswer,
    Seats, StreamState, publishes,
};
use super::guard::{Failed, guarded};
use super::lanes::WorkerLanes;
use super::relaying::Wanted;
use super::sessions::Participant;
use super::{Hosted, Output, Side, Worker};
use crate::counts::DropReason;
use crate::forward::packet::Codec;
use crate::ids::{RoomName, SessionId, TrackId};
use crate::model::{ErrorCode, Kind, Reason, Refusal, TrackInfo};
use crate::relay::message::{Ask, Entry, Letter};
use crate::room::log::Listed;
use crate::room::messages::{Message, Taken, refuse};
use crate::room::{MemberKey, Room, RoomEvent};
use crate::session::channels::Lane;
use crate::session::streams::LineIndex;
use crate::session::{Offer, OfferError};
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
                if let (Request::Stats, Some(id)) = (&request, id) {
                    if let Some(stats) = self.viewer_stats(key, now) {
                        self.say(session, Event::Stats { id, stats: Box::new(stats) });
                    }
                    return;
                }
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

    pub(super) fn say(&mut self, session: SessionId, event: Event) {
        self.outputs.push_back(Output::Event(session, event));
    }

    pub(super) fn may_publish(&self, new: usize, known: usize) -> Result<(), Refusal> {
        let limit = usize::from(self.config.limits.tracks);
        if new + known > limit {
            let text = format!("A participant may publish at most {limit} tracks.");
            return Err(Refusal::new(ErrorCode::TooMany, text));
        }
        Ok(())
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
        let (answer, tracks) = self.adopt(key, opened);
        self.publish(key, tracks, now);
        self.equip(key, now);
        self.say(session, Event::Answer(answer));
        if let Some(id) = id {
            self.say(session, Event::Done { id });
        }
        self.set_timer(key, now);
    }

    /// Takes over the engine that the joiner built, and names what its offer publishes.
    pub(super) fn adopt(&mut self, key: MemberKey, opened: Opened) -> (SdpAnswer, Vec<TrackInfo>) {
        self.demux.name(opened.session.ufrag(), key);
        if let Some(participant) = self.sessions.get_mut(key) {
            participant.nid = opened.nid;
            participant.media = Some(Box::new(opened.session));
        }
        let (tracks, new) = self.name_tracks(key, &opened.tracks);
        (SdpAnswer { nid: opened.nid, sdp: opened.sdp, tracks }, new)
    }

    fn request(&mut self, key: MemberKey, request: Request, now: Instant) -> Result<(), Refusal> {
        match request {
            Request::Offer { nid, sdp, tracks } => {
                self.reoffer(key, &Reoffer { nid, sdp: &sdp, tracks: &tracks }, now)
            }
            Request::Mute { track, muted } => {
                let (session, at) = self.own(key, track)?;
                // Silence is not put off until the home has heard of it.
                if let Some(room) = self.room_mut(at) {
                    room.hold(session, track, muted);
                }
                self.ask(at, Ask::Mute(session, track, muted), now);
                Ok(())
            }
            Request::Unpublish { track } => {
                let (session, at) = self.own(key, track)?;
                if let Some(participant) = self.sessions.get_mut(key) {
                    let is = |slot: &&mut Option<_>| matches!(slot, Some((id, _)) if *id == track);
                    participant.tracks.iter_mut().filter(is).for_each(|slot| *slot = None);
                }
                self.ask(at, Ask::Unpublish(session, track), now);
                Ok(())
            }
            Request::Intents(intents) => {
                self.intend(key, intents, now);
                Ok(())
            }
            // Answered before this, if there is an id to answer under.
            Request::Stats => Ok(()),
            Request::Seated { rev } => {
                self.in_room(key, |room| room.seated(key, rev, now));
                Ok(())
            }
        }
    }

    /// The session and the room of a participant that publishes this track.
    fn own(&self, key: MemberKey, track: TrackId) -> Result<(SessionId, usize), Refusal> {
        let is = |known: &(TrackId, Option<_>)| known.0 == track;
        match self.sessions.get(key) {
            Some(participant) if participant.tracks.iter().flatten().any(is) => {
                Ok((participant.id, participant.room))
            }
            _ => {
                let text = format!("There is no track {track} of yours.");
                Err(Refusal::new(ErrorCode::NoSuchTrack, text))
            }
        }
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
        let (tracks, new) = self.name_tracks(key, tracks);
        self.publish(key, new, now);
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

    /// Names what an offer publishes; what its lines carry already keeps its id. The client's own
    /// names with the ids, and what is new.
    fn name_tracks(
        &mut self,
        key: MemberKey,
        tracks: &[NewTrack],
    ) -> (Vec<(String, TrackId)>, Vec<TrackInfo>) {
        let (mut named, mut new) = (Vec::new(), Vec::new());
        let Some(participant) = self.sessions.get_mut(key) else { return (named, new) };
        for track in tracks {
            let line = participant.media.as_ref().and_then(|media| media.line_of(&track.mid));
            let Some(line) = line.map(|line: LineIndex| usize::from(line.0)) else { continue };
            if participant.tracks.len() <= line {
                participant.tracks.resize(line + 1, None);
            }
            let Some(place) = participant.tracks.get_mut(line) else { continue };
            if let Some((id, _)) = place {
                named.push((track.cid.clone(), *id));
                continue;
            }
            self.track_number += 1;
            let id = TrackId { worker: self.config.id, number: self.track_number };
            *place = Some((id, None));
            named.push((track.cid.clone(), id));
            new.push(TrackInfo {
                id,
                source: track.source,
                kind: track.source.kind(),
                name: track.name.clone(),
                muted: track.muted,
                width: track.width,
                height: track.height,
            });
        }
        (named, new)
    }

    /// Publishes new tracks of a participant that is in.
    fn publish(&mut self, key: MemberKey, tracks: Vec<TrackInfo>, now: Instant) {
        let participant = self.sessions.get(key).map(|p| (p.id, p.room));
        let Some((session, at)) = participant else { return };
        for track in tracks {
            self.ask(at, Ask::Publish(session, track), now);
        }
        self.touch_room(at);
    }

    /// Tells the room how many seats the session has now, and what it decodes.
    pub(super) fn equip(&mut self, key: MemberKey, now: Instant) {
        let media = self.sessions.get(key).and_then(|participant| participant.media.as_ref());
        let Some(lines) = media.map(|media| media.seats()) else { return };
        let codecs = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];
        let decodes = codecs.into_iter().filter(|codec| lines.decodes(*codec)).collect();
        let pairs = lines.pairs();
        self.in_room(key, |room| room.equip(key, pairs, decodes, now));
    }

    /// A session's seats in the client's words.
    pub(super) fn seats(&self, key: MemberKey) -> Seats {
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
            Taken::Refused => {
                totals.data_refused += 1;
                totals.drops.count(DropReason::DataMalformed);
            }
        }
        touched.into_iter().for_each(|key| self.touch(key));
        self.touch_room(at);
    }

    pub(super) fn handle_room_event(&mut self, at: usize, event: RoomEvent, now: Instant) {
        match event {
            RoomEvent::Notice { cause, notice } => {
                let notice = Arc::new(notice);
                self.tell_all(at, Some(cause), &Event::Notice(notice));
            }
            RoomEvent::Speakers(speakers) => self.tell_all(at, None, &Event::Speakers(speakers)),
            RoomEvent::Seats { to } => {
                let seats = self.seats(to);
                self.tell(to, Event::Seats(seats));
                self.tell_status(to, now);
            }
            RoomEvent::Undecodable { viewer, publisher, at: worker, track, active } => {
                let name =
                    self.sessions.get(viewer).map(|participant| participant.identity.clone());
                let state = StreamState { track, viewer: None, active, reason: "codec" };
                self.tell(viewer, Event::StreamState(state.clone()));
                let Some(name) = name else { return };
                if worker != self.config.id {
                    let letter = Letter::Undecodable(track, name, active);
                    return self.post(at, Some(worker), letter, now);
                }
                if let Some(publisher) = self.sessions.find(publisher) {
                    let state = StreamState { viewer: Some(name), ..state };
                    self.tell(publisher, Event::StreamState(state));
                }
            }
            RoomEvent::AskKeyframe { publisher, line, layer } => {
                let media = self.sessions.get_mut(publisher).and_then(|p| p.media.as_mut());
                if media.is_some_and(|media| media.request_keyframe(LineIndex(line), layer)) {
                    self.totals.keyframe_requests_out += 1;
                    self.touch(publisher);
                }
            }
            RoomEvent::Paused { viewer, track, paused } => self.paused(viewer, track, paused),
            RoomEvent::Forget { to } => self.forget_video(to, now),
            RoomEvent::Need { to, need } => self.need(to, need, now),
            RoomEvent::Quality(connection) => {
                self.tell_all(at, None, &Event::Quality(connection.clone()));
                self.post(at, None, Letter::Quality(connection), now);
            }
            RoomEvent::Layers { publisher, line, track, layers } => {
                self.layers(publisher, line, track, layers);
            }
            RoomEvent::Decided(speakers) => self.append(at, Entry::Speakers(speakers), now),
            RoomEvent::Heard(heard) => self.append(at, Entry::Heard(heard), now),
            RoomEvent::Levels(levels) => self.ask(at, Ask::Levels(levels), now),
            RoomEvent::AskFar { at: worker, track, layer } => {
                self.post(at, Some(worker), Letter::Keyframe(track, layer), now);
            }
            RoomEvent::Wish { at: worker, track, slot, layers } => {
                self.wish(at, worker, &Wanted { track, slot, layers }, now);
            }
            RoomEvent::Say(say) => self.post(at, None, Letter::Say(say), now),
            RoomEvent::Taken { at: worker, taken } => {
                self.post(at, Some(worker), Letter::Taken(taken), now);
            }
        }
    }

    pub(super) fn tell(&mut self, key: MemberKey, event: Event) {
        if let Some(id) = self.sessions.get(key).map(|participant| participant.id) {
            self.say(id, event);
        }
    }

    pub(super) fn tell_all(&mut self, at: usize, but: Option<SessionId>, event: &Event) {
        let keys = self.room_mut(at).map(|room| room.keys()).unwrap_or_default();
        for key in keys {
            let id = self.sessions.get(key).map(|participant| participant.id);
            if let Some(id) = id.filter(|id| Some(*id) != but) {
                self.say(id, event.clone());
            }
        }
    }

    /// A room whose home this is.
    fn home_of(&self, name: &RoomName) -> Option<(usize, &Room)> {
        let at = *self.rooms.get(name)?;
        let hosted = self.room_list.get(at)?.as_ref()?;
        matches!(hosted.side, Side::Home { .. }).then_some((at, &hosted.room))
    }

    fn answer(&mut self, question: Question, now: Instant) -> Answer {
        match question {
            Question::Rooms => {
                let home = |hosted: &&Hosted| matches!(hosted.side, Side::Home { .. });
                let rooms = self.room_list.iter().flatten().filter(home);
                let mut rooms: Vec<RoomInfo> =
                    rooms.map(|hosted| self.room_info(&hosted.room)).collect();
                rooms.sort_by(|a, b| a.name.cmp(&b.name));
                Answer::Rooms(rooms)
            }
            Question::Stats(name) => {
                let at = self.rooms.get(&name).and_then(|at| self.room_list.get(*at)?.as_ref());
                let keys = at.map(|hosted| hosted.room.keys()).unwrap_or_default();
                let stats = keys.into_iter().filter_map(|key| self.viewer_stats(key, now));
                Answer::Stats(stats.collect())
            }
            Question::Room(name) => {
                Answer::Room(self.home_of(&name).map(|(_, room)| self.room_info(room)))
            }
            Question::CloseRoom(name) => {
                let Some((at, room)) = self.home_of(&name) else { return Answer::Done(false) };
                let sessions = room.participants().into_iter().map(|(session, _)| session);
                for session in sessions.collect::<Vec<_>>() {
                    self.append(at, Entry::Left(session, Reason::RoomDeleted), now);
                }
                self.settle(&mut super::Kept, now);
                self.drop_room(at);
                Answer::Done(true)
            }
            Question::Remove(name, identity) => {
                let found = self.home_of(&name);
                let found = found.and_then(|(at, room)| Some((at, room.find(identity.as_str())?)));
                let Some((at, session)) = found else { return Answer::Done(false) };
                self.append(at, Entry::Left(session, Reason::Removed), now);
                Answer::Done(true)
            }
        }
    }

    fn room_info(&self, room: &Room) -> RoomInfo {
        let member = |member: Listed| {
            let status = member.key.map_or(member.status, |key| self.status(room, key));
            let (audio, video) = status.receiving;
            MemberInfo {
                info: member.info,
                session: member.session,
                connected: status.connected,
                receiving: vec![(Kind::Audio, audio), (Kind::Video, video)],
            }
        };
        RoomInfo {
            name: room.name().clone(),
            created_at: room.created_at(),
            participants: room.listed().into_iter().map(member).collect(),
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
