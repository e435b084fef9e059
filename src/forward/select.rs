//! Which layer one forwarder sends now, and when it may change: packet by packet, frame by frame.

use super::frames::{Frame, Frames};
use super::layers::{MAX_LAYERS, Target};
use super::packet::Packet;
use crate::units::rtp_since;

/// What a packet means to a forwarder's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Of what is sent.
    Pass,
    /// The first packet of the layer to switch to.
    Switch,
    /// Of a temporal or spatial layer that is left out: the packets around it close up.
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
    /// Layers of the source build on each other.
    stacked: bool,
    /// The highest layer that the present picture may have.
    goal: u8,
    /// Frames of layers above the one that is sent were left out since all began.
    left_above: bool,
    /// Which frames of the source were left out, if it tells of frames.
    frames: Frames,
}

impl Selector {
    /// The layer that is sent.
    #[must_use]
    pub fn current(&self) -> Option<u8> {
        self.current
    }

    /// The highest temporal layer that is sent.
    #[must_use]
    pub fn temporal(&self) -> u8 {
        self.temporal
    }

    /// Nothing more of this layer is sent; whatever else begins, if it fits. Of layers that build on
    /// each other the upper ones are left out without waiting for anything.
    pub fn stop(&mut self) {
        self.stopped = !self.stacked;
    }

    /// See [`Selector::stop`].
    #[must_use]
    pub fn is_stopped(self) -> bool {
        self.stopped
    }

    /// The layer to begin with, if that is not what is sent.
    #[must_use]
    pub fn awaits(&self, target: Target) -> Option<u8> {
        let other = match self.stacked {
            true => self.current < Some(highest(target)),
            false => self.current != Some(target.layer),
        };
        (self.stopped || other).then_some(target.layer)
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
        if packet.keyframe && packet.stacked != self.stacked {
            // The publisher took another codec.
            return Step::Switch;
        }
        if (packet.layer != current && !self.stacked) || self.stopped {
            let switch = packet.layer == target.layer && packet.keyframe;
            return if switch { Step::Switch } else { Step::Skip };
        }
        let newer = self.frame.is_none_or(|frame| rtp_since(packet.timestamp, frame) > 0);
        if newer {
            self.frame = Some(packet.timestamp);
            if packet.keyframe {
                // Nothing leans on what was before it, and numbers may begin anew.
                self.frames = Frames::default();
            }
        }
        match self.stacked {
            true => self.turn_stacked(packet, current, target, newer),
            false if newer => self.turn(packet, current, target),
            false => {}
        }
        let left = match &packet.frame {
            Some(frame) => self.leaves_out(packet, frame),
            None => {
                let above = self.stacked && Some(packet.layer) > self.current;
                self.left_above |= above;
                above || packet.temporal > self.temporal
            }
        };
        if left { Step::Thin } else { Step::Pass }
    }

    /// At the first packet of a picture of several spatial layers: the upper ones go at once, and
    /// come back where all begin anew.
    fn turn_stacked(&mut self, packet: &Packet, current: u8, target: Target, newer: bool) {
        if newer {
            self.temporal = target.temporal;
            self.goal = highest(target);
        }
        let begins = packet.keyframe && self.frame == Some(packet.timestamp);
        // A layer that has not come yet can be had from its first frame on.
        if begins || (newer && (self.goal < current || !self.left_above)) {
            self.current = Some(self.goal);
            self.left_above = false;
        }
    }

    /// Whether a frame that tells what it leans on is left out; the same for all its packets.
    fn leaves_out(&mut self, packet: &Packet, frame: &Frame) -> bool {
        if let Some(left) = self.frames.was_left(frame) {
            return left;
        }
        let (layer, base) = (packet.layer, packet.temporal == 0);
        let breaks = self.frames.breaks(frame);
        let mut left = packet.temporal > self.temporal;
        if self.stacked && Some(layer) > self.current {
            // Another layer on top, where it leans on nothing that was left out.
            left |= breaks || layer > self.goal || !frame.joins(layer);
            self.left_above |= left;
            if !left {
                self.current = Some(layer);
            }
        } else if breaks && !(base && (layer == 0 || !self.stacked)) {
            left = true;
            if base {
                // The layer is lost until it begins anew.
                self.current = layer.checked_sub(1);
                self.left_above = true;
            }
        }
        self.frames.decide(frame, left);
        left
    }

    /// At the first packet of a frame: may more frames be sent, or must it be fewer?
    fn turn(&mut self, packet: &Packet, current: u8, target: Target) {
        let most = match target.layer.cmp(&current) {
            std::cmp::Ordering::Equal => target.temporal,
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => self.temporal,
        };
        // Which frames lean on what was left out is known of each, if they tell it.
        if packet.keyframe || most < self.temporal || packet.frame.is_some() {
            self.temporal = most;
        } else if packet.sync && packet.temporal <= most && packet.temporal > self.temporal {
            self.temporal = packet.temporal;
        }
    }

    /// A layer begins with this packet.
    pub fn took(&mut self, packet: &Packet, target: Target) {
        self.stacked = packet.stacked;
        self.goal = highest(target);
        self.left_above = false;
        self.current = Some(if packet.stacked { self.goal } else { packet.layer });
        self.frame = Some(packet.timestamp);
        self.stopped = false;
        self.frames = Frames::default();
        if let Some(frame) = &packet.frame {
            self.frames.decide(frame, false);
        }
        // What begins on the way to a higher layer is sent whole until that comes.
        let wanted = packet.stacked || packet.layer == target.layer;
        self.temporal = if wanted { target.temporal } else { super::layers::TOP };
    }
}

/// The highest layer that a target can mean.
fn highest(target: Target) -> u8 {
    target.layer.min(u8::try_from(MAX_LAYERS).unwrap_or(u8::MAX).saturating_sub(1))
}
