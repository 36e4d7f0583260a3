//! Whether a run kept the limits of its scenario.

use super::{Check, Quantiles, RunResult, Stage};
use crate::run::scenario::{Limits, Scenario, Slo};

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
        if measured.count > 0 || stage == Stage::Outcome {
            times(&mut checks, (limits, stage.name()), &measured);
        }
    }
    let counts = &run.counts;
    let share = |count: u64| count as f64 / counts.offered.max(1) as f64;
    let lost = counts.errors + counts.timed_out + counts.unsent;
    let achieved = run.achieved_per_s / run.offered_per_s.max(f64::MIN_POSITIVE);
    at_least(&mut checks, "achieved of offered", slo.achieved_share_min, achieved);
    at_least(&mut checks, "succeeded of offered", slo.succeeded_share_min, share(counts.succeeded));
    at_most(&mut checks, "refused of offered", slo.refused_share_max, share(counts.refused));
    at_most(&mut checks, "errors, timed out, unsent of offered", slo.lost_share_max, share(lost));
    if let Some(limit) = slo.recovers_within_s {
        let measured = recovery_s(scenario, run);
        at_most(&mut checks, "recovers, s", Some(limit), measured);
    }
    if scenario.load.idle_connections > 0 {
        // Fewer are open than the scenario says: it is another one.
        at_most(&mut checks, "idle connections closed", Some(0.0), run.idle_closed as f64);
    }
    if let Some(rss) = run.usage.engine_rss_mib {
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
        at_most(checks, &format!("{stage} {quantile}, ms"), limit, measured_ms);
        // No outcome is no fast one.
        if let (Some(last), 0, Some(_)) = (checks.last_mut(), measured.count, limit) {
            last.passed = false;
        }
    }
}

fn at_most(checks: &mut Vec<Check>, name: &str, limit: Option<f64>, measured: f64) {
    add(checks, (name, "<="), limit, measured);
}

fn at_least(checks: &mut Vec<Check>, name: &str, limit: Option<f64>, measured: f64) {
    add(checks, (name, ">="), limit, measured);
}

fn add(checks: &mut Vec<Check>, (name, sense): (&str, &str), limit: Option<f64>, measured: f64) {
    let Some(limit) = limit else { return };
    let passed = if sense == "<=" { measured <= limit } else { measured >= limit };
    checks.push(Check { name: name.into(), sense: sense.into(), limit, measured, passed });
}

/// Seconds from the end of the last fault, without one from the end of the highest rate, until
/// the P99 of a second keeps its limit and stays within it.
fn recovery_s(scenario: &Scenario, run: &RunResult) -> f64 {
    let limit = scenario.slo.outcome_ms.p99.unwrap_or(f64::INFINITY);
    let mut at = 0.0;
    let ends = scenario.load.stages.iter().map(|stage| {
        at += stage.seconds;
        (stage.rate.max(stage.to.unwrap_or(0.0)), at)
    });
    let highest = ends.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |(_, end)| end);
    let faults = scenario.faults.iter().map(|fault| fault.at_s + fault.for_s);
    let from = faults.reduce(f64::max).unwrap_or(highest);
    let slow = |second: &super::Second| second.outcome.count > 0 && second.outcome.p99_ms > limit;
    let last_slow = run.timeline.iter().rposition(slow);
    last_slow.map_or(0.0, |second| ((second + 1) as f64 - from).max(0.0))
}
