//! Current and target layer of one forwarder, and when a switch is allowed.
//!
//! Today's target is the highest layer whose packets come. A bandwidth-aware choice takes the
//! place of [`Selector::wanted`] and nothing else.

use super::packet::Packet;

/// What a packet means to a forwarder's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Of the layer that is sent.
    Pass,
    /// The first packet of the layer to switch to.
    Switch,
    /// Of a layer that is not sent.
    Skip,
}

/// Which layer is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selector {
    current: Option<u8>,
}

impl Selector {
    /// The layer that is sent.
    #[must_use]
    pub fn current(self) -> Option<u8> {
        self.current
    }

    /// The layer whose keyframe is wanted, if it is not the one that is sent.
    #[must_use]
    pub fn wanted(self, top: Option<u8>) -> Option<u8> {
        let target = top?;
        (self.current != Some(target)).then_some(target)
    }

    /// Classifies a packet. A switch happens at a keyframe only; the old layer is held until then.
    #[must_use]
    pub fn step(self, packet: &Packet, top: Option<u8>) -> Step {
        match (self.current, self.wanted(top)) {
            (Some(current), None) if packet.layer == current => Step::Pass,
            (_, Some(target)) if packet.layer == target && packet.keyframe => Step::Switch,
            (Some(current), Some(_)) if packet.layer == current => Step::Pass,
            // Nothing was sent yet: whatever layer begins first is taken, better ones follow.
            (None, _) if packet.keyframe => Step::Switch,
            (None, _) => Step::Pass,
            _ => Step::Skip,
        }
    }

    /// A layer was taken.
    pub fn took(&mut self, layer: u8) {
        self.current = Some(layer);
    }
}
