//! `engine` and `node`: what the engine says about itself and its nodes.

use clap::Subcommand;
use fulgurite_proto::fulgurite::v1 as proto;

use super::{
    To,
    exit::{Exit, Fault},
    human::{self, Column, Side, grouped, sat},
    print_line, words,
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
    let NodeCommand::List = command;
    let call = async || to.client.engine().list_nodes(proto::ListNodesRequest {}).await;
    let nodes = to.client.read(call).await?.nodes;
    if to.json {
        nodes.iter().for_each(|node| print_line(&wire::json::node(node).to_string()));
        return Ok(Exit::SUCCESS);
    }
    print_line(&human::header(&NODES));
    for node in &nodes {
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
    }
    Ok(Exit::SUCCESS)
}
