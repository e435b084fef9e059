//! What comes from other workers and goes to them.

use std::time::Instant;

use super::command::{Event, StreamState};
use super::lanes::WorkerLanes;
use super::{Output, Side, Worker};
use crate::counts::DropReason;
use crate::ids::{TrackId, WorkerId};
use crate::relay::inlet::{Inlet, InletId};
use crate::relay::link::Received;
use crate::relay::message::{Control, Frame, Letter, Message, Post};
use crate::relay::outlet::Outlet;
use crate::room::TrackSlot;
use crate::room::fanout::Passing;

/// What is wanted of a track.
pub(super) struct Wanted {
    pub track: TrackId,
    pub slot: TrackSlot,
    pub layers: u8,
}

impl Worker {
    pub(super) fn handle_relay(&mut self, from: WorkerId, message: Message, now: Instant) {
        let (stamp, control) = match message {
            Message::Frame(frame) => return self.handle_frame(from, frame, now),
            Message::Lossy(post) => return self.handle_letter(from, *post, now),
            Message::Control(stamp, control) => (stamp, control),
        };
        let Some(link) = self.links.get_mut(usize::from(from.0)) else { return };
        match link.receive(stamp) {
            Received::Stale => return,
            Received::Fresh => self.unlink(from, now),
            Received::Current => {}
        }
        match *control {
            Control::Reset => {}
            Control::Ask(room, ask) => self.handle_ask(from, &room, ask, now),
            Control::Tell(room, tell) => self.handle_tell(from, &room, tell, now),
            Control::Post(post) => self.handle_letter(from, *post, now),
        }
    }

    /// Something that must not be lost found no room: both sides forget what they share.
    pub(super) fn handle_lost(&mut self, to: WorkerId, now: Instant) {
        let Some(link) = self.links.get_mut(usize::from(to.0)) else { return };
        link.broke();
        self.totals.links_broken += 1;
        self.unlink(to, now);
        self.send(to, Control::Reset);
    }

    /// A packet from another worker: it waits for the others of this tick.
    fn handle_frame(&mut self, from: WorkerId, frame: Frame, now: Instant) {
        self.totals.relay_in += 1;
        let Some(inlet) = self.inlets.get(frame.inlet, from) else {
            return self.totals.drops.count(DropReason::RelayStale);
        };
        let Inlet { room, slot, track, .. } = inlet;
        let Frame { layers, packet, .. } = frame;
        let slot = TrackSlot(slot);
        self.wait_for_others(Passing { room, slot, track, far: Some(layers), packet }, now);
    }

    /// Gives something that must not be lost to another worker.
    pub(super) fn send(&mut self, to: WorkerId, control: Control) {
        let Some(link) = self.links.get(usize::from(to.0)) else { return };
        let message = Message::Control(link.stamp(), Box::new(control));
        self.outputs.push_back(Output::Relay { to, message });
    }

    /// Writes a letter to another worker of a room, or to all of them.
    pub(super) fn post(&mut self, at: usize, to: Option<WorkerId>, letter: Letter, now: Instant) {
        let Some(room) = self.room_mut(at) else { return };
        let room = room.name().clone();
        self.handle_post(Post { room, by: self.config.id, to, letter }, now);
    }

    /// A letter from another worker: its own, or one that came over the room's home.
    fn handle_letter(&mut self, from: WorkerId, post: Post, now: Instant) {
        let at = self.rooms.get(&post.room).and_then(|at| self.room_list.get(*at)?.as_ref());
        let home = at.map(|hosted| hosted.home(self.config.id));
        if post.by == from || home == Some(from) {
            self.handle_post(post, now);
        }
    }

    /// Takes a letter that is for this worker, and passes on what goes over this one.
    fn handle_post(&mut self, post: Post, now: Instant) {
        let me = self.config.id;
        let Some(at) = self.rooms.get(&post.room).copied() else { return };
        let Some(Some(hosted)) = self.room_list.get(at) else { return };
        let others = match (&hosted.side, post.to) {
            (_, Some(to)) if to == me => Vec::new(),
            (Side::Annex { home }, _) if post.by == me => vec![*home],
            (Side::Annex { .. }, _) => Vec::new(),
            (Side::Home { annexes }, to) => {
                let goes = |annex: &WorkerId| *annex != post.by && to.is_none_or(|to| to == *annex);
                annexes.iter().copied().filter(goes).collect()
            }
        };
        for other in others {
            match &post.letter {
                Letter::Say(say) if !say.reliable => {
                    let message = Message::Lossy(Box::new(post.clone()));
                    self.outputs.push_back(Output::Relay { to: other, message });
                }
                _ => self.send(other, Control::Post(Box::new(post.clone()))),
            }
        }
        let for_me = post.to.map_or(post.by != me, |to| to == me);
        if for_me {
            self.read(at, post.by, post.letter, now);
        }
    }

    fn read(&mut self, at: usize, by: WorkerId, letter: Letter, now: Instant) {
        let Some(room) = self.room_mut(at) else { return };
        match letter {
            Letter::Wish(track, layers, inlet) => {
                room.wish(track, Outlet { to: by, inlet, layers });
            }
            Letter::Keyframe(track, layer) => room.keyframe_asked(track, layer, now),
            Letter::Undecodable(track, viewer, active) => {
                let publisher = room.publisher_of(track);
                let state = StreamState { track, viewer: Some(viewer), active, reason: "codec" };
                if let Some(publisher) = publisher.filter(|id| self.sessions.find(*id).is_some()) {
                    self.say(publisher, Event::StreamState(state));
                }
            }
            Letter::Quality(connection) => self.tell_all(at, None, &Event::Quality(connection)),
            Letter::Say(say) if !room.is_at(say.from, by) => {
                self.totals.drops.count(DropReason::RelayStale);
            }
            Letter::Say(say) => {
                let heard = self.with_lanes(at, |room, lanes| room.hear_say(say, lanes, now));
                match heard.flatten() {
                    Some(receivers) => self.totals.data_out += u64::from(receivers),
                    None => self.totals.drops.count(DropReason::RelayStale),
                }
            }
            Letter::Taken(taken) => {
                self.with_lanes(at, |room, lanes| room.hear_taken(by, taken, lanes));
            }
        }
        self.touch_room(at);
    }

    fn with_lanes<T>(
        &mut self,
        at: usize,
        work: impl FnOnce(&mut crate::room::Room, &mut WorkerLanes<'_>) -> T,
    ) -> Option<T> {
        let mut touched = Vec::new();
        let Self { sessions, room_list, totals, .. } = self;
        let hosted = room_list.get_mut(at)?.as_mut()?;
        let mut lanes = WorkerLanes { sessions, touched: &mut touched, totals };
        let done = work(&mut hosted.room, &mut lanes);
        touched.into_iter().for_each(|key| self.touch(key));
        Some(done)
    }

    /// Tells a publisher's worker what is wanted here of its track.
    pub(super) fn wish(&mut self, at: usize, to: WorkerId, wanted: &Wanted, now: Instant) {
        let Wanted { track, slot, layers } = *wanted;
        let inlet = if layers == 0 {
            self.inlets.close(|inlet| inlet.track == track);
            InletId::default()
        } else {
            self.inlets.open(Inlet { from: to, track, room: at, slot: slot.0 })
        };
        self.post(at, Some(to), Letter::Wish(track, layers, inlet), now);
    }
}
