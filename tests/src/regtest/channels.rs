//! Money for the nodes and channels between them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::binaries::{list, text};
use super::network::Network;
use super::node::Node;
use super::wait::until;

/// Enough for the announcement of a channel; one would do for its use.
const CONFIRMATIONS: u32 = 6;

const FUND_MAX: Duration = Duration::from_secs(60);
const OPEN_MAX: Duration = Duration::from_secs(120);

/// For fees and the reserve of 10,000 sat lnd keeps per channel, up to 100,000.
const SPARE_SAT: u64 = 1_000_000;

/// Equal channels between two nodes, opened by the first.
#[derive(Clone, Debug)]
pub struct Link {
    /// The node that opens and funds them.
    pub from: String,
    /// The node at the other end.
    pub to: String,
    /// How many.
    pub channels: u32,
    /// The size of each, in satoshi. 483 HTLCs need at least 5,000,000.
    pub capacity_sat: u64,
    /// How much of it belongs to the other end from the start, in satoshi.
    pub push_sat: u64,
}

/// Gives every node what its channels need, from the first node's wallet.
pub(super) async fn fund(network: &Network, links: &[Link]) -> Result<()> {
    let [miner, others @ ..] = network.nodes() else {
        return Ok(());
    };
    let mut outputs = BTreeMap::new();
    for node in others {
        let answer = node.lncli(&["newaddress", "p2wkh"]).await?;
        outputs.insert(text(&answer, "/address")?.to_owned(), needed_sat(node, links));
    }
    until("the miner's coins", FUND_MAX, async || {
        Ok((miner.balance().await?.wallet_sat > outputs.values().sum()).then_some(()))
    })
    .await?;
    let outputs = serde_json::to_string(&outputs)?;
    miner.lncli(&["sendmany", "--sat_per_vbyte=2", &outputs]).await?;
    network.chain().generate(1).await?;
    for node in others {
        until("the money to arrive", FUND_MAX, async || {
            Ok((node.balance().await?.wallet_sat >= needed_sat(node, links)).then_some(()))
        })
        .await?;
    }
    Ok(())
}

fn needed_sat(node: &Node, links: &[Link]) -> u64 {
    let own = links.iter().filter(|link| link.from == node.name());
    own.map(|link| u64::from(link.channels) * link.capacity_sat).sum::<u64>() + SPARE_SAT
}

/// Connects the nodes and opens the channels, those of one link in one transaction.
pub(super) async fn open(network: &Network, links: &[Link]) -> Result<()> {
    for link in links {
        let (from, to) = (network.node(&link.from), network.node(&link.to));
        from.connect(to).await?;
        let channel = json!({
            "node_pubkey": to.public_key(),
            "local_funding_amount": link.capacity_sat,
            "push_sat": link.push_sat,
        });
        let channels = vec![channel; link.channels as usize];
        let channels = serde_json::to_string(&channels)?;
        // Right after a block a node may still say that it is not synced.
        until("the channels to be opened", OPEN_MAX, async || {
            from.lncli(&["batchopenchannel", "--sat_per_vbyte=2", &channels]).await.map(Some)
        })
        .await?;
    }
    network.chain().generate(CONFIRMATIONS).await
}

/// Waits until every channel is active at both ends and every node can route through all of them.
pub(super) async fn wait_usable(network: &Network, links: &[Link]) -> Result<()> {
    for node in network.nodes() {
        let expected: usize = links
            .iter()
            .filter(|link| link.from == node.name() || link.to == node.name())
            .map(|link| link.channels as usize)
            .sum();
        until("the channels to be active", OPEN_MAX, async || {
            let channels = node.channels().await?;
            let active = channels.iter().filter(|channel| channel.active).count();
            Ok((active == expected).then_some(()))
        })
        .await
        .with_context(|| node.log_tail(20))?;
    }
    let expected: usize = links.iter().map(|link| link.channels as usize).sum();
    for node in network.nodes() {
        until("the graph to be complete", OPEN_MAX, async || {
            let graph = node.lncli(&["describegraph"]).await?;
            let edges = list(&graph, "/edges")?;
            let complete = edges.iter().filter(|edge| has_both_policies(edge)).count();
            Ok((complete == expected).then_some(()))
        })
        .await
        .with_context(|| node.log_tail(20))?;
    }
    Ok(())
}

fn has_both_policies(edge: &Value) -> bool {
    edge["node1_policy"].is_object() && edge["node2_policy"].is_object()
}

impl Node {
    /// Sum of what this node can send at most over its channels to `peer`, in millisatoshi: its
    /// side without the reserve, before commitment fees.
    ///
    /// # Errors
    ///
    /// If lnd does not answer.
    pub async fn spendable_msat(&self, peer: &Node) -> Result<u64> {
        let public_key = peer.public_key();
        let mut sum_sat = 0;
        for channel in self.channels().await? {
            if channel.remote_pubkey == public_key {
                let reserve_sat = channel.local_constraints.map_or(0, |own| own.chan_reserve_sat);
                sum_sat += u64::try_from(channel.local_balance)?.saturating_sub(reserve_sat);
            }
        }
        Ok(sum_sat * 1_000)
    }

    /// Closes the channel with this short channel id by force, without the peer.
    ///
    /// # Errors
    ///
    /// If there is none, or lnd refuses.
    pub async fn force_close(&self, short_channel_id: u64) -> Result<()> {
        let channels = self.channels().await?;
        let channel = channels.iter().find(|channel| channel.chan_id == short_channel_id);
        let point = &channel.context("an open channel")?.channel_point;
        self.lncli(&["closechannel", "--force", "--chan_point", point]).await?;
        Ok(())
    }

    /// Closes one channel in agreement with the peer, and mines until it is closed.
    ///
    /// # Errors
    ///
    /// If lnd refuses, or it stays open.
    pub async fn close_channel(&self, network: &Network, channel_point: &str) -> Result<()> {
        self.lncli(&["closechannel", "--chan_point", channel_point, "--sat_per_vbyte=2"]).await?;
        until("the channel to be closed", OPEN_MAX, async || {
            network.chain().generate(1).await?;
            let channels = self.channels().await?;
            let open = channels.iter().any(|channel| channel.channel_point == channel_point);
            Ok((!open).then_some(()))
        })
        .await
    }
}
