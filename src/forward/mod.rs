//! One track to one watcher: whether a packet goes on, and under which numbers.
//!
//! A [`Forwarder`] belongs to one outgoing stream (one half of a seat) for as long as that lives.
//! Its source changes; its stream has no seam.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]

pub mod keyframe;
pub mod layers;
pub mod packet;
pub mod rewrite;
pub mod select;

use std::time::Instant;

use crate::counts::DropReason;
use crate::model::Kind;
use layers::LayerTable;
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
    /// The viewer is spared, for this reason, until it can be sent more.
    Held(DropReason),
}

/// The state that turns one track into one seat's outgoing stream.
#[derive(Clone, Debug)]
pub struct Forwarder {
    kind: Kind,
    state: State,
    selector: Selector,
    rewriter: Rewriter,
}

impl Forwarder {
    /// A forwarder without a source. `first_seq` is the first sequence number that it will send.
    #[must_use]
    pub fn new(kind: Kind, first_seq: u16) -> Self {
        Self {
            kind,
            state: State::Empty,
            selector: Selector::default(),
            rewriter: Rewriter::new(first_seq),
        }
    }

    /// Takes a new source; nothing is sent until [`Forwarder::open`].
    pub fn assign(&mut self) {
        self.state = State::Pending;
        self.selector = Selector::default();
    }

    /// Has no source any more.
    pub fn clear(&mut self) {
        self.state = State::Empty;
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

    /// The viewer is to be spared: it is sent nothing until [`Forwarder::resume`].
    pub fn hold(&mut self, reason: DropReason) {
        if matches!(self.state, State::Starting | State::Flowing | State::Held(_)) {
            self.state = State::Held(reason);
            self.selector = Selector::default();
        }
    }

    /// The viewer can be sent everything. Whether it was held: then it needs a keyframe.
    pub fn resume(&mut self) -> bool {
        let held = matches!(self.state, State::Held(_));
        if held {
            self.state = State::Starting;
        }
        held
    }

    /// Whether the client does not know of the occupant yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.state == State::Pending
    }

    /// The layer that is sent.
    #[must_use]
    pub fn layer(&self) -> Option<u8> {
        self.selector.current()
    }

    /// The layer whose keyframe this forwarder waits for, if it waits for one.
    #[must_use]
    pub fn awaits_keyframe(&self, layers: &LayerTable, now: Instant) -> Option<u8> {
        if self.kind == Kind::Audio {
            return None;
        }
        match self.state {
            State::Empty | State::Held(_) => None,
            State::Pending | State::Starting => Some(layers.highest(now).unwrap_or(0)),
            State::Flowing => self.selector.wanted(layers.highest(now)),
        }
    }

    /// Decides about one packet of the source. `top` is the highest layer whose packets come.
    pub fn offer(&mut self, packet: &Packet, top: Option<u8>, now: Instant) -> Verdict {
        match self.state {
            State::Empty => return Verdict::Drop(DropReason::Unpublished),
            State::Pending => return Verdict::Drop(DropReason::SeatPending),
            State::Held(reason) => return Verdict::Drop(reason),
            State::Starting | State::Flowing => {}
        }
        if packet.payload.len() > MAX_PAYLOAD {
            return Verdict::Drop(DropReason::PayloadTooLarge);
        }
        match self.kind {
            Kind::Audio => {
                if self.state == State::Starting {
                    self.begin(packet, now);
                }
            }
            Kind::Video => match self.selector.step(packet, top) {
                Step::Pass if self.state == State::Flowing => {}
                Step::Pass | Step::Switch if packet.keyframe => self.begin(packet, now),
                Step::Pass | Step::Switch => return Verdict::Drop(DropReason::AwaitsKeyframe),
                Step::Skip => return Verdict::Drop(DropReason::OtherLayer),
            },
        }
        match self.rewriter.rewrite(packet) {
            Ok(numbers) => Verdict::Send(numbers),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn begin(&mut self, packet: &Packet, now: Instant) {
        self.rewriter.start(packet, now);
        self.selector.took(packet.layer);
        self.state = State::Flowing;
    }
}

#[cfg(test)]
mod tests;
