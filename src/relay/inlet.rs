//! Where packets from other workers go on: a table that is asked once per packet, by an index that
//! this worker chose itself. A number from before finds nothing.

use crate::ids::{TrackId, WorkerId};

/// A place in a worker's table of inlets, and how often it was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InletId {
    index: u32,
    generation: u32,
}

/// What an inlet leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inlet {
    /// The worker of the publisher: nobody else may send here.
    pub from: WorkerId,
    /// The track.
    pub track: TrackId,
    /// The room's place in the worker's list.
    pub room: usize,
    /// The track's place in the room.
    pub slot: usize,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    inlet: Option<Inlet>,
}

/// All inlets of a worker.
#[derive(Debug, Default)]
pub struct Inlets {
    places: Vec<Place>,
}

impl Inlets {
    /// The inlet of a track, made if there is none. Walks all inlets.
    pub fn open(&mut self, inlet: Inlet) -> InletId {
        let is = |place: &Place| place.inlet.is_some_and(|known| known.track == inlet.track);
        let free = |place: &Place| place.inlet.is_none();
        let at = self.places.iter().position(is).or_else(|| self.places.iter().position(free));
        let at = at.unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let mut id = InletId { index: u32::try_from(at).unwrap_or(u32::MAX), generation: 0 };
        if let Some(place) = self.places.get_mut(at) {
            id.generation = place.generation;
            place.inlet = Some(inlet);
        }
        id
    }

    /// What a packet's inlet leads to, if the packet's sender may use it.
    #[must_use]
    pub fn get(&self, id: InletId, from: WorkerId) -> Option<Inlet> {
        let place = self.places.get(usize::try_from(id.index).ok()?)?;
        place.inlet.filter(|inlet| place.generation == id.generation && inlet.from == from)
    }

    /// Closes all inlets for which `gone` holds.
    pub fn close(&mut self, gone: impl Fn(&Inlet) -> bool) {
        for place in &mut self.places {
            if place.inlet.as_ref().is_some_and(&gone) {
                place.inlet = None;
                place.generation = place.generation.wrapping_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inlet(number: u32, room: usize) -> Inlet {
        let from = WorkerId(1);
        Inlet { from, track: TrackId { worker: from, number }, room, slot: 0 }
    }

    #[test]
    fn a_number_from_before_finds_nothing_and_a_stranger_neither() {
        let mut inlets = Inlets::default();
        let first = inlets.open(inlet(1, 0));
        assert_eq!(inlets.open(inlet(1, 0)), first);
        assert_eq!(inlets.get(first, WorkerId(1)), Some(inlet(1, 0)));
        assert_eq!(inlets.get(first, WorkerId(2)), None);
        inlets.close(|known| known.room == 0);
        let second = inlets.open(inlet(2, 7));
        assert_eq!(inlets.get(first, WorkerId(1)), None, "the same place, another track");
        assert_eq!(inlets.get(second, WorkerId(1)), Some(inlet(2, 7)));
    }
}
