//! What a report of `run` says of the nodes: better than any default.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::result::{EngineStage, Report, RunResult, Stage, files};

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

/// What the runs of a report in `path` say of `nodes` nodes; the rest is the default. What a reader
/// must know of it is said on standard error.
///
/// # Errors
/// When there is no report, or no run in it can be used.
pub(crate) fn read(path: &Path, nodes: u32) -> Result<Basis> {
    let report = files::read(path)?;
    let (basis, note) = of(&report, nodes).with_context(|| path.display().to_string())?;
    eprintln!("--measured {}: {note}", path.display());
    Ok(basis)
}

/// The basis, and how it was found.
fn of(report: &Report, nodes: u32) -> Result<(Basis, String)> {
    // The generator of an invalid run lagged: its rate is not the nodes'. A bare client's payments
    // wait where nobody sees it.
    let bare = report.runs.iter().filter(|run| run.target == "bare").count();
    let engine = || report.runs.iter().filter(|run| run.target != "bare");
    let invalid = engine().filter(|run| !run.valid).count();
    let usable = || engine().filter(|run| run.valid && run.counts.final_states() > 0);
    // The fastest run shows what the nodes can do; one that nobody kept busy does not.
    let best = usable().max_by(|a, b| a.achieved_per_s.total_cmp(&b.achieved_per_s));
    let Some(best) = best else {
        bail!(
            "no run to plan with: of {} runs {invalid} are invalid and {bare} without an engine, \
             and of the others no payment ended",
            report.runs.len()
        );
    };
    let (ended, attempts) = (best.counts.final_states() as f64, attempts(best));
    let (latency_ms, mut note) = match stage(best, "node") {
        Some(node) => (node.mean_ms, String::new()),
        None => {
            let note = "without the engine's own histograms (--engine-admin) the time of an \
                        attempt is that of a payment, its wait in the engine too; ";
            (best.latency(Stage::Service).mean_ms, note.to_owned())
        }
    };
    if best.interrupted {
        note += &format!("it was interrupted after {:.0} s; ", best.seconds);
    }
    note += &waited(best, latency_ms);
    let engine_us = usable().filter_map(|run| run.usage.engine_us).reduce(f64::min);
    let basis = Basis {
        latency_ms,
        success: (best.counts.succeeded as f64 / attempts).min(1.0),
        node_rate: best.achieved_per_s * attempts / ended / f64::from(nodes),
        engine_us: engine_us.unwrap_or(DEFAULT.engine_us),
    };
    Ok((basis, note))
}

fn stage<'a>(run: &'a RunResult, name: &str) -> Option<&'a EngineStage> {
    run.engine_stages.iter().find(|stage| stage.name == name && stage.count > 0)
}

/// The attempts of a run's payments, by the engine's count: at least one each.
fn attempts(run: &RunResult) -> f64 {
    let ended = run.counts.final_states() as f64;
    stage(run, "node").map_or(ended, |node| (node.count as f64).max(ended))
}

/// Whether payments waited for the nodes: only then is the measured rate the nodes' own.
fn waited(run: &RunResult, latency_ms: f64) -> String {
    match stage(run, "wait").map(|wait| wait.mean_ms) {
        Some(wait) if wait > latency_ms => format!(
            "wait dominates: {wait:.0} ms before an attempt of {latency_ms:.0} ms; the rate is \
             what the nodes, their slots or the windows let through"
        ),
        Some(wait) => format!(
            "{wait:.0} ms of wait before an attempt of {latency_ms:.0} ms; the nodes may not have \
             been at their limit, and their rate is at least what was offered"
        ),
        None => "whether payments waited for the nodes is not known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::Machine,
        result::{Counts, Quantiles, Usage},
        run::scenario::Scenario,
    };

    fn run(achieved_per_s: f64, engine_us: Option<f64>) -> RunResult {
        let service = Quantiles { mean_ms: 9_000.0, ..Quantiles::default() };
        RunResult {
            target: "batches".into(),
            valid: true,
            achieved_per_s,
            counts: Counts { succeeded: 99, failed: 1, ..Counts::default() },
            latency: [(Stage::Service.name().to_owned(), service)].into(),
            usage: Usage { engine_us, ..Usage::default() },
            ..RunResult::default()
        }
    }

    fn stages(wait_ms: f64, attempts: u64) -> Vec<EngineStage> {
        let stage = |name: &str, count, mean_ms| EngineStage {
            name: name.into(),
            count,
            mean_ms,
            p50_ms: mean_ms,
            p99_ms: mean_ms,
        };
        vec![stage("wait", attempts, wait_ms), stage("node", attempts, 1_200.0)]
    }

    fn report(runs: Vec<RunResult>) -> Report {
        let (machine, scenario) = (Machine::now(), Scenario::default());
        Report::new(machine, None, scenario, runs)
    }

    #[test]
    fn the_fastest_run_tells_what_the_nodes_can_do() {
        let fast = RunResult { engine_stages: stages(7_000.0, 110), ..run(120.0, None) };
        let (basis, note) = of(&report(vec![run(80.0, Some(70.0)), fast]), 2).unwrap();
        // The time at the node and not that in the engine; attempts and not payments.
        let expected =
            Basis { latency_ms: 1_200.0, success: 0.9, node_rate: 66.0, engine_us: 70.0 };
        assert!((basis.node_rate - expected.node_rate).abs() < 1e-9, "{basis:?}");
        assert_eq!(Basis { node_rate: 66.0, ..basis }, expected);
        assert!(note.starts_with("wait dominates: 7000 ms"), "{note}");
    }

    #[test]
    fn a_basis_says_how_sure_it_is() {
        let calm = RunResult { engine_stages: stages(3.0, 100), ..run(120.0, None) };
        let (_, note) = of(&report(vec![calm]), 1).unwrap();
        assert!(note.contains("may not have been at their limit"), "{note}");
        let (basis, note) = of(&report(vec![run(120.0, None)]), 1).unwrap();
        assert_eq!((basis.latency_ms, basis.success), (9_000.0, 0.99));
        assert!(note.contains("--engine-admin"), "{note}");
        let short = RunResult { interrupted: true, seconds: 3.0, ..run(120.0, None) };
        let (_, note) = of(&report(vec![short]), 1).unwrap();
        assert!(note.contains("interrupted after 3 s"), "{note}");
    }

    #[test]
    fn invalid_runs_and_bare_clients_are_no_basis() {
        let invalid = RunResult { valid: false, ..run(900.0, Some(1.0)) };
        let bare = RunResult { target: "bare".into(), ..run(800.0, Some(1.0)) };
        let (basis, _) = of(&report(vec![invalid.clone(), run(80.0, Some(70.0)), bare.clone()]), 1)
            .expect("one can be used");
        assert_eq!((basis.node_rate, basis.engine_us), (80.0, 70.0));
        let error = of(&report(vec![invalid, bare]), 1).unwrap_err().to_string();
        assert!(error.contains("of 2 runs 1 are invalid and 1 without an engine"), "{error}");
        assert!(of(&report(Vec::new()), 1).is_err());
    }
}
