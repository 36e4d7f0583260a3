//! What the engine says about its nodes and itself.

use std::sync::Arc;

use fulgurite_core::{Msat, PaymentId, UnixMs, standing::Quarantine};
use fulgurite_journal::Totals;

use crate::clock::now;

/// A node as the engine sees it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its address.
    pub address: String,
    /// Its identity key in hex, as it showed it last, also to an earlier engine; empty before its
    /// first connection.
    pub identity_pubkey: String,
    /// Its alias; empty before the first connection.
    pub alias: String,
    /// lnd's version; empty before the first connection.
    pub version: String,
    /// Connected, unlocked, in sync.
    pub connected: bool,
    /// Why it is not connected; empty when it is.
    pub problem: String,
    /// Since when it is not connected, at the earliest the engine's start; `None` while it is.
    pub disconnected_since: Option<UnixMs>,
    /// The circuit breaker's state: `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// How many payments may be in flight there now.
    pub window: u32,
    /// Payments in flight there.
    pub in_flight: u32,
    /// Those of them that take so long that they left the window (rule E21).
    pub long: u32,
    /// Attempts there that were asked for and of which the node says nothing.
    pub silent: u32,
    /// The age of the oldest attempt there, in milliseconds; 0 without one.
    pub oldest_ms: i64,
    /// Channels that are being closed, as far as they were asked for.
    pub closing_channels: u32,
    /// How many attempts a second ended there, over the last ten seconds.
    pub measured_rate: f64,
    /// Orders that wait for its window.
    pub queued: u32,
    /// Channels that can be used now.
    pub active_channels: u32,
    /// What its active channels can send now, reserves and reservations taken off.
    pub spendable: Msat,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_offset_ms: i64,
    /// The height of its chain.
    pub block_height: u32,
    /// No new attempt starts there: somebody drains it (rule E22).
    pub draining: bool,
    /// Why it is not believed (rule E19).
    pub quarantine: Option<Quarantine>,
    /// Payments that it showed as paid after they had ended otherwise (rule E14).
    pub contradicted: Vec<PaymentId>,
}

/// How much waits and lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Payments that are not final.
    pub open_payments: u64,
    /// Uploads on their way.
    pub uploads: u64,
    /// Events that wait for the journal's writer.
    pub journal_waiting: u64,
    /// Events that are durable and not yet in the read model.
    pub projector_lag: u64,
    /// What the journal's disk has left, in bytes; 0 when it cannot be asked.
    pub disk_free_bytes: u64,
    /// What the journal has written since the start.
    pub journal: Totals,
}

/// Why the engine is not ready; none of them when it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The journal is recovered and the views caught up.
    pub recovered: bool,
    /// Nodes that are connected now.
    pub nodes_connected: u32,
    /// Nodes configured.
    pub nodes: u32,
    /// Stopping: no new orders.
    pub stopping: bool,
}

impl Readiness {
    /// Orders are taken and can be paid.
    pub fn is_ready(&self) -> bool {
        self.recovered && !self.stopping && self.nodes_connected > 0
    }
}

/// Bytes as operators read them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl NodeStatus {
    /// A node that has not connected yet; `identity` is the key that it had, empty when unknown.
    pub fn unknown(name: Arc<str>, address: String, identity: &[u8]) -> NodeStatus {
        NodeStatus {
            name,
            address,
            identity_pubkey: hex(identity),
            alias: String::new(),
            version: String::new(),
            connected: false,
            problem: "not connected yet".to_owned(),
            disconnected_since: Some(now()),
            breaker: "closed",
            window: 0,
            in_flight: 0,
            long: 0,
            silent: 0,
            oldest_ms: 0,
            closing_channels: 0,
            measured_rate: 0.0,
            queued: 0,
            active_channels: 0,
            spendable: Msat::ZERO,
            clock_offset_ms: 0,
            block_height: 0,
            draining: false,
            quarantine: None,
            contradicted: Vec::new(),
        }
    }
}
