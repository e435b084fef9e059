//! A worker with one publisher and any number of viewers, connected over no network at all.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fanlight::config::MediaLimits;
use fanlight::ids::{DisplayName, Identity, RoomName, SessionId, WorkerId};
use fanlight::session::{Engine, Offer, Session, SessionConfig, Transmit};
use fanlight::worker::command::{Command, Event, Join, Opened, Request, publishes};
use fanlight::worker::demux::ufrag_prefix;
use fanlight::worker::{Dispatch, Input, Output, Worker, WorkerConfig};
use peer::{Peer, Wishes};

#[path = "../../tests/support/camera.rs"]
pub mod camera;
pub mod floor;
pub mod meeting;
#[path = "../../tests/support/peer.rs"]
pub mod peer;
pub mod spread;

/// Bytes of a video packet's payload: the datagram is 1,200 then.
pub const PAYLOAD: usize = 1_160;

/// Where the server is reached.
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8443);

/// The address of the n-th client.
pub fn address(n: usize) -> SocketAddr {
    let [high, low] = u16::try_from(n + 2).unwrap().to_be_bytes();
    SocketAddr::from(([10, 1, high, low], 40_000))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub fn clock() -> Instant {
    Instant::now()
}

pub struct Scene {
    pub worker: Worker,
    pub peers: Vec<Peer>,
    pub now: Instant,
    engine: Engine,
    outputs: Vec<Output>,
    transmits: Vec<VecDeque<Transmit>>,
    spare: Vec<VecDeque<Transmit>>,
}

/// Takes datagrams as the shell does, without a socket.
struct Basket<'a> {
    transmits: &'a mut Vec<VecDeque<Transmit>>,
    spare: &'a mut Vec<VecDeque<Transmit>>,
}

impl Dispatch for Basket<'_> {
    fn dispatch(&mut self, transmits: &mut VecDeque<Transmit>, now: Instant) -> Instant {
        let empty = self.spare.pop().unwrap_or_default();
        self.transmits.push(std::mem::replace(transmits, empty));
        now
    }
}

impl Scene {
    pub fn new() -> Self {
        let limits = MediaLimits::default();
        let config = WorkerConfig { id: WorkerId(0), workers: 1, limits, first_seq: 1 };
        let now = clock();
        Self {
            worker: Worker::new(config, now),
            peers: Vec::new(),
            now,
            engine: Engine::new().unwrap(),
            outputs: Vec::new(),
            transmits: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// A room in which one publishes and `viewers` watch, everybody connected.
    pub fn broadcast(viewers: usize) -> Self {
        let mut scene = Self::new();
        scene.join(Wishes { audio: true, video: true, seats: 0, data: false });
        for _ in 0..viewers {
            scene.join(Wishes { audio: false, video: false, seats: 1, data: false });
        }
        for _ in 0..400 {
            scene.exchange();
            if scene.peers.iter().all(|peer| peer.connected) {
                break;
            }
        }
        for _ in 0..20 {
            scene.peers[0].send(1, 1, 1, scene.now);
            scene.exchange();
        }
        scene
    }

    /// The engine for a first offer, as the joiner builds it.
    pub fn open(&self, sdp: &str, n: usize) -> (Session, String) {
        let config = SessionConfig {
            ufrag_prefix: ufrag_prefix(WorkerId(0)),
            ufrag_rest: format!("user{n:04}"),
            password: "0123456789abcdef01234567".to_owned(),
            local: vec![SERVER],
            outside: Vec::new(),
            data_bytes: 64 * 1024,
        };
        Session::open(&self.engine, &config, &Offer { sdp, publishes: &[] }, self.now).unwrap()
    }

    pub fn join(&mut self, wishes: Wishes) {
        let n = self.peers.len();
        let mut peer = Peer::new(address(n), self.now);
        peer.payload = PAYLOAD;
        let (nid, sdp, tracks) = peer.offer(wishes);
        assert!(publishes(&tracks).len() <= 2);
        let (session, sdp) = self.open(&sdp, n);
        self.peers.push(peer);
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
        self.worker.handle(Input::Command(Command::Join(join)), self.now);
        self.collect();
    }

    /// Gives everything that clients have to the worker and back, and lets 5 ms pass.
    pub fn exchange(&mut self) {
        self.now += Duration::from_millis(5);
        self.answer();
    }

    fn answer(&mut self) {
        for n in 0..self.peers.len() {
            self.peers[n].handle_time(self.now);
            let from = self.peers[n].address;
            for (to, bytes) in std::mem::take(&mut self.peers[n].out) {
                let input = Input::Datagram { from, to, bytes: &bytes, handed_over: false };
                self.worker.handle(input, self.now);
            }
        }
        self.worker.handle(Input::Time, self.now);
        self.collect();
        for peer in &mut self.peers {
            peer.received.clear();
        }
    }

    fn collect(&mut self) {
        while let Some(output) = self.worker.poll(self.now) {
            self.carry(output);
        }
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Transmit(transmit) => {
                let to = transmit.to;
                if let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == to) {
                    peer.handle_datagram(transmit.from, &transmit.bytes, self.now);
                }
            }
            Output::Event(session, event) => self.tell(session, event),
            _ => {}
        }
    }

    fn tell(&mut self, session: SessionId, event: Event) {
        let peer = &mut self.peers[usize::try_from(session.0).unwrap()];
        let rev = match event {
            Event::Joined { answer, seats, .. } => {
                peer.accept(&answer.unwrap().sdp);
                seats.rev
            }
            Event::Seats(seats) => seats.rev,
            _ => return,
        };
        let request = Request::Seated { rev };
        let command = Command::Request { session, id: None, request };
        self.worker.handle(Input::Command(command), self.now);
    }

    /// One frame of `packets` packets through the worker, each packet by itself or all in one
    /// tick; how long the worker took, and how many datagrams came out.
    pub fn frame(&mut self, packets: usize, together: bool) -> (Duration, usize) {
        self.peers[0].send(1, 1, packets, self.now);
        let frame = std::mem::take(&mut self.peers[0].out);
        let (from, to, now) = (self.peers[0].address, SERVER, self.now);
        let began = clock();
        for (_, bytes) in &frame {
            self.worker.handle(Input::Datagram { from, to, bytes, handed_over: false }, now);
            if !together {
                self.tick();
            }
        }
        self.tick();
        let took = began.elapsed();
        (took, self.transmits.iter().map(VecDeque::len).sum())
    }

    fn tick(&mut self) {
        self.worker.handle(Input::Time, self.now);
        let Self { transmits, spare, .. } = self;
        self.worker.flush(&mut Basket { transmits, spare }, self.now);
        while let Some(output) = self.worker.poll(self.now) {
            self.outputs.push(output);
        }
    }

    /// Everybody gets what was sent and answers, and time passes: by the millisecond, as an estimator
    /// whose probes leave later than it thinks takes the network for narrow.
    pub fn settle(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.pass_time(Duration::from_millis(1).min(until - self.now));
            self.tick();
        }
        self.pass_time(Duration::ZERO);
    }

    fn pass_time(&mut self, time: Duration) {
        self.deliver();
        self.now += time;
        self.answer();
    }

    /// Gives clients what the worker sent.
    fn deliver(&mut self) {
        let outputs = std::mem::take(&mut self.outputs).into_iter();
        outputs.for_each(|output| self.carry(output));
        for mut transmits in std::mem::take(&mut self.transmits) {
            transmits.drain(..).for_each(|transmit| self.carry(Output::Transmit(transmit)));
            self.spare.push(transmits);
        }
    }

    /// The datagrams of one video packet of the publisher.
    pub fn video(&mut self) -> Vec<Vec<u8>> {
        self.now += Duration::from_micros(500);
        self.peers[0].send(1, 1, 1, self.now);
        std::mem::take(&mut self.peers[0].out).into_iter().map(|(_, bytes)| bytes).collect()
    }

    /// One datagram of the publisher through the worker; how many datagrams came out.
    pub fn pass(&mut self, bytes: &[u8]) -> usize {
        let (from, to) = (self.peers[0].address, SERVER);
        self.worker.handle(Input::Datagram { from, to, bytes, handed_over: false }, self.now);
        let mut count = 0;
        while let Some(output) = self.worker.poll(self.now) {
            count += usize::from(matches!(output, Output::Transmit(_)));
        }
        count
    }
}
