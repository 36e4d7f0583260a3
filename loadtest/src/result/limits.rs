//! Whether a run kept the limits of its scenario.

use super::{Check, Quantiles, RunResult, Second, Stage};
use crate::{
    measure::Spread,
    run::scenario::{Limits, Scenario, Slo, Target},
};

/// How many times as slow as before the trouble a second may be, to be normal again.
const NORMAL: f64 = 2.0;
/// So many normal seconds in a row are a recovery.
const STEADY_S: usize = 3;

/// Every limit that the scenario sets, and what was measured.
pub(crate) fn check(slo: &Slo, scenario: &Scenario, run: &RunResult) -> Vec<Check> {
    let mut checks = Vec::new();
    let stages = [
        (&slo.outcome_ms, Stage::Outcome),
        (&slo.ack_ms, Stage::Ack),
        (&slo.refusal_ms, Stage::Refusal),
    ];
    for (limits, stage) in stages {
        let measured = run.latency(stage);
        // A bare client has no acknowledgement, and a run without refusals no time of one.
        let is_there = match stage {
            Stage::Ack => scenario.load.target != Target::Bare,
            Stage::Refusal => measured.count > 0,
            _ => true,
        };
        if is_there {
            times(&mut checks, (limits, stage.name()), &measured);
        }
    }
    let counts = &run.counts;
    let share = |count: u64| count as f64 / counts.offered.max(1) as f64;
    let lost = counts.errors + counts.timed_out + counts.unsent;
    at_least(&mut checks, "final in time of offered", slo.achieved_share_min, run.kept_up);
    let succeeded = Some(share(counts.succeeded));
    at_least(&mut checks, "succeeded of offered", slo.succeeded_share_min, succeeded);
    at_most(&mut checks, "refused of offered", slo.refused_share_max, Some(share(counts.refused)));
    at_most(
        &mut checks,
        "errors, timed out, unsent of offered",
        slo.lost_share_max,
        Some(share(lost)),
    );
    if let Some(limit) = slo.recovers_within_s {
        let (measured, recovered) = recovery_s(scenario, run);
        at_most(&mut checks, "recovers, s", Some(limit), recovered.then_some(measured));
    }
    if scenario.load.idle_connections > 0 {
        // Fewer are open than the scenario says: it is another one.
        at_most(&mut checks, "idle connections closed", Some(0.0), Some(run.idle_closed as f64));
    }
    if scenario.load.target != Target::Bare {
        let rss = run.usage.engine_rss_mib;
        at_most(&mut checks, "engine's memory, MiB", slo.engine_rss_mib_max, rss);
    }
    checks
}

fn times(checks: &mut Vec<Check>, (limits, stage): (&Limits, &str), measured: &Quantiles) {
    let all = [
        ("P50", limits.p50, measured.p50_ms),
        ("P90", limits.p90, measured.p90_ms),
        ("P99", limits.p99, measured.p99_ms),
        ("P99.9", limits.p999, measured.p999_ms),
    ];
    for (quantile, limit, measured_ms) in all {
        // No outcome is no fast one.
        let measured = (measured.count > 0).then_some(measured_ms);
        at_most(checks, &format!("{stage} {quantile}, ms"), limit, measured);
    }
}

fn at_most(checks: &mut Vec<Check>, name: &str, limit: Option<f64>, measured: Option<f64>) {
    add(checks, (name, "<="), limit, measured);
}

fn at_least(checks: &mut Vec<Check>, name: &str, limit: Option<f64>, measured: Option<f64>) {
    add(checks, (name, ">="), limit, measured);
}

fn add(
    checks: &mut Vec<Check>,
    (name, sense): (&str, &str),
    limit: Option<f64>,
    measured: Option<f64>,
) {
    let Some(limit) = limit else { return };
    let keeps = |measured| if sense == "<=" { measured <= limit } else { measured >= limit };
    let passed = measured.is_some_and(keeps);
    checks.push(Check { name: name.into(), sense: sense.into(), limit, measured, passed });
}

/// When the trouble of a scenario begins and when it is over, in seconds: the first to the last
/// fault, without faults the highest rate.
pub(crate) fn trouble(scenario: &Scenario) -> (f64, f64) {
    let mut ends = 0.0;
    let stages = scenario.load.stages.iter().map(|stage| {
        let begins = ends;
        ends += stage.seconds;
        (stage.rate.max(stage.to.unwrap_or(0.0)), begins, ends)
    });
    let stages: Vec<_> = stages.collect();
    let highest = stages.iter().map(|stage| stage.0).fold(0.0, f64::max);
    let peaks = || stages.iter().filter(|stage| stage.0 >= highest);
    let faults = || scenario.faults.iter();
    let begins = faults().map(|fault| fault.at_s).reduce(f64::min);
    let begins = begins.or_else(|| peaks().map(|peak| peak.1).next()).unwrap_or(0.0);
    let over = faults().map(|fault| fault.at_s + fault.for_s).reduce(f64::max);
    let over = over.or_else(|| peaks().map(|peak| peak.2).next_back()).unwrap_or(0.0);
    (begins, over)
}

/// Seconds from the end of the last fault, without one from the end of the highest rate, until
/// [`STEADY_S`] seconds in a row, or all that are left, are normal; and whether that came at all:
/// else they are as many as were watched.
///
/// A second is normal when its P99 is at most [`NORMAL`] times that of the run's own seconds before
/// the first fault, or before the highest rate. Without any, the limit of the scenario counts.
pub(crate) fn recovery_s(scenario: &Scenario, run: &RunResult) -> (f64, bool) {
    let (begins, over) = trouble(scenario);
    let limit = scenario.slo.outcome_ms.p99.unwrap_or(f64::INFINITY);
    let normal_ms = before_ms(run, begins).map_or(limit, |p99_ms| p99_ms * NORMAL);
    let after = run.timeline.iter().skip(over.ceil() as usize).filter(|second| second.offered > 0);
    let is_normal = |second: &Second| {
        second.outcome.count > 0 && second.outcome.p99_ms <= normal_ms && second.refused == 0
    };
    let after: Vec<bool> = after.map(is_normal).collect();
    let steady = |from: &usize| after[*from..].iter().take(STEADY_S).all(|normal| *normal);
    match (0..after.len()).find(steady) {
        Some(0) => (0.0, true),
        Some(seconds) => (over.ceil() - over + seconds as f64, true),
        None => (after.len() as f64, false),
    }
}

/// The median P99 of the seconds before `begins`, which are all of calm; the first, in which
/// everything is done for the first time, counts only when it is alone.
fn before_ms(run: &RunResult, begins: f64) -> Option<f64> {
    let calm = run.timeline.iter().take(begins as usize);
    let calm = calm.filter(|second| second.outcome.count > 0).map(|second| second.outcome.p99_ms);
    let mut calm: Vec<f64> = calm.collect();
    if calm.len() > 1 {
        calm.remove(0);
    }
    (!calm.is_empty()).then(|| Spread::of(calm).median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::schedule;

    fn second(p99_ms: f64) -> Second {
        let outcome = Quantiles { count: 10, p99_ms, ..Quantiles::default() };
        Second { offered: 10, outcome, ..Second::default() }
    }

    /// Four seconds of calm, three of too much, and then as said.
    fn run(after: &[f64]) -> (Scenario, RunResult) {
        let mut scenario = Scenario::default();
        let stage = |rate, seconds| schedule::Stage { rate, to: None, seconds };
        scenario.load.stages = vec![stage(10.0, 4.0), stage(40.0, 3.0), stage(10.0, 6.0)];
        scenario.slo.outcome_ms.p99 = Some(3_000.0);
        let timeline = [90.0, 10.0, 12.0, 9.0, 800.0, 900.0, 900.0].iter().chain(after);
        let timeline = timeline.map(|p99_ms| second(*p99_ms)).collect();
        (scenario, RunResult { timeline, ..RunResult::default() })
    }

    #[test]
    fn normal_is_what_it_was_before_the_overload() {
        let recovery = |after: &[f64]| {
            let (scenario, run) = run(after);
            recovery_s(&scenario, &run)
        };
        assert_eq!(recovery(&[11.0; 6]), (0.0, true));
        // Far below the scenario's limit, and ten times as slow as before.
        assert_eq!(recovery(&[100.0; 6]), (6.0, false));
        assert_eq!(recovery(&[100.0, 100.0, 15.0, 15.0, 15.0, 15.0]), (2.0, true));
        // One good second among bad ones is no recovery, one bad second later no relapse.
        assert_eq!(recovery(&[100.0, 15.0, 100.0, 15.0, 15.0, 15.0, 100.0]), (3.0, true));
        assert_eq!(recovery(&[]), (0.0, false));
    }

    #[test]
    fn what_never_came_is_not_passed_and_has_no_value() {
        let (mut scenario, never) = run(&[100.0; 6]);
        scenario.slo.recovers_within_s = Some(60.0);
        let checks = check(&scenario.slo, &scenario, &never);
        let told: Vec<_> =
            checks.iter().map(|check| (&*check.name, check.measured, check.passed)).collect();
        assert_eq!(told, [("outcome P99, ms", None, false), ("recovers, s", None, false)]);
        let (_, soon) = run(&[11.0; 6]);
        let checks = check(&scenario.slo, &scenario, &soon);
        assert_eq!(
            checks.last().map(|check| (check.measured, check.passed)),
            Some((Some(0.0), true))
        );
    }

    #[test]
    fn a_second_that_refuses_or_says_nothing_is_not_normal() {
        let (scenario, mut run) = run(&[11.0; 6]);
        run.timeline[7].refused = 1;
        run.timeline[8].outcome = Quantiles::default();
        assert_eq!(recovery_s(&scenario, &run), (2.0, true));
    }

    #[test]
    fn without_calm_before_it_the_limit_of_the_scenario_counts() {
        let (mut scenario, mut run) = run(&[100.0; 6]);
        scenario.load.stages.remove(0);
        run.timeline.drain(..4);
        assert_eq!(recovery_s(&scenario, &run), (0.0, true));
    }
}
