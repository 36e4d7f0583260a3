//! `fulgurite-loadtest compare`: whether one build, or one configuration, differs from another.

mod alike;
mod kept;
mod pairs;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use self::{
    kept::Kept,
    pairs::{Kind, Pair, Rules},
};
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
    /// A folder of `run --out`, its report.json, or a file of `bench --out`: the first, which the
    /// other is compared with.
    #[arg(required_unless_present = "last", requires = "b")]
    a: Option<PathBuf>,
    /// The second.
    #[arg(required_unless_present = "last")]
    b: Option<PathBuf>,
    /// Compares a kept result of `bench` with the last one before it that measured the same goals;
    /// of a folder, the newest.
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["a", "b"])]
    #[arg(num_args = 0..=1, default_missing_value = "loadtest/results")]
    last: Option<PathBuf>,
    /// Compares only the runs of this target.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Compares runs too in which the generator itself lagged: they say less.
    #[arg(long)]
    with_invalid: bool,
    /// Compares although the two were not under the same load: what differs is named all the same.
    #[arg(long)]
    force: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is compared: of two reports of `bench` each goal's runs, else all runs.
#[derive(Debug, Serialize)]
struct Comparison {
    a: PathBuf,
    b: PathBuf,
    /// What was not the same in both: the load, with `--force`; the machine.
    differ: Vec<String>,
    groups: Vec<Group>,
    /// What two results of `bench` measured of the same goals.
    goals: Vec<kept::Both>,
    /// Goals that only one of them measured.
    goals_left_out: Vec<String>,
}

/// Runs of one kind.
#[derive(Debug, Serialize)]
struct Group {
    goal: Option<String>,
    /// What ran, in words.
    name: String,
    /// `runs` or `seconds`.
    pairs_of: &'static str,
    pairs: usize,
    rows: Vec<Row>,
    /// Runs that have no pair, or one that does not count; and values that a pair lacks.
    left_out: Vec<String>,
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
    let (path_a, path_b) = match (&args.last, &args.a, &args.b) {
        (Some(last), ..) => kept::last_two(last)?,
        (None, Some(a), Some(b)) => (a.clone(), b.clone()),
        _ => bail!("two reports, or --last"),
    };
    let (a, b) = (Side::read(path_a, args)?, Side::read(path_b, args)?);
    let comparison = compare(a, b, args)?;
    report::print(args.json, &comparison, &text(&comparison))
}

/// One of the two.
struct Side {
    path: PathBuf,
    /// With the runs that are compared.
    report: Report,
    /// Of a file of `bench`.
    goals: Option<Kept>,
}

impl Side {
    fn read(path: PathBuf, args: &CompareArgs) -> Result<Side> {
        let mut report = files::read(&path)?;
        let goals = kept::read(&path)?;
        if let Some(target) = &args.target {
            report.runs.retain(|run| run.target == *target);
        }
        // A bench of some goals has no open-loop run.
        let none = report.runs.is_empty() && (goals.is_none() || args.target.is_some());
        ensure!(!none, "{} holds no such run", path.display());
        Ok(Side { path, report, goals })
    }
}

fn compare(a: Side, b: Side, args: &CompareArgs) -> Result<Comparison> {
    let (goals, goals_left_out) = match (&a.goals, &b.goals) {
        (Some(of_a), Some(of_b)) => kept::both(of_a, of_b),
        (None, None) => (Vec::new(), Vec::new()),
        (Some(_), None) => bail!("{} is of bench, and the other is not", a.path.display()),
        (None, Some(_)) => bail!("{} is of bench, and the other is not", b.path.display()),
    };
    let (load_a, load_b) = (&a.report.scenario, &b.report.scenario);
    let same_seed = load_a.load.seed == load_b.load.seed;
    let rules = Rules { with_invalid: args.with_invalid, same_seed };
    let kinds = pairs::all(&a.report.runs, &b.report.runs, rules);
    let mut differ = alike::scenarios(load_a, load_b);
    for kind in &kinds {
        differ.extend(kind.differ.iter().map(|what| format!("{}, {what}", kind.name())));
    }
    ensure!(
        differ.is_empty() || args.force,
        "the two are not of the same load:\n  {}\n--force compares them all the same",
        differ.join("\n  ")
    );
    differ.extend(machines(&a.report, &b.report));
    let any = kinds.iter().any(|kind| !kind.pairs.is_empty());
    let why = kinds.iter().flat_map(|kind| told(&kind.name(), &kind.left_out));
    let why: Vec<String> = why.chain(goals_left_out.iter().cloned()).collect();
    ensure!(
        any || !goals.is_empty(),
        "nothing in the one has its like in the other: {}. --with-invalid takes invalid runs",
        why.join("; ")
    );
    let groups = kinds.iter().map(group).collect();
    Ok(Comparison { a: a.path, b: b.path, differ, groups, goals, goals_left_out })
}

/// Where they were measured is no load, and must be known.
fn machines(a: &Report, b: &Report) -> Option<String> {
    let of =
        |report: &Report| format!("{} x {}", report.machine.processors, report.machine.processor);
    let (a, b) = (of(a), of(b));
    (a != b).then(|| format!("machine: {a} in A, {b} in B"))
}

fn told(name: &str, left_out: &[String]) -> Vec<String> {
    left_out.iter().map(|why| format!("{name}: {why}")).collect()
}

/// Compares the runs, or the seconds of the only pair.
fn group(kind: &Kind) -> Group {
    let (goal, name) = (kind.goal.map(str::to_owned), kind.name());
    let (mut rows, mut left_out) = (Vec::new(), kind.left_out.clone());
    let mut add = |name, more_is_better, values: Vec<(f64, f64)>, of: &str, block| {
        left_out.extend(lacking(name, &values, of));
        rows.extend(stats::paired(&values, block).map(|ratio| Row {
            name,
            more_is_better,
            ratio,
            verdict: verdict(&ratio, more_is_better),
        }));
    };
    let mut pairs_of = "runs";
    if let [(a, b)] = kind.pairs[..] {
        pairs_of = "seconds";
        for (name, more, value) in SECOND_VALUES {
            add(name, more, seconds((a, b), value), "seconds", BLOCK_S);
        }
    } else {
        for (name, more, value) in RUN_VALUES {
            let values = kind.pairs.iter().map(|(a, b)| (value(a), value(b)));
            add(name, more, values.collect(), "pairs", 1);
        }
    }
    Group { goal, name, pairs_of, pairs: kind.pairs.len(), rows, left_out }
}

/// The seconds of both, as many as the longer one has: what one lacks is 0.
fn seconds((a, b): Pair, of: OfSecond) -> Vec<(f64, f64)> {
    let at = |run: &RunResult, second: usize| run.timeline.get(second).map_or(0.0, of);
    let most = a.timeline.len().max(b.timeline.len());
    (0..most).map(|second| (at(a, second), at(b, second))).collect()
}

/// A ratio needs two values: of which pairs there is none, in words.
fn lacking(name: &str, values: &[(f64, f64)], of: &str) -> Option<String> {
    let count = |lacks: fn(&(f64, f64)) -> bool| values.iter().filter(|pair| lacks(pair)).count();
    let sides = [
        ("A", count(|(a, b)| *a <= 0.0 && *b > 0.0)),
        ("B", count(|(a, b)| *a > 0.0 && *b <= 0.0)),
        ("both", count(|(a, b)| *a <= 0.0 && *b <= 0.0)),
    ];
    let sides = sides.iter().filter(|(_, count)| *count > 0);
    let sides: Vec<String> =
        sides.map(|(side, count)| format!("no value in {side} for {count}")).collect();
    let all = values.len();
    (!sides.is_empty()).then(|| format!("{name}: {} of {all} {of}", sides.join(", ")))
}

fn verdict(ratio: &Ratio, more_is_better: bool) -> &'static str {
    match (ratio.differs(), (ratio.middle > 1.0) == more_is_better) {
        (false, _) if ratio.pairs < stats::PAIRS_MIN => "too few pairs to say",
        (false, _) => "no difference",
        (true, true) => "better",
        (true, false) => "worse",
    }
}

fn text(comparison: &Comparison) -> String {
    let mut text = format!(
        "B over A, with the interval that holds it in 95 of 100 cases\n  A {}\n  B {}\n",
        comparison.a.display(),
        comparison.b.display()
    );
    for what in &comparison.differ {
        text += &format!("  NOT THE SAME: {what}\n");
    }
    for group in &comparison.groups {
        text += &group_text(group);
    }
    text + &kept::text(&comparison.goals, &comparison.goals_left_out)
}

fn group_text(group: &Group) -> String {
    let mut text = format!("\n{}\n", group.name);
    for Row { name, ratio, verdict, .. } in &group.rows {
        let Ratio { middle, low, high, .. } = ratio;
        text += &format!("  {name:<22}{middle:>7.3}  [{low:.3}, {high:.3}]  {verdict}\n");
    }
    for why in &group.left_out {
        text += &format!("  left out: {why}\n");
    }
    text += &match (group.pairs, group.pairs_of) {
        (0, _) => "  nothing to compare\n".to_owned(),
        (pairs, "runs") => format!("  {pairs} pairs of runs\n"),
        _ => "  the seconds of one run each: what differs from run to run is not seen.\n  Use \
              --rounds 5 or more, the two in turns.\n"
            .to_owned(),
    };
    text
}

#[cfg(test)]
mod tests;
