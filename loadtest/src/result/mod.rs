//! What came of a run: the numbers, and the forms in which they are told.

pub(crate) mod beside;
pub(crate) mod files;
pub(crate) mod hlog;
pub(crate) mod html;
pub(crate) mod limits;
pub(crate) mod summary;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{report::Machine, run::scenario::Scenario};

/// What is measured of each payment or request. The names are the tags of the interval log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// From the planned time until the generator begins with it: what it added itself. What it
    /// waits for a place among those in flight is not lag, but latency.
    Lag,
    /// From the planned time to the durable acknowledgement.
    Ack,
    /// From the planned time to the outcome at the client; unsent and timed out count at the
    /// deadline.
    Outcome,
    /// From the request to the outcome: what a closed loop would call the latency.
    Service,
    /// From the planned time to a refusal or an error.
    Refusal,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Stage; 5] =
        [Stage::Lag, Stage::Ack, Stage::Outcome, Stage::Service, Stage::Refusal];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Lag => "lag",
            Stage::Ack => "ack",
            Stage::Outcome => "outcome",
            Stage::Service => "service",
            Stage::Refusal => "refusal",
        }
    }
}

/// What was offered, and how each of it ended. The ends sum to `offered`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Payments that were due.
    pub offered: u64,
    /// Payments whose request was started.
    pub sent: u64,
    /// Payments that were acknowledged durably.
    pub acked: u64,
    /// Ended: paid.
    pub succeeded: u64,
    /// Ended: final, and not paid.
    pub failed: u64,
    /// Ended: a person must say.
    pub unresolved: u64,
    /// Ended: refused with a code.
    pub refused: u64,
    /// Ended: the call broke; nobody knows what became of it.
    pub errors: u64,
    /// Ended: sent, and without an outcome at the deadline.
    pub timed_out: u64,
    /// Ended: not even sent at the deadline.
    pub unsent: u64,
    /// Ended: open when the run was interrupted.
    pub abandoned: u64,
    /// Watches that the engine ended early and that were opened again. No order is sent twice.
    pub watches_reopened: u64,
}

impl Counts {
    /// How many have ended, in whatever way.
    pub fn ended(&self) -> u64 {
        self.final_states()
            + self.unresolved
            + self.refused
            + self.errors
            + self.timed_out
            + self.unsent
            + self.abandoned
    }

    /// How many have a final state.
    pub fn final_states(&self) -> u64 {
        self.succeeded + self.failed
    }
}

/// A distribution of times, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Quantiles {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Quantiles {
    /// P50, P90, P99, P99.9 and the largest, for people. A percentile above which not one sample
    /// can be is `-`: it would be the largest again.
    pub fn told(&self) -> [String; 5] {
        let at = |one_in: u64, value| match self.count >= one_in {
            true => summary::milliseconds(value),
            false => "-".to_owned(),
        };
        [
            at(2, self.p50_ms),
            at(10, self.p90_ms),
            at(100, self.p99_ms),
            at(1_000, self.p999_ms),
            at(1, self.max_ms),
        ]
    }

    /// Of a histogram of microseconds; zeros when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Quantiles {
        if histogram.is_empty() {
            return Quantiles::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Quantiles {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e3,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1e3,
        }
    }
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Second {
    /// Payments that were due in it.
    pub offered: u64,
    /// Payments whose final state was received in it.
    pub done: u64,
    /// Those of them that were paid.
    pub paid: u64,
    /// Payments that were refused or whose call broke in it.
    pub refused: u64,
    /// Payments that were open at its end.
    pub open: u64,
    /// Latency from the planned time, of the payments that were due in it.
    pub outcome: Quantiles,
    /// The same to the acknowledgement.
    pub ack: Quantiles,
    /// The generator's lag in it.
    pub lag_p99_ms: f64,
}

/// Processor time for each payment with a final state, in microseconds, and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    pub engine_us: Option<f64>,
    pub nodes_us: Option<f64>,
    pub generator_us: Option<f64>,
    /// The most memory that the engine had resident.
    pub engine_rss_mib: Option<f64>,
    /// The same when the clock started.
    pub engine_rss_before_mib: Option<f64>,
}

/// A stage of the engine, by its own histograms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EngineStage {
    pub name: String,
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// The journal's group commits: each is one write and one sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Commits {
    pub count: u64,
    pub events_each: f64,
    pub bytes_each: f64,
}

/// A limit of the scenario and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Check {
    /// What it limits, with its unit.
    pub name: String,
    /// `<=` or `>=`.
    pub sense: String,
    pub limit: f64,
    /// `None` when what is limited never came; then it is not passed.
    pub measured: Option<f64>,
    pub passed: bool,
}

/// One target under one load. What an older report lacks is as if it were 0 or empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunResult {
    /// What was asked: `batches`, `grpc`, `http`, `bare`.
    pub target: String,
    /// The most requests that the client had open at once; 0 is no limit.
    pub in_flight_max: u32,
    /// Its round, from 1.
    pub round: u32,
    /// What `bench` measured with it, such as `P2`.
    pub goal: Option<String>,
    /// The load of one run of `bench`; in other reports all runs have that of the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Scenario>,
    /// When the clock started, UTC.
    pub started: String,
    /// How long arrivals were due.
    pub seconds: f64,
    /// From the first planned time to the last final state.
    pub took_s: f64,
    /// Payments due a second.
    pub offered_per_s: f64,
    /// Payments that became final within the time that arrivals were due, a second of it.
    pub achieved_per_s: f64,
    /// Payments that were paid within that time, a second of it.
    pub paid_per_s: f64,
    /// Of the payments that were due a second before the end of that time, or earlier, the share
    /// that was final within it: what is in flight at the end is not held against anybody. `None`
    /// when nothing was due, and in older reports.
    pub kept_up: Option<f64>,
    /// The lag at P99 that makes the run invalid.
    pub lag_limit_ms: f64,
    pub valid: bool,
    pub interrupted: bool,
    pub counts: Counts,
    /// Refusals, failures and errors by code.
    pub codes: BTreeMap<String, u64>,
    /// By the names of the stages.
    pub latency: BTreeMap<String, Quantiles>,
    /// The outcome's distribution: quantile and milliseconds.
    pub curve: Vec<(f64, f64)>,
    /// The same of the time from the request on.
    pub service_curve: Vec<(f64, f64)>,
    pub timeline: Vec<Second>,
    pub usage: Usage,
    pub engine_stages: Vec<EngineStage>,
    /// The engine's resident memory in MiB, with the second.
    pub memory_mib: Vec<(f64, f64)>,
    /// The journal's, by the engine's own counters.
    pub commits: Option<Commits>,
    /// What was done to the nodes: second and words.
    pub faults: Vec<(f64, String)>,
    /// How the engine that the run had started ended in the middle of it, with its last words.
    pub engine_ended: Option<String>,
    /// Idle connections that the engine closed.
    pub idle_closed: u64,
    pub checks: Vec<Check>,
}

impl RunResult {
    /// What was run, in words.
    pub fn title(&self) -> String {
        match self.in_flight_max {
            0 => format!("{}, round {}", self.target, self.round),
            limit => format!("{}, at most {limit} at once, round {}", self.target, self.round),
        }
    }

    /// Whether every limit was kept, by an engine that lived.
    pub fn passed(&self) -> bool {
        self.engine_ended.is_none() && self.checks.iter().all(|check| check.passed)
    }

    /// A distribution by its stage.
    pub fn latency(&self, stage: Stage) -> Quantiles {
        self.latency.get(stage.name()).cloned().unwrap_or_default()
    }
}

/// All runs of one command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub machine: Machine,
    /// The commit that the load tester was built from; `None` outside of git.
    pub commit: Option<String>,
    pub scenario: Scenario,
    pub runs: Vec<RunResult>,
    /// The runs beside the bare client, when it ran too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<beside::Beside>,
}

impl Report {
    /// Of what was run on `machine`.
    pub fn new(
        machine: Machine,
        commit: Option<String>,
        scenario: Scenario,
        runs: Vec<RunResult>,
    ) -> Report {
        let beside = beside::all(&runs);
        Report { machine, commit, scenario, runs, beside }
    }

    /// Whether something was run, and every run to its end, kept its limits and is valid.
    pub fn passed(&self) -> bool {
        let passed = |run: &RunResult| run.passed() && run.valid && !run.interrupted;
        !self.runs.is_empty() && self.runs.iter().all(passed)
    }
}
