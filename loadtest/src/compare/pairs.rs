//! Which run of one report belongs to which of the other, and which has none.

use super::alike;
use crate::result::RunResult;

pub(super) type Pair<'a> = (&'a RunResult, &'a RunResult);

/// What counts as a pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Runs too in which the generator itself lagged.
    pub with_invalid: bool,
    /// Both sides had the same arrivals.
    pub same_seed: bool,
}

/// Runs of one kind: of one target, concurrency and goal.
#[derive(Debug)]
pub(super) struct Kind<'a> {
    pub goal: Option<&'a str>,
    pub target: &'a str,
    pub in_flight_max: u32,
    /// In the order of their rounds.
    pub pairs: Vec<Pair<'a>>,
    /// Runs without a pair, or in a pair that does not count, and why.
    pub left_out: Vec<String>,
    /// Pairs of which the two were not the same load, and what differs.
    pub differ: Vec<String>,
}

/// A kind for each goal, target and concurrency of either.
pub(super) fn all<'a>(a: &'a [RunResult], b: &'a [RunResult], rules: Rules) -> Vec<Kind<'a>> {
    let key = |run: &'a RunResult| (run.goal.as_deref(), run.target.as_str(), run.in_flight_max);
    let mut keys: Vec<_> = a.iter().chain(b).map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let kinds = keys.into_iter().map(|wanted| {
        let of = |runs: &'a [RunResult]| {
            runs.iter().filter(|run| key(run) == wanted).collect::<Vec<_>>()
        };
        let (goal, target, in_flight_max) = wanted;
        let (pairs, left_out, differ) = (Vec::new(), Vec::new(), Vec::new());
        let mut kind = Kind { goal, target, in_flight_max, pairs, left_out, differ };
        kind.pair(&of(a), &of(b), rules);
        kind
    });
    kinds.collect()
}

impl<'a> Kind<'a> {
    fn pair(&mut self, a: &[&'a RunResult], b: &[&'a RunResult], rules: Rules) {
        for run in a {
            let round = run.round;
            let Some(other) = b.iter().find(|other| other.round == round) else {
                self.left_out.push(format!("round {round} is only in A"));
                continue;
            };
            match why_not((run, other), rules.with_invalid) {
                Some(why) => self.left_out.push(format!("round {round} {why}")),
                None => {
                    let differ = alike::runs(run, other, rules.same_seed).into_iter();
                    self.differ.extend(differ.map(|what| format!("round {round}: {what}")));
                    self.pairs.push((run, other));
                }
            }
        }
        let alone = b.iter().filter(|run| !a.iter().any(|other| other.round == run.round));
        self.left_out.extend(alone.map(|run| format!("round {} is only in B", run.round)));
    }

    /// What it is, in words.
    pub fn name(&self) -> String {
        let mut name = self.goal.map(|goal| format!("{goal}, ")).unwrap_or_default();
        name += self.target;
        if self.in_flight_max > 0 {
            name += &format!(", at most {} at once", self.in_flight_max);
        }
        name
    }
}

fn why_not((a, b): Pair, with_invalid: bool) -> Option<String> {
    let sides = |bad: fn(&RunResult) -> bool| match (bad(a), bad(b)) {
        (true, true) => Some("both"),
        (true, false) => Some("A"),
        (false, true) => Some("B"),
        (false, false) => None,
    };
    let cut = sides(|run| run.interrupted).map(|side| format!("was interrupted in {side}"));
    let invalid = sides(|run| !run.valid).filter(|_| !with_invalid);
    cut.or(invalid.map(|side| format!("is invalid in {side}")))
}
