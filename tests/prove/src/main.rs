//! `fulgurite-prove`: runs the proofs of exactly-once on a user's own machine.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use fulgurite_prove::{
    bit_flips, crash, disk_errors, power_loss, recording, scratch,
    simulation::{self, Unusable},
    workers::{self, Share},
};
use fulgurite_tests::version::version;

/// The commit that was built, as `scripts/env` finds it.
const COMMIT: Option<&str> = option_env!("FULGURITE_COMMIT");

/// Proves on this machine what Fulgurite promises.
#[derive(Debug, Parser)]
#[command(name = "fulgurite-prove", version = version(COMMIT), max_term_width = 100, after_help = EXITS)]
struct Cli {
    /// Prints one JSON object in place of the page.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXITS: &str = "\
Exit codes:
    0  the proof ran, and nothing was wrong
    1  something was wrong: the page says what
    2  the options cannot be, or name nothing to try
   74  the proof was not run to its end";

#[derive(Debug, Subcommand)]
enum Command {
    /// Rebuilds states of the disk that a crash of the machine could leave, and opens each.
    PowerLoss(power_loss::Args),
    /// Flips single bits of a journal's files: each is detected or harmless.
    BitFlips(bit_flips::Args),
    /// Kills engine and nodes under load, thousands of times.
    Crash(crash::Args),
    /// Fails the disk under a working engine, and before its start.
    DiskErrors(disk_errors::Args),
    /// Runs the engine's rules in simulated worlds where everything goes wrong.
    Simulation(simulation::Args),
    /// Writes a journal, for `power-loss` and `bit-flips`.
    #[command(hide = true)]
    Record(recording::Args),
    /// Opens states of `power-loss`.
    #[command(hide = true)]
    PowerLossShare(Share),
    /// Opens journals with flipped bits.
    #[command(hide = true)]
    BitFlipsShare(Share),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let shares = matches!(cli.command, Command::PowerLossShare(_) | Command::BitFlipsShare(_));
    // A share's folder is the prover's; the kills' proof ends with the page of what was done.
    let ends_at_once = !shares && !matches!(cli.command, Command::Crash(_) | Command::Record(_));
    if ends_at_once && let Err(error) = scratch::remove_when_stopped() {
        drop(writeln!(stderr(), "warning: folders stay when this is stopped: {error}"));
    }
    let page = match cli.command {
        Command::PowerLoss(args) => power_loss::run(&args).map(Some),
        Command::BitFlips(args) => bit_flips::run(&args).map(Some),
        Command::Crash(args) => crash::run(&args).map(Some),
        Command::DiskErrors(args) => disk_errors::run(&args).map(Some),
        Command::Simulation(args) => simulation::run(&args).map(Some),
        Command::Record(args) => recording::play(&args).map(|()| None),
        Command::PowerLossShare(share) => power_loss::work(&share).map(|()| None),
        Command::BitFlipsShare(share) => bit_flips::work(&share).map(|()| None),
    };
    let written = page.and_then(|page| match page {
        Some(page) => page.write(cli.json, &mut stdout()).context("the page was not written"),
        None => Ok(ExitCode::SUCCESS),
    });
    match written {
        Ok(code) => code,
        Err(error) => {
            // Nobody may listen any more.
            drop(writeln!(stderr(), "error: {error:#}"));
            if error.is::<Unusable>() {
                return ExitCode::from(2);
            }
            // Of a share, 74 is the journal's word: it refused to open.
            ExitCode::from(if shares { workers::EXIT_FAULT } else { 74 })
        }
    }
}
