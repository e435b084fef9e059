//! Which simulcast layers a publisher sends now. A negotiated layer may never come, and one that
//! came may stop, so packets alone say that a layer exists.

use std::time::{Duration, Instant};

/// Most simulcast layers of a track; browsers send no more.
pub const MAX_LAYERS: usize = 3;

/// A layer without a packet for this long is gone. At five frames per second, the slowest that a
/// screen share sends, frames are 200 ms apart; shorter would take a lost frame for an end, longer
/// would leave a viewer on a dead layer.
const GONE_AFTER: Duration = Duration::from_millis(1_200);

/// When each layer was last heard; 0 is the smallest picture.
#[derive(Clone, Debug, Default)]
pub struct LayerTable {
    heard: [Option<Instant>; MAX_LAYERS],
}

impl LayerTable {
    /// A packet of `layer` came.
    pub fn hear(&mut self, layer: u8, now: Instant) {
        if let Some(heard) = self.heard.get_mut(usize::from(layer)) {
            *heard = Some(now);
        }
    }

    /// Whether packets of `layer` come.
    #[must_use]
    pub fn lives(&self, layer: u8, now: Instant) -> bool {
        self.heard
            .get(usize::from(layer))
            .copied()
            .flatten()
            .is_some_and(|at| now.saturating_duration_since(at) < GONE_AFTER)
    }

    /// The largest picture whose packets come.
    #[must_use]
    pub fn highest(&self, now: Instant) -> Option<u8> {
        (0u8..).take(MAX_LAYERS).filter(|layer| self.lives(*layer, now)).last()
    }

    /// The layers whose packets come, one bit each.
    #[must_use]
    pub fn live(&self, now: Instant) -> u8 {
        let bit =
            |layer: u8| if self.lives(layer, now) { 1u8.wrapping_shl(layer.into()) } else { 0 };
        (0u8..).take(MAX_LAYERS).fold(0, |bits, layer| bits | bit(layer))
    }

    /// Another worker, which hears all layers, says which live, one bit each.
    pub fn adopt(&mut self, live: u8, now: Instant) {
        for (heard, layer) in self.heard.iter_mut().zip(0u32..) {
            *heard = (live & 1u8.wrapping_shl(layer) != 0).then_some(now);
        }
    }

    /// Forgets what was heard: the track was silent on purpose.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
