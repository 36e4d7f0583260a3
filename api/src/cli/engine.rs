//! `engine` and `node`: what the engine says about itself and its nodes.

use clap::{Args, Subcommand};
use fulgurite_proto::fulgurite::v1 as proto;

use super::{
    To,
    exit::{Exit, Fault},
    human::{self, Column, Side, grouped, sat},
    print_line, say, words,
};
use crate::wire;

/// The columns of `node list`: 79 wide without a problem.
const NODES: [Column; 7] = [
    ("NAME", 16, Side::Left),
    ("BREAKER", 9, Side::Left),
    ("IN FLIGHT", 9, Side::Right),
    ("WINDOW", 6, Side::Right),
    ("QUEUED", 7, Side::Right),
    ("CHANNELS", 8, Side::Right),
    ("SPENDABLE SAT", 16, Side::Right),
];

/// What to ask the engine.
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Version, network, readiness, every limit.
    Get,
}

/// What to ask about the nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Every configured node.
    List,
    /// No new attempt starts there, over restarts too; what is in flight ends.
    Drain(SteerArgs),
    /// New attempts start there again.
    Undrain(SteerArgs),
    /// Believes a quarantined node again, once you have checked it.
    Trust {
        #[command(flatten)]
        steer: SteerArgs,
        /// What you checked, for the journal.
        #[arg(long, value_name = "TEXT")]
        checked: String,
    },
    /// Ends the payments of a node that is lost for ever as not paid: your word alone.
    Resolve {
        #[command(flatten)]
        steer: SteerArgs,
        /// Why, for the journal.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Decides. Without it, what would be ended is shown and nothing is decided.
        #[arg(long)]
        confirm: bool,
    },
}

/// Which node, and who steers it.
#[derive(Debug, Args)]
pub struct SteerArgs {
    /// Its name in the configuration.
    #[arg(value_name = "NODE")]
    name: String,
    /// Who wants it, for the journal.
    #[arg(long, env = "USER", value_name = "NAME")]
    by: String,
}

/// Runs a command about the engine.
///
/// # Errors
/// What the engine refuses, or that it was not reached.
pub async fn engine(to: To, command: EngineCommand) -> Result<Exit, Fault> {
    let EngineCommand::Get = command;
    let call = async || to.client.engine().get_engine(proto::GetEngineRequest {}).await;
    let engine = wire::json::engine(&to.client.read(call).await?.engine.unwrap_or_default());
    if to.json {
        print_line(&engine.to_string());
    } else {
        print_line(&format!("{engine:#}"));
    }
    Ok(Exit::SUCCESS)
}

/// Runs a command about the nodes.
///
/// # Errors
/// What the engine refuses, or that it was not reached.
pub async fn node(to: To, command: NodeCommand) -> Result<Exit, Fault> {
    let engine = || to.client.engine();
    let steered = match command {
        NodeCommand::List => return list(&to).await,
        NodeCommand::Drain(SteerArgs { name, by }) => {
            let request = proto::DrainNodeRequest { name, by };
            to.client.change(async || engine().drain_node(request.clone()).await).await?.node
        }
        NodeCommand::Undrain(SteerArgs { name, by }) => {
            let request = proto::UndrainNodeRequest { name, by };
            to.client.change(async || engine().undrain_node(request.clone()).await).await?.node
        }
        NodeCommand::Trust { steer: SteerArgs { name, by }, checked } => {
            let request = proto::TrustNodeRequest { name, by, checked };
            let call = async || engine().trust_node(request.clone()).await;
            let node = to.client.change(call).await?.node;
            say(
                "what was unresolved there stays so if the node was replaced, forgot a payment or \
                 was lost: of that only a preimage counts. End each with `fulgurite payment \
                 resolve ID`: `--paid --preimage HEX`, or `--not-paid` on your word",
            );
            node
        }
        NodeCommand::Resolve { steer: SteerArgs { name, by }, reason, confirm } => {
            let request = proto::ResolveNodeRequest { name, by, reason, confirm };
            let call = async || engine().resolve_node(request.clone()).await;
            return Ok(resolved(&to, &to.client.change(call).await?));
        }
    };
    show(&to, &[steered.unwrap_or_default()]);
    Ok(Exit::SUCCESS)
}

fn resolved(to: &To, resolved: &proto::ResolveNodeResponse) -> Exit {
    if to.json {
        print_line(&wire::json::node_resolved(resolved).to_string());
    } else {
        let ended = grouped(resolved.payment_count.into());
        let amount = sat(resolved.amount_msat);
        print_line(&format!("{ended} payments of {amount} sat in all are ended as not paid"));
        for id in &resolved.left_payment_ids {
            print_line(&format!("  not ended: {id}; look at it: `fulgurite payment get {id}`"));
        }
    }
    if resolved.left_payment_ids.is_empty() { Exit::SUCCESS } else { Exit::UNRESOLVED }
}

async fn list(to: &To) -> Result<Exit, Fault> {
    let call = async || to.client.engine().list_nodes(proto::ListNodesRequest {}).await;
    show(to, &to.client.read(call).await?.nodes);
    Ok(Exit::SUCCESS)
}

fn show(to: &To, nodes: &[proto::Node]) {
    if to.json {
        nodes.iter().for_each(|node| print_line(&wire::json::node(node).to_string()));
        return;
    }
    print_line(&human::header(&NODES));
    for node in nodes {
        print_line(&human::row(
            &NODES,
            [
                node.name.clone(),
                words::word(node.breaker().as_str_name(), "BREAKER_"),
                grouped(node.in_flight_count.into()),
                grouped(node.window.into()),
                grouped(node.queued_count.into()),
                grouped(node.active_channel_count.into()),
                sat(node.spendable_msat),
            ],
        ));
        let connected = if node.connected { "" } else { "not connected " };
        let problem = format!("{connected}{}", human::clean(&node.problem));
        if !problem.is_empty() {
            print_line(&format!("  {}", problem.trim_end()));
        }
        if node.draining {
            print_line("  draining: no new attempt starts there");
        }
        for id in &node.contradicted_payment_ids {
            print_line(&format!(
                "  shows {id} as paid, which had ended otherwise: tell whoever was told, then \
                 `fulgurite node trust {} --checked TEXT`",
                node.name
            ));
        }
        if node.quarantine() != proto::node::Quarantine::Unspecified {
            let why = words::word(node.quarantine().as_str_name(), "QUARANTINE_");
            let name = &node.name;
            print_line(&format!(
                "  quarantined ({why}): compare its identity, channels and last payments with what \
                 you know, then `fulgurite node trust {name} --checked TEXT`"
            ));
        }
    }
}
