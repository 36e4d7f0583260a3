//! `prove` and `plan`: programs of their own, found as git finds its subcommands. What kills an
//! engine, damages its disk or loads it is not in the engine's program.

use std::{env, ffi::OsString, io, os::unix::process::CommandExt, path::PathBuf, process::Command};

use clap::Args;

use super::exit::Fault;

/// Whatever the other program takes.
#[derive(Debug, Args)]
pub struct BesideArgs {
    /// What is asked, and its options; `--help` explains them.
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        num_args = 1..,
        required = true
    )]
    arguments: Vec<OsString>,
}

/// The proofs of exactly-once. Comes back only as [`become_program`] does.
pub fn prove(args: BesideArgs, json: bool) -> Fault {
    become_program("fulgurite-prove", None, args, json)
}

/// The load tester's plan. Comes back only as [`become_program`] does.
pub fn plan(args: BesideArgs, json: bool) -> Fault {
    become_program("fulgurite-loadtest", Some("plan"), args, json)
}

/// Becomes the program beside this one, else the one on PATH. Comes back only without one, with
/// [`Fault::Usage`], or when it cannot be started, with [`Fault::Failed`].
fn become_program(
    name: &'static str,
    subcommand: Option<&str>,
    args: BesideArgs,
    json: bool,
) -> Fault {
    let beside = env::current_exe().map(|this| this.with_file_name(name));
    let beside = beside.ok().filter(|path| path.exists());
    let mut command = Command::new(beside.unwrap_or_else(|| PathBuf::from(name)));
    // What stood before the subcommand's name was taken for ours.
    command.args(subcommand).args(json.then_some("--json")).args(args.arguments);
    let error = command.exec();
    if error.kind() == io::ErrorKind::NotFound {
        return Fault::Usage(format!(
            "{name} is neither beside this program nor on PATH: `make build` leaves both in bin/"
        ));
    }
    Fault::Failed(format!("{}: {error}", command.get_program().display()))
}
