//! The engine's rules in one thread under one seed: a disk, two nodes, a network, a client, an
//! operator, and everything that goes wrong between them.
//!
//! The state machines are `fulgurite_core`'s own; their wiring here follows the runtime's actors.
//! A checker that knows only the orders and the nodes' books looks after every step. See [`run`]
//! for one seed, [`twin`] for the engines with a bug that a run must find.

mod aimed;
mod checks;
mod client;
mod copies;
mod disk;
mod engine;
mod engine_batch;
mod engine_inspect;
mod engine_node;
mod engine_standing;
mod engine_track;
mod engine_twin;
mod engine_watch;
mod engine_witness;
mod faults;
mod lnd;
mod network;
mod operator;
mod plan;
mod rule;
mod sim_node;
mod streams;
mod world;

pub mod coverage;
pub mod fault;
pub mod random;
pub mod run;
pub mod shrink;
pub mod twin;
