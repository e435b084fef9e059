//! The way into a server: what the media side and the signaling side say to each other.
//!
//! Another server than Fanlight is driven by another [`Door`]. A person may have several peer
//! connections ("legs"): leg 0 is offered by the client; a server that offers itself opens and
//! renews the others.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::Waker;
use tokio::sync::mpsc;

use crate::model::Source;

/// Messages to one person's signaling that may wait. It has at most one offer in flight, and a
/// leave.
pub const ASKS: usize = 8;

/// Who is to be let in.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Its number in the run.
    pub person: u32,
    /// The room's name, unique to the run.
    pub room: String,
    /// Whether it publishes.
    pub publishes: bool,
    /// Whether it watches.
    pub watches: bool,
}

/// A track of an offer.
#[derive(Clone, Debug)]
pub struct OfferedTrack {
    /// The m-line's id.
    pub mid: String,
    /// Where it comes from.
    pub source: Source,
}

/// What the media side wants of the signaling.
#[derive(Clone, Debug)]
pub enum Ask {
    /// An offer of leg 0, the first or a further one.
    Offer {
        /// SDP text.
        sdp: String,
        /// What it publishes.
        tracks: Vec<OfferedTrack>,
    },
    /// The answer to a server's offer.
    Answer {
        /// Which peer connection.
        leg: u8,
        /// SDP text.
        sdp: String,
    },
    /// Go.
    Leave,
}

/// What the signaling tells the media side.
#[derive(Clone, Debug)]
pub enum Told {
    /// The first message that counts was sent: joining is measured from here.
    Began(Instant),
    /// The answer to the latest offer of leg 0.
    Answer(String),
    /// The server offers.
    Offer {
        /// Which peer connection, from 1.
        leg: u8,
        /// SDP text.
        sdp: String,
    },
    /// So many pairs of receive sections the client should have.
    Want(usize),
    /// It is over: `Ok` if it was asked for, else why.
    Over(Result<(), String>),
}

/// One person's line between signaling and media.
#[derive(Debug)]
pub struct Line {
    /// What the media side asks for.
    pub asks: mpsc::Receiver<Ask>,
    pub(super) person: u32,
    pub(super) tells: mpsc::Sender<(u32, Told)>,
    pub(super) waker: Arc<Waker>,
}

impl Line {
    /// Tells the media side something; waits while its queue is full.
    pub async fn tell(&self, told: Told) {
        // A load thread that is gone needs to be told nothing.
        if self.tells.send((self.person, told)).await.is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// Signaling of one kind of server.
pub trait Door: Clone + Send + Sync + 'static {
    /// The server's address; media goes to the same machine.
    fn address(&self) -> SocketAddr;

    /// Pairs of receive sections that a watcher's first offer holds. With 0 a watcher that
    /// publishes nothing offers nothing and waits for the server's offer.
    fn first_seats(&self) -> usize;

    /// Takes one person in and carries messages until it leaves. An error says why it was over.
    fn attend(
        self,
        visit: Visit,
        line: &mut Line,
    ) -> impl Future<Output = Result<(), String>> + Send;
}
