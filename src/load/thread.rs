//! One load thread: many clients on one poller, everything that is due in one queue.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};

use super::client::{Client, Common, Moments};
use super::clock::nanos;
use super::delays::Delays;
use super::door::{ASKS, Ask, Told, Visit};
use super::hearing::Ears;
use super::plan::{Arrival, Person};
use super::udp::Buffers;
use crate::model::Kind;

/// Peer connections of one person, at most.
const LEGS: usize = 32;

/// Sockets that are read before frames that are due leave: 16 frames of 10 packets at 5 µs are
/// 0.8 ms.
const EVENTS: usize = 16;

/// How long a person may take until its peer connections stand.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long leaving may take.
const PARTING: Duration = Duration::from_secs(3);

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

pub(super) const WAKE: Token = Token(usize::MAX);

/// What the thread is told from outside.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// What is measured, in nanoseconds from the beginning of the run. May be shortened.
    Window(Range<u64>),
    /// Everybody leaves, and the thread reports.
    Finish,
}

/// Somebody begins: its signaling is to be run.
#[derive(Debug)]
pub(super) struct Start {
    pub visit: Visit,
    pub asks: mpsc::Receiver<Ask>,
}

/// How far it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub joined: u32,
    pub failed: u32,
    /// Ports of its sockets.
    pub ports: Vec<u16>,
}

/// The thread's lines to the outside.
#[derive(Debug)]
pub(super) struct Lines {
    pub orders: mpsc::Receiver<Order>,
    pub tells: mpsc::Receiver<(u32, Told)>,
    pub starts: mpsc::Sender<Start>,
    pub progress: watch::Sender<Progress>,
}

/// What came of one stream at one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who heard.
    pub viewer: u32,
    /// Whom.
    pub publisher: u32,
    /// What.
    pub kind: Kind,
    /// Different packets.
    pub received: u64,
    /// Packets again.
    pub duplicated: u64,
    /// Packets between the first and the last of runs of one layer.
    pub spanned: u64,
}

/// What one thread found.
#[derive(Debug)]
pub struct ThreadReport {
    /// Who was there, connected, over the whole window.
    pub whole: Vec<u32>,
    /// What each publisher sent within the window: audio, video.
    pub sent: Vec<(u32, [u64; 2])>,
    /// What each viewer heard.
    pub heard: Vec<Heard>,
    /// Delays and counts of all viewers.
    pub ears: Ears,
    /// How late frames were sent.
    pub lag: Delays,
    /// From `hello` to the connected peer connection.
    pub joins: Delays,
    /// From `hello` to the first packet.
    pub first_packet: Delays,
    /// From `hello` to the first keyframe.
    pub first_keyframe: Delays,
    /// People that began to join.
    pub asked: u32,
    /// People whose peer connections stood.
    pub joined: u32,
    /// Why people failed, and how many.
    pub failures: BTreeMap<String, u32>,
    /// Datagrams that the kernel did not take.
    pub refused: u64,
    /// CPU time of the thread within the window.
    pub cpu: Duration,
    /// Length of the window.
    pub wall: Duration,
    /// Packets that were decrypted between the window's ends.
    pub decrypted: u64,
}

/// Something to be done at a time. Clients are counted within the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Edge,
    Frame(usize),
    Engine(usize, usize),
    Join(usize),
    Patience(usize),
    Leave(usize),
}

/// A load thread.
#[derive(Debug)]
pub(super) struct LoadThread {
    common: Common,
    poll: Poll,
    lines: Lines,
    /// The people of this thread: of `threads` threads the one that takes every `threads`-th.
    people: Vec<Person>,
    threads: usize,
    clients: Vec<Option<Client>>,
    sent: Vec<[u64; 2]>,
    queue: BinaryHeap<Reverse<(Instant, Due)>>,
    buffers: Buffers,
    report: ThreadReport,
    ports: Vec<u16>,
    told: Instant,
    /// CPU time and packets when the window opened.
    opened: Option<(Instant, Duration, u64)>,
    /// It was told to finish.
    finish_wanted: bool,
    /// When the thread ends at the latest; everybody was told to leave.
    ending: Option<Instant>,
}

impl LoadThread {
    /// A thread with every `threads`-th person of the plan, from the `index`-th on.
    pub fn new(
        common: Common,
        plan: &[Person],
        (index, threads): (usize, usize),
        poll: Poll,
        lines: Lines,
    ) -> Self {
        let people: Vec<Person> = plan.iter().skip(index).step_by(threads).cloned().collect();
        let now = common.clock.now();
        let mut queue = BinaryHeap::new();
        for (n, person) in people.iter().enumerate() {
            if let Arrival::Ramp(after) = person.arrival {
                queue.push(Reverse((now + after, Due::Join(n))));
            }
        }
        let mut clients = Vec::new();
        clients.resize_with(people.len(), || None);
        Self {
            sent: vec![[0; 2]; people.len()],
            common,
            poll,
            lines,
            people,
            threads,
            clients,
            queue,
            buffers: Buffers::new(),
            report: ThreadReport::new(),
            ports: Vec::new(),
            told: now,
            opened: None,
            finish_wanted: false,
            ending: None,
        }
    }

    /// Runs until told to finish.
    ///
    /// # Errors
    /// The poller failed.
    pub fn run(mut self) -> io::Result<ThreadReport> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = self.common.clock.now();
            let next = self.queue.peek().map(|Reverse((at, _))| *at);
            let wait = next.map_or(PROGRESS, |at| at.saturating_duration_since(now).min(PROGRESS));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.take_orders();
            for event in &events {
                if event.token() != WAKE {
                    self.read(event.token().0 / LEGS, event.token().0 % LEGS);
                }
            }
            self.work_off();
            let now = self.common.clock.now();
            self.tell(now);
            // What a late thread finds in its sockets came in time: it is counted first.
            if self.finish_wanted && self.ending.is_none() && events.iter().count() < EVENTS {
                self.begin_ending(now);
            }
            let empty = self.clients.iter().all(Option::is_none);
            if self.ending.is_some_and(|at| empty || now >= at) {
                return Ok(self.finish());
            }
        }
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.lines.orders.try_recv() {
            match order {
                Order::Window(window) => self.set_window(&window),
                Order::Finish => self.finish_wanted = true,
            }
        }
        while let Ok((person, told)) = self.lines.tells.try_recv() {
            let index = usize::try_from(person).unwrap_or(usize::MAX) / self.threads;
            self.hear(index, told);
        }
    }

    fn set_window(&mut self, window: &Range<u64>) {
        let start = self.common.clock.beginning();
        let at = |nanos| start + Duration::from_nanos(nanos);
        if self.report.ears.window.is_none() {
            for (n, person) in self.people.iter().enumerate() {
                if let Arrival::Window(after) = person.arrival {
                    self.queue.push(Reverse((at(window.start) + after, Due::Join(n))));
                }
            }
            self.queue.push(Reverse((at(window.start), Due::Edge)));
        }
        self.queue.push(Reverse((at(window.end), Due::Edge)));
        self.report.ears.window = Some(window.clone());
    }

    fn begin_ending(&mut self, now: Instant) {
        self.ending = Some(now + PARTING);
        self.queue.retain(|Reverse((_, due))| matches!(due, Due::Engine(..)));
        for client in self.clients.iter_mut().flatten() {
            client.leave(now);
        }
    }

    /// What is due now, in order.
    fn work_off(&mut self) {
        let now = self.common.clock.now();
        while let Some(Reverse((at, due))) = self.queue.peek().copied().filter(|d| d.0.0 <= now) {
            self.queue.pop();
            match due {
                Due::Edge => self.edge(now),
                Due::Frame(index) => self.send(index, at),
                Due::Engine(index, leg) => self.wake(index, leg, at, now),
                Due::Join(index) => self.join(index),
                Due::Patience(index) => {
                    let late = |c: &Client| c.moments.connected.is_none();
                    if self.clients.get(index).and_then(Option::as_ref).is_some_and(late) {
                        let limit = PATIENCE.as_secs();
                        self.fail(index, &format!("not connected within {limit} s"));
                    }
                }
                Due::Leave(index) => {
                    if let Some(Some(client)) = self.clients.get_mut(index) {
                        client.leave(now);
                    }
                }
            }
        }
    }

    /// The window opens or closes.
    fn edge(&mut self, now: Instant) {
        let Some(window) = self.report.ears.window.clone() else { return };
        let at = self.common.clock.nanos(now);
        let decrypted = self.report.ears.decrypted;
        if at >= window.end {
            if let Some((from, cpu, before)) = self.opened.take() {
                self.report.ears.open = false;
                self.report.cpu = thread_cpu().saturating_sub(cpu);
                self.report.wall = now.saturating_duration_since(from);
                self.report.decrypted = decrypted - before;
                self.note_whole(&window);
            }
        } else if at >= window.start && self.opened.is_none() {
            self.report.ears.open = true;
            self.opened = Some((now, thread_cpu(), decrypted));
        }
    }

    /// Who was there from the window's beginning to its end, which is now.
    fn note_whole(&mut self, window: &Range<u64>) {
        let clock = self.common.clock;
        let here = self.clients.iter().flatten().filter(|client| {
            client.moments.connected.is_some_and(|at| clock.nanos(at) <= window.start)
        });
        self.report.whole = here.map(|client| client.person.number).collect();
    }

    fn join(&mut self, index: usize) {
        let Some(person) = self.people.get(index).cloned() else { return };
        self.report.asked += 1;
        let now = self.common.clock.now();
        let (asks, inbox) = mpsc::channel(ASKS);
        let visit = Visit {
            person: person.number,
            room: format!("load-{:08x}-{}", self.common.run, person.room),
            publishes: person.publishes,
            watches: person.watches,
        };
        match Client::open(person, &self.common, asks, now) {
            Ok(client) => {
                if let Some(slot) = self.clients.get_mut(index) {
                    *slot = Some(client);
                }
                self.queue.push(Reverse((now + PATIENCE, Due::Patience(index))));
                if self.lines.starts.try_send(Start { visit, asks: inbox }).is_err() {
                    self.fail(index, "the signaling does not keep up");
                }
                self.look_after(index);
            }
            Err(why) => self.note_failure(&why),
        }
    }

    fn hear(&mut self, index: usize, told: Told) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        let now = self.common.clock.now();
        let left = client.left;
        let result = match told {
            Told::Began(at) => {
                client.moments.began = Some(at);
                Ok(())
            }
            Told::Answer(sdp) => client.handle_answer(&sdp, &self.common),
            Told::Offer { leg, .. } if usize::from(leg) >= LEGS => Err("too many legs".to_owned()),
            Told::Offer { leg, sdp } => client.handle_offer((leg, &sdp), &self.common, now),
            Told::Want(pairs) => client.grow(pairs.min(self.common.options.most_seats())),
            Told::Over(Ok(())) => {
                self.retire(index);
                Ok(())
            }
            Told::Over(Err(why)) => Err(why),
        };
        match result {
            Ok(()) => {
                let legs = self.clients.get(index).and_then(Option::as_ref).map(|c| c.legs.len());
                for leg in 0..legs.unwrap_or(0) {
                    self.handle_time(index, leg, now);
                }
            }
            // Who closes its peer connection may be let go before it closes the socket.
            Err(_) if left || self.ending.is_some() => self.retire(index),
            Err(why) => self.fail(index, &why),
        }
    }

    fn read(&mut self, index: usize, leg: usize) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        loop {
            let ears = &mut self.report.ears;
            match client.receive(leg, &mut self.buffers, &self.common.clock, ears) {
                Ok(true) => {}
                // An ICMP error of some destination; the next read goes on.
                Ok(false) | Err(_) => break,
            }
        }
        self.look_after(index);
    }

    fn wake(&mut self, index: usize, leg: usize, at: Instant, now: Instant) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        let Some(Some(state)) = client.legs.get_mut(leg) else { return };
        if state.queued == Some(at) {
            state.queued = None;
        }
        if state.deadline <= now {
            self.handle_time(index, leg, now);
        } else {
            self.look_after(index);
        }
    }

    fn handle_time(&mut self, index: usize, leg: usize, now: Instant) {
        if let Some(Some(client)) = self.clients.get_mut(index) {
            client.handle_time(leg, &self.common.clock, &mut self.report.ears, now);
            self.look_after(index);
        }
    }

    fn send(&mut self, index: usize, due: Instant) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        let ears = &mut self.report.ears;
        let now = self.common.clock.now();
        let Some(sent) = client.send(&self.common.clock, ears, now) else { return };
        if let Some(next) = client.publisher.as_ref().and_then(|publisher| publisher.due()) {
            self.queue.push(Reverse((next, Due::Frame(index))));
        }
        if ears.window.as_ref().is_some_and(|window| window.contains(&sent.at)) {
            self.report.lag.record(nanos(now.saturating_duration_since(due)));
            let counts = self.sent.get_mut(index);
            if let Some(count) =
                counts.and_then(|c| c.get_mut(usize::from(sent.kind == Kind::Video)))
            {
                *count += sent.packets;
            }
        }
        self.look_after(index);
    }

    /// After each change of a client: what the thread must know of it.
    fn look_after(&mut self, index: usize) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        if client.is_broken() && self.ending.is_none() && !client.left {
            return self.fail(index, "the media path broke");
        }
        for (number, leg) in client.legs.iter_mut().enumerate() {
            let Some(leg) = leg else { continue };
            if !leg.registered {
                leg.registered = true;
                self.ports.push(leg.udp.local.port());
                let token = Token(index * LEGS + number);
                let registry = self.poll.registry();
                // Were it refused, nothing would ever come: the person is not connected in time.
                let _ = registry.register(&mut leg.udp.socket, token, Interest::READABLE);
            }
            if leg.queued.is_none_or(|at| leg.deadline < at) {
                leg.queued = Some(leg.deadline);
                self.queue.push(Reverse((leg.deadline, Due::Engine(index, number))));
            }
        }
        if let Some(at) = client.moments.connected.filter(|_| !client.counted) {
            client.counted = true;
            self.report.joined += 1;
            client.start(&self.common, at);
            if let Some(due) = client.publisher.as_ref().and_then(|publisher| publisher.due()) {
                self.queue.push(Reverse((due, Due::Frame(index))));
            }
            if let Some(stay) = client.person.stay {
                self.queue.push(Reverse((at + stay, Due::Leave(index))));
            }
        }
    }

    fn fail(&mut self, index: usize, why: &str) {
        if let Some(Some(client)) = self.clients.get_mut(index) {
            let _ = client.asks.try_send(Ask::Leave);
        }
        self.note_failure(why);
        self.retire(index);
    }

    fn note_failure(&mut self, why: &str) {
        *self.report.failures.entry(why.to_owned()).or_default() += 1;
    }

    /// Takes a client out and keeps what it found.
    fn retire(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::take) else { return };
        let viewer = client.person.number;
        self.report.heard.extend(client.hearing.heard().map(|(publisher, kind, tally)| Heard {
            viewer,
            publisher,
            kind,
            received: tally.received,
            duplicated: tally.duplicated,
            spanned: tally.spanned,
        }));
        self.report.refused += client.refused();
        let Moments { began, connected, packet, keyframe } = client.moments;
        let Some(began) = began else { return };
        let report = &mut self.report;
        for (delays, at) in [
            (&mut report.joins, connected),
            (&mut report.first_packet, packet),
            (&mut report.first_keyframe, keyframe),
        ] {
            if let Some(at) = at {
                delays.record(nanos(at.saturating_duration_since(began)));
            }
        }
    }

    fn tell(&mut self, now: Instant) {
        if now.saturating_duration_since(self.told) < PROGRESS {
            return;
        }
        self.told = now;
        let failed = self.report.failures.values().sum();
        self.lines.progress.send_replace(Progress {
            joined: self.report.joined,
            failed,
            ports: self.ports.clone(),
        });
    }

    fn finish(mut self) -> ThreadReport {
        for index in 0..self.clients.len() {
            self.retire(index);
        }
        let numbers = self.people.iter().map(|person| person.number);
        self.report.sent = numbers.zip(self.sent).collect();
        self.report
    }
}

impl ThreadReport {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            whole: Vec::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            ears: Ears::new(),
            lag: Delays::new(),
            joins: Delays::new(),
            first_packet: Delays::new(),
            first_keyframe: Delays::new(),
            asked: 0,
            joined: 0,
            failures: BTreeMap::new(),
            refused: 0,
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            decrypted: 0,
        }
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
