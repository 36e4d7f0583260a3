//! `prove`: the proofs of exactly-once are a program of their own, found as git finds its
//! subcommands. What kills an engine and damages its disk is not in the engine's program.

use std::{env, ffi::OsString, io, os::unix::process::CommandExt, path::PathBuf, process::Command};

use clap::Args;

use super::exit::Fault;

/// The program.
const PROGRAM: &str = "fulgurite-prove";

/// Whatever that program takes.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The proof and its options; `help` lists them.
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        num_args = 1..,
        required = true
    )]
    arguments: Vec<OsString>,
}

/// Becomes the program beside this one, else the one on PATH. Comes back only without one, with
/// [`Fault::Usage`], or when it cannot be started, with [`Fault::Failed`].
pub fn run(args: ProveArgs, json: bool) -> Fault {
    let beside = env::current_exe().map(|this| this.with_file_name(PROGRAM));
    let beside = beside.ok().filter(|path| path.exists());
    let mut command = Command::new(beside.unwrap_or_else(|| PathBuf::from(PROGRAM)));
    // What stood before the proof's name was taken for ours.
    command.args(json.then_some("--json")).args(args.arguments);
    let error = command.exec();
    if error.kind() == io::ErrorKind::NotFound {
        return Fault::Usage(format!(
            "{PROGRAM} is neither beside this program nor on PATH: `make build` leaves both in bin/"
        ));
    }
    Fault::Failed(format!("{}: {error}", command.get_program().display()))
}
