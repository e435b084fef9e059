//! Which layer one forwarder sends now, and when it may change: packet by packet, frame by frame.

use super::layers::Target;
use super::packet::Packet;
use crate::units::rtp_since;

/// What a packet means to a forwarder's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Of what is sent.
    Pass,
    /// The first packet of the layer to switch to.
    Switch,
    /// Of a temporal layer that is left out: the packets around it close up.
    Thin,
    /// Of a layer that is not sent.
    Skip,
}

/// Which layer is sent, and how many of its frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selector {
    current: Option<u8>,
    /// The highest temporal layer that is decodable now and wanted.
    temporal: u8,
    /// The timestamp of the newest frame of the layer.
    frame: Option<u32>,
    /// The layer is too dear to go on with until a smaller one begins.
    stopped: bool,
}

impl Selector {
    /// The layer that is sent.
    #[must_use]
    pub fn current(self) -> Option<u8> {
        self.current
    }

    /// The highest temporal layer that is sent.
    #[must_use]
    pub fn temporal(self) -> u8 {
        self.temporal
    }

    /// Nothing more of this layer is sent; whatever else begins, if it fits.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// See [`Selector::stop`].
    #[must_use]
    pub fn is_stopped(self) -> bool {
        self.stopped
    }

    /// The layer to begin with, if that is not what is sent.
    #[must_use]
    pub fn awaits(self, target: Target) -> Option<u8> {
        (self.stopped || self.current != Some(target.layer)).then_some(target.layer)
    }

    /// Classifies a packet. Another simulcast layer begins at a keyframe only; on the way up the
    /// old one is held until then, on the way down it loses frames at once.
    pub fn step(&mut self, packet: &Packet, target: Target) -> Step {
        let Some(current) = self.current else {
            // Whatever begins first is taken if it fits; better ones follow.
            let fits = packet.layer <= target.layer;
            return match packet.keyframe {
                true if fits => Step::Switch,
                _ if fits => Step::Pass,
                _ => Step::Skip,
            };
        };
        if packet.layer != current || self.stopped {
            let switch = packet.layer == target.layer && packet.keyframe;
            return if switch { Step::Switch } else { Step::Skip };
        }
        let newer = self.frame.is_none_or(|frame| rtp_since(packet.timestamp, frame) > 0);
        if newer {
            self.frame = Some(packet.timestamp);
            self.turn(packet, current, target);
        }
        if packet.temporal <= self.temporal { Step::Pass } else { Step::Thin }
    }

    /// At the first packet of a frame: may more frames be sent, or must it be fewer?
    fn turn(&mut self, packet: &Packet, current: u8, target: Target) {
        let most = match target.layer.cmp(&current) {
            std::cmp::Ordering::Equal => target.temporal,
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => self.temporal,
        };
        if packet.keyframe || most < self.temporal {
            self.temporal = most;
        } else if packet.sync && packet.temporal <= most && packet.temporal > self.temporal {
            self.temporal = packet.temporal;
        }
    }

    /// A layer begins with this packet.
    pub fn took(&mut self, packet: &Packet, target: Target) {
        self.current = Some(packet.layer);
        self.frame = Some(packet.timestamp);
        self.stopped = false;
        // What begins on the way to a higher layer is sent whole until that comes.
        self.temporal =
            if packet.layer == target.layer { target.temporal } else { super::layers::TOP };
    }
}
