//! `fulgurite-loadtest compare`: whether one build, or one configuration, differs from another.

mod kept;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
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
    #[arg(required_unless_present = "last")]
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
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is compared: of two reports of `bench` each goal's runs, else all runs.
#[derive(Debug, Serialize)]
struct Comparison {
    a: PathBuf,
    b: PathBuf,
    groups: Vec<Group>,
    /// What two results of `bench` measured of the same goals.
    goals: Vec<kept::Both>,
}

/// Runs of one kind.
#[derive(Debug, Serialize)]
struct Group {
    goal: Option<String>,
    /// `runs` or `seconds`.
    pairs_of: &'static str,
    rows: Vec<Row>,
    /// Runs that have no pair, or one that is invalid.
    left_out: Vec<String>,
}

type Pair<'a> = (&'a RunResult, &'a RunResult);

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
    let (a, b) = (files::read(&path_a)?, files::read(&path_b)?);
    let pick = |report: &Report, path: &Path| -> Result<Vec<RunResult>> {
        let wanted = |run: &&RunResult| args.target.as_ref().is_none_or(|name| run.target == *name);
        let runs: Vec<RunResult> = report.runs.iter().filter(wanted).cloned().collect();
        ensure!(!runs.is_empty(), "{} holds no such run", path.display());
        Ok(runs)
    };
    let (runs_a, runs_b) = (pick(&a, &path_a)?, pick(&b, &path_b)?);
    let is_bench = |runs: &[RunResult]| runs.iter().all(|run| run.goal.is_some());
    let (groups, goals) = match (is_bench(&runs_a), is_bench(&runs_b)) {
        (true, true) => {
            let groups = by_goal(&runs_a, &runs_b, args.with_invalid)?;
            (groups, kept::goals(&path_a, &path_b)?)
        }
        (false, false) => {
            (vec![in_order((&runs_a, &path_a), (&runs_b, &path_b), args)?], Vec::new())
        }
        _ => bail!("one of the two is of bench, and the other is not"),
    };
    let comparison = Comparison { a: path_a, b: path_b, groups, goals };
    report::print(args.json, &comparison, &text(&comparison))
}

/// The runs of one target, each with the one that has its place.
fn in_order(
    (a, path_a): (&[RunResult], &Path),
    (b, path_b): (&[RunResult], &Path),
    args: &CompareArgs,
) -> Result<Group> {
    for (runs, path) in [(a, path_a), (b, path_b)] {
        let valid = runs.iter().all(|run| run.valid) || args.with_invalid;
        ensure!(valid, "{} holds an invalid run; --with-invalid takes it", path.display());
    }
    let targets = |runs: &[RunResult]| runs.iter().map(|run| run.target.clone()).collect();
    let (of_a, of_b): (Vec<String>, Vec<String>) = (targets(a), targets(b));
    let same = of_a == of_b;
    ensure!(same, "the two did not run the same targets in the same order; --target picks one");
    let one_target = of_a.iter().all(|target| *target == of_a[0]);
    ensure!(one_target, "several targets: --target picks one");
    Ok(compare(None, &a.iter().zip(b).collect::<Vec<_>>(), Vec::new()))
}

/// A group for each goal, its runs paired by their rounds.
fn by_goal(a: &[RunResult], b: &[RunResult], with_invalid: bool) -> Result<Vec<Group>> {
    let mut goals: Vec<&String> = a.iter().chain(b).filter_map(|run| run.goal.as_ref()).collect();
    goals.sort();
    goals.dedup();
    let mut any = false;
    let groups: Vec<Group> = goals
        .into_iter()
        .map(|goal| {
            let of = |run: &&RunResult| run.goal.as_ref() == Some(goal);
            let (mut pairs, mut left_out) = (Vec::new(), Vec::new());
            for run in a.iter().filter(of) {
                let round = run.round;
                let Some(other) = b.iter().filter(of).find(|other| other.round == round) else {
                    left_out.push(format!("round {round} is only in A"));
                    continue;
                };
                match (run.valid, other.valid) {
                    _ if with_invalid => pairs.push((run, other)),
                    (true, true) => pairs.push((run, other)),
                    (false, true) => left_out.push(format!("round {round} is invalid in A")),
                    (true, false) => left_out.push(format!("round {round} is invalid in B")),
                    (false, false) => left_out.push(format!("round {round} is invalid in both")),
                }
            }
            let alone = |run: &&RunResult| !a.iter().filter(of).any(|of| of.round == run.round);
            let alone = b.iter().filter(of).filter(alone);
            left_out.extend(alone.map(|run| format!("round {} is only in B", run.round)));
            any |= !pairs.is_empty();
            compare(Some(goal), &pairs, left_out)
        })
        .collect();
    let why = || groups.iter().flat_map(|group| told(group.goal.as_deref(), &group.left_out));
    ensure!(
        any,
        "no run of the one has a valid run of the other beside it ({}); --with-invalid takes \
         invalid ones",
        why().collect::<Vec<_>>().join(", ")
    );
    Ok(groups)
}

fn told(goal: Option<&str>, left_out: &[String]) -> Vec<String> {
    left_out.iter().map(|why| format!("{} {why}", goal.unwrap_or_default())).collect()
}

/// Compares the runs, or the seconds of the only pair.
fn compare(goal: Option<&str>, pairs: &[Pair], left_out: Vec<String>) -> Group {
    let row = |name, more_is_better, pairs: Vec<(f64, f64)>, block| {
        let ratio = stats::paired(&pairs, block)?;
        Some(Row { name, more_is_better, ratio, verdict: verdict(&ratio, more_is_better) })
    };
    let goal = goal.map(str::to_owned);
    let [(a, b)] = pairs else {
        let values = |of: OfRun| pairs.iter().map(|(a, b)| (of(a), of(b))).collect();
        let rows = RUN_VALUES.iter().filter(|_| !pairs.is_empty());
        let rows = rows.filter_map(|(name, more, value)| row(name, *more, values(*value), 1));
        return Group { goal, pairs_of: "runs", rows: rows.collect(), left_out };
    };
    let seconds = |of: OfSecond| {
        let (a, b) = (a.timeline.iter().map(of), b.timeline.iter().map(of));
        a.zip(b).collect()
    };
    let rows = SECOND_VALUES.iter();
    let rows = rows.filter_map(|(name, more, value)| row(name, *more, seconds(*value), BLOCK_S));
    Group { goal, pairs_of: "seconds", rows: rows.collect(), left_out }
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
    for group in &comparison.groups {
        text += &group_text(group);
    }
    text + &kept::text(&comparison.goals)
}

fn group_text(group: &Group) -> String {
    let mut text = group.goal.as_ref().map(|goal| format!("\n{goal}")).unwrap_or_default();
    text += "\n";
    for Row { name, ratio, verdict, .. } in &group.rows {
        let Ratio { middle, low, high, .. } = ratio;
        text += &format!("  {name:<22}{middle:>7.3}  [{low:.3}, {high:.3}]  {verdict}\n");
    }
    for why in &group.left_out {
        text += &format!("  left out: {why}\n");
    }
    let Some(pairs) = group.rows.first().map(|row| row.ratio.pairs) else { return text };
    text += &match group.pairs_of {
        "runs" => format!("  {pairs} pairs of runs\n"),
        _ => format!(
            "  {pairs} pairs of seconds of one run each: what differs from run to run is not \
             seen.\n  Use --rounds 5 or more, the two in turns.\n"
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

    /// Of the goals P1 and P2, two rounds each; P2's first is invalid in one of them.
    fn bench(p2_valid: bool) -> Vec<RunResult> {
        let run = |goal: &str, target: &str, round, valid| RunResult {
            goal: Some(goal.to_owned()),
            target: target.to_owned(),
            round,
            valid,
            achieved_per_s: 100.0,
            ..RunResult::default()
        };
        vec![
            run("P1", "batches", 1, true),
            run("P2", "http", 1, p2_valid),
            run("P1", "batches", 2, true),
            run("P2", "http", 2, true),
        ]
    }

    #[test]
    fn the_runs_of_a_bench_are_paired_by_goal_and_round_and_only_invalid_pairs_are_left_out() {
        let (a, mut b) = (bench(true), bench(false));
        // Another order, and a run more.
        b.reverse();
        b.push(RunResult { round: 3, ..b[0].clone() });
        let groups = by_goal(&a, &b, false).unwrap();
        let goals: Vec<_> = groups.iter().map(|group| group.goal.as_deref()).collect();
        assert_eq!(goals, [Some("P1"), Some("P2")]);
        assert_eq!((groups[0].pairs_of, groups[0].rows[0].ratio.pairs), ("runs", 2));
        assert!(groups[0].left_out.is_empty());
        assert_eq!(groups[1].left_out, ["round 1 is invalid in B", "round 3 is only in B"]);
        let sides = (PathBuf::from("a"), PathBuf::from("b"));
        let text = text(&Comparison { a: sides.0, b: sides.1, groups, goals: Vec::new() });
        assert!(text.contains("P2\n"), "{text}");
        assert!(text.contains("left out: round 1 is invalid in B"), "{text}");
        let all = by_goal(&a, &b, true).unwrap();
        assert_eq!(all[1].left_out, ["round 3 is only in B"]);
    }

    #[test]
    fn without_any_valid_pair_nothing_is_compared() {
        let error = by_goal(&bench(true)[1..2], &bench(false)[1..2], false).unwrap_err();
        assert!(error.to_string().contains("P2 round 1 is invalid in B"), "{error}");
    }
}
