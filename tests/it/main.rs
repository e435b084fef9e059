//! The whole server over loopback: its doors, its signaling, its operator's side, its end.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod doors;
mod limits;
mod load;
mod media;
mod operator;
mod process;
mod refusals;
