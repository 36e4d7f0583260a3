//! Load generation against Fulgurite and against bare lnd nodes, and honest reports of it.
//!
//! Every run has simulated nodes and an engine of its own, as processes in a folder of its own:
//! nothing of one run warms or burdens the next. What is measured is what a client of the public
//! API sees, and what the processes used of the machine.

pub mod admin;
pub mod bare;
pub mod bench;
pub mod client;
pub mod compare;
pub mod history;
pub mod ingest;
pub mod interrupt;
pub mod lnd;
pub mod measure;
pub mod plan;
pub mod process;
pub mod profile;
mod regtest;
pub mod report;
pub mod restart;
mod result;
pub mod run;
pub mod scene;
pub mod search;
pub mod smoke;
mod stats;
mod target;
pub mod told;
