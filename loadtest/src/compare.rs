//! `fulgurite-loadtest compare`: whether one build, or one configuration, differs from another.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::{
    report,
    result::{Report, RunResult, Second, Stage, files},
    stats::{self, Ratio},
};

/// Seconds that are drawn together when there is one run each.
const BLOCK_S: usize = 5;

/// The two sides.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A report, or a folder that holds one: the first, which the other is compared with.
    a: PathBuf,
    /// The second.
    b: PathBuf,
    /// Compares only the runs of this target.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Compares runs too in which the generator itself lagged: they say less.
    #[arg(long)]
    with_invalid: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is compared.
#[derive(Debug, Serialize)]
struct Comparison {
    /// `runs` or `seconds`.
    pairs_of: &'static str,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    /// Whether more of it is better.
    more_is_better: bool,
    ratio: Ratio,
    verdict: &'static str,
}

type OfRun = fn(&RunResult) -> f64;
type OfSecond = fn(&Second) -> f64;

/// Name, whether more is better, and the value.
const RUN_VALUES: [(&str, bool, OfRun); 6] = [
    ("achieved rate", true, |run| run.achieved_per_s),
    ("outcome P50", false, |run| run.latency(Stage::Outcome).p50_ms),
    ("outcome P99", false, |run| run.latency(Stage::Outcome).p99_ms),
    ("ack P99", false, |run| run.latency(Stage::Ack).p99_ms),
    ("engine CPU a payment", false, |run| run.usage.engine_us.unwrap_or(0.0)),
    ("nodes' CPU a payment", false, |run| run.usage.nodes_us.unwrap_or(0.0)),
];
const SECOND_VALUES: [(&str, bool, OfSecond); 4] = [
    ("achieved rate", true, |second| second.done as f64),
    ("outcome P50", false, |second| second.outcome.p50_ms),
    ("outcome P99", false, |second| second.outcome.p99_ms),
    ("ack P99", false, |second| second.ack.p99_ms),
];

/// Compares and prints.
///
/// # Errors
/// When the two cannot be compared.
pub fn run(args: &CompareArgs) -> Result<()> {
    let (a, b) = (files::read(&args.a)?, files::read(&args.b)?);
    let pick = |report: &Report, path: &Path| -> Result<Vec<RunResult>> {
        let wanted = |run: &&RunResult| args.target.as_ref().is_none_or(|name| run.target == *name);
        let runs: Vec<RunResult> = report.runs.iter().filter(wanted).cloned().collect();
        ensure!(!runs.is_empty(), "{} holds no such run", path.display());
        let valid = runs.iter().all(|run| run.valid) || args.with_invalid;
        ensure!(valid, "{} holds an invalid run; --with-invalid takes it", path.display());
        Ok(runs)
    };
    let (runs_a, runs_b) = (pick(&a, &args.a)?, pick(&b, &args.b)?);
    let targets =
        |runs: &[RunResult]| runs.iter().map(|run| run.target.clone()).collect::<Vec<_>>();
    let same = targets(&runs_a) == targets(&runs_b);
    ensure!(same, "the two did not run the same targets in the same order; --target picks one");
    let one_target = runs_a.iter().all(|run| run.target == runs_a[0].target);
    ensure!(one_target, "several targets: --target picks one");
    let comparison = compare(&runs_a, &runs_b);
    report::print(args.json, &comparison, &text(&comparison, (&args.a, &args.b)))
}

/// Pairs the runs, or the seconds of the only run.
fn compare(a: &[RunResult], b: &[RunResult]) -> Comparison {
    let rows = |name, more_is_better, pairs: Vec<(f64, f64)>, block| {
        let ratio = stats::paired(&pairs, block)?;
        Some(Row { name, more_is_better, ratio, verdict: verdict(&ratio, more_is_better) })
    };
    if a.len() > 1 {
        let pairs = |value: OfRun| a.iter().map(value).zip(b.iter().map(value)).collect();
        let all = RUN_VALUES.iter();
        let all = all.filter_map(|(name, more, value)| rows(name, *more, pairs(*value), 1));
        return Comparison { pairs_of: "runs", rows: all.collect() };
    }
    let (a, b) = (&a[0].timeline, &b[0].timeline);
    let pairs = |value: OfSecond| a.iter().map(value).zip(b.iter().map(value)).collect();
    let all = SECOND_VALUES.iter();
    let all = all.filter_map(|(name, more, value)| rows(name, *more, pairs(*value), BLOCK_S));
    Comparison { pairs_of: "seconds", rows: all.collect() }
}

fn verdict(ratio: &Ratio, more_is_better: bool) -> &'static str {
    match (ratio.differs(), (ratio.middle > 1.0) == more_is_better) {
        (false, _) if ratio.pairs < stats::PAIRS_MIN => "too few pairs to say",
        (false, _) => "no difference",
        (true, true) => "better",
        (true, false) => "worse",
    }
}

fn text(comparison: &Comparison, (a, b): (&Path, &Path)) -> String {
    let mut text = format!(
        "B over A, with the interval that holds it in 95 of 100 cases\n  A {}\n  B {}\n\n",
        a.display(),
        b.display()
    );
    for Row { name, ratio, verdict, .. } in &comparison.rows {
        let Ratio { middle, low, high, .. } = ratio;
        text += &format!("  {name:<22}{middle:>7.3}  [{low:.3}, {high:.3}]  {verdict}\n");
    }
    let pairs = comparison.rows.first().map_or(0, |row| row.ratio.pairs);
    text += &match comparison.pairs_of {
        "runs" => format!("\n{pairs} pairs of runs"),
        _ => format!(
            "\n{pairs} pairs of seconds of one run each: what differs from run to run is not seen. \
             Use --rounds 5 or more, the two in turns."
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_knows_what_is_better() {
        let ratio =
            |middle: f64| Ratio { middle, low: middle - 0.05, high: middle + 0.05, pairs: 9 };
        assert_eq!(verdict(&ratio(1.2), true), "better");
        assert_eq!(verdict(&ratio(1.2), false), "worse");
        assert_eq!(verdict(&ratio(0.8), false), "better");
        assert_eq!(verdict(&ratio(1.02), true), "no difference");
        assert_eq!(verdict(&Ratio { pairs: 3, ..ratio(2.0) }, true), "too few pairs to say");
    }
}
