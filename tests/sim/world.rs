//! The virtual world: workers, clients, the network between them, and one clock for all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanlight::config::MediaLimits;
use fanlight::counts::DropReason;
use fanlight::ids::{DisplayName, Identity, RoomName, SessionId, TrackId, WorkerId};
use fanlight::model::{Kind, Notice};
use fanlight::relay::message::Message;
use fanlight::session::{Engine, Offer, Session, SessionConfig};
use fanlight::worker::command::{
    Answer, Command, Event, Join, NewTrack, Opened, Question, Request, Seats, Ticket,
};
use fanlight::worker::demux::ufrag_prefix;
use fanlight::worker::report::{Report, Totals};
use fanlight::worker::{Input, Output, Worker, WorkerConfig};

use crate::chance;
use crate::support::peer::{Peer, Wishes};

/// How often everybody is looked at. Sessions' own deadlines are kept to this grain.
const STEP: Duration = Duration::from_millis(1);

/// Where every outgoing stream begins.
pub const FIRST_SEQ: u16 = 100;

/// What the network does to each datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Lost, in per cent.
    pub loss: u64,
    /// Milliseconds under way, each way, beside one.
    pub delay: u64,
    /// Sent twice, in per cent.
    pub twice: u64,
    /// Most milliseconds of delay; different delays reorder.
    pub jitter: u64,
}

/// A narrow place on the way to one member.
#[derive(Clone, Copy, Debug)]
struct Link {
    bps: u64,
    queue: Duration,
    free: Instant,
    /// What the queue dropped, and what passed, in datagrams.
    dropped: u64,
    passed: u64,
}

/// A small generator, so that a seed means the same on every machine (xorshift64*).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % sides.max(1)
    }
}

/// One client and what it was told.
pub struct Member {
    pub peer: Peer,
    pub id: SessionId,
    pub events: Vec<Event>,
    pub seats: Seats,
    pub over: bool,
    /// It answers each list of seats at once.
    pub obedient: bool,
    pub speaks: bool,
    pub films: bool,
    pub mark: u8,
    /// The worker that has its session.
    pub worker: usize,
}

/// Makes tests of scenes: each on one worker, and each with its rooms spread over four.
#[macro_export]
macro_rules! scenes {
    ($($name:ident),* $(,)?) => {
        mod on_one_worker {
            $(#[test] fn $name() { super::$name(1); })*
        }
        mod on_four_workers {
            $(#[test] fn $name() { super::$name(4); })*
        }
    };
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    /// The first is the home of every room; sessions are placed on all in turn.
    pub workers: Vec<Worker>,
    pub members: BTreeMap<usize, Member>,
    pub weather: Weather,
    /// Who joins from now on has a camera with three layers.
    pub simulcast: bool,
    /// Packets of each frame that somebody films.
    pub packets_per_frame: usize,
    /// Which narrow link is before a member, and all that there were.
    behind: HashMap<SocketAddr, usize>,
    links: Vec<Link>,
    pub dice: Dice,
    pub stun_replies: usize,
    pub handed_over: usize,
    pub answers: HashMap<u64, Answer>,
    /// How long what workers give each other is under way.
    pub hop: Duration,
    /// Most members of a room.
    pub max_members: u32,
    /// Between these two nothing finds room.
    pub jammed: Option<(usize, usize)>,
    /// Packets that a worker gave to another: from, to.
    pub copies: BTreeMap<(usize, usize), usize>,
    engine: Engine,
    servers: Vec<SocketAddr>,
    lost: Vec<(usize, usize)>,
    relays: VecDeque<(Instant, usize, usize, Message)>,
    wire: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    count: u64,
    next: usize,
    /// Of when which datagram was sent.
    pub digest: DefaultHasher,
}

/// The videos that a member publishes, as its welcome named them.
fn own_tracks(event: &Event) -> Option<Vec<TrackId>> {
    let Event::Joined { me, .. } = event else { return None };
    Some(me.tracks.iter().filter(|t| t.kind == Kind::Video).map(|t| t.id).collect())
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a virtual clock begins somewhere")]
    pub fn new(seed: u64, workers: u8) -> Self {
        let seed = std::env::var("FANLIGHT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(seed);
        println!("seed {seed}");
        chance::begin(seed);
        let now = Instant::now();
        let worker = |number| {
            Worker::new(
                WorkerConfig {
                    id: WorkerId(number),
                    // With one worker there is a neighbour that is never there.
                    workers: workers.max(2),
                    limits: MediaLimits::default(),
                    first_seq: FIRST_SEQ,
                },
                now,
            )
        };
        Self {
            now,
            start: now,
            workers: (0..workers).map(worker).collect(),
            members: BTreeMap::new(),
            weather: Weather::default(),
            simulcast: false,
            packets_per_frame: 3,
            behind: HashMap::new(),
            links: Vec::new(),
            dice: Dice::new(seed),
            stun_replies: 0,
            handed_over: 0,
            answers: HashMap::new(),
            hop: Duration::ZERO,
            max_members: 1_000,
            jammed: None,
            copies: BTreeMap::new(),
            engine: Engine::new().unwrap(),
            servers: (0..workers).map(|n| SocketAddr::from(([10, 1, n, 1], 8443))).collect(),
            lost: Vec::new(),
            relays: VecDeque::new(),
            wire: BTreeMap::new(),
            count: 0,
            next: 0,
            digest: DefaultHasher::new(),
        }
    }

    /// The address of the first worker.
    pub fn server(&self) -> SocketAddr {
        self.servers[0]
    }

    /// All workers together.
    pub fn report(&self) -> Report {
        let mut sum = Report::new(WorkerId(0));
        for report in self.workers.iter().map(Worker::report) {
            sum.rooms += report.rooms;
            sum.spanning += report.spanning;
            sum.connected += report.connected;
            sum.addresses += report.addresses;
            sum.tracks_in.audio += report.tracks_in.audio;
            sum.tracks_in.video += report.tracks_in.video;
            let Totals { drops, datagrams_out, links_broken, .. } = &report.totals;
            sum.totals.drops.add(drops);
            sum.totals.datagrams_out += datagrams_out;
            sum.totals.links_broken += links_broken;
        }
        sum
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.report().totals.drops.of(reason)
    }

    /// A client joins; its first offer is answered off the worker, as the joiner does.
    pub fn join(&mut self, room: &str, name: &str, wishes: Wishes) -> usize {
        let worker = self.next % self.workers.len();
        self.join_at(worker, room, name, wishes)
    }

    /// The same at a given worker.
    pub fn join_at(&mut self, worker: usize, room: &str, name: &str, wishes: Wishes) -> usize {
        let n = self.next;
        self.next += 1;
        let number = u8::try_from(n + 2).unwrap();
        let address = SocketAddr::from(([10, 0, 0, number], 40_000));
        let mut peer = Peer::new(address, self.now);
        peer.simulcast = self.simulcast;
        peer.decodes = self.simulcast;
        peer.height = self.simulcast.then_some(720);
        let (nid, sdp, tracks) = peer.offer(wishes);
        let opened = self.open_at(worker, &sdp, nid, tracks).unwrap();
        let join = Join {
            session: SessionId(n as u64),
            room: RoomName::new(room).unwrap(),
            home: WorkerId(0),
            identity: Identity::new(name).unwrap(),
            name: DisplayName::new(name).unwrap(),
            joined_at: 1_000 + n as u64,
            max_members: self.max_members,
            media: Some(Box::new(opened)),
        };
        let member = Member {
            peer,
            id: SessionId(n as u64),
            events: Vec::new(),
            seats: Seats::default(),
            over: false,
            obedient: true,
            speaks: false,
            films: false,
            mark: number,
            worker,
        };
        self.members.insert(n, member);
        self.workers[worker].handle(Input::Command(Command::Join(join)), self.now);
        self.collect();
        n
    }

    /// Joins with microphone, camera, data channels and four seats, and waits for the path.
    pub fn join_whole(&mut self, room: &str, name: &str) -> usize {
        let wishes = Wishes { audio: true, video: true, seats: 4, data: true };
        let n = self.join(room, name, wishes);
        self.until(|world| world.members[&n].peer.connected, "the media path stands");
        n
    }

    pub fn open(&self, sdp: &str, nid: u64, tracks: Vec<NewTrack>) -> Result<Opened, String> {
        self.open_at(0, sdp, nid, tracks)
    }

    fn open_at(
        &self,
        worker: usize,
        sdp: &str,
        nid: u64,
        tracks: Vec<NewTrack>,
    ) -> Result<Opened, String> {
        let config = SessionConfig {
            ufrag_prefix: ufrag_prefix(WorkerId(worker as u8)),
            ufrag_rest: format!("user{:04}", self.next),
            password: "0123456789abcdef01234567".to_owned(),
            local: vec![self.servers[worker]],
            outside: Vec::new(),
            data_bytes: 64 * 1024,
        };
        let publishes: Vec<_> =
            tracks.iter().map(|track| (track.mid.clone(), track.source.kind())).collect();
        let offer = Offer { sdp, publishes: &publishes };
        Session::open(&self.engine, &config, &offer, self.now)
            .map(|(session, sdp)| Opened { session, nid, sdp, tracks })
            .map_err(|error| error.to_string())
    }

    pub fn request(&mut self, n: usize, request: Request) {
        let session = self.members[&n].id;
        let command = Command::Request { session, id: Some(1), request };
        self.workers[self.members[&n].worker].handle(Input::Command(command), self.now);
        self.collect();
    }

    /// A command for the worker that it concerns: a session's own, or the home.
    pub fn command(&mut self, command: Command) {
        let worker = match &command {
            Command::Leave { session, .. } => {
                self.members.values().find(|m| m.id == *session).map_or(0, |m| m.worker)
            }
            _ => 0,
        };
        self.workers[worker].handle(Input::Command(command), self.now);
        self.collect();
    }

    pub fn shut_down(&mut self) {
        for worker in &mut self.workers {
            worker.handle(Input::Command(Command::Shutdown), self.now);
        }
        self.collect();
    }

    pub fn ask(&mut self, question: Question) -> Answer {
        self.count += 1;
        let ticket = Ticket(self.count);
        self.command(Command::Ask { ticket, question });
        self.answers.remove(&ticket.0).expect("each question is answered at once")
    }

    /// Puts a datagram on the wire to the server.
    pub fn inject(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        self.put(self.now, from, self.servers[0], bytes);
    }

    fn put(&mut self, at: Instant, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.count += 1;
        self.wire.insert((at, self.count), (from, to, bytes));
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.digest.write_u128((self.now - self.start).as_nanos());
        (from, to, bytes.len()).hash(&mut self.digest);
        if self.dice.roll(100) < self.weather.loss {
            return;
        }
        let Some(free) = self.pass_link(to, bytes.len()) else { return };
        let copies = if self.dice.roll(100) < self.weather.twice { 2 } else { 1 };
        for _ in 0..copies {
            let delay = 1 + self.weather.delay + self.dice.roll(self.weather.jitter + 1);
            self.put(free + Duration::from_millis(delay), from, to, bytes.clone());
        }
    }

    /// Puts a link of so many bits per second before a member, with a queue that drops what
    /// would wait longer.
    pub fn narrow(&mut self, n: usize, bps: u64, queue: Duration) {
        self.share(&[n], bps, queue);
    }

    /// Puts several members behind one link.
    pub fn share(&mut self, members: &[usize], bps: u64, queue: Duration) {
        self.links.push(Link { bps, queue, free: self.now, dropped: 0, passed: 0 });
        for n in members {
            self.behind.insert(self.members[n].peer.address, self.links.len() - 1);
        }
    }

    /// The share of datagrams that the narrow link before a member dropped.
    pub fn link_loss(&self, n: usize) -> f64 {
        let link = &self.links[self.behind[&self.members[&n].peer.address]];
        link.dropped as f64 / (link.dropped + link.passed).max(1) as f64
    }

    pub fn widen(&mut self, n: usize) {
        self.behind.remove(&self.members[&n].peer.address);
    }

    /// How many datagrams the link before a member carried or dropped.
    pub fn passed(&self, n: usize) -> u64 {
        let link = &self.links[self.behind[&self.members[&n].peer.address]];
        link.passed + link.dropped
    }

    /// When a datagram has passed the link before its receiver; `None` if it was dropped there.
    fn pass_link(&mut self, to: SocketAddr, bytes: usize) -> Option<Instant> {
        let now = self.now;
        let link = self.behind.get(&to).copied();
        let Some(link) = link.and_then(|at| self.links.get_mut(at)) else { return Some(now) };
        let begins = link.free.max(now);
        if begins - now > link.queue {
            link.dropped += 1;
            return None;
        }
        link.passed += 1;
        link.free = begins + Duration::from_nanos(bytes as u64 * 8_000_000_000 / link.bps);
        Some(link.free)
    }

    /// Takes everything out of the workers, and gives them what they have for each other.
    pub fn collect(&mut self) {
        loop {
            let mut idle = true;
            for n in 0..self.workers.len() {
                while let Some(output) = self.workers[n].poll(self.now) {
                    idle = false;
                    self.take(n, output);
                }
            }
            idle &= !self.carry();
            if idle {
                return;
            }
        }
    }

    fn take(&mut self, n: usize, output: Output) {
        match output {
            Output::Transmit(transmit) => self.send(transmit.from, transmit.to, transmit.bytes),
            Output::StunReply { .. } => self.stun_replies += 1,
            Output::HandOver { owner, from, to, bytes } => {
                self.handed_over += 1;
                if let Some(owner) = self.workers.get_mut(usize::from(owner.0)) {
                    let input = Input::Datagram { from, to, bytes: &bytes, handed_over: true };
                    owner.handle(input, self.now);
                }
            }
            Output::Proved(_) => {}
            Output::Relay { to, message } => self.relay(n, usize::from(to.0), message),
            Output::Event(session, event) => self.tell(session, event),
            Output::Over(session) => {
                if let Some(m) = self.members.values_mut().find(|m| m.id == session) {
                    m.over = true;
                }
            }
            Output::Answer(ticket, answer) => {
                self.answers.insert(ticket.0, answer);
            }
        }
    }

    fn relay(&mut self, from: usize, to: usize, message: Message) {
        assert_ne!(from, to, "nothing is relayed to oneself");
        if self.jammed == Some((from, to)) {
            if !message.may_be_lost() && !self.lost.contains(&(from, to)) {
                self.lost.push((from, to));
            }
            return;
        }
        // Nothing gets through between a loss and the moment at which the worker learns of it.
        if !message.may_be_lost() && self.lost.contains(&(from, to)) {
            return;
        }
        if matches!(message, Message::Frame(_)) {
            *self.copies.entry((from, to)).or_default() += 1;
        }
        self.relays.push_back((self.now + self.hop, from, to, message));
    }

    /// Gives workers what has come from others; whether there was anything.
    fn carry(&mut self) -> bool {
        let mut any = false;
        while self.relays.front().is_some_and(|(at, ..)| *at <= self.now) {
            let Some((_, from, to, message)) = self.relays.pop_front() else { break };
            let input = Input::Relay { from: WorkerId(from as u8), message };
            self.workers[to].handle(input, self.now);
            any = true;
        }
        any
    }

    fn tell(&mut self, session: SessionId, event: Event) {
        let Some(member) = self.members.values_mut().find(|member| member.id == session) else {
            return;
        };
        assert!(!member.over, "nothing is said after the end: {event:?}");
        let mut seats = None;
        match &event {
            Event::Joined { answer, seats: first, .. } => {
                if let Some(answer) = answer {
                    member.peer.accept(&answer.sdp);
                }
                seats = Some(first.clone());
            }
            Event::Answer(answer) => member.peer.accept(&answer.sdp),
            Event::Seats(list) => seats = Some(list.clone()),
            Event::Layers { rids, .. } if member.obedient => member.peer.obey_layers(rids),
            _ => {}
        }
        member.events.push(event);
        let worker = member.worker;
        if let Some(seats) = seats.filter(|seats| seats.rev >= member.seats.rev) {
            let rev = seats.rev;
            member.seats = seats;
            if member.obedient {
                let request = Request::Seated { rev };
                let command = Command::Request { session, id: None, request };
                self.workers[worker].handle(Input::Command(command), self.now);
            }
        }
    }

    /// Lets time pass by one step.
    pub fn step(&mut self) {
        self.now += STEP;
        let due: Vec<_> = self.wire.range(..=(self.now, u64::MAX)).map(|(key, _)| *key).collect();
        for key in due {
            let Some((from, to, bytes)) = self.wire.remove(&key) else { continue };
            if let Some(n) = self.servers.iter().position(|server| *server == to) {
                let input = Input::Datagram { from, to, bytes: &bytes, handed_over: false };
                self.workers[n].handle(input, self.now);
            } else if let Some(m) = self.members.values_mut().find(|m| m.peer.address == to) {
                m.peer.handle_datagram(from, &bytes, self.now);
            }
        }
        for (from, to) in std::mem::take(&mut self.lost) {
            let lost = Input::RelayLost { to: WorkerId(to as u8) };
            self.workers[from].handle(lost, self.now);
        }
        self.carry();
        for worker in &mut self.workers {
            worker.handle(Input::Time, self.now);
        }
        self.collect();
        let elapsed = self.now.duration_since(self.start).as_millis();
        for n in self.members.keys().copied().collect::<Vec<_>>() {
            self.step_member(n, elapsed);
        }
    }

    fn step_member(&mut self, n: usize, elapsed: u128) {
        let now = self.now;
        let member = self.members.get_mut(&n).unwrap();
        if member.peer.connected && !member.peer.closed {
            if member.speaks && elapsed.is_multiple_of(20) {
                member.peer.send(0, member.mark, 1, now);
            }
            if member.films && elapsed.is_multiple_of(40) {
                match member.peer.simulcast {
                    true => member.peer.film(member.mark, now),
                    false => member.peer.send(1, member.mark, self.packets_per_frame, now),
                }
            }
        }
        if member.peer.deadline.is_none_or(|at| at <= now) {
            member.peer.handle_time(now);
        }
        let (address, out) = (member.peer.address, std::mem::take(&mut member.peer.out));
        self.send_all(address, out);
    }

    fn send_all(&mut self, from: SocketAddr, out: VecDeque<(SocketAddr, Vec<u8>)>) {
        for (to, bytes) in out {
            self.send(from, to, bytes);
        }
    }

    pub fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while self.now < until {
            self.step();
        }
    }

    /// Lets time pass until something holds, at most twenty virtual seconds.
    pub fn until(&mut self, holds: impl Fn(&Self) -> bool, what: &str) -> Duration {
        let from = self.now;
        while !holds(self) {
            assert!(self.now < from + Duration::from_secs(20), "never came to be: {what}");
            self.step();
        }
        self.now - from
    }

    /// How many packets of `kind` of `mark` a member has received: those whose payload ends so.
    pub fn heard(&self, n: usize, mark: u8) -> usize {
        let is = |p: &&crate::support::peer::Received| p.payload.last() == Some(&mark);
        self.members[&n].peer.received.iter().filter(is).count()
    }

    pub fn frames(&self, n: usize, mark: u8) -> usize {
        let is = |p: &&crate::support::peer::Received| {
            p.payload.last() == Some(&mark) && p.payload.len() > 100 && p.marker
        };
        self.members[&n].peer.received.iter().filter(is).count()
    }

    pub fn on_air(&mut self, n: usize) {
        let member = self.members.get_mut(&n).unwrap();
        member.speaks = true;
        member.films = true;
    }

    /// Packets that went from one worker to another.
    pub fn copies(&self, from: usize, to: usize) -> usize {
        self.copies.get(&(from, to)).copied().unwrap_or(0)
    }

    /// What a member was told of the others, in order.
    pub fn notices(&self, n: usize) -> Vec<Notice> {
        let notice = |event: &Event| match event {
            Event::Notice(notice) => Some((**notice).clone()),
            _ => None,
        };
        self.members[&n].events.iter().filter_map(notice).collect()
    }

    /// The video track of one member, as another was told of it.
    pub fn track_of(&self, viewer: usize, publisher: usize) -> TrackId {
        let seats = &self.members[&viewer].seats;
        let own: Vec<TrackId> =
            self.members[&publisher].events.iter().find_map(own_tracks).unwrap();
        let seated = seats.occupied.iter().map(|(_, track)| *track);
        seated.rev().find(|track| own.contains(track)).unwrap()
    }

    pub fn mark(&self, n: usize) -> u8 {
        self.members[&n].mark
    }

    pub fn forget_received(&mut self) {
        for member in self.members.values_mut() {
            member.peer.received.clear();
        }
    }
}
