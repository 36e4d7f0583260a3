//! `sim`: simulated Lightning nodes that speak lnd's gRPC.

pub mod files;

use std::path::PathBuf;

use clap::{Args, value_parser};
use fulgurite_sim::{Fleet, FleetConfig, Knobs};

use super::{
    exit::{Exit, Fault},
    print_line,
};
use crate::serve::StopSignal;

/// What `--help` says about a first try.
const FIRST_TRY: &str = "\
A first try, in three terminals:
    fulgurite sim --invoices 100
    fulgurite serve --config sim/fulgurite.toml
    fulgurite batch submit sim/payouts.csv --results results.csv
What the nodes do wrong can be changed while they run: knobs.toml in the folder or a node's.";

/// The fleet.
#[derive(Debug, Args)]
#[command(after_help = FIRST_TRY)]
pub struct SimArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: usize,
    /// How many channels each node has.
    #[arg(long, default_value_t = 10, value_name = "N")]
    channels: usize,
    /// The capacity of each channel, all of it on the node's side.
    #[arg(long, default_value_t = 1_000_000_000, value_name = "SAT")]
    channel_capacity_sat: u64,
    /// Decides everything: keys, invoices, which payments fail.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where certificates, macaroons and books are kept, and fulgurite.toml for an engine.
    #[arg(long, default_value = "sim")]
    dir: PathBuf,
    /// Writes so many new invoices that the nodes can pay to payouts.csv in the folder.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=100_000))]
    invoices: Option<u32>,
    /// The first node's port, the others follow; 0 takes free ones. A port once taken is kept.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    base_port: u16,
    /// Serves one node alone, as one of several processes.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How many threads serve the nodes.
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// How long a payment is in flight: the median, in milliseconds.
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    latency_ms: f64,
    /// The share of payments whose first send fails, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    fail_share: f64,
    /// Ends with the process that started it.
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
}

/// Serves the nodes until Ctrl-C or SIGTERM. Each is printed once it can be used.
///
/// # Errors
/// [`Fault::Failed`] if a node cannot be started.
pub async fn run(args: SimArgs) -> Result<Exit, Fault> {
    if let Some(parent) = args.parent {
        crate::demo::child::die_with_parent(parent);
    }
    let knobs =
        Knobs { latency_ms: args.latency_ms, fail_share: args.fail_share, ..Knobs::default() };
    let (seed, dir, is_whole) = (args.seed, args.dir.clone(), args.only.is_none());
    let config = FleetConfig {
        nodes: args.nodes,
        channels: args.channels,
        channel_capacity_sat: args.channel_capacity_sat,
        seed: args.seed,
        dir: args.dir,
        base_port: args.base_port,
        only: args.only,
        threads: args.threads,
        knobs,
    };
    let mut stop = StopSignal::new().map_err(|error| Fault::Failed(error.to_string()))?;
    let fleet = Fleet::start(config).await.map_err(|fault| Fault::Failed(fault.to_string()))?;
    for node in fleet.nodes() {
        let (cert, macaroon) = (node.tls_cert.display(), node.macaroon.display());
        print_line(&format!("{} {} {cert} {macaroon}", node.name, node.address));
    }
    // One of several processes knows only its own node.
    if is_whole {
        let config = files::write_config(&dir, fleet.nodes())?;
        eprintln!("an engine for these nodes: fulgurite serve --config {}", config.display());
    }
    if let Some(count) = args.invoices {
        let payouts = files::write_payouts(&dir, seed, count)?;
        eprintln!("{count} invoices to pay: fulgurite batch submit {}", payouts.display());
    }
    stop.received().await;
    Ok(Exit::SUCCESS)
}
