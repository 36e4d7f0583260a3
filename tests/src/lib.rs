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

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the clone that is tested. Asked at run time: clones share compiled tests.
///
/// # Panics
/// Outside of a clone.
pub fn root() -> PathBuf {
    find_root().expect("cargo runs the tests in a clone")
}

/// The root of the clone around cargo's package, or for a program that a user started, around the
/// current folder.
///
/// # Errors
/// Outside of a clone.
pub fn find_root() -> Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => PathBuf::from(package),
        None => std::env::current_dir()?,
    };
    let root = start.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    let root = root.with_context(|| {
        format!("{} is not in a clone of the project, which has its scripts", start.display())
    });
    root.map(Path::to_owned)
}
