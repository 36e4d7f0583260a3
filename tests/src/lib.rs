//! End-to-end, crash, golden, real-lnd and tidy tests.

pub mod doors;
pub mod engine;
pub mod late;
pub mod macaroons;
pub mod odd;
pub mod peer;
pub mod regtest;
pub mod scenarios;
pub mod scenarios_late;
pub mod scenarios_meaning;
pub mod world;
