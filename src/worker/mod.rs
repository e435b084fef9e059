//! One core's world as a state machine: datagrams, commands and the time go in; datagrams, events
//! and answers come out. It knows no socket, no clock, no thread.
//!
//! Give it a batch by [`Worker::handle`], then take everything out by [`Worker::poll`] until that
//! says `None`, and come back at [`Worker::deadline`] at the latest. Same inputs and times, same
//! decisions.

mod adapting;
pub mod command;
mod commands;
pub mod demux;
mod guard;
mod home;
mod hosting;
mod lanes;
mod load;
mod relaying;
pub mod relief;
pub mod report;
pub mod sessions;
mod tick;
pub mod timers;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::config::MediaLimits;
use crate::ids::{RoomName, SessionId, WorkerId};
use crate::relay::inlet::Inlets;
use crate::relay::link::Link;
use crate::relay::message::Message;
use crate::room::fanout::Passing;
use crate::room::{MemberKey, Room};
use crate::session::{Drained, Event as SessionEvent, Transmit};
use command::{Answer, Command, Event, Ticket};
use demux::Demux;
use hosting::{Hosted, Side};
use load::Meter;
use relief::Relief;
use report::{Report, Totals};
use sessions::Sessions;
use timers::Timers;

/// What goes into a worker.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// The local address that it came to.
        to: SocketAddr,
        /// One whole datagram.
        bytes: &'a [u8],
        /// It came to a neighbour's socket first.
        handed_over: bool,
    },
    /// An address has proved itself to a neighbour; what it sends belongs there.
    Proved {
        /// The address.
        from: SocketAddr,
        /// The neighbour.
        owner: WorkerId,
    },
    /// Something of a room that spans workers.
    Relay {
        /// Who gives it.
        from: WorkerId,
        /// What.
        message: Message,
    },
    /// Something that must not be lost found no room on its way to another worker.
    RelayLost {
        /// Which worker it was for.
        to: WorkerId,
    },
    /// The control plane wants something.
    Command(Command),
    /// The worker is to leave this out: it cannot keep up, or can again.
    Relief(Relief),
    /// Time has passed.
    Time,
}

/// What comes out of a worker.
#[derive(Debug)]
pub enum Output {
    /// A datagram to be sent.
    Transmit(Transmit),
    /// A plain STUN reply to be sent: where to, from which local address, and the bytes.
    StunReply {
        /// The local address it leaves from.
        from: SocketAddr,
        /// Where it goes.
        to: SocketAddr,
        /// The first `len` bytes are the datagram.
        bytes: [u8; 44],
        /// Length in bytes.
        len: usize,
    },
    /// The datagram that was handed in last belongs to a neighbour.
    HandOver {
        /// The neighbour.
        owner: WorkerId,
        /// Who sent it.
        from: SocketAddr,
        /// The local address that it came to.
        to: SocketAddr,
        /// One whole datagram.
        bytes: Box<[u8]>,
    },
    /// An address has proved itself here, but its datagrams come to other sockets.
    Proved(SocketAddr),
    /// Something for another worker of a room that spans several.
    Relay {
        /// Which worker.
        to: WorkerId,
        /// What.
        message: Message,
    },
    /// Something for a session's client. After [`Event::Goodbye`] and a refused join there is no
    /// further one.
    Event(SessionId, Event),
    /// The session is over; nothing more will be said to it.
    Over(SessionId),
    /// The answer to a question.
    Answer(Ticket, Answer),
}

/// Where datagrams go while a worker is still at work on others: who is served first need not wait for
/// who is served last.
pub trait Dispatch {
    /// Sends what is there, or leaves it there; what time it is then.
    fn dispatch(&mut self, transmits: &mut VecDeque<Transmit>, now: Instant) -> Instant;
}

/// All datagrams stay until they are asked for.
struct Kept;

impl Dispatch for Kept {
    fn dispatch(&mut self, _: &mut VecDeque<Transmit>, now: Instant) -> Instant {
        now
    }
}

/// What a worker is made with.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Which worker it is.
    pub id: WorkerId,
    /// How many there are.
    pub workers: u8,
    /// What it holds its sessions to.
    pub limits: MediaLimits,
    /// Chance, handed in: where sequence numbers begin. Any number under 32,768.
    pub first_seq: u16,
}

/// One core's world.
#[derive(Debug)]
pub struct Worker {
    config: WorkerConfig,
    /// Where the grid of far deadlines begins.
    epoch: Instant,
    /// The latest time that any session was told.
    told: Instant,
    sessions: Sessions,
    rooms: HashMap<RoomName, usize>,
    room_list: Vec<Option<Hosted>>,
    demux: Demux,
    stun: StunGate,
    timers: Timers<MemberKey>,
    room_timers: Timers<usize>,
    dirty: Vec<MemberKey>,
    touched_rooms: Vec<usize>,
    track_number: u32,
    batch: Vec<Passing>,
    inlets: Inlets,
    /// One per worker, in the order of their numbers.
    links: Vec<Link>,
    meter: Meter,
    outputs: VecDeque<Output>,
    drained: Drained,
    /// What sessions said that were woken while a room passed packets on.
    said: Vec<(MemberKey, SessionEvent)>,
    totals: Totals,
    relief: Relief,
    stopping: bool,
}

/// Plain STUN in the present second: the port is also a small STUN server, and must not be a
/// reflector worth using.
#[derive(Debug, Default)]
struct StunGate {
    second: Option<Instant>,
    all: u32,
    by_net: HashMap<[u8; 8], u32>,
}

impl Worker {
    /// A worker with nothing in it.
    #[must_use]
    pub fn new(config: WorkerConfig, now: Instant) -> Self {
        Self {
            epoch: now,
            told: now,
            sessions: Sessions::default(),
            rooms: HashMap::new(),
            room_list: Vec::new(),
            demux: Demux::default(),
            stun: StunGate::default(),
            timers: Timers::default(),
            room_timers: Timers::default(),
            dirty: Vec::new(),
            touched_rooms: Vec::new(),
            track_number: 0,
            batch: Vec::new(),
            inlets: Inlets::default(),
            links: vec![Link::default(); usize::from(config.workers)],
            meter: Meter::default(),
            config,
            outputs: VecDeque::new(),
            drained: Drained::default(),
            said: Vec::new(),
            totals: Totals::default(),
            relief: Relief::NONE,
            stopping: false,
        }
    }

    /// Which worker it is.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.config.id
    }

    /// Takes one input. What follows from it comes out of [`Worker::poll`]; several inputs of the
    /// same moment may be given before that, and are cheaper together.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Datagram { from, to, bytes, handed_over } => {
                self.handle_datagram(tick::Arrival { from, to, bytes, handed_over }, now);
            }
            Input::Proved { from, owner } => self.demux.neighbour(from, owner),
            Input::Relay { from, message } => self.handle_relay(from, message, now),
            Input::RelayLost { to } => self.handle_lost(to, now),
            Input::Command(command) => self.handle_command(command, now),
            Input::Relief(relief) => self.relief = relief,
            Input::Time => {
                self.measure(now);
                self.handle_time(now);
            }
        }
    }

    /// Takes the next output; `None` when the worker has nothing more to do at `now`.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        if self.outputs.is_empty() && self.drained.transmits.is_empty() {
            self.settle(&mut Kept, now);
        }
        let transmit = |worker: &mut Self| worker.drained.transmits.pop_front();
        self.outputs.pop_front().or_else(|| transmit(self).map(Output::Transmit))
    }

    /// Does what is to be done for the inputs so far, sends datagrams meanwhile, and sends the last of them
    /// at the end: for a shell that sends in batches. They would come out of [`Worker::poll`] else.
    pub fn flush(&mut self, out: &mut dyn Dispatch, now: Instant) {
        self.settle(out, now);
        out.dispatch(&mut self.drained.transmits, now);
    }

    /// When [`Input::Time`] is due, at the latest. May be too early, never too late.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [self.timers.next(), self.room_timers.next()].into_iter().flatten().min()
    }

    /// The worker as it is now.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = Report::new(self.config.id);
        for hosted in self.room_list.iter().flatten() {
            let room = &hosted.room;
            let (published, occupied) = (room.published(), room.occupied());
            if let Side::Home { annexes } = &hosted.side {
                report.rooms += 1;
                report.spanning += u32::from(!annexes.is_empty());
                report.tracks_in.audio += published.0;
                report.tracks_in.video += published.1;
            }
            report.tracks_out.audio += occupied.0;
            report.tracks_out.video += occupied.1;
            let (limited, paused, kept) = room.adapted();
            report.limited += limited;
            report.paused += paused;
            report.kept_bytes += kept;
        }
        let (connected, connecting) = self.sessions.connected();
        report.connected = connected;
        report.connecting = connecting;
        report.addresses = u32::try_from(self.demux.len()).unwrap_or(u32::MAX);
        report.relief = self.relief;
        report.load = self.meter.load().clone();
        report.totals = self.totals.clone();
        report.totals.drops.add(&self.drained.drops);
        report.totals.datagrams_out = self.drained.datagrams;
        report.totals.bytes_out = self.drained.bytes;
        report
    }

    /// Whether any participant is still here.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
    }

    fn room_mut(&mut self, at: usize) -> Option<&mut Room> {
        self.room_list.get_mut(at).and_then(Option::as_mut).map(|hosted| &mut hosted.room)
    }

    fn touch_room(&mut self, at: usize) {
        if !self.touched_rooms.contains(&at) {
            self.touched_rooms.push(at);
        }
    }

    fn touch(&mut self, key: MemberKey) {
        if let Some(participant) = self.sessions.get_mut(key)
            && !participant.dirty
        {
            participant.dirty = true;
            self.dirty.push(key);
        }
    }
}
