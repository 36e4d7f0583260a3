//! One thread, one seed: the engine's rules, a disk, two nodes, a client, and everything that goes
//! wrong between them.

pub mod checks;
pub mod client;
pub mod disk;
pub mod engine;
pub mod engine_batch;
pub mod engine_node;
pub mod faults;
pub mod lnd;
pub mod network;
pub mod random;
pub mod sim_node;
pub mod world;
