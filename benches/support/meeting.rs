//! People who all see and hear each other: the same packets at the same moments through a worker and
//! through engines with nothing around them. All that the server's side does is timed, feedback and
//! pacing among it, since all of it grows with the number of streams.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fanlight::worker::Input;
use str0m::bwe::Bitrate;
use str0m::media::MediaKind;
use str0m::rtp::RtpPacket;

use super::floor::{Line, Side};
use super::peer::{Peer, Wishes};
use super::{SERVER, Scene};

/// How many are heard at a time: the three loudest, and who has the floor.
const HEARD: usize = 4;

/// Packets of a frame; with 30 frames a second that is 1.4 Mbit/s.
const FRAME: usize = 5;

/// What an estimate begins with: enough for everybody's picture.
const START: Bitrate = Bitrate::mbps(40);

const STEP: Duration = Duration::from_millis(1);

/// Server time and packets that reached somebody, of a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub took: Duration,
    pub packets: usize,
}

impl Cost {
    /// µs for each packet.
    pub fn each(self) -> f64 {
        self.took.as_secs_f64() * 1e6 / self.packets.max(1) as f64
    }
}

fn wishes(people: usize) -> Wishes {
    Wishes { audio: true, video: true, seats: people - 1, data: false }
}

/// What clients have to send in one millisecond, with 30 frames and 50 packets of sound a second from
/// everybody, not in phase.
fn speak(peers: &mut [Peer], ms: u64, now: Instant) -> Vec<(usize, SocketAddr, Vec<u8>)> {
    let mut datagrams = Vec::new();
    for (n, at) in (0..peers.len()).zip((ms..).step_by(7)) {
        let peer = &mut peers[n];
        peer.handle_time(now);
        if at.is_multiple_of(33) {
            peer.send(1, 1, FRAME, now);
        }
        if at.is_multiple_of(20) {
            peer.send(0, 1, 1, now);
        }
        datagrams.extend(peer.out.drain(..).map(|(_, bytes)| (n, peer.address, bytes)));
    }
    datagrams
}

/// How many packets came, which are forgotten.
fn arrived(peers: &mut [Peer]) -> usize {
    peers.iter_mut().map(|peer| peer.received.drain(..).count()).sum()
}

impl Scene {
    /// A room in which everybody publishes and watches, for as long as it takes to see all.
    pub fn meeting(people: usize) -> Self {
        let mut scene = Self::new();
        for _ in 0..people {
            scene.join(wishes(people));
        }
        for (peer, level) in scene.peers.iter_mut().zip((-90..=-20).rev().step_by(6)) {
            peer.level = level;
        }
        scene.meet(10_000);
        scene
    }

    /// So many milliseconds of a meeting; what they cost the worker.
    pub fn meet(&mut self, ms: u64) -> Cost {
        let mut cost = Cost::default();
        for ms in 0..ms {
            self.now += STEP;
            let datagrams = speak(&mut self.peers, ms, self.now);
            let began = super::clock();
            for (_, from, bytes) in &datagrams {
                let input = Input::Datagram { from: *from, to: SERVER, bytes, handed_over: false };
                self.worker.handle(input, self.now);
            }
            self.tick();
            cost.took += began.elapsed();
            self.deliver();
            cost.packets += arrived(&mut self.peers);
        }
        cost
    }
}

/// The streams on which one publisher is sent to one viewer.
struct Seat {
    sound: Option<Line>,
    video: Line,
}

/// Engines of a meeting on the server's side, with nothing around them.
pub struct Table {
    peers: Vec<Peer>,
    sides: Vec<Side>,
    /// By viewer and publisher; nobody sees itself.
    seats: Vec<Vec<Option<Seat>>>,
    now: Instant,
}

impl Table {
    /// Everybody connected and the streams running.
    pub fn new(people: usize) -> Self {
        let provider = str0m::crypto::from_feature_flags();
        let certificate = provider.dtls_provider.generate_certificate().unwrap();
        let now = super::clock();
        let mut table = Self { peers: Vec::new(), sides: Vec::new(), seats: Vec::new(), now };
        for n in 0..people {
            let (peer, mut side) = Side::answer(&certificate, Some(START), n, wishes(people), now);
            let mids = |wanted| {
                let of = move |(mid, kind): &(_, MediaKind)| (*kind == wanted).then_some(*mid);
                peer.mids.iter().filter_map(of).collect::<VecDeque<_>>()
            };
            let (mut sound, mut video) = (mids(MediaKind::Audio), mids(MediaKind::Video));
            let mut seat = |from: usize| {
                let (sound, video) = (sound.pop_front().unwrap(), video.pop_front().unwrap());
                let heard = (from < HEARD).then(|| side.line(sound));
                if heard.is_none() {
                    side.leave_unused(sound);
                }
                Seat { sound: heard, video: side.line(video) }
            };
            let seats = (0..people).map(|from| (from != n).then(|| seat(from))).collect();
            table.peers.push(peer);
            table.sides.push(side);
            table.seats.push(seats);
        }
        table.meet(10_000);
        assert!(table.peers.iter().all(|peer| peer.connected));
        table
    }

    /// So many milliseconds of a meeting; what they cost the engines.
    pub fn meet(&mut self, ms: u64) -> Cost {
        let mut cost = Cost::default();
        for ms in 0..ms {
            self.now += STEP;
            let datagrams = speak(&mut self.peers, ms, self.now);
            let began = super::clock();
            for (n, from, bytes) in &datagrams {
                self.sides[*n].receive(*from, SERVER, bytes, self.now);
            }
            self.forward();
            cost.took += began.elapsed();
            for (side, peer) in self.sides.iter_mut().zip(&mut self.peers) {
                for (_, bytes) in side.out.drain(..) {
                    peer.handle_datagram(SERVER, &bytes, self.now);
                }
            }
            cost.packets += arrived(&mut self.peers);
        }
        cost
    }

    fn forward(&mut self) {
        let came: Vec<_> =
            self.sides.iter_mut().map(|side| std::mem::take(&mut side.packets)).collect();
        for (side, seats) in self.sides.iter_mut().zip(&self.seats) {
            let mut written = false;
            for (packets, seat) in came.iter().zip(seats) {
                let Some(seat) = seat.as_ref().filter(|_| !packets.is_empty()) else { continue };
                let is_video = |packet: &&RtpPacket| packet.payload.len() > 200;
                side.write(seat.video, true, packets.iter().filter(is_video));
                if let Some(sound) = seat.sound {
                    side.write(sound, false, packets.iter().filter(|packet| !is_video(packet)));
                }
                written = true;
            }
            if written || side.deadline <= self.now {
                side.wake(self.now);
            }
        }
    }
}
