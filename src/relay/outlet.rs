//! Where a track goes beside its viewers here: one outlet per worker that wants it, however many
//! viewers it has there.

use super::inlet::InletId;
use crate::forward::layers::bit;
use crate::ids::WorkerId;

/// A worker that wants a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// Who.
    pub to: WorkerId,
    /// Where it wants the packets.
    pub inlet: InletId,
    /// The layers that it wants, one bit each.
    pub layers: u8,
}

impl Outlet {
    /// Whether a packet of `layer` goes there. A worker whose wish names only layers that are dead
    /// is sent what lives: by that it learns what there is to wish for.
    #[must_use]
    pub fn passes(&self, layer: u8, live: u8) -> bool {
        self.layers & bit(layer) != 0 || self.layers & live == 0
    }
}

/// Takes a worker's wish; without layers it wants the track no more.
pub fn wish(outlets: &mut Vec<Outlet>, wish: Outlet) {
    outlets.retain(|known| known.to != wish.to);
    if wish.layers != 0 {
        outlets.push(wish);
        outlets.sort_by_key(|outlet| outlet.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlet(to: u8, layers: u8) -> Outlet {
        Outlet { to: WorkerId(to), inlet: InletId::default(), layers }
    }

    #[test]
    fn a_worker_gets_the_layers_that_it_wants_or_what_lives_if_those_are_dead() {
        let wants_large = outlet(1, 0b100);
        assert!(wants_large.passes(2, 0b111));
        assert!(!wants_large.passes(0, 0b111));
        assert!(wants_large.passes(0, 0b011), "the large one is dead");
    }

    #[test]
    fn a_worker_has_one_outlet_whatever_it_wished_before() {
        let mut outlets = Vec::new();
        for (to, layers) in [(2, 1), (1, 1), (2, 4)] {
            wish(&mut outlets, outlet(to, layers));
        }
        assert_eq!(outlets, [outlet(1, 1), outlet(2, 4)]);
        wish(&mut outlets, outlet(1, 0));
        assert_eq!(outlets, [outlet(2, 4)]);
    }
}
