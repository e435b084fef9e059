//! Workers and WebRTC clients on a virtual clock and a virtual, seeded network: no sockets, no
//! sleeps. A failing seed is printed; `FANLIGHT_SEED=n cargo test --test sim` runs it again.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod joining;
mod loss;
mod messages;
mod seats;
mod viewer;
mod world;
