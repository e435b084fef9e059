//! The participants of one worker: a table with generation keys, so that a stale key finds nothing.

use std::collections::HashMap;
use std::time::Instant;

use super::command::SdpAnswer;
use super::demux::Sources;
use super::relief::PutOff;
use super::timers::{Timers, coarse};
use crate::ids::{Identity, SessionId, TrackId};
use crate::room::{MemberKey, TrackSlot};
use crate::session::Session;

/// A participant as the worker knows it.
#[derive(Debug)]
pub struct Participant {
    /// How the control plane calls it.
    pub id: SessionId,
    /// Who it is.
    pub identity: Identity,
    /// The place of its room in the worker's list.
    pub room: usize,
    /// Its engine, once it has offered.
    pub media: Option<Box<Session>>,
    /// Its addresses.
    pub sources: Sources,
    /// Its published tracks by the line that carries them, and where the room has them once it
    /// does.
    pub tracks: Vec<Option<(TrackId, Option<TrackSlot>)>>,
    /// What it is told once its room has let it in; its first offer's answer, if it made one.
    pub pending: Option<Option<SdpAnswer>>,
    /// The number of the newest offer that was answered.
    pub nid: u64,
    /// Until when the media path must stand.
    pub connect_by: Option<Instant>,
    /// When a datagram last came from it.
    pub heard: Instant,
    /// It has something to send.
    pub dirty: bool,
    /// What is put off while its worker cannot keep up.
    pub(super) put_off: PutOff,
    /// What it wants to be woken at, as the timers know it.
    pub timer: Option<Instant>,
}

impl Participant {
    /// Puts its next deadline into the timers, unless an earlier one stands there.
    pub(super) fn set_timer(
        &mut self,
        key: MemberKey,
        timers: &mut Timers<MemberKey>,
        epoch: Instant,
        now: Instant,
    ) {
        let Some(at) = [self.due(), self.connect_by].into_iter().flatten().min() else { return };
        let at = coarse(at, now, epoch);
        if self.timer.is_none_or(|known| at < known) {
            self.timer = Some(at);
            timers.set(key, at);
        }
    }

    /// When it is to be woken.
    pub(super) fn due(&self) -> Option<Instant> {
        let media = self.media.as_ref()?;
        [media.deadline(), self.put_off.sound_due()].into_iter().flatten().min()
    }
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    participant: Option<Participant>,
}

/// All participants.
#[derive(Debug, Default)]
pub struct Sessions {
    places: Vec<Place>,
    free: Vec<u32>,
    by_id: HashMap<SessionId, MemberKey>,
}

impl Sessions {
    /// Takes a participant in.
    pub fn insert(&mut self, participant: Participant) -> MemberKey {
        let id = participant.id;
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let mut key = MemberKey { index, generation: 0 };
        if let Some(place) = self.places.get_mut(index as usize) {
            key.generation = place.generation;
            place.participant = Some(participant);
        }
        self.by_id.insert(id, key);
        key
    }

    /// Takes a participant out.
    pub fn remove(&mut self, key: MemberKey) -> Option<Participant> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let participant = place.participant.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        self.by_id.remove(&participant.id);
        Some(participant)
    }

    /// Looks one up.
    #[must_use]
    pub fn get(&self, key: MemberKey) -> Option<&Participant> {
        let place = self.places.get(key.index as usize)?;
        place.participant.as_ref().filter(|_| place.generation == key.generation)
    }

    /// Looks one up.
    pub fn get_mut(&mut self, key: MemberKey) -> Option<&mut Participant> {
        let place = self.places.get_mut(key.index as usize)?;
        place.participant.as_mut().filter(|_| place.generation == key.generation)
    }

    /// Looks one up by the control plane's name.
    #[must_use]
    pub fn find(&self, id: SessionId) -> Option<MemberKey> {
        self.by_id.get(&id).copied()
    }

    /// All keys, in the order of their places.
    #[must_use]
    pub fn keys(&self) -> Vec<MemberKey> {
        let key = |(index, place): (u32, &Place)| {
            place.participant.as_ref().map(|_| MemberKey { index, generation: place.generation })
        };
        (0u32..).zip(&self.places).filter_map(key).collect()
    }

    /// How many have a media path, and how many do not.
    #[must_use]
    pub fn connected(&self) -> (u32, u32) {
        let mut count = (0, 0);
        for participant in self.places.iter().filter_map(|place| place.participant.as_ref()) {
            match participant.media.as_ref().is_some_and(|media| media.is_connected()) {
                true => count.0 += 1,
                false => count.1 += 1,
            }
        }
        count
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
