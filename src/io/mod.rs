//! The shell around the workers: threads, sockets, queues and the clock.
//!
//! What it promises the worker: time never runs backwards, a datagram is whole, and whatever the
//! worker gives out is carried out or counted.

#![expect(clippy::disallowed_methods, reason = "the shell is where the clock is read")]

pub mod joiner;
pub mod mailbox;
mod pressure;
mod relay;
#[cfg(target_os = "linux")]
mod sys;
mod thread;
pub mod udp;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle as Thread;
use std::time::{Duration, Instant};

use crate::config::MediaLimits;
use crate::ids::WorkerId;
use crate::session::Engine;
use crate::worker::{Worker, WorkerConfig};
use joiner::{JoinHandle, Joiner};
use mailbox::{Mail, Mailbox, WorkerHandle};
use thread::{MediaThread, Shell};
use udp::Udp;

/// What the media threads need to start.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// The UDP address of all workers. Port 0: the first socket's port is taken by the others.
    pub bind: SocketAddr,
    /// How many workers, 1 to 64.
    pub workers: u8,
    /// What each worker holds its sessions and rooms to.
    pub limits: MediaLimits,
}

/// The running media plane.
pub struct MediaPlane {
    /// One handle per worker, in the order of their numbers.
    pub workers: Vec<WorkerHandle>,
    /// The way in.
    pub joiner: JoinHandle,
    /// The address that was bound.
    pub local: SocketAddr,
    threads: Vec<Thread<()>>,
}

impl fmt::Debug for MediaPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MediaPlane({}, {} workers)", self.local, self.workers.len())
    }
}

/// A worker's parts before its thread runs.
struct Prepared {
    poll: mio::Poll,
    mailbox: Mailbox,
    socket: std::net::UdpSocket,
}

impl MediaPlane {
    /// Binds the sockets and starts a thread per worker and the joiner's.
    ///
    /// # Errors
    /// The address cannot be bound, or a thread cannot be started.
    pub fn start(config: &MediaConfig) -> io::Result<Self> {
        let engine = Engine::new().map_err(io::Error::other)?;
        let first = udp::bind(config.bind)?;
        let local = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..config.workers {
            sockets.push(udp::bind(local)?);
        }
        let mut workers = Vec::new();
        let mut prepared = Vec::new();
        for (socket, number) in sockets.into_iter().zip(0u8..) {
            let poll = mio::Poll::new()?;
            let waker = Arc::new(mio::Waker::new(poll.registry(), thread::WAKE)?);
            let (handle, mailbox) = WorkerHandle::new(WorkerId(number), waker, Instant::now());
            workers.push(handle);
            prepared.push(Prepared { poll, mailbox, socket });
        }
        let mut threads = Vec::new();
        for (parts, number) in prepared.into_iter().zip(0u8..) {
            let worker = Worker::new(
                WorkerConfig {
                    id: WorkerId(number),
                    workers: config.workers,
                    limits: config.limits.clone(),
                    first_seq: first_seq()?,
                },
                Instant::now(),
            );
            threads.push(spawn(parts, worker, workers.clone())?);
        }
        let (joiner, builder) = Joiner::new(engine, local, config.limits.data_bytes);
        std::thread::Builder::new().name("joiner".to_owned()).spawn(move || builder.run())?;
        Ok(Self { workers, joiner, local, threads })
    }

    /// Tells every session good-bye and ends the threads, at the latest after `limit`.
    /// Blocks; call it where blocking is allowed.
    pub fn stop(self, limit: Duration) {
        let until = Instant::now() + limit;
        for worker in &self.workers {
            while worker.post(Mail::Stop).is_err() && Instant::now() < until {
                std::thread::yield_now();
            }
        }
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    }
}

fn spawn(parts: Prepared, worker: Worker, neighbours: Vec<WorkerHandle>) -> io::Result<Thread<()>> {
    let name = format!("media-{}", worker.id());
    let media = MediaThread {
        worker,
        poll: parts.poll,
        udp: Udp::new(parts.socket)?,
        mailbox: parts.mailbox,
        neighbours,
        shell: Shell::new(Instant::now()),
    };
    std::thread::Builder::new().name(name).spawn(move || media.run())
}

/// Where outgoing sequence numbers begin: random (RFC 3550 section 5.1), in the lower half so
/// that early packets that come late stay above zero.
fn first_seq() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u16::from_be_bytes(bytes) & 0x7fff)
}
