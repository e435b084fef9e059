//! One core as a state machine.
pub mod command;
pub mod report;
