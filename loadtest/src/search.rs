//! `fulgurite-loadtest search`: the highest rate that keeps the limits of a scenario.
//!
//! Bisection: a rate that fails is tried no more, one that passes is the new floor. The machine is
//! never quite the same twice, so the last floor must pass again; if it does not, it counts as
//! failed and the search goes on below.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::{
    report::{self, Machine},
    result::{
        Report, RunResult,
        files::{self, OutFolder},
        summary,
    },
    run::{self, Differences, Live, scenario::Scenario, schedule::Stage},
};

/// An invalid run is repeated; so many of them in a row count as one that failed.
const INVALID_MAX: u32 = 3;

/// What is searched for, and where.
#[derive(Debug, Args)]
#[command(after_help = Scenario::help(), mut_arg("rate", |rate| rate.hide(true)))]
pub struct SearchArgs {
    /// A scenario whose limits are to be kept, or a TOML file. Its stages become one.
    #[arg(default_value = "steady")]
    scenario: String,
    #[command(flatten)]
    differences: Differences,
    /// The lowest rate, in payments a second: it must keep the limits.
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    from: f64,
    /// The highest rate that is tried.
    #[arg(long, default_value_t = 20_000.0, value_name = "N")]
    to: f64,
    /// How close the answer must be, in percent of it.
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    within: f64,
    /// How often the answer must pass again.
    #[arg(long, default_value_t = 2, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=20))]
    confirm: u32,
    /// The folder for the report; made when it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Shows nothing while the clock runs.
    #[arg(long)]
    quiet: bool,
}

/// The state of a search, apart from the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Search {
    /// The highest rate that passed.
    pub passed: Option<f64>,
    /// The lowest rate that failed.
    pub failed: Option<f64>,
    /// How often `passed` passed again.
    confirmed: u32,
    #[serde(skip)]
    bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    from: f64,
    to: f64,
    within: f64,
    confirm: u32,
}

#[derive(Debug, Serialize)]
struct Found<'a> {
    search: &'a Search,
    report: &'a Report,
}

impl Search {
    fn new(bounds: Bounds) -> Search {
        Search { passed: None, failed: None, confirmed: 0, bounds }
    }

    /// The next rate to try; `None` when the answer is found, or there is none.
    fn next(&self) -> Option<f64> {
        let Bounds { from, to, within, confirm } = self.bounds;
        match (self.passed, self.failed) {
            (None, None) => Some(from),
            (None, Some(failed)) if failed <= from => None,
            (None, Some(_)) => Some(from),
            // As wrk2's users do by hand: double until it breaks, then halve the gap.
            (Some(passed), None) if passed < to => Some((passed * 2.0).min(to)),
            (Some(passed), Some(failed)) if failed > passed * (1.0 + within / 100.0) => {
                Some((passed * failed).sqrt())
            }
            (Some(passed), _) => (self.confirmed < confirm).then_some(passed),
        }
    }

    fn tried(&mut self, rate: f64, passed: bool) {
        match (passed, self.passed == Some(rate)) {
            (true, true) => self.confirmed += 1,
            (true, false) => (self.passed, self.confirmed) = (Some(rate), 0),
            (false, is_floor) => {
                self.failed = Some(self.failed.map_or(rate, |failed| failed.min(rate)));
                if is_floor {
                    // It had passed by luck: the next floor is to be found below.
                    (self.passed, self.confirmed) = (None, 0);
                    self.bounds.from = self.bounds.from.min(rate / 2.0);
                }
            }
        }
    }
}

/// Searches and tells.
///
/// # Errors
/// When the scenario cannot be run.
pub async fn run(args: SearchArgs) -> Result<ExitCode> {
    ensure!(args.from > 0.0 && args.to > args.from, "--to is above --from, and both above 0");
    ensure!((0.1..=100.0).contains(&args.within), "--within: 0.1 to 100 percent");
    ensure!(
        !args.differences.has_rate(),
        "search has no --rate: --from and --to bound the rates that it tries"
    );
    let (scenario, targets) = args.differences.of(Scenario::load(&args.scenario)?)?;
    let [target] = targets[..] else { bail!("search takes one --target") };
    args.differences.running.answers()?;
    run::open_files(scenario.load.idle_connections)?;
    let out = args.out.as_deref().map(OutFolder::new).transpose()?;
    let (machine, commit) = (Machine::now(), report::commit());
    let seconds = scenario.load.stages.iter().map(|stage| stage.seconds).sum();
    let Differences { running, .. } = &args.differences;
    one_stage(&scenario, args.from, seconds).check()?;
    let bounds =
        Bounds { from: args.from, to: args.to, within: args.within, confirm: args.confirm };
    let (mut search, mut live) = (Search::new(bounds), Live::new(args.quiet));
    let mut runs: Vec<RunResult> = Vec::new();
    let (mut interrupted, mut invalid, mut broke) = (false, 0, None);
    while let Some(rate) = search.next() {
        let tried = one_stage(&scenario, rate, seconds);
        let round = u32::try_from(runs.len() + 1)?;
        let to = out.as_ref().map(OutFolder::path);
        let done = match run::one(&tried, (target, round), running, to, &mut live).await {
            Ok(done) => done,
            Err(error) => {
                broke = Some(error);
                break;
            }
        };
        interrupted = done.as_ref().is_none_or(|done| done.interrupted);
        let Some(done) = done else { break };
        let (valid, passed) = (done.valid, done.passed());
        runs.push(done);
        if interrupted {
            break;
        }
        // It says nothing; but a generator that lags each time is what this machine has.
        invalid = if valid { 0 } else { invalid + 1 };
        if !valid && invalid < INVALID_MAX {
            eprintln!("{rate:.0}/s: invalid, the generator itself lagged; once more");
            continue;
        }
        eprintln!("{rate:.0}/s {}", if valid && passed { "keeps the limits" } else { "does not" });
        search.tried(rate, valid && passed);
        invalid = 0;
    }
    if runs.is_empty() {
        return broke.map_or_else(|| Ok(run::nothing_run(out)), Err);
    }
    let report = Report::new(machine, commit, scenario, runs);
    if let Some(out) = out {
        files::write(out.path(), &report)?;
    }
    let found = Found { search: &search, report: &report };
    report::print(args.json, &found, &text(&search, &report))?;
    if let Some(error) = broke {
        return Err(run::only_some(error, &report));
    }
    if interrupted {
        eprintln!("interrupted: the report is of what was run, and the search has no answer");
        return Ok(ExitCode::from(run::INTERRUPTED));
    }
    Ok(if search.passed.is_some() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn one_stage(scenario: &Scenario, rate: f64, seconds: f64) -> Scenario {
    let mut tried = scenario.clone();
    tried.load.stages = vec![Stage { rate, to: None, seconds }];
    tried
}

fn text(search: &Search, report: &Report) -> String {
    let mut text = summary::text(report);
    for run in &report.runs {
        let word = match (run.valid, run.passed()) {
            (false, _) => "invalid",
            (true, true) => "pass",
            (true, false) => "fail",
        };
        text += &format!("\n{:>9.0}/s  {word}", run.offered_per_s);
    }
    let rate = |rate: Option<f64>| rate.map_or("none".to_owned(), |rate| format!("{rate:.0}/s"));
    let (passed, failed) = (rate(search.passed), rate(search.failed));
    text += &format!(
        "\nhighest rate that keeps the limits: {passed}, confirmed {} times",
        search.confirmed
    );
    text += &format!("; lowest that does not: {failed}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { from: 100.0, to: 20_000.0, within: 5.0, confirm: 2 };

    /// Searches a machine that keeps the limits up to `limit`.
    fn found(limit: f64) -> (Search, Vec<f64>) {
        let (mut search, mut tried) = (Search::new(BOUNDS), Vec::new());
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.tried(rate, rate <= limit);
            assert!(tried.len() < 50, "{tried:?}");
        }
        (search, tried)
    }

    #[test]
    fn it_finds_the_limit_within_its_tolerance_and_confirms_it() {
        for limit in [101.0, 777.0, 5_000.0, 19_999.0] {
            let (search, tried) = found(limit);
            let passed = search.passed.unwrap();
            assert!(passed <= limit && passed >= limit / 1.05, "{limit}: {passed} {tried:?}");
            assert_eq!(tried.iter().filter(|rate| **rate == passed).count(), 3, "{tried:?}");
        }
    }

    #[test]
    fn it_stops_at_the_bounds() {
        assert_eq!(found(1e9).0.passed, Some(20_000.0));
        let (search, tried) = found(50.0);
        assert_eq!((search.passed, tried), (None, vec![100.0]));
    }

    #[test]
    fn what_passed_once_by_luck_is_not_the_answer() {
        let (mut search, mut tries) = (Search::new(BOUNDS), 0);
        let mut lucky = true;
        while let Some(rate) = search.next() {
            tries += 1;
            assert!(tries < 50);
            // The first time above the limit passes.
            let passed = rate <= 1_000.0 || (rate > 1_000.0 && std::mem::take(&mut lucky));
            search.tried(rate, passed);
        }
        let passed = search.passed.unwrap();
        assert!((1_000.0 / 1.05..=1_000.0).contains(&passed), "{search:?}");
    }
}
