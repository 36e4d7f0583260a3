//! `fulgurite-loadtest bench`: every goal of docs/performance.md that this machine can measure, in
//! one table.

mod facts;
mod goals;
mod judge;
mod keep;
mod large;
mod steps;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use crate::{interrupt, report, result::files::OutFolder, run};
use keep::{Keeper, Kept};
use steps::Bench;

/// How much is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Measures every goal, with longer runs and histories of up to ten million payments: hours,
    /// and 20 GB of disk.
    #[arg(long)]
    full: bool,
    /// How often the runs are repeated; without it once, and five times with --full.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Only one goal with its parts: P1, P2, P3, P4, P5, P6, P7, P8 or P10, also one that else only
    /// --full measures.
    #[arg(long, value_name = "GOAL")]
    only: Option<String>,
    /// The folder for DATE-COMMIT.json, with a number when there is one already; made when it is
    /// missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What exit code says that it could not be run.
const NOT_RUN: u8 = 2;

/// Measures, prints and keeps.
///
/// # Errors
/// When what was measured cannot be kept. A payment that is not paid, or a process that does not do
/// its part, is exit code 1; a time never is.
pub async fn run(args: BenchArgs) -> Result<ExitCode> {
    if let Some(only) = args.only.as_ref().filter(|only| !goals::is_known(only)) {
        eprintln!("error: --only {only}: one of {}", goals::names().join(", "));
        return Ok(ExitCode::from(NOT_RUN));
    }
    if let (Some(only), Some(_)) =
        (args.only.as_ref().filter(|only| goals::is_once(only)), args.rounds)
    {
        eprintln!("error: --rounds: {only} is measured once; its command repeats it by itself");
        return Ok(ExitCode::from(NOT_RUN));
    }
    let rounds = args.rounds.unwrap_or(if args.full { 5 } else { 1 });
    let once = args.full || args.only.is_some();
    let _folder = match args.out.as_deref().map(OutFolder::new).transpose() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(NOT_RUN));
        }
    };
    let mut bench = Bench::new(args.full, args.only, Keeper::new(args.out));
    if let Err(error) = bench.available(once) {
        let names = goals::names().join(", ");
        eprintln!("error: {error:#}\n--only GOAL measures another one of {names}");
        return Ok(ExitCode::from(NOT_RUN));
    }
    let done = interrupt::or_none(bench.all(rounds, once)).await;
    let kept = bench.keep()?;
    report::print(args.json, &kept, &text(&kept))?;
    // What was measured before it is told and kept all the same.
    Ok(match done? {
        None => {
            eprintln!("interrupted: the table is of what was measured");
            ExitCode::from(run::INTERRUPTED)
        }
        Some(()) if bench.measured.any_failed() => ExitCode::FAILURE,
        Some(()) => ExitCode::SUCCESS,
    })
}

fn text(kept: &Kept) -> String {
    let Kept { report, goals, took_s, .. } = kept;
    let mut text = report.machine.text();
    if let Some(commit) = &report.commit {
        text += &format!(", commit {commit}");
    }
    let invalid = report.runs.iter().filter(|run| !run.valid).count();
    text += &format!("\n{} runs in {took_s:.0} s", report.runs.len());
    if invalid > 0 {
        text +=
            &format!("; in {invalid} of them the generator itself lagged: their goals are INVALID");
    }
    text + "\n\n" + &goals::table(goals)
}
