//! `fulgurite-loadtest plan-check`: what the plan says of five fleets, and what they do.
//!
//! The fleets are simulated: what limits each is known, and the engine must reach it. A batch that
//! is larger than what can be paid meanwhile keeps every fleet at its limit.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use clap::Args;
use fulgurite_sim::Knobs;
use serde::Serialize;

use super::{
    SLOTS, SLOTS_RESERVE,
    amounts::Amounts,
    model::{Limit, Parts, Wanted},
};
use crate::{
    client::{self, Outcome},
    interrupt,
    report::{self, Machine},
    run::INTERRUPTED,
    scene::{self, Engine, Fleet, FleetShape, Folder},
};

/// The engine has this long to find the fleet's limit, in seconds.
const WARM_UP_S: f64 = 10.0;
/// Then it is measured for so long: a whole number of every latency here.
const MEASURED_S: f64 = 12.0;
/// How far the measured rate may be from the plan.
const WITHIN: f64 = 0.1;

/// What is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct CheckArgs {
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// A fleet whose limit the plan predicts.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    nodes: usize,
    channels: usize,
    /// Attempts a second of one node; 0: no limit.
    node_rate: f64,
    latency_ms: f64,
    /// The share of attempts that succeed.
    success: f64,
    /// Payments in flight of the batch.
    batch: u32,
}

const SHAPES: [Shape; 5] = [
    Shape {
        name: "one node of 50/s",
        nodes: 1,
        channels: 10,
        node_rate: 50.0,
        latency_ms: 0.0,
        success: 1.0,
        batch: 10_000,
    },
    Shape {
        name: "four nodes of 60/s, a tenth fails at first",
        nodes: 4,
        channels: 10,
        node_rate: 60.0,
        latency_ms: 0.0,
        success: 0.9,
        batch: 10_000,
    },
    Shape {
        name: "one channel, 2 s in flight",
        nodes: 1,
        channels: 1,
        node_rate: 0.0,
        latency_ms: 2_000.0,
        success: 1.0,
        batch: 10_000,
    },
    Shape {
        name: "three nodes of one channel, 3 s in flight",
        nodes: 3,
        channels: 1,
        node_rate: 0.0,
        latency_ms: 3_000.0,
        success: 1.0,
        batch: 10_000,
    },
    Shape {
        name: "a batch of at most 300 in flight, 1 s",
        nodes: 2,
        channels: 10,
        node_rate: 0.0,
        latency_ms: 1_000.0,
        success: 1.0,
        batch: 300,
    },
];

/// What the plan says of a shape, and what it did.
#[derive(Debug, Serialize)]
struct Checked {
    shape: &'static str,
    bottleneck: &'static str,
    predicted_per_s: f64,
    measured_per_s: f64,
    /// Measured over predicted.
    ratio: f64,
    within: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    commit: Option<String>,
    shapes: Vec<Checked>,
}

/// Measures and prints; 1 when a rate is not what was planned.
///
/// # Errors
/// When a payment is not paid or a process does not do its part.
pub async fn run(args: CheckArgs) -> Result<ExitCode> {
    let (machine, commit) = (Machine::now(), report::commit());
    let mut shapes = Vec::new();
    for (number, shape) in (1..).zip(SHAPES) {
        eprintln!("{number} of {}, half a minute: {}", SHAPES.len(), shape.name);
        // Ctrl-C: what was measured before is told.
        let Some(checked) = interrupt::or_none(shape.check()).await? else { break };
        shapes.push(checked);
    }
    let report = Report { machine, commit, shapes };
    report::print(args.json, &report, &text(&report))?;
    if report.shapes.len() < SHAPES.len() {
        eprintln!("interrupted: {} of {} were measured", report.shapes.len(), SHAPES.len());
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(verdict(&report))
}

fn verdict(report: &Report) -> ExitCode {
    let within = report.shapes.iter().all(|shape| shape.within);
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the engine makes of so many nodes that each start `node_rate` attempts a second: the share
/// of their sum.
///
/// # Errors
/// As [`run`].
pub(crate) async fn share_of_fleet(nodes: usize, node_rate: f64) -> Result<f64> {
    let shape = Shape { name: "a fleet", nodes, node_rate, ..SHAPES[0] };
    Ok(shape.check().await?.ratio)
}

impl Shape {
    /// What the plan says.
    fn predicted(&self) -> (Limit, f64) {
        let wanted = Wanted {
            rate: 1.0,
            latency_s: self.latency_ms / 1e3,
            success: self.success,
            attempts_max: 5.0,
            parts: 1.0,
            amounts: Amounts { mean_sat: 12_500.0, p999_sat: 20_000.0, dust_share: 0.0 },
            used_max: 1.0,
        };
        let parts = Parts {
            nodes: self.nodes as f64,
            node_rate: if self.node_rate > 0.0 { self.node_rate } else { f64::INFINITY },
            channels: self.channels as f64,
            slots: SLOTS - SLOTS_RESERVE,
            window: 1_000.0,
            channel_sat: FleetShape::default().channel_capacity_sat as f64,
            // The batch is all that is ever paid here.
            refill_s: WARM_UP_S + MEASURED_S,
            batches: f64::from(self.batch),
            processors: 2.0,
            engine_us: super::DEFAULT.engine_us,
        };
        parts.bottleneck(&wanted)
    }

    async fn check(&self) -> Result<Checked> {
        let (limit, predicted) = self.predicted();
        let measured = self.measure(predicted).await?;
        let ratio = measured / predicted;
        Ok(Checked {
            shape: self.name,
            bottleneck: limit.name(),
            predicted_per_s: predicted,
            measured_per_s: measured,
            ratio,
            within: (ratio - 1.0).abs() <= WITHIN,
        })
    }

    /// Payments a second that came out between the warm-up and the end.
    async fn measure(&self, predicted: f64) -> Result<f64> {
        let knobs = Knobs {
            latency_ms: self.latency_ms,
            payments_per_second: self.node_rate,
            fail_share: 1.0 - self.success,
            ..Knobs::default()
        };
        let seconds = WARM_UP_S + MEASURED_S + 2.0 * self.latency_ms / 1e3;
        // A third more: it must not run dry when the plan is too low.
        let invoices = scene::invoices(0, (predicted * seconds * 1.33) as usize).await?;
        let folder = Folder::new()?;
        let shape =
            FleetShape { nodes: self.nodes, channels: self.channels, ..FleetShape::default() };
        let fleet = Fleet::start_shaped(&folder.path, shape, &knobs).await?;
        let config =
            format!("[window]\nin_flight_start = 512\n[batch]\nin_flight_max = {}\n", self.batch);
        let mut engine =
            Engine::start_configured(&folder.path, &fleet.nodes, config.parse()?).await?;
        let paid = pay(&engine, client::destinations(&invoices)).await;
        let outcomes = engine.explain(paid)?;
        rate(&outcomes).context("no payment was paid while it was measured")
    }
}

async fn pay(engine: &Engine, orders: Vec<String>) -> Result<Vec<Outcome>> {
    let count = orders.len();
    let accepted = engine.client.upload("plan", orders).await?;
    let watched = engine.client.watch(&accepted.batch_id, count).await?;
    watched.all_succeeded()?;
    Ok(watched.outcomes)
}

/// Payments a second in the measured time, by the engine's clock.
fn rate(outcomes: &[Outcome]) -> Option<f64> {
    let first = outcomes.iter().filter_map(|outcome| outcome.first_attempt).min()?;
    let from = first + Duration::from_secs_f64(WARM_UP_S);
    let to = from + Duration::from_secs_f64(MEASURED_S);
    let within = |time: &SystemTime| *time >= from && *time < to;
    let count = outcomes.iter().filter_map(|outcome| outcome.finished).filter(within).count();
    (count > 0).then(|| count as f64 / MEASURED_S)
}

fn text(report: &Report) -> String {
    let mut text = report.machine.text();
    text += &format!(
        "\n{:<46}{:<24}{:>11}{:>11}{:>8}",
        "fleet", "the plan's bottleneck", "predicted", "measured", "ratio"
    );
    for shape in &report.shapes {
        let word = if shape.within { "" } else { "  MISSED: more than 10 % off" };
        text += &format!(
            "\n{:<46}{:<24}{:>9.1}/s{:>9.1}/s{:>8.3}{word}",
            shape.shape, shape.bottleneck, shape.predicted_per_s, shape.measured_per_s, shape.ratio
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_names_the_limit_that_each_shape_was_made_for() {
        use Limit::{Batches, NodeRate, Slots};
        for (shape, made_for) in SHAPES.iter().zip([NodeRate, NodeRate, Slots, Slots, Batches]) {
            let (limit, rate) = shape.predicted();
            assert_eq!(limit, made_for, "{}", shape.name);
            // So small a rate that the machine is not the limit.
            assert!((20.0..2_000.0).contains(&rate), "{}: {rate}", shape.name);
            let latency_s = shape.latency_ms / 1e3;
            let rounds = if latency_s > 0.0 { MEASURED_S / latency_s } else { 1.0 };
            assert!(rounds.fract() < 1e-9, "{}: {rounds} latencies", shape.name);
        }
    }

    #[test]
    fn a_plan_that_is_missed_is_no_success() {
        let checked = |measured_per_s: f64| Checked {
            shape: "a fleet",
            bottleneck: "node rate",
            predicted_per_s: 100.0,
            measured_per_s,
            ratio: measured_per_s / 100.0,
            within: (measured_per_s / 100.0 - 1.0).abs() <= WITHIN,
        };
        let report = |rates: &[f64]| Report {
            machine: Machine::now(),
            commit: None,
            shapes: rates.iter().copied().map(checked).collect(),
        };
        assert_eq!(verdict(&report(&[95.0, 105.0])), ExitCode::SUCCESS);
        assert_eq!(verdict(&report(&[95.0, 80.0])), ExitCode::FAILURE);
        assert!(text(&report(&[95.0, 80.0])).contains("MISSED"));
    }

    #[test]
    fn only_what_came_out_in_the_measured_time_counts() {
        let start = SystemTime::UNIX_EPOCH;
        let at = |second: f64| Outcome {
            succeeded: true,
            first_attempt: Some(start),
            finished: Some(start + Duration::from_secs_f64(second)),
        };
        let outcomes: Vec<Outcome> = (0..300).map(|tenth| at(f64::from(tenth) / 10.0)).collect();
        assert_eq!(rate(&outcomes), Some(10.0));
        assert_eq!(rate(&outcomes[..50]), None);
        assert_eq!(rate(&[]), None);
    }
}
