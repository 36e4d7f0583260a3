//! `fulgurite-loadtest bench`: every goal of docs/performance.md that this machine can measure, in
//! one table.

mod goals;
mod large;
mod steps;

use std::{
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::{
    report::{self, Machine},
    result::Report,
    run::scenario::Scenario,
};
use goals::Line;
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
    /// Only one goal with its parts, such as P2; it may be one that only --full measures.
    #[arg(long, value_name = "GOAL")]
    only: Option<String>,
    /// The folder for DATE-COMMIT.json; made when it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is kept: a report that `compare` reads, and the goals.
#[derive(Debug, Serialize)]
struct Kept {
    #[serde(flatten)]
    report: Report,
    goals: Vec<Line>,
    took_s: f64,
}

/// Measures, prints and keeps.
///
/// # Errors
/// When a payment is not paid or a process does not do its part; never for a time.
pub async fn run(args: BenchArgs) -> Result<()> {
    let (machine, commit) = (Machine::now(), report::commit());
    let started = Instant::now();
    if let Some(only) = &args.only {
        ensure!(goals::is_known(only), "--only {only}: one of {}", goals::names().join(", "));
    }
    let rounds = args.rounds.unwrap_or(if args.full { 5 } else { 1 });
    let once = args.full || args.only.is_some();
    let mut bench = Bench::new(args.full, args.only);
    let done = bench.all(rounds, once).await;
    let Bench { measured, runs, .. } = bench;
    let scenario = Scenario {
        name: "bench".into(),
        description: "The goals of docs/performance.md; each run has a load of its own.".into(),
        ..Scenario::default()
    };
    let report = Report { machine, commit, scenario, runs };
    let kept = Kept { report, goals: measured.lines(), took_s: started.elapsed().as_secs_f64() };
    if let Some(out) = &args.out {
        keep(out, &kept)?;
    }
    report::print(args.json, &kept, &text(&kept))?;
    // What was measured before it is told and kept all the same.
    done
}

/// Writes `DATE-COMMIT.json`.
fn keep(out: &Path, kept: &Kept) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let today = report::utc(SystemTime::now());
    let day = today.split('T').next().unwrap_or_default();
    let commit = kept.report.commit.as_deref().unwrap_or("unknown");
    let path = out.join(format!("{day}-{commit}.json"));
    let text = serde_json::to_string_pretty(kept)?;
    std::fs::write(&path, text + "\n").with_context(|| path.display().to_string())?;
    eprintln!("kept in {}", path.display());
    Ok(())
}

fn text(kept: &Kept) -> String {
    let Kept { report, goals, took_s } = kept;
    let mut text = report.machine.text();
    if let Some(commit) = &report.commit {
        text += &format!(", commit {commit}");
    }
    let invalid = report.runs.iter().filter(|run| !run.valid).count();
    text += &format!("\n{} runs in {took_s:.0} s", report.runs.len());
    if invalid > 0 {
        text += &format!("; in {invalid} of them the generator itself lagged: they say less");
    }
    text + "\n\n" + &goals::table(goals)
}
