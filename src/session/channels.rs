//! Data channels ⇄ lanes, with limits on what may wait.
//!
//! The engine has one send budget for all channels of a session; so that a slow reliable channel
//! never starves the lossy one, messages wait here, lane by lane, and the reliable lane leaves the
//! lossy one its share.

use std::collections::VecDeque;
use std::sync::Arc;

use str0m::Rtc;
use str0m::channel::{ChannelId, Reliability};

use crate::wire::data::MAX_HEADER;

/// Bytes that the engine may hold, all channels together: four times the largest message, since
/// a message above the budget is never taken.
pub(super) const ENGINE_BUDGET: usize = 4 * 69_632;

/// Bytes in the engine above which the reliable lane waits.
const RELIABLE_SHARE: usize = ENGINE_BUDGET / 2;

/// Bytes that may wait in the reliable lane; beyond, senders wait for their credit.
pub const RELIABLE_BACKLOG: usize = 256 * 1024;

/// Bytes that may wait in the lossy lane; beyond, the oldest goes.
pub const LOSSY_BACKLOG: usize = 64 * 1024;

/// Most channels that a client may open beside ours in its life before they count as an attack.
const STRANGERS: u32 = 20;

/// The largest frame, for the engine's receive limit.
pub(super) fn max_frame(payload: usize) -> u32 {
    u32::try_from(payload + MAX_HEADER).unwrap_or(u32::MAX)
}

/// One of our two channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// `fanlight.reliable`: ordered, nothing is lost.
    Reliable,
    /// `fanlight.lossy`: unordered, never sent again.
    Lossy,
}

/// What became of a message for a lossy lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits to be sent.
    Yes,
    /// It waits, and so many older ones had to go.
    DroppedOldest(u32),
    /// The channel is not open.
    Closed,
}

#[derive(Debug, Default)]
struct Queue {
    channel: Option<ChannelId>,
    waiting: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, frame: Arc<[u8]>) {
        self.bytes += frame.len();
        self.waiting.push_back(frame);
    }

    fn pop(&mut self) -> Option<Arc<[u8]>> {
        let frame = self.waiting.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

/// The data channels of one session.
#[derive(Debug)]
pub struct Channels {
    reliable: Queue,
    lossy: Queue,
    strangers: u32,
    max_frame: usize,
}

impl Channels {
    pub(super) fn new(data_bytes: usize) -> Self {
        Self {
            reliable: Queue::default(),
            lossy: Queue::default(),
            strangers: 0,
            max_frame: data_bytes + MAX_HEADER,
        }
    }

    /// Whether a lane's channel is open.
    #[must_use]
    pub fn is_open(&self, lane: Lane) -> bool {
        self.queue(lane).channel.is_some()
    }

    /// Whether the reliable lane takes a frame of so many bytes now. An empty lane takes any.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.reliable.bytes == 0 || self.reliable.bytes + bytes <= RELIABLE_BACKLOG
    }

    /// Whether the client opened more channels than any page of ours would.
    #[must_use]
    pub fn is_abused(&self) -> bool {
        self.strangers >= STRANGERS
    }

    /// Queues a frame; it leaves with the session's next wake. In the reliable lane the caller
    /// asks [`Channels::has_room`] first; answers to the client itself are always taken.
    pub fn push(&mut self, lane: Lane, frame: Arc<[u8]>) -> Queued {
        debug_assert!(frame.len() <= self.max_frame, "the worker checks sizes");
        if !self.is_open(lane) {
            return Queued::Closed;
        }
        let mut dropped = 0;
        if lane == Lane::Lossy {
            while self.lossy.bytes > 0 && self.lossy.bytes + frame.len() > LOSSY_BACKLOG {
                self.lossy.pop();
                dropped += 1;
            }
        }
        self.queue_mut(lane).push(frame);
        if dropped > 0 { Queued::DroppedOldest(dropped) } else { Queued::Yes }
    }

    /// Closes the reliable channel of a receiver that is hopelessly behind.
    pub(super) fn give_up(&mut self, rtc: &mut Rtc) {
        if let Some(id) = self.reliable.channel.take() {
            rtc.direct_api().close_data_channel(id);
        }
        self.reliable = Queue::default();
    }

    pub(super) fn opened(&mut self, rtc: &mut Rtc, id: ChannelId, label: &str) {
        let config = rtc.channel(id).and_then(|channel| channel.config().cloned());
        let lane = config.and_then(|config| match (label, config.ordered, config.reliability) {
            ("fanlight.reliable", true, Reliability::Reliable) => Some(Lane::Reliable),
            ("fanlight.lossy", false, Reliability::MaxRetransmits { retransmits: 0 }) => {
                Some(Lane::Lossy)
            }
            _ => None,
        });
        match lane {
            Some(lane) if !self.is_open(lane) => {
                self.queue_mut(lane).channel = Some(id);
                if let Some(mut channel) = rtc.channel(id) {
                    channel.set_buffered_amount_low_threshold(RELIABLE_SHARE / 2);
                }
            }
            Some(_) | None => {
                self.strangers += 1;
                rtc.direct_api().close_data_channel(id);
            }
        }
    }

    pub(super) fn closed(&mut self, id: ChannelId) {
        for queue in [&mut self.reliable, &mut self.lossy] {
            if queue.channel == Some(id) {
                *queue = Queue::default();
            }
        }
    }

    pub(super) fn lane_of(&self, id: ChannelId) -> Option<Lane> {
        [Lane::Reliable, Lane::Lossy].into_iter().find(|lane| self.queue(*lane).channel == Some(id))
    }

    /// Gives the engine what it takes; lossy first, since it is only worth something now.
    pub(super) fn flush(&mut self, rtc: &mut Rtc) {
        for (queue, share) in
            [(&mut self.lossy, ENGINE_BUDGET), (&mut self.reliable, RELIABLE_SHARE)]
        {
            let Some(id) = queue.channel else { continue };
            while let Some(frame) = queue.waiting.front() {
                let Some(mut channel) = rtc.channel(id) else { break };
                let held = channel.buffered_amount();
                if held > 0 && held + frame.len() > share {
                    break;
                }
                match channel.write(true, frame) {
                    Ok(true) => queue.pop(),
                    Ok(false) | Err(_) => break,
                };
            }
        }
    }

    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Reliable => &self.reliable,
            Lane::Lossy => &self.lossy,
        }
    }

    fn queue_mut(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Reliable => &mut self.reliable,
            Lane::Lossy => &mut self.lossy,
        }
    }
}
