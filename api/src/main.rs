//! `fulgurite`: one program for the engine, its command line, the simulated nodes and the demo.
//!
//! The engine is joined in [`fulgurite::serve`]: it reads the configuration, opens the journal,
//! starts the actors, connects the nodes, then opens the doors.

use std::process::ExitCode;

fn main() -> ExitCode {
    fulgurite::cli::run()
}
