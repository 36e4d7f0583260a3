//! `fulgurite-loadtest`: what the engine does under load, next to a client that keeps nothing.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fulgurite_loadtest::{ingest, restart, smoke};

/// Measures Fulgurite. Numbers go to standard output, everything else to standard error. The exit
/// code says whether every payment came out right, never whether it was fast.
#[derive(Debug, Parser)]
#[command(name = "fulgurite-loadtest", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Payments a second of one batch, next to a client that keeps nothing.
    Smoke(smoke::SmokeArgs),
    /// How long a large file takes until it is accepted, and how much memory.
    Ingest(ingest::IngestArgs),
    /// How long an engine that was killed takes to come back.
    Restart(restart::RestartArgs),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // One thread: as the best bare client has, and the children are those of a thread that lives.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let run = async {
                match command {
                    Command::Smoke(args) => smoke::run(args).await,
                    Command::Ingest(args) => ingest::run(args).await,
                    Command::Restart(args) => restart::run(args).await,
                }
            };
            tokio::select! {
                done = run => done,
                // Processes and folders go with the future that owns them.
                _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
