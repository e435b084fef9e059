//! The home's part of a room: here is decided what happens, in which order, and every copy is told.

use std::time::Instant;

use super::Worker;
use super::hosting::{Side, stopping};
use crate::ids::{RoomName, WorkerId};
use crate::model::{ErrorCode, ParticipantInfo, Reason, Refusal};
use crate::relay::message::{Ask, Control, Entry, Joining, Tell};

impl Worker {
    /// The home's part of [`Control::Ask`].
    pub(super) fn handle_ask(&mut self, from: WorkerId, name: &RoomName, ask: Ask, now: Instant) {
        if let Ask::Join(joining) = &ask {
            let session = joining.session;
            let opened = if self.stopping {
                Err(stopping())
            } else {
                self.open_room(name, self.config.id, joining.joined_at)
            };
            match opened {
                Ok(at) => self.decide(at, from, ask, now),
                Err(refusal) => {
                    self.send(from, Control::Tell(name.clone(), Tell::Refused(session, refusal)));
                }
            }
            return;
        }
        let Some(at) = self.rooms.get(name).copied() else { return };
        if self.annexes(at).contains(&from) {
            self.decide(at, from, ask, now);
        }
    }

    /// Decides what happens in a room whose home this is.
    pub(super) fn decide(&mut self, at: usize, from: WorkerId, ask: Ask, now: Instant) {
        let Some(room) = self.room_mut(at) else { return };
        let entry = match ask {
            Ask::Join(joining) => return self.decide_join(at, from, *joining, now),
            Ask::Close => return self.lose_annex(at, from, now),
            Ask::Levels(levels) => {
                room.hear_levels(&levels, now);
                return self.touch_room(at);
            }
            Ask::Status(session, status) => return room.set_status(session, status),
            Ask::Publish(session, track) => Entry::Published(session, track),
            Ask::Unpublish(session, track) => Entry::Unpublished(session, track),
            Ask::Mute(session, track, muted) => Entry::Muted(session, track, muted),
            Ask::Leave(session, reason) => Entry::Left(session, reason),
        };
        // What somebody asked who is gone by now has no place in the order.
        let (Entry::Published(session, _)
        | Entry::Unpublished(session, _)
        | Entry::Muted(session, ..)
        | Entry::Left(session, _)) = &entry
        else {
            return;
        };
        if room.is_at(*session, from) {
            self.append(at, entry, now);
        }
    }

    fn decide_join(&mut self, at: usize, from: WorkerId, joining: Joining, now: Instant) {
        let Joining { session, identity, name, joined_at, max_members, tracks } = joining;
        let Some(Some(hosted)) = self.room_list.get_mut(at) else { return };
        if hosted.room.len() >= max_members as usize {
            let text =
                format!("The room has {max_members} members, which is as many as it may have.");
            let refusal = Refusal::new(ErrorCode::RoomFull, text);
            if from == self.config.id {
                return self.refuse_join(session, refusal, now);
            }
            let name = hosted.room.name().clone();
            return self.send(from, Control::Tell(name, Tell::Refused(session, refusal)));
        }
        if let Side::Home { annexes } = &mut hosted.side
            && from != self.config.id
            && !annexes.contains(&from)
        {
            annexes.push(from);
            let (name, snapshot) = (hosted.room.name().clone(), hosted.room.snapshot());
            self.send(from, Control::Tell(name, Tell::Open(Box::new(snapshot))));
        }
        let double = self.room_mut(at).and_then(|room| room.find(identity.as_str()));
        if let Some(double) = double {
            self.append(at, Entry::Left(double, Reason::DuplicateIdentity), now);
        }
        // What is still to be decided comes before, in every copy.
        self.say_events(at, now);
        let info = Box::new(ParticipantInfo { identity, name, joined_at, tracks });
        self.append(at, Entry::Joined(session, from, info), now);
    }

    /// Something happens in a room whose home this is: every copy learns it, this one first.
    pub(super) fn append(&mut self, at: usize, entry: Entry, now: Instant) {
        for annex in self.annexes(at) {
            self.tell_annex(at, annex, Tell::Entry(entry.clone()));
        }
        self.apply(at, entry, now);
    }

    fn tell_annex(&mut self, at: usize, annex: WorkerId, tell: Tell) {
        let name = self.room_mut(at).map(|room| room.name().clone());
        if let Some(name) = name {
            self.send(annex, Control::Tell(name, tell));
        }
    }

    /// Workers that have a copy of a room whose home this is.
    pub(super) fn annexes(&self, at: usize) -> Vec<WorkerId> {
        match self.room_list.get(at).and_then(Option::as_ref).map(|hosted| &hosted.side) {
            Some(Side::Home { annexes }) => annexes.clone(),
            Some(Side::Annex { .. }) | None => Vec::new(),
        }
    }

    /// A worker has no copy of a room any more: who was there is gone.
    pub(super) fn lose_annex(&mut self, at: usize, annex: WorkerId, now: Instant) {
        let Some(Some(hosted)) = self.room_list.get_mut(at) else { return };
        let Side::Home { annexes } = &mut hosted.side else { return };
        annexes.retain(|known| *known != annex);
        let others = annexes.clone();
        for session in hosted.room.sessions_at(annex) {
            self.append(at, Entry::Left(session, Reason::Migration), now);
        }
        for other in others {
            self.tell_annex(at, other, Tell::Forget(annex));
        }
        if let Some(room) = self.room_mut(at) {
            room.forget_worker(annex);
        }
        self.retry_room(at, now);
    }
}
