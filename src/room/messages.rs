//! Data messages from member to member.
//!
//! A reliable message is *taken* when the queue of every receiver holds it; until then it waits
//! with its sender, in order, and the sender is told nothing. So what was taken is not lost, and
//! what waits is bounded per sender. Receivers at other workers are asked through their room's home;
//! there the message waits the same way, and the answer comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Member, MemberKey, Room, RoomEvent};
use crate::ids::{SessionId, WorkerId};
use crate::model::{ErrorCode, Refusal};
use crate::relay::message::{Say, Taken as TakenThere};
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
    /// The client's number for it; `None` if its sender is elsewhere.
    id: Option<u32>,
    /// The number that other workers know it by.
    serial: u64,
    frame: Arc<[u8]>,
    /// Its receivers here.
    to: Vec<MemberKey>,
    unknown: Vec<String>,
    lost: Vec<String>,
    since: Instant,
    /// Its receivers here have it in their queues.
    here: bool,
    /// Workers that have not said yet that their receivers have it.
    there: Vec<WorkerId>,
}

/// What waits of one sender, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl Outbox {
    /// Nothing is expected from a worker any more.
    pub fn forget_worker(&mut self, worker: WorkerId) {
        for message in &mut self.waiting {
            message.there.retain(|known| *known != worker);
        }
    }
}

/// For whom a message is.
struct Receivers {
    here: Vec<MemberKey>,
    /// Named receivers elsewhere; `None`: everybody.
    named: Option<Vec<SessionId>>,
    /// The workers that have receivers.
    there: Vec<WorkerId>,
    unknown: Vec<String>,
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
    /// It is on its way; so many receivers' queues were given something now.
    By(u32),
    /// It was refused.
    Refused,
}

impl Room {
    /// Passes a message on. A refusal goes back to the sender on the same channel.
    pub fn message(&mut self, message: Message<'_>, lanes: &mut impl Lanes, now: Instant) -> Taken {
        let Message { from, frame, reliable } = message;
        let Some((at, sender)) = self.member(from) else { return Taken::Refused };
        let (session, outbox) = (sender.session, &sender.outbox);
        let bytes: Arc<[u8]> = write_message(sender.identity.as_str(), frame).into();
        let full = outbox.waiting.len() >= WAITING || outbox.bytes + bytes.len() > WAITING_BYTES;
        if reliable && full && !outbox.waiting.is_empty() {
            let text = "Too many messages wait for their receivers.";
            refuse(from, frame.id, true, &Refusal::new(ErrorCode::RateLimited, text), lanes);
            return Taken::Refused;
        }
        let Receivers { here, named, there, unknown } = self.receivers(from, frame);
        if !there.is_empty() {
            self.serial += 1;
            let (serial, frame) = (self.serial, bytes.clone());
            let say = Say { from: session, serial, to: named, frame, reliable };
            self.events.push_back(RoomEvent::Say(say));
        }
        if !reliable {
            return Taken::By(deliver_lossy(&here, &bytes, lanes));
        }
        let message = Waiting {
            id: Some(frame.id),
            serial: self.serial,
            frame: bytes,
            to: here,
            unknown,
            lost: Vec::new(),
            since: now,
            here: false,
            there,
        };
        Taken::By(self.put_message(at, message, lanes, now))
    }

    /// Passes on a message whose sender is at another worker; `None` if the sender is unknown.
    /// How many receivers have it.
    pub fn hear_say(&mut self, say: Say, lanes: &mut impl Lanes, now: Instant) -> Option<u32> {
        let at = self.by_session(say.from)?;
        let named =
            |member: &&Member| say.to.as_ref().is_none_or(|to| to.contains(&member.session));
        let to = self.members.iter().flatten().filter(named).filter_map(|member| member.key);
        let to: Vec<MemberKey> = to.collect();
        if !say.reliable {
            return Some(deliver_lossy(&to, &say.frame, lanes));
        }
        let message = Waiting {
            id: None,
            serial: say.serial,
            frame: say.frame,
            to,
            unknown: Vec::new(),
            lost: Vec::new(),
            since: now,
            here: false,
            there: Vec::new(),
        };
        Some(self.put_message(at, message, lanes, now))
    }

    /// Another worker says that its receivers have a message.
    pub fn hear_taken(&mut self, by: WorkerId, taken: TakenThere, lanes: &mut impl Lanes) {
        let at = self.by_session(taken.from);
        let Some(member) = at.and_then(|at| self.members.get_mut(at)?.as_mut()) else { return };
        let is = |message: &&mut Waiting| message.serial == taken.serial;
        if let Some(message) = member.outbox.waiting.iter_mut().find(is) {
            message.there.retain(|worker| *worker != by);
            message.lost.extend(taken.lost);
        }
        self.tell_taken(lanes);
    }

    /// Puts a message behind those that wait and delivers what can be. How many receivers got
    /// something.
    fn put_message(
        &mut self,
        at: usize,
        message: Waiting,
        lanes: &mut impl Lanes,
        now: Instant,
    ) -> u32 {
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else { return 0 };
        member.outbox.bytes += message.frame.len();
        member.outbox.waiting.push_back(message);
        let receivers = member.outbox.deliver(lanes, None, now);
        self.tell_taken(lanes);
        receivers
    }

    /// Delivers what waits and fits now; a receiver that is behind for longer than `patience`
    /// loses its channel, and the sender is told who. How many receivers got something.
    pub fn retry_messages(
        &mut self,
        lanes: &mut impl Lanes,
        patience: Duration,
        now: Instant,
    ) -> u32 {
        let named = |member: &Member| Some((member.key?, member.identity.as_str().to_owned()));
        let names: Vec<(MemberKey, String)> =
            self.members.iter().flatten().filter_map(named).collect();
        let mut delivered = 0;
        for member in self.members.iter_mut().flatten() {
            for message in &mut member.outbox.waiting {
                message.to.retain(|key| names.iter().any(|(known, _)| known == key));
            }
            delivered += member.outbox.deliver(lanes, Some((patience, &names)), now);
        }
        self.tell_taken(lanes);
        delivered
    }

    /// Tells senders, in order, of messages that all receivers have.
    fn tell_taken(&mut self, lanes: &mut impl Lanes) {
        let Self { members, events, .. } = self;
        for member in members.iter_mut().flatten() {
            let is_taken = |message: &Waiting| message.here && message.there.is_empty();
            while member.outbox.waiting.front().is_some_and(is_taken) {
                let Some(message) = member.outbox.waiting.pop_front() else { break };
                member.outbox.bytes = member.outbox.bytes.saturating_sub(message.frame.len());
                match (member.key, message.id) {
                    (Some(from), Some(id)) => message.answer(from, id, lanes),
                    _ => {
                        let (serial, lost) = (message.serial, message.lost);
                        let taken = TakenThere { from: member.session, serial, lost };
                        events.push_back(RoomEvent::Taken { at: member.at, taken });
                    }
                }
            }
        }
    }

    /// When the first message that waits for a receiver here has waited for `patience`.
    #[must_use]
    pub fn messages_due(&self, patience: Duration) -> Option<Instant> {
        let first = |member: &Member| {
            member.outbox.waiting.iter().find(|m| !m.here).map(|m| m.since + patience)
        };
        self.members.iter().flatten().filter_map(first).min()
    }

    fn receivers(&self, from: MemberKey, frame: &Frame<'_>) -> Receivers {
        let mut receivers =
            Receivers { here: Vec::new(), named: None, there: Vec::new(), unknown: Vec::new() };
        if frame.to().next().is_none() {
            for member in self.members.iter().flatten().filter(|m| m.key != Some(from)) {
                receivers.add(member);
            }
            return receivers;
        }
        let mut named: Vec<SessionId> = Vec::new();
        for identity in frame.to() {
            let is = |member: &&Member| member.identity.as_str() == identity;
            match self.members.iter().flatten().find(is) {
                Some(member) if !named.contains(&member.session) => {
                    named.push(member.session);
                    receivers.add(member);
                }
                Some(_) => {}
                None => receivers.unknown.push(identity.to_owned()),
            }
        }
        receivers.named = Some(named);
        receivers
    }
}

impl Receivers {
    fn add(&mut self, member: &Member) {
        match member.key {
            Some(key) => self.here.push(key),
            None if !self.there.contains(&member.at) => self.there.push(member.at),
            None => {}
        }
    }
}

fn deliver_lossy(to: &[MemberKey], frame: &Arc<[u8]>, lanes: &mut impl Lanes) -> u32 {
    let mut count = 0;
    for key in to {
        if lanes.is_open(*key, false) {
            lanes.push(*key, false, frame.clone());
            count += 1;
        }
    }
    count
}

impl Outbox {
    /// Delivers to receivers here what fits, in order. With `patience`, a receiver that has been
    /// behind for longer loses its channel. How many receivers got something.
    fn deliver(
        &mut self,
        lanes: &mut impl Lanes,
        patience: Option<(Duration, &[(MemberKey, String)])>,
        now: Instant,
    ) -> u32 {
        let mut delivered = 0;
        for message in self.waiting.iter_mut().filter(|message| !message.here) {
            let blocked = message.blocked(lanes);
            if !blocked.is_empty() {
                let waited = now.saturating_duration_since(message.since);
                let Some((_, names)) = patience.filter(|(patience, _)| waited >= *patience) else {
                    break;
                };
                for key in blocked {
                    lanes.give_up(key);
                    let name = names.iter().find(|(k, _)| *k == key).map(|(_, n)| n.clone());
                    message.lost.extend(name);
                }
            }
            message.here = true;
            for key in &message.to {
                if lanes.is_open(*key, true) {
                    lanes.push(*key, true, message.frame.clone());
                    delivered += 1;
                }
            }
        }
        delivered
    }
}

impl Waiting {
    fn blocked(&self, lanes: &impl Lanes) -> Vec<MemberKey> {
        let blocked =
            |key: &MemberKey| lanes.is_open(*key, true) && !lanes.has_room(*key, self.frame.len());
        self.to.iter().copied().filter(blocked).collect()
    }

    /// Tells the sender that its message was taken.
    fn answer(&self, from: MemberKey, id: u32, lanes: &mut impl Lanes) {
        let mut reply = serde_json::Map::new();
        for (name, list) in [("unknown", &self.unknown), ("lost", &self.lost)] {
            if !list.is_empty() {
                reply.insert(name.to_owned(), list.as_slice().into());
            }
        }
        let reply = serde_json::Value::Object(reply).to_string();
        lanes.push(from, true, write_reply(Kind::Taken, id, reply.as_bytes()).into());
    }
}

/// Tells a sender that its message was refused, on the reliable channel.
pub fn refuse(from: MemberKey, id: u32, reliable: bool, refusal: &Refusal, lanes: &mut impl Lanes) {
    if reliable && let Ok(text) = serde_json::to_vec(refusal) {
        lanes.push(from, true, write_reply(Kind::Refused, id, &text).into());
    }
}
