//! A room whose viewers sit on two workers, driven from memory.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanlight::config::MediaLimits;
use fanlight::ids::{DisplayName, Identity, RoomName, SessionId, WorkerId};
use fanlight::session::{Engine, Offer, Session, SessionConfig};
use fanlight::worker::command::{Command, Event, Join, Opened, Request};
use fanlight::worker::demux::ufrag_prefix;
use fanlight::worker::{Input, Output, Worker, WorkerConfig};

use super::peer::{Peer, Wishes};
use super::{PAYLOAD, address, clock};

/// Time between two packets: 1.4 Mbit/s, which the estimate carries from the start.
const GAP: Duration = Duration::from_micros(6_700);

/// A client and the number of its worker.
struct Client {
    peer: Peer,
    worker: usize,
}

/// What a packet cost, and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Time of the publisher's worker, and of the other one.
    pub took: [Duration; 2],
    /// Packets of video that viewers had before the next one: one may wait for its engine's pacer, while
    /// that probes.
    pub received: usize,
    /// Packets given to the other worker.
    pub relayed: usize,
}

/// Two workers, a publisher on the first, and viewers.
pub struct Spread {
    workers: [Worker; 2],
    clients: Vec<Client>,
    now: Instant,
    engine: Engine,
    /// Packets of video that viewers had so far.
    received: usize,
}

fn server(worker: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, u8::from(worker > 0), 1], 8443))
}

impl Spread {
    /// A broadcast to `near` viewers on the publisher's worker and `far` ones on the other.
    pub fn new(near: usize, far: usize) -> Self {
        let now = clock();
        let worker = |number| {
            let limits = MediaLimits::default();
            Worker::new(
                WorkerConfig { id: WorkerId(number), workers: 2, limits, first_seq: 1 },
                now,
            )
        };
        let workers = [worker(0), worker(1)];
        let engine = Engine::new().unwrap();
        let mut spread = Self { workers, clients: Vec::new(), now, engine, received: 0 };
        spread.join(0, Wishes { audio: true, video: true, seats: 0, data: false });
        for n in 0..near + far {
            let wishes = Wishes { audio: false, video: false, seats: 1, data: false };
            spread.join(usize::from(n >= near), wishes);
        }
        for _ in 0..400 {
            spread.settle(Duration::from_millis(5));
        }
        for _ in 0..20 {
            spread.clients[0].peer.send(1, 1, 1, spread.now);
            spread.settle(Duration::from_millis(5));
        }
        spread
    }

    fn join(&mut self, worker: usize, wishes: Wishes) {
        let n = self.clients.len();
        let mut peer = Peer::new(address(n), self.now);
        peer.payload = PAYLOAD;
        let (nid, sdp, tracks) = peer.offer(wishes);
        let config = SessionConfig {
            ufrag_prefix: ufrag_prefix(WorkerId(u8::from(worker > 0))),
            ufrag_rest: format!("user{n:04}"),
            password: "0123456789abcdef01234567".to_owned(),
            local: vec![server(worker)],
            outside: Vec::new(),
            data_bytes: 64 * 1024,
        };
        let offer = Offer { sdp: &sdp, publishes: &[] };
        let (session, sdp) = Session::open(&self.engine, &config, &offer, self.now).unwrap();
        self.clients.push(Client { peer, worker });
        let join = Join {
            session: SessionId(n as u64),
            room: RoomName::new("bench").unwrap(),
            home: WorkerId(0),
            identity: Identity::new(&format!("p{n}")).unwrap(),
            name: DisplayName::new("p").unwrap(),
            joined_at: 0,
            max_members: 10_000,
            media: Some(Box::new(Opened { session, nid, sdp, tracks })),
        };
        self.workers[worker].handle(Input::Command(Command::Join(join)), self.now);
        self.collect();
    }

    /// Clients and workers exchange what they have, and time passes: by the millisecond, as an estimator
    /// whose probes leave later than it thinks takes the network for narrow.
    pub fn settle(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.pass_time(Duration::from_millis(1).min(until - self.now));
        }
    }

    fn pass_time(&mut self, time: Duration) {
        self.now += time;
        for Client { peer, worker } in &mut self.clients {
            peer.handle_time(self.now);
            for (to, bytes) in std::mem::take(&mut peer.out) {
                let from = peer.address;
                let input = Input::Datagram { from, to, bytes: &bytes, handed_over: false };
                self.workers[*worker].handle(input, self.now);
            }
        }
        for worker in &mut self.workers {
            worker.handle(Input::Time, self.now);
        }
        self.collect();
        for Client { peer, .. } in &mut self.clients {
            let video = peer.received.drain(..).filter(|packet| packet.payload.len() == PAYLOAD);
            self.received += video.count();
        }
    }

    fn collect(&mut self) {
        loop {
            let mut outputs = VecDeque::new();
            for (n, worker) in self.workers.iter_mut().enumerate() {
                while let Some(output) = worker.poll(self.now) {
                    outputs.push_back((n, output));
                }
            }
            if outputs.is_empty() {
                return;
            }
            outputs.into_iter().for_each(|(n, output)| self.carry(n, output));
        }
    }

    fn carry(&mut self, from: usize, output: Output) {
        match output {
            Output::Transmit(transmit) => {
                let is = |client: &&mut Client| client.peer.address == transmit.to;
                if let Some(client) = self.clients.iter_mut().find(is) {
                    client.peer.handle_datagram(transmit.from, &transmit.bytes, self.now);
                }
            }
            Output::Relay { to, message } => {
                let from = WorkerId(u8::from(from > 0));
                let input = Input::Relay { from, message };
                self.workers[usize::from(to.0)].handle(input, self.now);
            }
            Output::Event(session, event) => self.tell(session, event),
            _ => {}
        }
    }

    fn tell(&mut self, session: SessionId, event: Event) {
        let client = &mut self.clients[usize::try_from(session.0).unwrap()];
        let rev = match event {
            Event::Joined { answer, seats, .. } => {
                client.peer.accept(&answer.unwrap().sdp);
                seats.rev
            }
            Event::Seats(seats) => seats.rev,
            _ => return,
        };
        let command = Command::Request { session, id: None, request: Request::Seated { rev } };
        self.workers[client.worker].handle(Input::Command(command), self.now);
    }

    /// One video packet of the publisher through both workers, each of which is timed.
    pub fn pass(&mut self) -> Passed {
        self.clients[0].peer.send(1, 1, 1, self.now);
        let mut passed = Passed::default();
        let from = self.clients[0].peer.address;
        let packets = std::mem::take(&mut self.clients[0].peer.out);
        let (mut relays, mut outputs) = (Vec::new(), Vec::new());
        let began = clock();
        for (to, bytes) in &packets {
            let input = Input::Datagram { from, to: *to, bytes, handed_over: false };
            self.workers[0].handle(input, self.now);
        }
        while let Some(output) = self.workers[0].poll(self.now) {
            match output {
                Output::Relay { message, .. } => relays.push(message),
                output => outputs.push((0, output)),
            }
        }
        passed.took[0] = began.elapsed();
        passed.relayed = relays.len();
        let began = clock();
        for message in relays {
            self.workers[1].handle(Input::Relay { from: WorkerId(0), message }, self.now);
        }
        while let Some(output) = self.workers[1].poll(self.now) {
            outputs.push((1, output));
        }
        passed.took[1] = began.elapsed();
        outputs.into_iter().for_each(|(n, output)| self.carry(n, output));
        let before = self.received;
        self.settle(GAP);
        passed.received = self.received - before;
        passed
    }
}
