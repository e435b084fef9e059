//! The shell around the workers: threads, sockets, queues and the clock.

pub mod joiner;
pub mod mailbox;

use std::net::SocketAddr;
use std::time::Duration;

use joiner::JoinHandle;
use mailbox::WorkerHandle;

/// What the media threads need to start.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// The UDP address of all workers. Port 0: the first socket's port is taken by the others.
    pub bind: SocketAddr,
    /// How many workers, 1 to 64.
    pub workers: u8,
    /// What each worker holds its sessions and rooms to.
    pub limits: crate::config::MediaLimits,
}

/// The running media plane.
#[derive(Debug)]
pub struct MediaPlane {
    /// One handle per worker, in the order of their numbers.
    pub workers: Vec<WorkerHandle>,
    /// The way in.
    pub joiner: JoinHandle,
    /// The port that was bound.
    pub local: SocketAddr,
}

impl MediaPlane {
    /// Binds the sockets and starts a thread per worker and the joiner's.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(config: &MediaConfig) -> std::io::Result<Self> {
        let _ = config;
        Err(std::io::Error::other("not built yet"))
    }

    /// Tells every session good-bye and ends the threads, at the latest after `limit`.
    /// Blocks; call it where blocking is allowed.
    pub fn stop(self, limit: Duration) {
        let _ = limit;
    }
}
