//! Batches over simulated nodes without caps, next to a client that keeps nothing.
//!
//! Three clients pay the same invoices, in turn: the bare client at its best concurrency, the
//! engine that leaves signatures to the node, and the engine that checks them at the door. The
//! invoices are signed before any clock starts; each run has new nodes and a new engine.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use fulgurite_sim::{Invoice, Knobs};
use futures::future::try_join_all;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::{
    bare, client,
    measure::Spread,
    process::own_cpu,
    report::{self, Machine},
    scene::{self, Engine, Fleet, Folder, NODES, Settings, Signatures},
};

/// How much is paid, and how often.
#[derive(Debug, Args)]
pub struct SmokeArgs {
    /// How many payments.
    #[arg(long, default_value_t = 20_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    payments: u32,
    /// How many of them in one batch; two batches are open at a time, so that one is uploaded while
    /// another is paid.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,
    /// How often all of it is repeated.
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// With how many payments in flight, over all nodes, the bare client is tried; the best counts.
    #[arg(long, value_delimiter = ',', default_value = "64,256,512", value_name = "N,N")]
    concurrency: Vec<usize>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// How many batches are open at a time.
const OPEN_BATCHES: usize = 2;

/// What is paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// In all.
    pub payments: u32,
    /// In one batch.
    pub batch_size: u32,
}

/// One run, of whichever client.
#[derive(Clone, Debug, Serialize)]
struct Run {
    /// Until the first batch was accepted; 0 for the bare client, which has no such moment.
    upload_s: f64,
    /// From there to the last outcome received.
    pay_s: f64,
    /// Processor time per payment, in microseconds; the bare client has no engine.
    engine_us: f64,
    /// Of the simulated nodes.
    sim_us: f64,
    /// Of the client, which for the engine uploads and watches.
    client_us: f64,
    /// How many payments the bare client had in flight; 0 for the engine.
    concurrency: usize,
}

/// The three runs of one round.
#[derive(Clone, Debug, Serialize)]
struct Round {
    bare: Run,
    engine_node: Run,
    engine_door: Run,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    payments: u32,
    batch_size: u32,
    nodes: usize,
    rounds: Vec<Round>,
    bare_per_second: Spread,
    engine_node_per_second: Spread,
    engine_door_per_second: Spread,
    pub ratio_node: Spread,
    ratio_door: Spread,
    ratio_node_after_acceptance: Spread,
}

impl Report {
    /// The engine's processor time a payment when the node checks signatures, in microseconds.
    pub fn engine_us_node(&self) -> f64 {
        Spread::of(self.rounds.iter().map(|round| round.engine_node.engine_us)).median
    }

    /// The bare client's payments a second, and the nodes' processor time a payment under the
    /// engine (when the node checks signatures) and under the bare client, in microseconds. Nodes
    /// that cost much flatter the ratio.
    pub fn yardstick(&self) -> [f64; 3] {
        let of = |value: fn(&Round) -> f64| Spread::of(self.rounds.iter().map(value)).median;
        let nodes = [of(|round| round.engine_node.sim_us), of(|round| round.bare.sim_us)];
        [self.bare_per_second.median, nodes[0], nodes[1]]
    }
}

/// Measures and prints.
///
/// # Errors
/// When a payment is not paid or a process does not do its part; never for a time.
pub async fn run(args: SmokeArgs) -> Result<()> {
    let shape = Shape { payments: args.payments, batch_size: args.batch_size };
    let report = measure(shape, args.rounds, &args.concurrency).await?;
    report::print(args.json, &report, &text(&report)?)
}

/// The rounds, each with the bare client at all of these concurrencies.
///
/// # Errors
/// As [`run`].
pub(crate) async fn measure(
    shape: Shape,
    all_rounds: u32,
    concurrency: &[usize],
) -> Result<Report> {
    let (machine, payments) = (Machine::now(), shape.payments);
    eprintln!("signing {payments} invoices");
    let invoices = Arc::new(scene::invoices(0, payments as usize).await?);
    let mut rounds = Vec::new();
    for number in 1..=all_rounds {
        eprintln!("round {number} of {all_rounds}: the bare client");
        let bare = best_bare(&invoices, concurrency).await?;
        eprintln!("round {number} of {all_rounds}: the engine, signatures left to the node");
        let engine_node = engine(&invoices, shape, Signatures::Node).await?;
        eprintln!("round {number} of {all_rounds}: the engine, signatures checked");
        let engine_door = engine(&invoices, shape, Signatures::Door).await?;
        rounds.push(Round { bare, engine_node, engine_door });
    }
    Ok(summary(machine, shape, rounds))
}

async fn best_bare(invoices: &Arc<Vec<Invoice>>, concurrencies: &[usize]) -> Result<Run> {
    let mut best: Option<bare::Run> = None;
    for &concurrency in concurrencies {
        let run = bare::run(invoices, concurrency.max(1)).await?;
        if best.is_none_or(|best| run.took < best.took) {
            best = Some(run);
        }
    }
    let best = best.ok_or_else(|| anyhow::anyhow!("no concurrency to try"))?;
    let us = |cpu: Duration| micros_each(cpu, invoices.len());
    Ok(Run {
        upload_s: 0.0,
        pay_s: best.took.as_secs_f64(),
        engine_us: 0.0,
        sim_us: us(best.sim_cpu),
        client_us: us(best.client_cpu),
        concurrency: best.concurrency,
    })
}

async fn engine(invoices: &[Invoice], shape: Shape, signatures: Signatures) -> Result<Run> {
    let folder = Folder::new()?;
    let fleet = Fleet::start(&folder.path, &Knobs::default()).await?;
    let settings = Settings { signatures, window: None };
    let mut engine = Engine::start(&folder.path, &fleet.nodes, settings).await?;
    let paid = pay(&engine, &fleet, invoices, shape.batch_size as usize).await;
    engine.explain(paid)
}

/// All batches, from the first message of the first upload to the last outcome.
async fn pay(
    engine: &Engine,
    fleet: &Fleet,
    invoices: &[Invoice],
    batch_size: usize,
) -> Result<Run> {
    let batches: Vec<_> = invoices.chunks(batch_size).map(client::destinations).collect();
    let before = (engine.process.cpu()?, fleet.process.cpu()?, own_cpu()?);
    let started = Instant::now();
    let open = Semaphore::new(OPEN_BATCHES);
    let (open, client) = (&open, &engine.client);
    let paid = batches.into_iter().enumerate().map(|(number, orders)| async move {
        let _permit = open.acquire().await?;
        let count = orders.len();
        let accepted = client.upload(&format!("smoke-{number}"), orders).await?;
        let watched = client.watch(&accepted.batch_id, count).await?;
        anyhow::Ok((accepted.at, watched))
    });
    let paid = try_join_all(paid).await?;
    let accepted = paid.iter().map(|(at, _)| *at).min().unwrap_or(started);
    let last = paid.iter().map(|(_, watched)| watched.last).max().unwrap_or(started);
    let us = |cpu: Duration| micros_each(cpu, invoices.len());
    let run = Run {
        upload_s: (accepted - started).as_secs_f64(),
        pay_s: (last - accepted).as_secs_f64(),
        engine_us: us(engine.process.cpu()? - before.0),
        sim_us: us(fleet.process.cpu()? - before.1),
        client_us: us(own_cpu()? - before.2),
        concurrency: 0,
    };
    paid.iter().try_for_each(|(_, watched)| watched.all_succeeded())?;
    Ok(run)
}

fn micros_each(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

fn summary(machine: Machine, shape: Shape, rounds: Vec<Round>) -> Report {
    let Shape { payments, batch_size } = shape;
    let count = f64::from(payments);
    let whole = |run: &Run| count / (run.upload_s + run.pay_s);
    let ratio = |run: &Run, bare: &Run| whole(run) / whole(bare);
    let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    Report {
        machine,
        payments,
        batch_size,
        nodes: NODES,
        bare_per_second: spread(&|round| whole(&round.bare)),
        engine_node_per_second: spread(&|round| whole(&round.engine_node)),
        engine_door_per_second: spread(&|round| whole(&round.engine_door)),
        ratio_node: spread(&|round| ratio(&round.engine_node, &round.bare)),
        ratio_door: spread(&|round| ratio(&round.engine_door, &round.bare)),
        ratio_node_after_acceptance: spread(&|round| round.bare.pay_s / round.engine_node.pay_s),
        rounds,
    }
}

type Of = fn(&Round) -> &Run;

/// The clients, in the order of the lines.
const CLIENTS: [(&str, Of); 3] = [
    ("bare client, keeps nothing", |round| &round.bare),
    ("engine, signatures left to the node", |round| &round.engine_node),
    ("engine, signatures checked", |round| &round.engine_door),
];

fn text(report: &Report) -> Result<String> {
    let Report { machine, payments, batch_size, nodes, rounds, .. } = report;
    let mut text = machine.text();
    writeln!(
        text,
        "\n{payments} payments, {batch_size} in a batch, over {nodes} simulated nodes without caps,"
    )?;
    writeln!(text, "{} rounds: median [min-max]\n", rounds.len())?;
    writeln!(text, "{:36}{:>22}{:>20}{:>20}", "", "payments/s in all", "upload s", "paying s")?;
    for (name, of) in CLIENTS {
        let spread = spread_of(rounds, of);
        let rate = spread(&|run| f64::from(*payments) / (run.upload_s + run.pay_s)).text(0);
        let (upload, pay) = (spread(&|run| run.upload_s).text(2), spread(&|run| run.pay_s).text(2));
        writeln!(text, "{name:36}{rate:>22}{upload:>20}{pay:>20}")?;
    }
    writeln!(text, "\n{:36}{:>22}{:>20}{:>20}", "CPU us a payment", "engine", "nodes", "client")?;
    for (name, of) in CLIENTS {
        let spread = spread_of(rounds, of);
        let [engine, sim, client]: [fn(&Run) -> f64; 3] =
            [|run| run.engine_us, |run| run.sim_us, |run| run.client_us];
        let [engine, sim, client] = [engine, sim, client].map(|value| spread(&value).text(0));
        writeln!(text, "{name:36}{engine:>22}{sim:>20}{client:>20}")?;
    }
    ratios(&mut text, report)?;
    Ok(text)
}

/// Spreads a value over the rounds of one client.
fn spread_of(rounds: &[Round], of: Of) -> impl Fn(&dyn Fn(&Run) -> f64) -> Spread {
    move |value| Spread::of(rounds.iter().map(|round| value(of(round))))
}

/// What the engine reaches of the bare client's rate.
fn ratios(text: &mut String, report: &Report) -> Result<()> {
    let node = report.ratio_node.text(2);
    let (after, door) = (report.ratio_node_after_acceptance.text(2), report.ratio_door.text(2));
    writeln!(text, "\nof the bare client's rate, from the first message to the last outcome:")?;
    writeln!(
        text,
        "  signatures left to the node  {node}   (from the first acceptance on {after})"
    )?;
    write!(text, "  signatures checked           {door}")?;
    for (number, round) in (1..).zip(&report.rounds) {
        let part = |run: &Run| round.bare.pay_s / (run.upload_s + run.pay_s);
        let (node, door) = (part(&round.engine_node), part(&round.engine_door));
        write!(text, "\n  round {number}: {node:.2}, checked {door:.2}; ")?;
        write!(text, "the bare client was best with {} in flight", round.bare.concurrency)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(upload_s: f64, pay_s: f64, concurrency: usize) -> Run {
        Run { upload_s, pay_s, engine_us: 80.0, sim_us: 40.0, client_us: 30.0, concurrency }
    }

    #[test]
    fn the_ratio_is_of_the_whole_time_and_a_round_is_compared_with_itself() {
        let round = |slower: f64| Round {
            bare: run(0.0, slower, 256),
            engine_node: run(0.5 * slower, 1.5 * slower, 0),
            engine_door: run(slower, 3.0 * slower, 0),
        };
        let rounds = vec![round(1.0), round(7.0), round(2.0)];
        let report =
            summary(Machine::now(), Shape { payments: 20_000, batch_size: 20_000 }, rounds);
        assert_eq!(report.ratio_node, Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(report.ratio_door.median, 0.25);
        assert_eq!(report.bare_per_second.median, 10_000.0);
        let text = text(&report).unwrap();
        assert!(text.contains("round 3: 0.50, checked 0.25"), "{text}");
    }
}
