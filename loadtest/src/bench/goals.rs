//! The goals that are measured, and how a measurement stands to its goal.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::Spread;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// As in docs/performance.md, with a letter where a goal has several parts.
    pub id: &'static str,
    pub what: &'static str,
    pub sense: Sense,
    /// `None`: only stated.
    pub limit: Option<f64>,
    /// Decimals of its values.
    pub decimals: usize,
}

/// Which side of its limit a value must be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sense {
    AtLeast,
    AtMost,
}
use Sense::{AtLeast, AtMost};

const fn goal(
    id: &'static str,
    what: &'static str,
    (sense, limit): (Sense, f64),
    decimals: usize,
) -> Goal {
    Goal { id, what, sense, limit: Some(limit), decimals }
}

/// One without a limit.
const fn stated(id: &'static str, what: &'static str, decimals: usize) -> Goal {
    Goal { id, what, sense: AtMost, limit: None, decimals }
}

/// All that are measured here, in the order of the table.
pub(crate) const GOALS: [Goal; 33] = [
    goal("P1a", "paid/s in batches, offered 12,200/s, door check", (AtLeast, 12_000.0), 0),
    goal("P1b", "of the bare client's paid/s, node check", (AtLeast, 0.60), 2),
    stated("P1c", "the bare client's paid/s beside it", 0),
    stated("P1d", "the nodes' CPU a payment under the engine, us", 1),
    stated("P1e", "the nodes' CPU a payment under the bare client, us", 1),
    goal("P2a", "1,000/s: outcome P50 less a bare exchange's, ms", (AtMost, 3.0), 2),
    goal("P2b", "1,000/s: outcome P99, nodes settle at once, ms", (AtMost, 25.0), 2),
    goal("P2c", "1,000/s: durable acknowledgement P99, ms", (AtMost, 10.0), 2),
    stated("P2d", "1,000/s: generator's own lag P99, ms", 2),
    stated("P2e", "1,000/s: outcome P50 as the client sees it, ms", 2),
    stated("P2f", "1,000/s: P50 of a bare exchange with a node, ms", 2),
    goal("P3a", "engine CPU a payment in a batch, node check, us", (AtMost, 60.0), 1),
    goal("P3b", "engine CPU a payment over HTTP, node check, us", (AtMost, 120.0), 1),
    stated("P3c", "paid/s over HTTP, offered 12,000/s", 0),
    goal("P4a", "real lnd, direct: paid/s of the naive client's best", (AtLeast, 1.0), 2),
    goal("P4b", "real lnd, two hops: paid/s of the naive client's best", (AtLeast, 1.0), 2),
    goal("P4c", "real lnd, one channel: paid of all", (AtLeast, 0.999), 4),
    goal("P4d", "real lnd, one channel: paid/s of the naive client's best", (AtLeast, 0.95), 2),
    goal("P5", "1 to 32 nodes of 50/s: least share of the sum", (AtLeast, 0.95), 3),
    goal("P6a", "offered twice the nodes' peak: paid of the peak", (AtLeast, 0.90), 2),
    goal("P6b", "offered twice the nodes' peak: refusal P99, ms", (AtMost, 50.0), 1),
    goal("P6c", "the same: memory, last third of first", (AtMost, 1.25), 2),
    goal("P6d", "the same: seconds until latency is normal again", (AtMost, 5.0), 1),
    goal("P7a", "9,990 connections open: engine's memory, MiB", (AtMost, 1_024.0), 0),
    goal("P7b", "9,990 connections open: P95 of that without them", (AtMost, 2.0), 2),
    goal("P8a", "ready after a kill, 1,000,000 behind, s", (AtMost, 5.0), 2),
    goal("P8b", "ready after a kill, 10,000,000 behind, s", (AtMost, 5.0), 2),
    goal("P8c", "engine CPU a payment, 10,000,000 of 10,000", (AtMost, 1.1), 2),
    stated("P8d", "disk a payment, 10,000,000 behind, bytes", 0),
    goal("P10a", "1,000,000 in ten batches: not paid or twice", (AtMost, 0.0), 0),
    goal("P10b", "1,000,000: peak memory, of that after 200,000", (AtMost, 1.25), 2),
    stated("P10c", "1,000,000: seconds until all are paid", 0),
    stated("P10d", "1,000,000: engine's peak memory, MiB", 0),
];

/// The goals without the letters of their parts, in their order.
pub(crate) fn names() -> Vec<&'static str> {
    let part = |letter: char| letter.is_ascii_lowercase();
    let mut names: Vec<&str> = GOALS.iter().map(|goal| goal.id.trim_end_matches(part)).collect();
    names.dedup();
    names
}

/// Whether there is such a goal.
pub(crate) fn is_known(name: &str) -> bool {
    names().contains(&name)
}

/// Whether `--rounds` does not repeat it.
pub(crate) fn is_once(name: &str) -> bool {
    ["P4", "P5", "P7", "P8", "P10"].contains(&name)
}

/// What was measured of each goal.
#[derive(Debug, Default)]
pub(crate) struct Measured(BTreeMap<&'static str, Rounds>);

/// What all rounds say of one goal.
#[derive(Clone, Debug, Default)]
struct Rounds {
    values: Vec<f64>,
    /// Rounds that do not count, and why.
    invalid: Vec<String>,
    /// Rounds without a value, and why.
    missing: Vec<String>,
    /// Why the goal is missed whatever its values are.
    spoiled: Vec<String>,
    /// Rounds that did not come to their end, and why.
    failed: Vec<String>,
}

/// How a measurement stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// It has no limit.
    Stated,
    /// The generator itself lagged in one of the runs: neither met nor missed.
    Invalid,
    NotMeasured,
    /// A round did not come to its end, because a payment was not paid or a process did not do its
    /// part; whatever the others say.
    Failed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Stated => "stated",
            Verdict::Invalid => "INVALID",
            Verdict::NotMeasured => "NOT MEASURED",
            Verdict::Failed => "FAILED",
        }
    }
}

/// A goal and what came of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub id: &'static str,
    pub what: &'static str,
    /// `<=` or `>=`.
    pub sense: &'static str,
    pub goal: Option<f64>,
    /// `None`: no round has a value.
    pub measured: Option<Spread>,
    pub rounds: usize,
    /// The median over the goal.
    pub ratio: Option<f64>,
    pub verdict: Verdict,
    /// What keeps it from being met besides its value.
    pub why: Vec<String>,
    #[serde(skip)]
    decimals: usize,
}

impl Measured {
    /// Adds a round's value of a goal.
    pub fn add(&mut self, id: &'static str, value: f64) {
        self.rounds(id).values.push(value);
    }

    /// Adds a round's value of a goal, or says what there was nothing of.
    pub fn add_or(&mut self, id: &'static str, value: Option<f64>, missing: &str) {
        match value {
            Some(value) => self.add(id, value),
            None => self.rounds(id).missing.push(missing.to_owned()),
        }
    }

    /// A run behind a goal is invalid.
    pub fn invalid(&mut self, id: &'static str, why: String) {
        self.rounds(id).invalid.push(why);
    }

    /// A goal is missed for another reason than its value.
    pub fn spoil(&mut self, id: &'static str, why: String) {
        self.rounds(id).spoiled.push(why);
    }

    /// A round of a goal did not come to its end.
    pub fn fail(&mut self, id: &'static str, why: String) {
        self.rounds(id).failed.push(why);
    }

    /// Whether that is so of any goal.
    pub fn any_failed(&self) -> bool {
        self.0.values().any(|rounds| !rounds.failed.is_empty())
    }

    /// A line for each goal of which anything is known.
    pub fn lines(&self) -> Vec<Line> {
        let measured = |goal: &Goal| Some((*goal, self.0.get(goal.id)?));
        GOALS.iter().filter_map(measured).map(|(goal, rounds)| line(goal, rounds)).collect()
    }

    fn rounds(&mut self, id: &'static str) -> &mut Rounds {
        self.0.entry(id).or_default()
    }
}

fn line(goal: Goal, rounds: &Rounds) -> Line {
    let Rounds { values, invalid, missing, spoiled, failed } = rounds;
    let measured = (!values.is_empty()).then(|| Spread::of(values.iter().copied()));
    let kept = measured.zip(goal.limit).map(|(measured, limit)| match goal.sense {
        AtLeast => measured.median >= limit,
        AtMost => measured.median <= limit,
    });
    let verdict = match kept {
        _ if !failed.is_empty() => Verdict::Failed,
        _ if goal.limit.is_none() && measured.is_some() => Verdict::Stated,
        // Before a miss: what an overloaded generator loses is not the engine's.
        _ if !invalid.is_empty() => Verdict::Invalid,
        _ if !spoiled.is_empty() => Verdict::Missed,
        _ if !missing.is_empty() => Verdict::NotMeasured,
        Some(true) => Verdict::Met,
        Some(false) => Verdict::Missed,
        None => Verdict::NotMeasured,
    };
    let limit = goal.limit.filter(|limit| *limit > 0.0);
    Line {
        id: goal.id,
        what: goal.what,
        sense: if goal.sense == AtLeast { ">=" } else { "<=" },
        goal: goal.limit,
        measured,
        rounds: values.len(),
        ratio: measured.zip(limit).map(|(measured, limit)| measured.median / limit),
        verdict,
        why: [failed, invalid, spoiled, missing].into_iter().flatten().cloned().collect(),
        decimals: goal.decimals,
    }
}

/// The table.
pub(crate) fn table(lines: &[Line]) -> String {
    let head =
        format!("{:<6}{:<58}{:>11}{:>28}{:>8}", "goal", "", "asked", "median [min-max]", "ratio");
    head + &lines.iter().map(row).collect::<String>()
}

fn row(line: &Line) -> String {
    let decimals = line.decimals;
    let asked = line.goal.map(|goal| format!("{} {goal}", line.sense)).unwrap_or_default();
    let ratio = line.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    let measured = match line.measured {
        None => "-".to_owned(),
        Some(measured) if line.rounds == 1 => format!("{:.decimals$}", measured.median),
        Some(measured) => measured.text(decimals),
    };
    let mut row = format!("\n{:<6}{:<58}{asked:>11}{measured:>28}{ratio:>8}", line.id, line.what);
    row += &format!("  {}", line.verdict.word());
    for why in &line.why {
        row += &format!("\n      {why}");
    }
    row
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_goal_has_an_id_of_its_own() {
        let ids: BTreeSet<&str> = GOALS.iter().map(|goal| goal.id).collect();
        assert_eq!(ids.len(), GOALS.len());
        assert_eq!(names(), ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P10"]);
        assert!(is_known("P10") && !is_known("P9") && !is_known("P1a"));
    }

    #[test]
    fn a_goal_is_met_or_missed_by_its_median() {
        let mut measured = Measured::default();
        for value in [0.55, 0.61, 0.62] {
            measured.add("P1b", value);
        }
        measured.add("P2a", 4.0);
        measured.add("P8d", 1_300.0);
        measured.add("P10a", 0.0);
        let lines = measured.lines();
        let verdicts: Vec<_> = lines.iter().map(|line| (line.id, line.verdict)).collect();
        let expected = [
            ("P1b", Verdict::Met),
            ("P2a", Verdict::Missed),
            ("P8d", Verdict::Stated),
            ("P10a", Verdict::Met),
        ];
        assert_eq!(verdicts, expected);
        let table = table(&lines);
        assert!(table.contains("0.61 [0.55-0.62]    1.02  met"), "{table}");
        assert!(table.contains("4.00    1.33  MISSED"), "{table}");
    }

    #[test]
    fn what_is_invalid_incomplete_or_missing_is_never_met() {
        let mut measured = Measured::default();
        for id in ["P2a", "P2b", "P6b", "P7b"] {
            measured.add_or(id, (id != "P7b").then_some(0.5), "no outcome");
        }
        measured.spoil("P2a", "round 1: 3 refused".into());
        measured.spoil("P2b", "round 1: 3 refused".into());
        measured.invalid("P2b", "round 1: the generator lagged".into());
        measured.add_or("P6b", None, "round 2: no refusal");
        let lines = measured.lines();
        let verdicts: Vec<_> = lines.iter().map(|line| line.verdict).collect();
        use Verdict::{Invalid, Missed, NotMeasured};
        assert_eq!(verdicts, [Missed, Invalid, NotMeasured, NotMeasured]);
        let table = table(&lines);
        assert!(table.contains("MISSED\n      round 1: 3 refused"), "{table}");
        assert!(table.contains("INVALID\n      round 1: the generator lagged"), "{table}");
        let json = serde_json::to_value(&lines).unwrap();
        assert_eq!(json[1]["verdict"], "invalid");
        assert_eq!(
            (&json[3]["verdict"], json[3]["measured"].is_null()),
            (&"not_measured".into(), true)
        );
    }
}
