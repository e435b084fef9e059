//! Datagram → session: by source address, else by the user name of a signed STUN request.
//!
//! An address enters the table only after a STUN request with good integrity; nothing is
//! remembered of anybody else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::ids::WorkerId;
use crate::room::MemberKey;

/// Addresses in use per session: two interfaces, each with a few ports while the path is chosen.
const SOURCES: usize = 16;

/// Addresses of a session that have sent a signed request but answered none of ours. A replayed
/// request can come from any number of ports, and each costs the engine a candidate pair.
const UNPROVEN: usize = 8;

/// New addresses per session and minute.
const NEW_PER_MINUTE: u32 = 16;

/// Addresses owned by neighbours that are remembered; each is a session of this process.
const NEIGHBOURS: usize = 65_536;

/// How user names of a worker begin: its number in two hexadecimal digits.
#[must_use]
pub fn ufrag_prefix(worker: WorkerId) -> String {
    format!("{:02x}", worker.0)
}

/// The worker to which a user name belongs.
#[must_use]
pub fn worker_of(ufrag: &str) -> Option<WorkerId> {
    u8::from_str_radix(ufrag.get(..2)?, 16).ok().map(WorkerId)
}

/// Who owns an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A session of this worker.
    Session(MemberKey),
    /// A session of a neighbour.
    Neighbour(WorkerId),
}

/// The addresses of one session.
#[derive(Debug, Default)]
pub struct Sources {
    known: Vec<(SocketAddr, bool)>,
    new: u32,
    window: Option<Instant>,
}

/// An address has one too many neighbours; nothing is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more source addresses than a session may have")]
pub struct SourceLimit;

impl Sources {
    /// A signed request came from `from`. Whether that is a new address.
    fn admit(&mut self, from: SocketAddr, now: Instant) -> Result<bool, SourceLimit> {
        if self.known.iter().any(|(known, _)| *known == from) {
            return Ok(false);
        }
        let minute = Duration::from_secs(60);
        if self.window.is_none_or(|since| now.saturating_duration_since(since) >= minute) {
            self.window = Some(now);
            self.new = 0;
        }
        let unproven = self.known.iter().filter(|(_, proven)| !proven).count();
        if self.new >= NEW_PER_MINUTE || unproven >= UNPROVEN || self.known.len() >= SOURCES {
            return Err(SourceLimit);
        }
        self.new += 1;
        self.known.push((from, false));
        Ok(true)
    }

    /// `from` answered a request of ours.
    pub fn prove(&mut self, from: SocketAddr) {
        if let Some(known) = self.known.iter_mut().find(|(known, _)| *known == from) {
            known.1 = true;
        }
    }

    /// The client restarted ICE: paths that never came to be are forgotten. They are returned.
    pub fn forget_unproven(&mut self) -> Vec<SocketAddr> {
        let (kept, gone): (Vec<_>, Vec<_>) = self.known.drain(..).partition(|(_, proven)| *proven);
        self.known = kept;
        self.new = 0;
        gone.into_iter().map(|(address, _)| address).collect()
    }
}

/// The tables of one worker.
#[derive(Debug, Default)]
pub struct Demux {
    addresses: HashMap<SocketAddr, Owner>,
    ufrags: HashMap<String, MemberKey>,
    neighbours: usize,
}

impl Demux {
    /// Who owns an address.
    #[must_use]
    pub fn owner(&self, from: SocketAddr) -> Option<Owner> {
        self.addresses.get(&from).copied()
    }

    /// The session with this user name.
    #[must_use]
    pub fn session(&self, ufrag: &str) -> Option<MemberKey> {
        self.ufrags.get(ufrag).copied()
    }

    /// How many addresses are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether no address is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// A session is known by this user name from now on.
    pub fn name(&mut self, ufrag: &str, key: MemberKey) {
        self.ufrags.insert(ufrag.to_owned(), key);
    }

    /// A signed request for `key` came from `from`; the address is its from now on. Whether it
    /// is new to the session.
    ///
    /// # Errors
    /// The session has too many addresses; the datagram is to be dropped.
    pub fn bind(
        &mut self,
        from: SocketAddr,
        key: MemberKey,
        sources: &mut Sources,
        now: Instant,
    ) -> Result<bool, SourceLimit> {
        let new = sources.admit(from, now)?;
        if let Some(Owner::Neighbour(_)) = self.addresses.insert(from, Owner::Session(key)) {
            self.neighbours -= 1;
        }
        Ok(new)
    }

    /// An address has proved itself to a neighbour.
    pub fn neighbour(&mut self, from: SocketAddr, worker: WorkerId) {
        let known = matches!(self.addresses.get(&from), Some(Owner::Neighbour(_)));
        if !known && self.neighbours >= NEIGHBOURS {
            self.addresses.retain(|_, owner| matches!(owner, Owner::Session(_)));
            self.neighbours = 0;
        }
        if !matches!(
            self.addresses.insert(from, Owner::Neighbour(worker)),
            Some(Owner::Neighbour(_))
        ) {
            self.neighbours += 1;
        }
    }

    /// Forgets addresses of a session, if they are still its own.
    pub fn unbind(&mut self, key: MemberKey, addresses: &[SocketAddr]) {
        for address in addresses {
            if self.addresses.get(address) == Some(&Owner::Session(key)) {
                self.addresses.remove(address);
            }
        }
    }

    /// Forgets everything of a session.
    pub fn forget(&mut self, key: MemberKey, sources: &Sources) {
        let addresses: Vec<SocketAddr> =
            sources.known.iter().map(|(address, _)| *address).collect();
        self.unbind(key, &addresses);
        self.ufrags.retain(|_, owner| *owner != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> MemberKey {
        MemberKey { index, generation: 0 }
    }

    fn port(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_user_name_leads_to_its_worker() {
        for worker in [0, 7, 63] {
            let ufrag = format!("{}Abcdefgh", ufrag_prefix(WorkerId(worker)));
            assert_eq!(worker_of(&ufrag), Some(WorkerId(worker)));
        }
        assert_eq!(worker_of("é"), None);
        assert_eq!(worker_of("x"), None);
    }

    #[test]
    fn the_ninth_unproven_address_of_a_session_is_not_remembered() {
        let (mut demux, mut sources, t) =
            (Demux::default(), Sources::default(), crate::test_clock());
        for p in 1..=8 {
            assert_eq!(demux.bind(port(p), key(1), &mut sources, t), Ok(true));
        }
        assert_eq!(demux.bind(port(9), key(1), &mut sources, t), Err(SourceLimit));
        assert_eq!(demux.owner(port(9)), None);
        sources.prove(port(1));
        assert_eq!(demux.bind(port(9), key(1), &mut sources, t), Ok(true));
        demux.forget(key(1), &sources);
        assert!(demux.is_empty());
    }

    #[test]
    fn sixteen_new_addresses_a_minute_are_enough() {
        let (mut demux, mut sources, t) =
            (Demux::default(), Sources::default(), crate::test_clock());
        for p in 1..=16 {
            assert!(demux.bind(port(p), key(1), &mut sources, t).is_ok());
            if p < 16 {
                sources.prove(port(p));
            }
        }
        let gone = sources.forget_unproven();
        assert_eq!(gone, [port(16)]);
    }

    #[test]
    fn an_address_moves_to_the_session_that_signed_last() {
        let (mut demux, t) = (Demux::default(), crate::test_clock());
        let (mut a, mut b) = (Sources::default(), Sources::default());
        demux.bind(port(1), key(1), &mut a, t).unwrap();
        demux.bind(port(1), key(2), &mut b, t).unwrap();
        assert_eq!(demux.owner(port(1)), Some(Owner::Session(key(2))));
        demux.forget(key(1), &a);
        assert_eq!(demux.owner(port(1)), Some(Owner::Session(key(2))), "it is not 1's any more");
    }
}
