//! The shortest schedule that still breaks a rule.

use std::collections::BTreeSet;

use crate::run::{Scenario, Violation};

/// Shrinks a scenario that breaks a rule: fewer orders, then fewer strikes, in halves, quarters
/// and so on, in at most `runs_max` runs. Returns the smallest that still breaks one, and how; what
/// a check found does not shrink to what is a panic.
pub fn shrink(scenario: &Scenario, violation: Violation, runs_max: usize) -> (Scenario, Violation) {
    let finder = violation.finder;
    let broken = |scenario: &Scenario| scenario.run().err().filter(|found| found.finder == finder);
    let mut best = (scenario.clone(), violation);
    let mut runs = 0;
    for rows_max in [1, 2, 3] {
        let smaller = Scenario { rows_max: Some(rows_max), only: None, ..scenario.clone() };
        runs += 1;
        if let Some(violation) = broken(&smaller) {
            best = (smaller, violation);
            break;
        }
    }
    let mut left: Vec<u32> = best.1.strikes.iter().map(|strike| strike.number).collect();
    let mut size = left.len();
    while size > 0 && runs < runs_max {
        let mut at = 0;
        while at < left.len() && runs < runs_max {
            let end = (at + size).min(left.len());
            let rest: BTreeSet<u32> = left[..at].iter().chain(&left[end..]).copied().collect();
            let smaller = Scenario { only: Some(rest), ..best.0.clone() };
            runs += 1;
            if let Some(violation) = broken(&smaller) {
                // What struck only after the rule was broken is gone with it.
                left = violation.strikes.iter().map(|strike| strike.number).collect();
                best = (smaller, violation);
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    best.0.only = Some(best.1.strikes.iter().map(|strike| strike.number).collect());
    best
}
