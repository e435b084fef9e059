//! Data messages from member to member.
//!
//! A reliable message is *taken* when the queue of every receiver holds it; until then it waits
//! with its sender, in order, and the sender is told nothing. So what was taken is not lost, and
//! what waits is bounded per sender.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Member, MemberKey, Room};
use crate::model::{ErrorCode, Refusal};
use crate::wire::data::{Frame, Kind, write_message, write_reply};

/// Messages and bytes of one sender that may wait for receivers. A page awaits each message, so
/// more than a few waiting ones are a program that does not look at its answers.
const WAITING: usize = 64;
const WAITING_BYTES: usize = 256 * 1024;

/// The sessions' send queues, as the worker lends them to a room.
pub trait Lanes {
    /// Whether a member's channel is open.
    fn is_open(&self, key: MemberKey, reliable: bool) -> bool;
    /// Whether a member's reliable queue takes so many bytes now.
    fn has_room(&self, key: MemberKey, bytes: usize) -> bool;
    /// Queues a frame.
    fn push(&mut self, key: MemberKey, reliable: bool, frame: Arc<[u8]>);
    /// Closes the reliable channel of a member that is hopelessly behind.
    fn give_up(&mut self, key: MemberKey);
}

/// A message that waits for room at its receivers.
#[derive(Debug)]
struct Waiting {
    id: u32,
    frame: Arc<[u8]>,
    to: Vec<MemberKey>,
    unknown: Vec<String>,
    since: Instant,
}

/// What waits of one sender, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// A message as its sender's channel gave it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Whose channel it came on.
    pub from: MemberKey,
    /// What it says.
    pub frame: &'a Frame<'a>,
    /// It came on the reliable channel.
    pub reliable: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many receivers' queues hold it.
    By(u32),
    /// It waits for room.
    Waits,
    /// It was refused.
    Refused,
}

impl Room {
    /// Passes a message on. A refusal goes back to the sender on the same channel.
    pub fn message(&mut self, message: Message<'_>, lanes: &mut impl Lanes, now: Instant) -> Taken {
        let Message { from, frame, reliable } = message;
        let Some((at, sender)) = self.member(from) else { return Taken::Refused };
        let bytes: Arc<[u8]> = write_message(sender.identity.as_str(), frame).into();
        let (to, unknown) = self.receivers(from, frame);
        if !reliable {
            let open: Vec<MemberKey> =
                to.into_iter().filter(|key| lanes.is_open(*key, false)).collect();
            for key in &open {
                lanes.push(*key, false, bytes.clone());
            }
            return Taken::By(u32::try_from(open.len()).unwrap_or(u32::MAX));
        }
        let message = Waiting { id: frame.id, frame: bytes, to, unknown, since: now };
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else {
            return Taken::Refused;
        };
        if member.outbox.waiting.is_empty() && message.fits(lanes) {
            return Taken::By(message.deliver(from, &[], lanes));
        }
        let outbox = &mut member.outbox;
        let full =
            outbox.waiting.len() >= WAITING || outbox.bytes + message.frame.len() > WAITING_BYTES;
        if full {
            let text = "Too many messages wait for their receivers.";
            refuse(from, frame.id, true, &Refusal::new(ErrorCode::RateLimited, text), lanes);
            return Taken::Refused;
        }
        outbox.bytes += message.frame.len();
        outbox.waiting.push_back(message);
        Taken::Waits
    }

    /// Delivers what waits and fits now; a receiver that is behind for longer than `patience`
    /// loses its channel, and the sender is told who. How many receivers got something.
    pub fn retry_messages(
        &mut self,
        lanes: &mut impl Lanes,
        patience: Duration,
        now: Instant,
    ) -> u32 {
        let present: Vec<MemberKey> = self.members.iter().flatten().map(|m| m.key).collect();
        let names: Vec<(MemberKey, String)> = self
            .members
            .iter()
            .flatten()
            .map(|member| (member.key, member.identity.as_str().to_owned()))
            .collect();
        let mut delivered = 0;
        for member in self.members.iter_mut().flatten() {
            let from = member.key;
            while let Some(message) = member.outbox.waiting.front_mut() {
                message.to.retain(|key| present.contains(key));
                let mut lost = Vec::new();
                if !message.fits(lanes) {
                    if now.saturating_duration_since(message.since) < patience {
                        break;
                    }
                    for key in message.blocked(lanes) {
                        lanes.give_up(key);
                        let name = names.iter().find(|(k, _)| *k == key).map(|(_, n)| n.clone());
                        lost.extend(name);
                    }
                }
                let Some(message) = member.outbox.waiting.pop_front() else { break };
                member.outbox.bytes = member.outbox.bytes.saturating_sub(message.frame.len());
                delivered += message.deliver(from, &lost, lanes);
            }
        }
        delivered
    }

    /// When the first waiting message has waited for `patience`.
    #[must_use]
    pub fn messages_due(&self, patience: Duration) -> Option<Instant> {
        let first = |member: &Member| member.outbox.waiting.front().map(|m| m.since + patience);
        self.members.iter().flatten().filter_map(first).min()
    }

    fn receivers(&self, from: MemberKey, frame: &Frame<'_>) -> (Vec<MemberKey>, Vec<String>) {
        if frame.to().next().is_none() {
            let others = self.members.iter().flatten().map(|m| m.key).filter(|key| *key != from);
            return (others.collect(), Vec::new());
        }
        let (mut to, mut unknown) = (Vec::new(), Vec::new());
        for identity in frame.to() {
            match self.find(identity) {
                Some(key) if !to.contains(&key) => to.push(key),
                Some(_) => {}
                None => unknown.push(identity.to_owned()),
            }
        }
        (to, unknown)
    }
}

impl Waiting {
    fn blocked(&self, lanes: &impl Lanes) -> Vec<MemberKey> {
        let blocked =
            |key: &MemberKey| lanes.is_open(*key, true) && !lanes.has_room(*key, self.frame.len());
        self.to.iter().copied().filter(blocked).collect()
    }

    fn fits(&self, lanes: &impl Lanes) -> bool {
        self.blocked(lanes).is_empty()
    }

    /// Queues the message for everybody whose channel is open, and tells the sender.
    fn deliver(&self, from: MemberKey, lost: &[String], lanes: &mut impl Lanes) -> u32 {
        let mut count = 0;
        for key in &self.to {
            if lanes.is_open(*key, true) {
                lanes.push(*key, true, self.frame.clone());
                count += 1;
            }
        }
        let mut reply = serde_json::Map::new();
        for (name, list) in [("unknown", self.unknown.as_slice()), ("lost", lost)] {
            if !list.is_empty() {
                reply.insert(name.to_owned(), list.into());
            }
        }
        let reply = serde_json::Value::Object(reply).to_string();
        lanes.push(from, true, write_reply(Kind::Taken, self.id, reply.as_bytes()).into());
        count
    }
}

/// Tells a sender that its message was refused, on the reliable channel.
pub fn refuse(from: MemberKey, id: u32, reliable: bool, refusal: &Refusal, lanes: &mut impl Lanes) {
    if reliable && let Ok(text) = serde_json::to_vec(refusal) {
        lanes.push(from, true, write_reply(Kind::Refused, id, &text).into());
    }
}
