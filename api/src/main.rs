//! `fulgurite`: one program for the engine, its command line, the simulated nodes and the demo.
//!
//! The engine is joined in [`fulgurite::serve`]: it reads the configuration, opens the journal,
//! starts the actors, connects the nodes, then opens the doors.

use std::process::ExitCode;

/// The commit that was built, as `scripts/env` finds it. Here, in the smallest of all crates: a new
/// commit compiles nothing else again.
const COMMIT: Option<&str> = option_env!("FULGURITE_COMMIT");

fn main() -> ExitCode {
    fulgurite::cli::run(COMMIT)
}
