//! `fulgurite-loadtest`: what the engine does under load, next to a client that keeps nothing.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fulgurite_loadtest::{
    bench, compare, history, ingest, interrupt, lnd, plan, profile, report, restart, run, search,
    smoke,
};
use fulgurite_tests::version::version;

/// The commit that was built, as `scripts/env` finds it. Here, so that a new commit compiles
/// nothing else again.
const COMMIT: Option<&str> = option_env!("FULGURITE_COMMIT");

/// Measures Fulgurite. Numbers go to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(name = "fulgurite-loadtest", version = version(COMMIT), max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The end of `--help`.
const EXIT_CODES: &str = "\
Exit codes: 0 every limit of the scenario was kept; 1 one was not; 2 it could not be run; 3 the
generator itself lagged, the run says nothing; 130 interrupted, the report is of what was run.
smoke, ingest, restart, history, bench and lnd: 0 every payment came out right, 1 one did not; never
for a time. plan-check: 1 also when a fleet did not do what was planned. bench, lnd: 2 what they lack.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Payments at a fixed rate, whatever becomes of them: latency from the planned time.
    Run(Box<run::RunArgs>),
    /// The highest rate that keeps the limits of a scenario.
    Search(Box<search::SearchArgs>),
    /// Where the engine spends its processor time under a load: a flame graph and a table.
    Profile(Box<profile::ProfileArgs>),
    /// Whether one report differs from another, and how sure that is.
    Compare(compare::CompareArgs),
    /// Tells a report again, and writes its page anew.
    Report(run::ReportArgs),
    /// The goals of docs/performance.md, measured one after the other, in one table.
    Bench(bench::BenchArgs),
    /// Payments a second of one batch, next to a client that keeps nothing.
    Smoke(smoke::SmokeArgs),
    /// How long a large file takes until it is accepted, and how much memory.
    Ingest(ingest::IngestArgs),
    /// How long an engine that was killed takes to come back.
    Restart(restart::RestartArgs),
    /// How many nodes, channels, how much liquidity, processor and disk a load needs.
    Plan(Box<plan::PlanArgs>),
    /// What the plan says of five simulated fleets, and what they do.
    PlanCheck(plan::check::CheckArgs),
    /// The engine beside a client that everybody writes first, over real lnd on a private chain.
    Lnd(lnd::LndArgs),
    /// What millions of finished payments behind an engine cost it, or only their journal.
    History(history::HistoryArgs),
}

fn main() -> ExitCode {
    report::built_from(COMMIT);
    let command = Cli::parse().command;
    let is_closed = match &command {
        Command::Run(_) | Command::Search(_) | Command::Compare(_) => false,
        Command::Report(_) | Command::Plan(_) | Command::Profile(_) => false,
        Command::Smoke(_) | Command::Ingest(_) | Command::Restart(_) => true,
        Command::History(_) | Command::Bench(_) | Command::PlanCheck(_) | Command::Lnd(_) => true,
    };
    // One thread: as the best bare client has, and the children are those of a thread that lives.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done =
        runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(perform(command)));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if is_closed { 1 } else { 2 })
        }
    }
}

async fn perform(command: Command) -> anyhow::Result<ExitCode> {
    if !matches!(command, Command::Compare(_) | Command::Report(_) | Command::Plan(_)) {
        interrupt::listen()?;
    }
    match command {
        // Ctrl-C is theirs: they end with the report of what was run.
        Command::Bench(args) => return bench::run(args).await,
        Command::Run(args) => return run::run(*args).await,
        Command::PlanCheck(args) => return plan::check::run(args).await,
        Command::Profile(args) => return profile::run(*args).await,
        Command::Search(args) => return search::run(*args).await,
        Command::Report(args) => return run::tell(&args),
        Command::Compare(args) => compare::run(&args)?,
        Command::Smoke(args) => return whole(done(smoke::run(args))).await,
        Command::Ingest(args) => return whole(done(ingest::run(args))).await,
        Command::Restart(args) => return whole(done(restart::run(args))).await,
        Command::Lnd(args) => return whole(lnd::run(args)).await,
        Command::Plan(args) => plan::run(&args)?,
        Command::History(args) => return whole(done(history::run(args))).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn done(run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    run.await.map(|()| ExitCode::SUCCESS)
}

/// What has nothing to tell of a half: Ctrl-C ends it, and processes and folders go with it.
async fn whole(run: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    Ok(interrupt::or_none(run).await?.unwrap_or_else(|| {
        eprintln!("interrupted: nothing was measured to its end, nothing is left behind");
        ExitCode::from(run::INTERRUPTED)
    }))
}
