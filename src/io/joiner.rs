//! Builds a session from its first offer off the media thread, and hands it over.
//!
//! Building an engine takes a millisecond and a large first offer four; on a media thread that
//! would be a gap in everybody's audio.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use tokio::sync::oneshot;

use super::mailbox::{Busy, EventSender, WorkerHandle};
use crate::ids::{SessionId, WorkerId};
use crate::model::{ErrorCode, Refusal};
use crate::session::{Engine, Offer, OfferError, Session, SessionConfig};
use crate::worker::command::{Command, Join, NewTrack, Opened, publishes};
use crate::worker::demux::ufrag_prefix;

/// First offers that may wait. At a millisecond each that is half a second; who comes later is
/// told to try again.
const WAITING: usize = 512;

/// A first offer and what is needed to answer it.
#[derive(Debug)]
pub struct FirstOffer {
    /// The offer's number.
    pub nid: u64,
    /// SDP text.
    pub sdp: String,
    /// What its sending m-lines carry.
    pub tracks: Vec<NewTrack>,
    /// How this client reaches the server.
    pub reach: Reach,
}

/// How a client reaches the server: which candidates its answer names beside the local addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Addresses outside: where the client found the page, and what `--public-ip` says.
    pub outside: Vec<SocketAddr>,
    /// The client is on this machine, so loopback candidates are of use to it.
    pub loopback: bool,
}

#[derive(Debug)]
struct Job {
    worker: WorkerId,
    offer: FirstOffer,
    done: oneshot::Sender<Result<Opened, Refusal>>,
}

/// The control plane's end of the joiner.
#[derive(Clone)]
pub struct JoinHandle {
    jobs: SyncSender<Job>,
}

impl fmt::Debug for JoinHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinHandle")
    }
}

/// The joiner's thread: lives as long as a handle does.
#[derive(Debug)]
pub(super) struct Joiner {
    jobs: Receiver<Job>,
    engine: Engine,
    bound: SocketAddr,
    data_bytes: usize,
}

impl Joiner {
    /// A joiner for workers bound to `bound`, and the handle that feeds it.
    pub fn new(engine: Engine, bound: SocketAddr, data_bytes: usize) -> (JoinHandle, Self) {
        let (sender, jobs) = sync_channel(WAITING);
        (JoinHandle { jobs: sender }, Self { jobs, engine, bound, data_bytes })
    }

    /// Works until the last handle is gone.
    pub fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            let Job { worker, offer, done } = job;
            let built = catch_unwind(AssertUnwindSafe(|| self.open(worker, offer)));
            let result = built.unwrap_or_else(|_| {
                tracing::error!("the engine panicked over a first offer");
                Err(Refusal::new(ErrorCode::Internal, "The server could not take the offer."))
            });
            // Whoever asked may have gone away meanwhile.
            let _ = done.send(result);
        }
    }

    fn open(&self, worker: WorkerId, offer: FirstOffer) -> Result<Opened, Refusal> {
        let config = SessionConfig {
            ufrag_prefix: ufrag_prefix(worker),
            ufrag_rest: random_text(8)?,
            password: random_text(24)?,
            local: local_addresses(self.bound, offer.reach.loopback),
            outside: offer.reach.outside,
            data_bytes: self.data_bytes,
        };
        let publishes = publishes(&offer.tracks);
        let described = Offer { sdp: &offer.sdp, publishes: &publishes };
        let (session, sdp) = Session::open(&self.engine, &config, &described, Instant::now())
            .map_err(|error: OfferError| Refusal::from(&error))?;
        Ok(Opened { session, nid: offer.nid, sdp, tracks: offer.tracks })
    }
}

impl JoinHandle {
    /// Lets a participant in, with the engine for its offer if it brought one.
    ///
    /// # Errors
    /// The offer is refused, or a queue is full; nothing has happened then.
    pub async fn join(
        &self,
        worker: &WorkerHandle,
        mut join: Join,
        offer: Option<FirstOffer>,
        events: EventSender,
    ) -> Result<(), Refusal> {
        if let Some(offer) = offer {
            join.media = Some(Box::new(self.open(worker.id(), offer).await?));
        }
        worker.join(join, events).map_err(busy)
    }

    /// Builds the engine for the first offer of a session that joined without one.
    /// The answer comes as an event.
    ///
    /// # Errors
    /// The offer is refused, or a queue is full; nothing has happened then.
    pub async fn attach(
        &self,
        worker: &WorkerHandle,
        session: SessionId,
        id: Option<u64>,
        offer: FirstOffer,
    ) -> Result<(), Refusal> {
        let media = Box::new(self.open(worker.id(), offer).await?);
        worker.send(Command::Attach { session, id, media }).map_err(busy)
    }

    async fn open(&self, worker: WorkerId, offer: FirstOffer) -> Result<Opened, Refusal> {
        let (done, opened) = oneshot::channel();
        match self.jobs.try_send(Job { worker, offer, done }) {
            Ok(()) => opened.await.unwrap_or_else(|_| Err(busy(Busy))),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(busy(Busy)),
        }
    }
}

fn busy(busy: Busy) -> Refusal {
    Refusal { retry_after_ms: Some(1_000), ..Refusal::new(ErrorCode::ServerBusy, busy.to_string()) }
}

/// Random letters and digits, five bits each from a table of 32 (RFC 8839 section 5.4 allows
/// letters, digits, `+` and `/`).
fn random_text(len: usize) -> Result<String, Refusal> {
    const TABLE: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes)
        .map_err(|_| Refusal::new(ErrorCode::Internal, "The server has no randomness."))?;
    let letter = |byte: &u8| TABLE.get(usize::from(byte % 32)).copied().unwrap_or(b'a');
    Ok(bytes.iter().map(letter).map(char::from).collect())
}

/// The addresses by which a client can reach a socket bound to `bound`. Asked anew for each join:
/// a laptop changes networks.
fn local_addresses(bound: SocketAddr, loopback: bool) -> Vec<SocketAddr> {
    let port = bound.port();
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_unspecified(),
        // Link-local addresses need a zone, which a candidate cannot name.
        IpAddr::V6(ip) => bound.is_ipv6() && !ip.is_unicast_link_local(),
    };
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let all: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(usable).collect();
    let outer: Vec<IpAddr> = all.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    let chosen = if loopback || outer.is_empty() { all } else { outer };
    chosen.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}
