//! Each run beside the bare client of its round: the ratio, and the processor time behind it.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::RunResult;
use crate::measure::Spread;

/// Of what was offered: a client that reached so much of it could have done more.
const KEPT_UP: f64 = 0.99;

/// A run and the best bare client of its round. Processor time is for each payment with a final
/// state, in microseconds; `None` where nobody could read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Beside {
    /// What ran.
    pub run: String,
    /// The bare client beside it.
    pub bare: String,
    pub target: String,
    pub round: u32,
    /// What was paid a second, of that of the bare client.
    pub ratio: f64,
    pub paid_per_s: f64,
    pub bare_paid_per_s: f64,
    pub engine_us: Option<f64>,
    pub generator_us: Option<f64>,
    /// The nodes' time in this run. A fleet that costs much flatters the ratio.
    pub nodes_us: Option<f64>,
    pub bare_nodes_us: Option<f64>,
    /// The bare client is the generator of its run.
    pub bare_generator_us: Option<f64>,
    /// The bare client did all that was offered: the ratio says nothing of what it could have done.
    pub bare_kept_up: bool,
    /// The generator lagged in one of the two.
    pub is_invalid: bool,
}

/// Every run that has a bare client in its round, beside the fastest of them; one that is invalid
/// only where there is no other.
pub(crate) fn all(runs: &[RunResult]) -> Vec<Beside> {
    let engines = runs.iter().filter(|run| run.target != "bare");
    let pairs = engines.filter_map(|run| {
        let is_whole = |bare: &&RunResult| !bare.interrupted && bare.paid_per_s > 0.0;
        let bare = runs.iter().filter(|bare| bare.target == "bare" && bare.round == run.round);
        let better = |a: &&RunResult, b: &&RunResult| {
            a.valid.cmp(&b.valid).then(a.paid_per_s.total_cmp(&b.paid_per_s))
        };
        let best = bare.filter(is_whole).max_by(better)?;
        Some((run, best))
    });
    pairs.map(|(run, bare)| of(run, bare)).collect()
}

fn of(run: &RunResult, bare: &RunResult) -> Beside {
    Beside {
        run: run.title(),
        bare: bare.title(),
        target: run.target.clone(),
        round: run.round,
        ratio: run.paid_per_s / bare.paid_per_s,
        paid_per_s: run.paid_per_s,
        bare_paid_per_s: bare.paid_per_s,
        engine_us: run.usage.engine_us,
        generator_us: run.usage.generator_us,
        nodes_us: run.usage.nodes_us,
        bare_nodes_us: bare.usage.nodes_us,
        bare_generator_us: bare.usage.generator_us,
        bare_kept_up: bare.paid_per_s >= KEPT_UP * bare.offered_per_s,
        is_invalid: !run.valid || !bare.valid,
    }
}

/// The columns of a table, for a terminal or a page; the first is the run.
pub(crate) const COLUMNS: [&str; 6] = ["run", "paid/s", "of bare", "engine", "nodes", "generator"];

/// The rows under [`COLUMNS`]: the runs of a round, and below them the bare client that they are
/// compared with.
pub(crate) fn rows(all: &[Beside]) -> Vec<[String; 6]> {
    let us = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.0}"));
    let run = |of: &Beside| {
        [
            of.run.clone(),
            format!("{:.0}", of.paid_per_s),
            match (of.is_invalid, of.bare_kept_up) {
                (true, _) => "invalid".into(),
                (false, true) => "no ratio".into(),
                (false, false) => format!("{:.2}", of.ratio),
            },
            us(of.engine_us),
            us(of.nodes_us),
            us(of.generator_us),
        ]
    };
    let bare = |of: &Beside| {
        [
            of.bare.clone(),
            format!("{:.0}", of.bare_paid_per_s),
            "1".into(),
            "-".into(),
            us(of.bare_nodes_us),
            us(of.bare_generator_us),
        ]
    };
    let mut rows = Vec::new();
    for round in all.chunk_by(|a, b| a.bare == b.bare) {
        rows.extend(round.iter().map(run));
        rows.extend(round.first().map(bare));
    }
    rows
}

/// What the table does not say by itself: the middle of several rounds, and what it is worth.
pub(crate) fn remarks(all: &[Beside]) -> Vec<String> {
    let mut targets: Vec<&str> = all.iter().map(|of| of.target.as_str()).collect();
    targets.dedup();
    targets.sort_unstable();
    targets.dedup();
    let mut remarks = Vec::new();
    for target in targets {
        let counts = |of: &&Beside| of.target == target && !of.bare_kept_up && !of.is_invalid;
        let of = all.iter().filter(counts);
        let ratios: Vec<f64> = of.map(|of| of.ratio).collect();
        let rounds = ratios.len();
        if rounds > 1 {
            let Spread { median, min, max } = Spread::of(ratios);
            remarks.push(format!(
                "{target}: {median:.2} of bare, the middle of {rounds} rounds ({min:.2} to \
                 {max:.2})"
            ));
        }
    }
    if all.iter().any(|of| of.is_invalid) {
        remarks.push(
            "Invalid: the generator itself lagged, in the run or in the bare client beside it."
                .into(),
        );
    }
    if all.iter().any(|of| of.bare_kept_up && !of.is_invalid) {
        remarks.push(
            "No ratio: the bare client kept up with all that was offered and could have done more. A \
             higher --rate finds its limit; `smoke` lets both do what they can."
                .into(),
        );
    }
    remarks
}

/// The table and its remarks for a terminal; empty without a bare client.
pub(crate) fn text(all: &[Beside]) -> String {
    let mut text = String::new();
    if all.is_empty() {
        return text;
    }
    text += "\nbeside the bare client of the same round; CPU in us a payment\n";
    for row in std::iter::once(COLUMNS.map(str::to_owned)).chain(rows(all)) {
        let [run, rate, ratio, engine, nodes, generator] = row;
        // Writing to a String does not fail.
        let _ =
            writeln!(text, "  {run:<32}{rate:>11}{ratio:>9}{engine:>9}{nodes:>9}{generator:>11}");
    }
    for remark in remarks(all) {
        let _ = writeln!(text, "  {remark}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Usage;

    fn run(target: &str, in_flight_max: u32, round: u32, paid_per_s: f64) -> RunResult {
        let usage = Usage { nodes_us: Some(40.0 + f64::from(round)), ..Usage::default() };
        let (target, offered_per_s) = (target.to_owned(), 900.0);
        RunResult {
            target,
            valid: true,
            in_flight_max,
            round,
            paid_per_s,
            offered_per_s,
            usage,
            ..RunResult::default()
        }
    }

    #[test]
    fn the_ratio_is_to_the_best_bare_client_of_the_same_round_and_the_nodes_time_is_beside_it() {
        let runs = [
            run("batches", 0, 1, 400.0),
            run("bare", 64, 1, 500.0),
            run("bare", 256, 1, 800.0),
            run("batches", 0, 2, 300.0),
            run("bare", 64, 2, 600.0),
        ];
        let all = all(&runs);
        let ratios: Vec<_> = all.iter().map(|of| (of.ratio, of.bare.as_str())).collect();
        assert_eq!(
            ratios,
            [
                (0.5, "bare, at most 256 at once, round 1"),
                (0.5, "bare, at most 64 at once, round 2")
            ]
        );
        assert_eq!((all[1].nodes_us, all[1].bare_nodes_us), (Some(42.0), Some(42.0)));
        let text = text(&all);
        assert!(text.contains("batches: 0.50 of bare, the middle of 2 rounds"), "{text}");
        assert!(text.contains(" 0.50        -       41"), "{text}");
        assert!(!text.contains("kept up"), "{text}");
    }

    #[test]
    fn the_bare_client_of_several_targets_is_told_once_a_round() {
        let runs = |round| ["batches", "http", "bare"].map(|target| run(target, 0, round, 100.0));
        let all = all(&[runs(1), runs(2)].concat());
        let names: Vec<_> = rows(&all).into_iter().map(|[name, ..]| name).collect();
        let expected = [1, 2].map(|round| {
            ["batches", "http", "bare"].map(|target| format!("{target}, round {round}"))
        });
        assert_eq!(names, expected.concat());
    }

    #[test]
    fn an_invalid_run_gives_no_ratio() {
        let lagged = RunResult { valid: false, ..run("bare", 256, 1, 800.0) };
        // One that is valid counts, though it paid less.
        let runs = [run("batches", 0, 1, 400.0), lagged.clone(), run("bare", 64, 1, 500.0)];
        assert_eq!(all(&runs)[0].ratio, 0.8);
        let runs = [run("batches", 0, 1, 400.0), lagged.clone(), run("batches", 0, 2, 1.0), lagged];
        let text = text(&all(&runs));
        assert!(text.contains(" invalid ") && text.contains("Invalid: the generator"), "{text}");
        assert!(!text.contains("of bare, the middle"), "{text}");
    }

    #[test]
    fn a_bare_client_that_kept_up_sets_no_limit() {
        let all = all(&[run("http", 0, 1, 890.0), run("bare", 0, 1, 899.0)]);
        assert!(all[0].bare_kept_up);
        assert!(text(&all).contains("the bare client kept up"));
        assert!(super::all(&[run("http", 0, 1, 890.0)]).is_empty());
        assert_eq!(text(&[]), "");
    }
}
