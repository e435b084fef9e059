//! One track to one watcher: whether a packet goes on, and under which numbers.
//!
//! A [`Forwarder`] belongs to one outgoing stream (one half of a seat) for as long as that lives.
//! Its source changes; its stream has no seam.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]

pub mod frames;
pub mod keyframe;
pub mod layers;
pub mod packet;
pub mod rewrite;
pub mod segment;
pub mod select;

use std::time::Instant;

use crate::counts::DropReason;
use crate::model::Kind;
use layers::{Target, bit, up_to};
use packet::Packet;
use rewrite::{Numbers, Rewriter};
use select::{Selector, Step};

/// Largest payload that is forwarded, in bytes. What is added on the way (header, extensions,
/// authentication tag, RTX number) must still fit into a datagram of 1,500 bytes, and the engine
/// has a fixed buffer.
pub const MAX_PAYLOAD: usize = 1_400;

/// What becomes of a packet offered to a [`Forwarder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on under these numbers.
    Send(Numbers),
    /// It ends here.
    Drop(DropReason),
}

/// What a forwarder could begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing is sent yet: this layer, or a smaller one for now.
    Any(u8),
    /// Another layer is sent: only this one.
    Only(u8),
}

/// Where a forwarder stands with its present source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody sits here.
    Empty,
    /// The client does not know of the new occupant yet; it is sent nothing.
    Pending,
    /// The next packet that can begin a stream begins it.
    Starting,
    /// Packets flow.
    Flowing,
}

/// The state that turns one track into one seat's outgoing stream.
#[derive(Clone, Debug)]
pub struct Forwarder {
    kind: Kind,
    state: State,
    /// What of the source is to be sent; `None`: nothing.
    target: Option<Target>,
    /// The viewer is spared everything for now, for this reason.
    spared: Option<DropReason>,
    /// Layers of the source build on each other.
    stacked: bool,
    selector: Selector,
    rewriter: Rewriter,
    /// Sound was left out on purpose since the last packet that was sent.
    left_out: bool,
    /// When a keyframe was last begun to be sent.
    keyframe: Option<Instant>,
}

impl Forwarder {
    /// A forwarder without a source. `first_seq` is the first sequence number that it will send.
    #[must_use]
    pub fn new(kind: Kind, first_seq: u16) -> Self {
        Self {
            kind,
            state: State::Empty,
            target: None,
            spared: None,
            stacked: false,
            selector: Selector::default(),
            rewriter: Rewriter::new(first_seq),
            left_out: false,
            keyframe: None,
        }
    }

    /// Takes a new source; nothing is sent until [`Forwarder::open`].
    pub fn assign(&mut self) {
        self.state = State::Pending;
        self.stacked = false;
        self.target = None;
        self.selector = Selector::default();
    }

    /// Has no source any more.
    pub fn clear(&mut self) {
        self.state = State::Empty;
        self.target = None;
        self.selector = Selector::default();
    }

    /// The client knows who sits here: packets may flow from the next beginning on.
    pub fn open(&mut self) {
        if self.state == State::Pending {
            self.state = State::Starting;
        }
    }

    /// The source was silent on purpose (mute): begin anew where a stream can begin.
    pub fn restart(&mut self) {
        if self.state == State::Flowing {
            self.state = State::Starting;
        }
        self.selector = Selector::default();
    }

    /// The source's sound is left out from now on, on purpose: when it goes on, what was not sent
    /// leaves no hole.
    pub fn leave_out(&mut self) {
        self.left_out = true;
    }

    /// Says what of a video is to be sent from now on, `None`: nothing. Whether that changed.
    pub fn aim(&mut self, target: Option<Target>) -> bool {
        if target.is_none() {
            self.restart();
        }
        std::mem::replace(&mut self.target, target) != target
    }

    /// What is sent is too dear to go on with until the target begins.
    pub fn stop_old(&mut self) {
        self.selector.stop();
    }

    /// Whether nothing more of what is sent goes on, until something else begins.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.selector.is_stopped()
    }

    /// The viewer is to be spared everything for this reason, or no longer. Whether it may begin
    /// again: then it needs a keyframe.
    pub fn spare(&mut self, reason: Option<DropReason>) -> bool {
        let was = std::mem::replace(&mut self.spared, reason).is_some();
        if reason.is_some() && !was {
            self.restart();
        }
        was && reason.is_none()
    }

    /// What is to be sent.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        self.target
    }

    /// Why the viewer is spared everything, if it is.
    #[must_use]
    pub fn spared(&self) -> Option<DropReason> {
        self.spared
    }

    /// Whether the client does not know of the occupant yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.state == State::Pending
    }

    /// Whether the client knows of the occupant, and has been sent nothing yet that it could show.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.state == State::Starting
    }

    /// What is sent now.
    #[must_use]
    pub fn sends(&self) -> Option<Target> {
        let layer = self.selector.current().filter(|_| self.state == State::Flowing)?;
        Some(Target { layer, temporal: self.selector.temporal() })
    }

    /// The layers whose packets are needed here, one bit each.
    #[must_use]
    pub fn needs(&self) -> u8 {
        if self.state == State::Empty {
            return 0;
        }
        let bits = if self.stacked { up_to } else { bit };
        let target = self.target.map_or(0, |target| bits(target.layer));
        target | self.sends().map_or(0, |sent| bits(sent.layer))
    }

    /// When a keyframe was last begun to be sent.
    #[must_use]
    pub fn last_keyframe(&self) -> Option<Instant> {
        self.keyframe
    }

    /// The layer whose keyframe this forwarder waits for, if it waits for one.
    #[must_use]
    pub fn awaits_keyframe(&self) -> Option<u8> {
        let target = self.target.filter(|_| self.kind == Kind::Video && self.spared.is_none())?;
        match self.state {
            State::Empty => None,
            State::Pending | State::Starting => Some(target.layer),
            State::Flowing => self.selector.awaits(target),
        }
    }

    /// The layer that could be begun with now, from packets that came before, and whether it is the one
    /// that is wanted: `None` if there is nothing to begin.
    #[must_use]
    pub fn could_begin(&self) -> Option<Begin> {
        let target = self.target.filter(|_| self.kind == Kind::Video && self.spared.is_none())?;
        match self.state {
            State::Empty | State::Pending => None,
            State::Starting => Some(Begin::Any(target.layer)),
            State::Flowing => self.selector.awaits(target).map(Begin::Only),
        }
    }

    /// Begins with packets from before now: a keyframe and all that followed. What of them is to be
    /// sent, and under which numbers.
    pub fn begin_with<'a>(
        &mut self,
        packets: &'a [Packet],
        now: Instant,
    ) -> Vec<(&'a Packet, Numbers)> {
        let (Some(first), Some(target)) = (packets.first(), self.target) else { return Vec::new() };
        self.rewriter.start_with(packets, now);
        self.selector.took(first, target);
        self.state = State::Flowing;
        let mut sent = Vec::with_capacity(packets.len());
        for packet in packets {
            if let Verdict::Send(numbers) = self.offer(packet, now) {
                sent.push((packet, numbers));
            }
        }
        sent
    }

    /// Decides about one packet of the source.
    pub fn offer(&mut self, packet: &Packet, now: Instant) -> Verdict {
        self.stacked = packet.stacked;
        match self.state {
            State::Empty => return Verdict::Drop(DropReason::Unpublished),
            State::Pending => return Verdict::Drop(DropReason::SeatPending),
            State::Starting | State::Flowing => {}
        }
        if let Some(reason) = self.spared {
            return Verdict::Drop(reason);
        }
        if packet.payload.len() > MAX_PAYLOAD {
            return Verdict::Drop(DropReason::PayloadTooLarge);
        }
        match (self.kind, self.target) {
            (Kind::Audio, _) => {
                if self.state == State::Starting {
                    self.rewriter.start(packet, now);
                    self.state = State::Flowing;
                    self.left_out = false;
                }
                self.left_out = self.left_out && !self.rewriter.close_up(packet);
            }
            (Kind::Video, None) => return Verdict::Drop(DropReason::Paused),
            (Kind::Video, Some(target)) => match self.selector.step(packet, target) {
                Step::Pass if self.state == State::Flowing => {}
                Step::Pass | Step::Switch if packet.keyframe => {
                    self.rewriter.start(packet, now);
                    self.selector.took(packet, target);
                    self.state = State::Flowing;
                }
                Step::Pass | Step::Switch => return Verdict::Drop(DropReason::AwaitsKeyframe),
                Step::Thin => {
                    self.rewriter.thin(packet);
                    return Verdict::Drop(DropReason::Thinned);
                }
                Step::Skip => return Verdict::Drop(DropReason::OtherLayer),
            },
        }
        match self.rewriter.rewrite(packet) {
            Ok(numbers) => {
                if packet.keyframe {
                    self.keyframe = Some(now);
                }
                Verdict::Send(Numbers { marker: self.marks(packet), ..numbers })
            }
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// Whether nothing of the source was sent after this packet.
    #[must_use]
    pub fn begins_with(&self, packet: &Packet) -> bool {
        self.rewriter.newest() == Some(packet.seq)
    }

    /// Whether a packet is the last of its picture: upper layers may be left out after it.
    fn marks(&self, packet: &Packet) -> bool {
        let top = packet.stacked && self.selector.current() == Some(packet.layer);
        packet.marker || (top && packet.frame.is_some_and(|frame| frame.ends))
    }
}

#[cfg(test)]
mod tests;
