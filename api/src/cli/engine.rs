//! `engine` and `node`: what the engine says about itself and its nodes.

use clap::Subcommand;
use fulgurite_proto::fulgurite::v1 as proto;

use super::{
    To,
    exit::{Exit, Fault},
    print_line, words,
};
use crate::wire;

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
    let engine = wire::json::engine(&to.client.repeat(call).await?.engine.unwrap_or_default());
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
    let nodes = to.client.repeat(call).await?.nodes;
    if to.json {
        nodes.iter().for_each(|node| print_line(&wire::json::node(node).to_string()));
        return Ok(Exit::SUCCESS);
    }
    print_line(&format!(
        "{:<16} {:<10} {:>9} {:>9} {:>8} {:>8} {:>16}  {}",
        "NAME", "BREAKER", "IN FLIGHT", "WINDOW", "QUEUED", "CHANNELS", "SPENDABLE SAT", "PROBLEM"
    ));
    for node in &nodes {
        let connected = if node.connected { "" } else { "not connected: " };
        print_line(&format!(
            "{:<16} {:<10} {:>9} {:>9} {:>8} {:>8} {:>16}  {connected}{}",
            node.name,
            words::word(node.breaker().as_str_name(), "BREAKER_"),
            node.in_flight_count,
            node.window,
            node.queued_count,
            node.active_channel_count,
            node.spendable_msat / 1_000,
            node.problem
        ));
    }
    Ok(Exit::SUCCESS)
}
