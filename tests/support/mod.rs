//! What several test binaries share: a WebRTC client of its own (an outsider that speaks the public
//! protocol through str0m), without sockets and clocks.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod camera;
pub mod peer;
