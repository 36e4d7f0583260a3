//! The doors of Fulgurite: gRPC, HTTP, the admin listener and the command line.
//!
//! A request becomes valid types at the edge ([`wire`], [`check`]), an answer or a
//! [`problem::Problem`] of the engine becomes what the door speaks. Both doors share the same
//! words, the same table of problems and the same functions ([`intake`], [`query`]).

pub mod admin;
pub mod check;
pub mod cli;
pub mod connections;
pub mod cursor;
pub mod demo;
pub mod doors;
pub mod fingerprint;
pub mod grpc;
pub mod http;
pub mod intake;
pub mod operate;
pub mod problem;
pub mod query;
pub mod serve;
pub mod telemetry;
pub mod wire;

pub use doors::{Doors, Limits};
