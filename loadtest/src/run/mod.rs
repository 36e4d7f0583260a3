//! `fulgurite-loadtest run`: a load at a fixed rate, whatever becomes of it.

mod books;
pub(crate) mod clerk;
pub(crate) mod drive;
mod fault;
mod live;
mod metrics;
mod options;
pub(crate) mod pacer;
pub(crate) mod rig;
pub(crate) mod running;
pub(crate) mod scenario;
pub(crate) mod schedule;
mod sense;
mod stages;
pub(crate) mod tally;
mod worker;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::{
    interrupt,
    report::{self, Machine},
    result::{
        Report, RunResult,
        files::{self, OutFolder},
        summary,
    },
};
pub(crate) use live::Live;
use rig::Rig;
use running::Running;
use scenario::{Scenario, Target};
use schedule::{Spacing, Stage};

/// Four times the few connections that carry the payments: as said below.
const FILES_BESIDES: u64 = 20;

/// The exit code after Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// What is run, and what of the scenario is different this time.
#[derive(Debug, Args)]
#[command(after_help = Scenario::help())]
pub struct RunArgs {
    /// A scenario that comes with the program, or a TOML file; see below.
    #[arg(default_value = "steady")]
    scenario: String,
    #[command(flatten)]
    differences: Differences,
    /// How often all of it is repeated; the targets take turns.
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// At which concurrencies the bare client is tried; the best counts.
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    bare_in_flight: Vec<u32>,
    /// The folder for report.html, report.json, .hlog and .hgrm; made when it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Shows nothing while the clock runs.
    #[arg(long)]
    quiet: bool,
}

/// What of a scenario is different.
#[derive(Clone, Debug, Args)]
pub(crate) struct Differences {
    /// Through which door; several, with commas, take turns, each with nodes and an engine of its
    /// own. Else as the scenario says.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TARGET")]
    target: Vec<Target>,
    /// Payments a second, in one stage.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How long payments are due, in seconds, in one stage.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// How arrivals are spaced.
    #[arg(long, value_enum)]
    spacing: Option<Spacing>,
    /// Decides the arrivals and priorities.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Payments of one upload.
    #[arg(long, value_name = "N")]
    batch_size: Option<u32>,
    /// Connections to the engine, or to each node.
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// Threads that send, each with its share of the connections; the target bare has one.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// The most requests that the client has open at once; 0: no limit.
    #[arg(long, value_name = "N")]
    in_flight_max: Option<u32>,
    /// When a payment is given up, in seconds after it was due.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// A new connection for each HTTP payment.
    #[arg(long)]
    new_connections: bool,
    /// Who checks signatures: `door` or `node`.
    #[arg(long, value_name = "WHO")]
    verify_signatures: Option<String>,
    /// A claim of throughput alone: the generator's lag may be 20 ms at P99 and not 1 ms.
    #[arg(long)]
    saturation: bool,
    #[command(flatten)]
    pub running: Running,
}

impl Differences {
    /// Whether it says a rate.
    pub fn has_rate(&self) -> bool {
        self.rate.is_some()
    }

    /// The scenario as it is run, and its targets.
    ///
    /// # Errors
    /// When it cannot be run so.
    pub fn of(&self, mut scenario: Scenario) -> Result<(Scenario, Vec<Target>)> {
        let load = &mut scenario.load;
        if self.rate.is_some() || self.duration.is_some() {
            let rate = self.rate.unwrap_or(load.stages[0].rate);
            let all = load.stages.iter().map(|stage| stage.seconds).sum();
            let seconds = self.duration.unwrap_or(all);
            load.stages = vec![Stage { rate, to: None, seconds }];
            scenario.description += &format!(" Here: {rate}/s for {seconds} s.");
        }
        let put = |into: &mut u32, from: Option<u32>| *into = from.unwrap_or(*into);
        put(&mut load.batch_size, self.batch_size);
        put(&mut load.connections, self.connections);
        put(&mut load.threads, self.threads);
        put(&mut load.in_flight_max, self.in_flight_max);
        load.spacing = self.spacing.unwrap_or(load.spacing);
        load.seed = self.seed.unwrap_or(load.seed);
        load.timeout_s = self.timeout.unwrap_or(load.timeout_s);
        load.new_connections |= self.new_connections;
        load.saturation |= self.saturation;
        if let Some(who) = &self.verify_signatures {
            scenario.engine.verify_signatures.clone_from(who);
        }
        let targets =
            if self.target.is_empty() { vec![scenario.load.target] } else { self.target.clone() };
        for (at, target) in targets.iter().enumerate() {
            ensure!(
                !targets[..at].contains(target),
                "--target names {} twice: --rounds repeats a run",
                target.name()
            );
            scenario.load.target = *target;
            scenario.check()?;
        }
        scenario.load.target = targets[0];
        options::check(self, &scenario, &targets)?;
        Ok((scenario, targets))
    }
}

/// Runs and tells.
///
/// # Errors
/// When the scenario cannot be run.
pub async fn run(args: RunArgs) -> Result<ExitCode> {
    let (scenario, targets) = args.differences.of(Scenario::load(&args.scenario)?)?;
    let bare = targets.contains(&Target::Bare);
    ensure!(
        args.bare_in_flight.is_empty() || bare,
        "--bare-in-flight is for the target bare: --target batches,bare has both"
    );
    let tried = &args.bare_in_flight;
    if let Some(again) = (1..tried.len()).find(|at| tried[..*at].contains(&tried[*at])) {
        bail!("--bare-in-flight names {} twice: --rounds repeats a run", tried[again]);
    }
    let twice = !args.bare_in_flight.is_empty() && targets == [Target::Bare];
    ensure!(
        !twice || args.differences.in_flight_max.is_none(),
        "--in-flight-max and --bare-in-flight are the same of the target bare: say one"
    );
    args.differences.running.answers()?;
    open_files(scenario.load.idle_connections)?;
    let out = args.out.as_deref().map(OutFolder::new).transpose()?;
    let (machine, commit) = (Machine::now(), report::commit());
    let mut live = Live::new(args.quiet);
    let (mut runs, mut interrupted): (Vec<RunResult>, bool) = (Vec::new(), false);
    let mut broke = None;
    let turns = turns(&args, &targets, scenario.load.in_flight_max);
    let all = turns.len();
    for (target, limit, round) in turns {
        let mut scenario = scenario.clone();
        scenario.load.in_flight_max = limit;
        let turn = (target, round);
        let to = out.as_ref().map(OutFolder::path);
        match one(&scenario, turn, &args.differences.running, to, &mut live).await {
            Ok(done) => {
                interrupted = done.as_ref().is_none_or(|done| done.interrupted);
                runs.extend(done);
            }
            Err(error) => broke = Some(error),
        }
        if interrupted || broke.is_some() {
            break;
        }
    }
    if runs.is_empty() {
        return broke.map_or_else(|| Ok(nothing_run(out)), Err);
    }
    let report = Report::new(machine, commit, scenario, runs);
    if let Some(out) = out {
        files::write(out.path(), &report)?;
    }
    report::print(args.json, &report, &summary::text(&report))?;
    if let Some(error) = broke {
        return Err(only_some(error, &report));
    }
    if interrupted {
        eprintln!("{}", cut_short(&report, all));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(verdict(&report))
}

/// Ctrl-C came before the first clock started.
pub(crate) fn nothing_run(out: Option<OutFolder>) -> ExitCode {
    // Dropped with nothing in it, the folder goes.
    drop(out);
    eprintln!("interrupted before the clock started: nothing was run, and there is no report");
    ExitCode::from(INTERRUPTED)
}

/// What says that a run could not be made, after others that were.
pub(crate) fn only_some(error: anyhow::Error, report: &Report) -> anyhow::Error {
    let made = report.runs.len();
    error.context(format!("run {} could not be made; the report is of those before", made + 1))
}

/// Ctrl-C came while something ran, of `all` runs.
fn cut_short(report: &Report, all: usize) -> String {
    let whole = report.runs.iter().filter(|run| !run.interrupted).count();
    format!("interrupted: the report is of what was run, {whole} of {all} runs to their end")
}

/// Target, concurrency and round of every run. Targets take turns within a round: what the machine
/// does to one it does to the others.
fn turns(args: &RunArgs, targets: &[Target], limit: u32) -> Vec<(Target, u32, u32)> {
    let mut turns = Vec::new();
    for round in 1..=args.rounds {
        for target in targets {
            let limits = match (*target, &args.bare_in_flight[..]) {
                (Target::Bare, tried @ [_, ..]) => tried,
                _ => &[limit],
            };
            turns.extend(limits.iter().map(|limit| (*target, *limit, round)));
        }
    }
    turns
}

/// Which report.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A folder of `run --out`, or its report.json.
    path: PathBuf,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Tells a report again, and writes its page anew.
///
/// # Errors
/// When there is none.
pub fn tell(args: &ReportArgs) -> Result<ExitCode> {
    let report = files::read(&args.path)?;
    eprintln!("the page is {}", files::write_page(&args.path, &report)?.display());
    report::print(args.json, &report, &summary::text(&report))?;
    Ok(verdict(&report))
}

/// Lets this process, and so the engine that it starts, open the files that `idle_connections`
/// need.
///
/// # Errors
/// When it is not allowed so many.
pub(crate) fn open_files(idle_connections: u32) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    // The engine gives each door a quarter of its files, and half of the connections go to each.
    let wanted = u64::from(idle_connections) * 2 + FILES_BESIDES;
    let enough = hard.is_none_or(|hard| hard >= wanted);
    let limit = if enough { hard } else { Some(wanted) };
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    if raised.is_err() {
        // More than the hard limit is for root alone.
        setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
        let hard = hard.unwrap_or_default();
        let few = idle_connections > 0;
        ensure!(!few, "{hard} files may be open, and {wanted} are needed: ulimit -n {wanted}");
    }
    Ok(())
}

/// One target in one round, with everything that it needs. `None`: Ctrl-C came before its clock
/// started.
///
/// # Errors
/// When it cannot be run.
pub(crate) async fn one(
    scenario: &Scenario,
    (target, round): (Target, u32),
    running: &Running,
    out: Option<&Path>,
    live: &mut Live,
) -> Result<Option<RunResult>> {
    let mut scenario = scenario.clone();
    scenario.load.target = target;
    let start = Rig::start(&scenario, target, running);
    let Some(mut rig) = interrupt::or_none(start).await? else { return Ok(None) };
    rig.give_way(scenario.load.nice)?;
    let done = drive::drive((&scenario, round), &rig, out, live).await;
    let mut done = rig.explain(done)?;
    if let (Some(run), Err(ended)) = (&mut done, rig.engine_still_runs()) {
        run.engine_ended = Some(format!("{ended:#}"));
    }
    Ok(done)
}

/// What the exit code says; the last line on standard error says it in words.
pub(crate) fn verdict(report: &Report) -> ExitCode {
    let runs = &report.runs;
    if runs.iter().any(|run| run.interrupted) {
        eprintln!("interrupted: the report is of what was run");
        return ExitCode::from(INTERRUPTED);
    }
    if let Some(ended) = runs.iter().find_map(|run| run.engine_ended.as_ref()) {
        eprintln!("in the middle of a run {ended}");
        return ExitCode::from(1);
    }
    let invalid = runs.iter().filter(|run| !run.valid).count();
    if invalid > 0 {
        eprintln!(
            "{invalid} of {} runs are invalid: the generator itself lagged. Use an idle machine with \
             more cores, --threads 2 (not for bare), a lower rate, or --saturation for a claim of \
             throughput alone",
            runs.len()
        );
        return ExitCode::from(3);
    }
    let failed = runs.iter().flat_map(|run| &run.checks).filter(|check| !check.passed).count();
    if failed > 0 {
        eprintln!("limits of scenario {} that were not kept: {failed}", report.scenario.name);
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}
