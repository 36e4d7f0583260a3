//! `fulgurite-loadtest plan`: how many nodes, channels, how much liquidity, processor and disk a
//! load needs, with the arithmetic.

mod amounts;
pub mod check;
mod measured;
pub(crate) mod model;
mod text;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::report;
use amounts::Amounts;
use measured::{Basis, DEFAULT};
use model::{LEVERS, Limit, Parts, Wanted};

/// HTLC slots of one side of a channel (BOLT 2, `max_accepted_htlcs`).
pub(crate) const SLOTS: f64 = 483.0;
/// What the engine leaves of them to others (`channels.slots_reserve`).
pub(crate) const SLOTS_RESERVE: f64 = 20.0;

/// What is wanted, and what there is.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Payments a second.
    #[arg(long, value_name = "N")]
    rate: f64,
    /// What a report of `fulgurite-loadtest run` says of your nodes: latency, success, attempts a
    /// second, and the engine's processor time; a flag beside it counts more. A folder of
    /// `run --out`; its invalid runs and those of the target bare are not used.
    #[arg(long, value_name = "DIR")]
    measured: Option<PathBuf>,
    /// How many nodes that report is of.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "measured")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    measured_nodes: u32,
    /// How long an attempt is in flight, in milliseconds: the mean. Default 3000.
    #[arg(long, value_name = "MS")]
    latency_ms: Option<f64>,
    /// The share of attempts that succeed, above 0 to 1. Default 0.995.
    #[arg(long, value_name = "SHARE")]
    success: Option<f64>,
    /// The most attempts of a payment.
    #[arg(long, default_value_t = 5, value_name = "N")]
    attempts_max: u32,
    /// HTLCs of one attempt, on average.
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    parts: f64,
    /// `lognormal`, or a text file with an amount in satoshi in each line.
    #[arg(long, default_value = "lognormal", value_name = "FILE|lognormal")]
    amount_dist: String,
    /// Half of the payments are above it, for lognormal. Default 10000.
    #[arg(long, value_name = "SAT")]
    amount_median_sat: Option<f64>,
    /// How far the amounts spread, for lognormal; 0: all are the median. Default 1.
    #[arg(long, value_name = "SIGMA")]
    amount_sigma: Option<f64>,
    /// Attempts a second that one node makes; 0: it is not the limit. Default 50. Measure yours:
    /// `fulgurite-loadtest run --engine ... --engine-admin ... --out DIR`, and --measured DIR.
    #[arg(long, value_name = "N")]
    node_rate: Option<f64>,
    /// How many nodes there are; without it, as many as are needed.
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// How many channels each node has; without it, as many as are needed.
    #[arg(long, value_name = "N")]
    channels: Option<u32>,
    /// The capacity of a channel.
    #[arg(long, default_value_t = 16_777_215.0, value_name = "SAT")]
    channel_sat: f64,
    /// How much of it is on the node's side after a refill, above 0 to 1.
    #[arg(long, default_value_t = 0.98, value_name = "SHARE")]
    outbound: f64,
    /// How long until the channels are filled again, in hours; 0: what is paid comes back at once.
    #[arg(long, default_value_t = 1.0, value_name = "HOURS")]
    refill_hours: f64,
    /// The engine's window of a node (`window.in_flight_max`).
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    window: u32,
    /// Batches that are paid at the same time.
    #[arg(long, default_value_t = 1, value_name = "N")]
    batches: u32,
    /// Payments in flight of one batch (`batch.in_flight_max`).
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    batch_in_flight: u32,
    /// What the route costs, its fixed part in millisatoshi for each HTLC.
    #[arg(long, default_value_t = 1_000.0, value_name = "MSAT")]
    fee_base_msat: f64,
    /// What the route costs, in millionths of the amount.
    #[arg(long, default_value_t = 500.0, value_name = "PPM")]
    fee_ppm: f64,
    /// The engine's processor time for a payment, in microseconds: measured by
    /// `fulgurite-loadtest smoke`, signatures checked. Default 81.
    #[arg(long, value_name = "US")]
    cpu_us: Option<f64>,
    /// Processors that the engine has for itself.
    #[arg(long, default_value_t = 2.0, value_name = "N")]
    processors: f64,
    /// What a payment takes on the disk for ever, in bytes: measured by
    /// `fulgurite-loadtest history`.
    #[arg(long, default_value_t = DISK_BYTES, value_name = "BYTES")]
    disk_bytes: f64,
    /// How long payments are kept, in days.
    #[arg(long, default_value_t = 365.0, value_name = "DAYS")]
    keep_days: f64,
    /// How much of each part may be used, above 0 to 1: what is left is head-room.
    #[arg(long, default_value_t = 0.7, value_name = "SHARE")]
    used_max: f64,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// `fulgurite-loadtest history --payments 1000000`.
const DISK_BYTES: f64 = 1_050.0;

/// No number of a plan is larger: one that is was mistyped.
const NUMBER_MAX: f64 = 1e15;

impl PlanArgs {
    fn median_sat(&self) -> f64 {
        self.amount_median_sat.unwrap_or(10_000.0)
    }

    fn sigma(&self) -> f64 {
        self.amount_sigma.unwrap_or(1.0)
    }
}

/// A plan with everything that its text needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub wanted: Wanted,
    pub parts: Parts,
    /// How much of a channel's capacity is on the node's side.
    outbound: f64,
    fee_base_msat: f64,
    fee_ppm: f64,
    disk_bytes: f64,
    keep_days: f64,
    /// They were given, not planned.
    given: (bool, bool),
}

/// The plan for programs.
#[derive(Debug, Serialize)]
struct Told {
    nodes: f64,
    channels_each: f64,
    in_flight: f64,
    liquidity_sat: f64,
    fees_sat_a_day: f64,
    processors: f64,
    disk_bytes_a_day: f64,
    bottleneck: &'static str,
    /// What everything lets through, payments a second.
    max_per_s: f64,
    enough: bool,
    /// Payments a second that each part lets through; `null`: it is no limit.
    limits: Vec<(&'static str, Option<f64>)>,
    /// What is doubled, what everything lets through then, and what is the limit then.
    doubled: Vec<(&'static str, f64, &'static str)>,
}

/// Plans and prints.
///
/// # Errors
/// When a number makes no sense.
pub fn run(args: &PlanArgs) -> Result<()> {
    let plan = plan(args)?;
    report::print(args.json, &plan.told(), &text::text(&plan))
}

/// The plan of these arguments.
///
/// # Errors
/// Which argument makes no sense.
pub(crate) fn plan(args: &PlanArgs) -> Result<Plan> {
    let basis = basis(args)?;
    check_numbers(args, basis)?;
    let amounts = match args.amount_dist.as_str() {
        "lognormal" => Amounts::lognormal(args.median_sat(), args.sigma()),
        path => {
            let shaped = args.amount_median_sat.is_some() || args.amount_sigma.is_some();
            ensure!(
                !shaped,
                "--amount-median-sat and --amount-sigma are for lognormal; {path} has its own"
            );
            Amounts::read(path.as_ref())?
        }
    };
    let wanted = Wanted {
        rate: args.rate,
        latency_s: basis.latency_ms / 1e3,
        success: basis.success,
        attempts_max: args.attempts_max.into(),
        parts: args.parts,
        amounts,
        used_max: args.used_max,
    };
    let mut parts = Parts {
        nodes: 1.0,
        node_rate: if basis.node_rate > 0.0 { basis.node_rate } else { f64::INFINITY },
        channels: 1.0,
        slots: SLOTS - SLOTS_RESERVE,
        window: args.window.into(),
        channel_sat: args.channel_sat * args.outbound,
        refill_s: args.refill_hours * 3_600.0,
        batches: f64::from(args.batches) * f64::from(args.batch_in_flight),
        processors: args.processors,
        engine_us: basis.engine_us,
    };
    parts.nodes = args.nodes.map_or_else(|| parts.nodes_for(&wanted), f64::from);
    parts.channels = args.channels.map_or_else(|| parts.channels_for(&wanted), f64::from);
    Ok(Plan {
        wanted,
        parts,
        outbound: args.outbound,
        fee_base_msat: args.fee_base_msat,
        fee_ppm: args.fee_ppm,
        disk_bytes: args.disk_bytes,
        keep_days: args.keep_days,
        given: (args.nodes.is_some(), args.channels.is_some()),
    })
}

/// What was measured, and before it what was said.
fn basis(args: &PlanArgs) -> Result<Basis> {
    let basis = match &args.measured {
        Some(path) => measured::read(path, args.measured_nodes)?,
        None => DEFAULT,
    };
    Ok(Basis {
        latency_ms: args.latency_ms.unwrap_or(basis.latency_ms),
        success: args.success.unwrap_or(basis.success),
        node_rate: args.node_rate.unwrap_or(basis.node_rate),
        engine_us: args.cpu_us.unwrap_or(basis.engine_us),
    })
}

fn check_numbers(args: &PlanArgs, basis: Basis) -> Result<()> {
    let above_0 = |value: f64| value > 0.0 && value <= NUMBER_MAX;
    for (name, value) in [
        ("--rate", args.rate),
        ("--parts", args.parts),
        ("--amount-median-sat", args.median_sat()),
        ("--channel-sat", args.channel_sat),
        ("--cpu-us", basis.engine_us),
        ("--processors", args.processors),
        ("--attempts-max", args.attempts_max.into()),
        ("--window", args.window.into()),
        ("--batches", args.batches.into()),
        ("--batch-in-flight", args.batch_in_flight.into()),
        ("--nodes", args.nodes.unwrap_or(1).into()),
        ("--channels", args.channels.unwrap_or(1).into()),
    ] {
        ensure!(above_0(value), "{name} {value}: above 0 and at most {NUMBER_MAX:e}");
    }
    for (name, value) in [
        ("--latency-ms", basis.latency_ms),
        ("--amount-sigma", args.sigma()),
        ("--node-rate", basis.node_rate),
        ("--refill-hours", args.refill_hours),
        ("--fee-base-msat", args.fee_base_msat),
        ("--fee-ppm", args.fee_ppm),
        ("--disk-bytes", args.disk_bytes),
        ("--keep-days", args.keep_days),
    ] {
        let good = (0.0..=NUMBER_MAX).contains(&value);
        ensure!(good, "{name} {value}: 0 or more, and at most {NUMBER_MAX:e}");
    }
    // Beyond it the mean is more than there is of bitcoin.
    ensure!(args.sigma() <= 5.0, "--amount-sigma {}: 0 to 5", args.sigma());
    for (name, value) in
        [("--success", basis.success), ("--outbound", args.outbound), ("--used-max", args.used_max)]
    {
        ensure!(above_0(value) && value <= 1.0, "{name} {value}: above 0 and at most 1");
    }
    Ok(())
}

impl Plan {
    /// Satoshi on the nodes' side that this load needs, without head-room.
    fn liquidity_sat(&self) -> f64 {
        self.wanted.rate * self.wanted.liquidity_each(self.parts.refill_s)
    }

    fn fees_sat_a_day(&self) -> f64 {
        let (wanted, base_sat) = (&self.wanted, self.fee_base_msat / 1e3);
        let each = base_sat * wanted.parts + wanted.amounts.mean_sat * self.fee_ppm / 1e6;
        wanted.rate * wanted.paid_share() * each * 86_400.0
    }

    fn disk_a_day(&self) -> f64 {
        self.wanted.rate * self.disk_bytes * 86_400.0
    }

    /// Whether every part has its head-room at the rate that is wanted.
    fn is_enough(&self) -> bool {
        self.parts.bottleneck(&self.wanted).1 * self.wanted.used_max >= self.wanted.rate * 0.999_999
    }

    /// What is doubled, what everything lets through then, and what is the limit then.
    fn doubled(&self) -> Vec<(&'static str, f64, &'static str)> {
        LEVERS
            .iter()
            .map(|(name, double)| {
                let (mut parts, mut wanted) = (self.parts, self.wanted);
                double(&mut parts, &mut wanted);
                let (limit, max) = parts.bottleneck(&wanted);
                (*name, max, limit.name())
            })
            .collect()
    }

    fn told(&self) -> Told {
        let Plan { wanted, parts, .. } = self;
        let (limit, max_per_s) = parts.bottleneck(wanted);
        let finite = |max: f64| max.is_finite().then_some(max);
        Told {
            nodes: parts.nodes,
            channels_each: parts.channels,
            in_flight: wanted.in_flight(),
            liquidity_sat: self.liquidity_sat(),
            fees_sat_a_day: self.fees_sat_a_day(),
            processors: wanted.rate * parts.engine_us / 1e6,
            disk_bytes_a_day: self.disk_a_day(),
            bottleneck: limit.name(),
            max_per_s,
            enough: self.is_enough(),
            limits: Limit::ALL.map(|part| (part.name(), finite(parts.max(wanted, part)))).into(),
            doubled: self.doubled(),
        }
    }
}
