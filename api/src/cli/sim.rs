//! `sim`: simulated Lightning nodes that speak lnd's gRPC.

use std::path::PathBuf;

use clap::Args;
use fulgurite_sim::{Fleet, FleetConfig, Knobs};

use super::{
    exit::{Exit, Fault},
    print_line,
};
use crate::serve::StopSignal;

/// The fleet. What can change while it runs is in `knobs.toml` of its folder or of a node's.
#[derive(Debug, Args)]
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
    /// Where certificates, macaroons and books are kept.
    #[arg(long, default_value = "sim")]
    dir: PathBuf,
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
    stop.received().await;
    Ok(Exit::SUCCESS)
}
