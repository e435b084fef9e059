//! One media thread: wait, read a batch, read the clock, tick the worker, write out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use tokio::sync::oneshot;

use super::mailbox::{Handed, Listeners, Mail, Mailbox, WorkerHandle};
use super::pressure::Pressure;
use super::relay::Relays;
use super::udp::{Route, Udp};
use crate::counts::{DropReason, Drops, Histogram};
use crate::ids::{SessionId, WorkerId};
use crate::model::Reason;
use crate::session::Transmit;
use crate::worker::command::{Answer, Command, Event, Ticket};
use crate::worker::{Dispatch, Input, Output, Worker};

/// How often the thread wakes when nothing happens: it must be seen to live.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Batches of up to 32 trains that are read before the worker is asked for output. The socket is
/// emptied as a rule: what waits there would be lost first, and is cheaper together.
const BATCHES: usize = 16;

/// Mails taken per tick; media is never kept waiting for longer than these take.
const MAILS: usize = 64;

/// A wait shorter than this is none: less than a sleep and a wake cost.
const AT_ONCE: Duration = Duration::from_micros(60);

const SOCKET: Token = Token(0);
pub(super) const WAKE: Token = Token(1);

/// All that a media thread owns.
#[derive(Debug)]
pub(super) struct MediaThread {
    pub worker: Worker,
    pub poll: Poll,
    pub udp: Udp,
    pub mailbox: Mailbox,
    pub neighbours: Vec<WorkerHandle>,
    pub shell: Shell,
}

/// What the thread keeps beside the worker.
#[derive(Debug)]
pub(super) struct Shell {
    listeners: Listeners,
    askers: HashMap<Ticket, oneshot::Sender<Answer>>,
    next_ticket: u64,
    /// Sessions whose event queue was full.
    slow: Vec<SessionId>,
    transmits: VecDeque<Transmit>,
    replies: Vec<(Route, [u8; 44], usize)>,
    relays: Relays,
    drops: Drops,
    delay: Histogram,
    lag: Histogram,
    reported: Option<Instant>,
    /// When the last tick began, and when it ended.
    began: Option<Instant>,
    ended: Option<Instant>,
    pressure: Pressure,
}

impl MediaThread {
    /// Runs until told to stop.
    pub fn run(mut self) {
        let registered =
            self.poll.registry().register(&mut self.udp.socket, SOCKET, Interest::READABLE);
        if let Err(error) = registered {
            tracing::error!(%error, "a media thread cannot watch its socket");
            return;
        }
        let mut events = Events::with_capacity(4);
        let mut more = false;
        loop {
            let deadline = self.worker.deadline();
            let rested = if more { Instant::now() } else { self.gather() };
            let wait = match deadline {
                _ if more => Duration::ZERO,
                Some(at) => at.saturating_duration_since(rested).min(HEARTBEAT),
                None => HEARTBEAT,
            };
            if let Err(error) = self.poll.poll(&mut events, Some(round_up(wait)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a media thread cannot wait");
                return;
            }
            let now = Instant::now();
            // What was there at once may have come while packets were left to gather.
            let at_once = now.saturating_duration_since(rested) < AT_ONCE;
            let arrived = if at_once { self.shell.ended.unwrap_or(now) } else { now };
            if let Some(at) = deadline.filter(|at| *at <= now) {
                self.shell.lag.observe(now.saturating_duration_since(at), 1);
            }
            let (stop, left) = self.tick(now, arrived);
            more = left;
            if stop && self.worker.is_idle() {
                self.report(now);
                return;
            }
        }
    }

    /// Under load lets packets gather for a moment before they are looked for; the time after that.
    /// Deadlines gather with them: none of them is finer than the millisecond that this lasts.
    fn gather(&self) -> Instant {
        let now = Instant::now();
        let hold = self.shell.pressure.hold();
        let until = self.shell.began.map_or(now, |began| began + hold);
        let wait = until.saturating_duration_since(now);
        if wait < AT_ONCE {
            return now;
        }
        std::thread::sleep(wait);
        Instant::now()
    }

    /// One tick. Whether the thread is to stop, and whether more waits to be read.
    fn tick(&mut self, now: Instant, arrived: Instant) -> (bool, bool) {
        self.shell.began = Some(now);
        let (stop, mails_left) = self.take_mails(now);
        let relays_left = self.take_relays(now);
        let datagrams_left = self.read(now);
        for session in std::mem::take(&mut self.shell.slow) {
            let leave = Command::Leave { session, reason: Reason::TooSlow };
            self.worker.handle(Input::Command(leave), now);
        }
        self.worker.handle(Input::Time, now);
        let Shell { drops, delay, .. } = &mut self.shell;
        let mut sender = Sender { udp: &mut self.udp, drops, delay, arrived };
        self.worker.flush(&mut sender, now);
        while let Some(output) = self.worker.poll(now) {
            self.shell.take(output, &self.neighbours, self.worker.id());
        }
        self.shell.relays.flush(self.worker.id(), &self.neighbours, &mut self.shell.drops);
        let ended = self.write(arrived);
        self.shell.ended = Some(ended);
        let before = self.shell.pressure.relief().video;
        if let Some(relief) = self.shell.pressure.ticked(now, ended, cpu_time) {
            let worker = self.worker.id();
            let (probes, video) = (relief.probes.as_f64(), relief.video.as_f64());
            match relief.video == before {
                // A long tick is enough for that, on a machine that slept for one.
                true => tracing::debug!(%worker, probes, "a media thread sheds probes"),
                false => tracing::warn!(%worker, probes, video, "a media thread sheds video"),
            }
            self.worker.handle(Input::Relief(relief), now);
        }
        if self.shell.reported.is_none_or(|at| now.saturating_duration_since(at) >= HEARTBEAT) {
            self.report(now);
        }
        (stop, mails_left || relays_left || datagrams_left)
    }

    fn take_mails(&mut self, now: Instant) -> (bool, bool) {
        let mut stop = false;
        for _ in 0..MAILS {
            let Ok(mail) = self.mailbox.mails.try_recv() else { return (stop, false) };
            match mail {
                Mail::Join(join, events) => {
                    self.shell.listeners.insert(join.session, events);
                    self.worker.handle(Input::Command(Command::Join(join)), now);
                }
                Mail::Command(command) => self.worker.handle(Input::Command(command), now),
                Mail::Ask(question, asker) => {
                    let ticket = Ticket(self.shell.next_ticket);
                    self.shell.next_ticket += 1;
                    self.shell.askers.insert(ticket, asker);
                    self.worker.handle(Input::Command(Command::Ask { ticket, question }), now);
                }
                Mail::Datagram(Handed { from, to, bytes }) => {
                    let input = Input::Datagram { from, to, bytes: &bytes, handed_over: true };
                    self.worker.handle(input, now);
                }
                Mail::Proved(from, owner) => {
                    self.worker.handle(Input::Proved { from, owner }, now);
                }
                Mail::Stop => {
                    stop = true;
                    self.worker.handle(Input::Command(Command::Shutdown), now);
                }
            }
        }
        (stop, true)
    }

    fn take_relays(&mut self, now: Instant) -> bool {
        let Self { worker, mailbox, shell, .. } = self;
        for to in shell.relays.take_lost() {
            worker.handle(Input::RelayLost { to }, now);
        }
        mailbox.relay.take(|from, message| worker.handle(Input::Relay { from, message }, now))
    }

    fn read(&mut self, now: Instant) -> bool {
        let Self { udp, worker, .. } = self;
        for _ in 0..BATCHES {
            let read = udp.receive(|datagram| {
                let input = Input::Datagram {
                    from: datagram.from,
                    to: datagram.to,
                    bytes: datagram.bytes,
                    handed_over: false,
                };
                worker.handle(input, now);
            });
            match read {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    // An ICMP error of some destination; the next read goes on.
                    tracing::debug!(%error, "a media socket reports an error");
                    return false;
                }
            }
        }
        true
    }

    /// Sends what is left; when that was done.
    fn write(&mut self, arrived: Instant) -> Instant {
        let Shell { transmits, replies, drops, delay, .. } = &mut self.shell;
        if !replies.is_empty() {
            let answers = replies
                .iter()
                .map(|(route, bytes, len)| (*route, bytes.get(..*len).unwrap_or_default()));
            drops.count_many(DropReason::SocketFull, self.udp.send(answers));
            replies.clear();
        }
        Sender { udp: &mut self.udp, drops, delay, arrived }.dispatch(transmits, arrived)
    }

    fn report(&mut self, now: Instant) {
        self.shell.reported = Some(now);
        let mut report = self.worker.report();
        report.totals.drops.add(&self.shell.drops);
        report.totals.forward_delay = self.shell.delay.clone();
        report.totals.loop_lag = self.shell.lag.clone();
        self.mailbox.report.send_replace((now, report));
    }
}

/// Sends a worker's datagrams while it is at work on others.
struct Sender<'a> {
    udp: &'a mut Udp,
    drops: &'a mut Drops,
    delay: &'a mut Histogram,
    /// When what they were made from came.
    arrived: Instant,
}

impl Dispatch for Sender<'_> {
    fn dispatch(&mut self, transmits: &mut VecDeque<Transmit>, _: Instant) -> Instant {
        if transmits.is_empty() {
            return Instant::now();
        }
        let media = transmits.iter().filter(|transmit| transmit.media).count() as u64;
        let all = transmits.iter().map(|t| (Route { from: t.from, to: t.to }, t.bytes.as_slice()));
        self.drops.count_many(DropReason::SocketFull, self.udp.send(all));
        transmits.clear();
        let ended = Instant::now();
        self.delay.observe(ended.saturating_duration_since(self.arrived), media);
        ended
    }
}

impl Shell {
    pub fn new(now: Instant) -> Self {
        Self {
            listeners: Listeners::new(),
            askers: HashMap::new(),
            next_ticket: 0,
            slow: Vec::new(),
            transmits: VecDeque::new(),
            replies: Vec::new(),
            relays: Relays::default(),
            drops: Drops::default(),
            delay: Histogram::default(),
            lag: Histogram::default(),
            reported: None,
            began: None,
            ended: None,
            pressure: Pressure::new(now),
        }
    }

    fn take(&mut self, output: Output, neighbours: &[WorkerHandle], me: WorkerId) {
        match output {
            Output::Transmit(transmit) => self.transmits.push_back(transmit),
            Output::StunReply { from, to, bytes, len } => {
                self.replies.push((Route { from, to }, bytes, len));
            }
            Output::HandOver { owner, from, to, bytes } => {
                let mail = Mail::Datagram(Handed { from, to, bytes });
                let neighbour = neighbours.iter().find(|neighbour| neighbour.id() == owner);
                if neighbour.is_none_or(|neighbour| neighbour.post(mail).is_err()) {
                    self.drops.count(DropReason::HandoverFull);
                }
            }
            Output::Proved(from) => {
                // A neighbour that misses this learns it with the next check, seconds later.
                for neighbour in neighbours.iter().filter(|neighbour| neighbour.id() != me) {
                    let _ = neighbour.post(Mail::Proved(from, me));
                }
            }
            Output::Relay { to, message } => self.relays.push(to, message),
            Output::Event(session, event) => self.tell(session, event),
            Output::Over(session) => {
                self.listeners.remove(&session);
            }
            Output::Answer(ticket, answer) => {
                if let Some(asker) = self.askers.remove(&ticket) {
                    let _ = asker.send(answer);
                }
            }
        }
    }

    fn tell(&mut self, session: SessionId, event: Event) {
        if let Some(listener) = self.listeners.get(&session)
            && listener.send(event).is_err()
        {
            self.slow.push(session);
        }
    }
}

/// CPU time that the calling thread has had.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The poller counts in whole milliseconds and rounds down; waking a fraction early would make
/// the loop spin until the deadline.
fn round_up(wait: Duration) -> Duration {
    let ms = wait.as_millis();
    let whole = Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
    if whole < wait { whole + Duration::from_millis(1) } else { whole }
}
