//! End-to-end, golden, real-lnd and tidy tests.

pub mod cli;
pub mod clients;
pub mod cut;
pub mod descriptors;
pub mod doors;
pub mod engine;
mod entry;
pub mod fault_clock;
pub mod late;
pub mod macaroons;
pub mod odd;
pub mod peer;
pub mod proxy;
pub mod raw;
pub mod regtest;
pub mod results;
pub mod scenarios;
pub mod scenarios_hang;
pub mod scenarios_late;
pub mod scenarios_meaning;
pub mod scenarios_network;
pub mod scenarios_nodes;
pub mod scenarios_operator;
pub mod scenarios_witness;
pub mod upload;
pub mod version;
pub mod world;
pub mod written;

use std::path::PathBuf;

/// The root of the clone that is tested. Asked at run time: clones share compiled tests.
///
/// # Panics
/// Outside of `cargo test`.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    let package = PathBuf::from(package);
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    root.expect("packages lie below the root").to_owned()
}
