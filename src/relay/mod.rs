//! What crosses from worker to worker, and how each side keeps it in order. Values only, so that the
//! same can cross a network.
//!
//! A room has one home. There its members, tracks and their order are decided; each decision is an
//! [`message::Entry`], and every worker with sessions of the room (an *annex*) applies the same
//! entries in the same order to a copy of the room. Everything that must not be lost goes over the
//! home; packets go straight from the worker of their publisher to each worker that wants them,
//! once.

pub mod inlet;
pub mod link;
pub mod message;
pub mod outlet;
