//! Fanlight, a selective forwarding media server.
//!
//! A datagram arrives ([`io`]). The worker finds whose it is ([`worker`]). That session's engine
//! decrypts it and hands out a packet ([`session`]). The room says who watches ([`room`]). For
//! each watcher a forwarder decides whether and how it goes on ([`forward`]). Their sessions
//! encrypt it ([`session`]), and it leaves ([`io`]). People get in through the door ([`control`]).
//!
//! `ARCHITECTURE.md` is the map, with the walls between these rooms.

// the packet's way
pub mod forward;
pub mod io;
pub mod relay;
pub mod room;
pub mod session;
pub mod worker;

// the door
pub mod control;

// words all parts share
pub mod config;
pub mod counts;
pub mod ids;
pub mod model;
pub mod units;
pub mod wire;

// the other side
pub mod load;

// the process
pub mod cli;
pub mod server;

/// One moment for all unit tests, read once: tests count from it.
#[cfg(test)]
pub(crate) fn test_clock() -> std::time::Instant {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "tests need one moment to count from")]
    *START.get_or_init(std::time::Instant::now)
}
