//! Looks at every order before it is accepted.
//!
//! [`invoice`] reads one BOLT 11 invoice, [`row`] judges one order by itself, both on the thread
//! of [`Checker`]; [`upload`] judges the rows against each other, in their order.

pub mod invoice;
pub mod row;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod thread;
pub mod upload;

use std::sync::Arc;

use dashmap::DashSet;
use fulgurite_core::{FeePolicy, UnixMs};

use crate::doors::Limits;

pub use row::CheckedRow;
pub use thread::{Checker, Record, Unchecked, Waiting};

/// The Bitcoin network that an engine pays on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Real money.
    Mainnet,
    /// The test network, version 3 or 4.
    Testnet,
    /// The signed test network.
    Signet,
    /// A private network.
    Regtest,
}

impl Network {
    /// The name as in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Network::Mainnet => "mainnet",
            Network::Testnet => "testnet",
            Network::Signet => "signet",
            Network::Regtest => "regtest",
        }
    }
}

/// Who checks the signature of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// The invoice check: 45 us of CPU an order.
    Door,
    /// The node, when it pays: the payee is then unknown here.
    Node,
}

impl Signatures {
    /// The name as in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Signatures::Door => "door",
            Signatures::Node => "node",
        }
    }
}

/// What every order is judged by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Invoices of another network are refused.
    pub network: Network,
    /// Who checks signatures.
    pub signatures: Signatures,
    /// The limits of amounts, fees and times.
    pub limits: Limits,
}

/// The identity keys of our own nodes, which pay no invoices to each other. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct OwnNodes(Arc<DashSet<[u8; 33]>>);

impl OwnNodes {
    /// Adds the identity key of a node, in hex; anything else is ignored.
    pub fn add(&self, identity_pubkey: &str) {
        let mut key = [0; 33];
        if hex::decode_to_slice(identity_pubkey, &mut key).is_ok() {
            self.0.insert(key);
        }
    }

    fn contains(&self, key: &[u8; 33]) -> bool {
        self.0.contains(key)
    }
}

/// What the orders of one upload are judged by, beside the rules.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time of the check.
    pub now: UnixMs,
    /// What an order without a fee limit may pay.
    pub fee_policy: FeePolicy,
    /// True when the client chose the policy: then its limits are judged like an order's own.
    pub fee_policy_chosen: bool,
}
