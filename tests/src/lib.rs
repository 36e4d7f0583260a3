//! End-to-end, crash, golden, real-lnd and tidy tests.

pub mod doors;
pub mod engine;
pub mod regtest;
pub mod scenarios;
pub mod world;
