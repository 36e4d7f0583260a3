//! The proofs of exactly-once, as commands: what a machine, a disk and a kill can do to the
//! engine is done to it, and what it acknowledged is compared with what is there afterwards.
//!
//! `fulgurite-prove --help` lists the proofs; `make test` runs a slice of each.

pub mod bit_flips;
pub mod client;
pub mod content;
pub mod crash;
pub mod disk_errors;
pub mod history;
pub mod power_loss;
pub mod preload;
pub mod random;
pub mod recording;
pub mod report;
pub mod scratch;
pub mod simulation;
pub mod verdicts;
pub mod workers;
