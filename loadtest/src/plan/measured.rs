//! What a report of `run` says of the nodes: better than any default.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::result::{Report, RunResult, Stage, files};

/// What is known of the nodes and the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Basis {
    /// The mean time of an attempt.
    pub latency_ms: f64,
    /// The share of attempts that succeed.
    pub success: f64,
    /// Attempts a second of one node; 0: it is not the limit.
    pub node_rate: f64,
    /// The engine's processor time for a payment.
    pub engine_us: f64,
}

/// Nobody measured anything: a payment over some hops, a node with its database on a disk, and
/// the engine as docs/performance.md has it (`fulgurite-loadtest smoke`, signatures checked).
pub(crate) const DEFAULT: Basis =
    Basis { latency_ms: 3_000.0, success: 0.995, node_rate: 50.0, engine_us: 81.0 };

/// What the runs of a report in `path` say of `nodes` nodes; the rest is the default.
///
/// # Errors
/// When there is no report, or no payment in it ended.
pub(crate) fn read(path: &Path, nodes: u32) -> Result<Basis> {
    of(&files::read(path)?, nodes)
}

fn of(report: &Report, nodes: u32) -> Result<Basis> {
    // The fastest run shows what the nodes can do; one that nobody kept busy does not.
    let by_rate = |a: &&RunResult, b: &&RunResult| a.achieved_per_s.total_cmp(&b.achieved_per_s);
    let ended = report.runs.iter().filter(|run| run.counts.final_states() > 0);
    let best = ended.max_by(by_rate);
    ensure!(best.is_some(), "no payment of the report ended");
    let best = best.cloned().unwrap_or_default();
    let engine_us = report.runs.iter().filter_map(|run| run.usage.engine_us).reduce(f64::min);
    Ok(Basis {
        latency_ms: best.latency(Stage::Service).mean_ms,
        success: best.counts.succeeded as f64 / best.counts.final_states() as f64,
        node_rate: best.achieved_per_s / f64::from(nodes),
        engine_us: engine_us.unwrap_or(DEFAULT.engine_us),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::Machine,
        result::{Counts, Quantiles, Usage},
        run::scenario::Scenario,
    };

    #[test]
    fn the_fastest_run_tells_what_the_nodes_can_do() {
        let run = |achieved_per_s, mean_ms, engine_us| {
            let service = Quantiles { mean_ms, ..Quantiles::default() };
            RunResult {
                achieved_per_s,
                counts: Counts { succeeded: 99, failed: 1, ..Counts::default() },
                latency: [(Stage::Service.name().to_owned(), service)].into(),
                usage: Usage { engine_us, ..Usage::default() },
                ..RunResult::default()
            }
        };
        let (machine, scenario) = (Machine::now(), Scenario::default());
        let runs = vec![run(80.0, 900.0, Some(70.0)), run(120.0, 1_200.0, None)];
        let mut report = Report { machine, commit: None, scenario, runs };
        let basis = Basis { latency_ms: 1_200.0, success: 0.99, node_rate: 60.0, engine_us: 70.0 };
        assert_eq!(of(&report, 2).unwrap(), basis);
        report.runs.clear();
        assert!(of(&report, 1).unwrap_err().to_string().contains("no payment"));
    }
}
