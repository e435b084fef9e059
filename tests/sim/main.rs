//! Workers and WebRTC clients on a virtual clock and a virtual, seeded network: no sockets, no
//! sleeps. A scene that fails fails again, to the byte; `FANLIGHT_SEED=n cargo test --test sim` runs
//! all of them with other dice.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod adapting;
mod chance;
mod decoder;
mod floor;
mod hostile;
mod joining;
mod layers;
mod loss;
mod messages;
mod pace;
mod relay;
mod seats;
mod viewer;
mod world;
