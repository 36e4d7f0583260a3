//! The payments that a node remembers: what lnd keeps per payment hash.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A payment's status, with lnd's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Created, no HTLC yet.
    Initiated = 4,
    /// At least one HTLC is out.
    InFlight = 1,
    /// Settled: the preimage is known.
    Succeeded = 2,
    /// No HTLC is out and none will be.
    Failed = 3,
}

/// Why a payment failed, with lnd's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// It did not fail.
    None = 0,
    /// No attempt was made before `timeout_seconds`.
    Timeout = 1,
    /// No route within the limits; also every payment that a restart interrupted.
    NoRoute = 2,
    /// Something unexpected.
    Error = 3,
    /// The recipient refused: unknown, settled, cancelled or wrong amount.
    IncorrectPaymentDetails = 4,
    /// The node's channels have neither the balance nor the slots.
    InsufficientBalance = 5,
    /// The sender cancelled.
    Canceled = 6,
}

impl FailureReason {
    /// The reason with lnd's `number`, `None` for numbers that lnd does not have.
    pub fn from_number(number: u8) -> Option<FailureReason> {
        Some(match number {
            0 => FailureReason::None,
            1 => FailureReason::Timeout,
            2 => FailureReason::NoRoute,
            3 => FailureReason::Error,
            4 => FailureReason::IncorrectPaymentDetails,
            5 => FailureReason::InsufficientBalance,
            6 => FailureReason::Canceled,
            _ => return None,
        })
    }
}

/// Where the preimage of a payment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A payee of the invoice factory; the preimage derives from the invoice's index.
    Factory { index: u64, payee: u16 },
    /// A node of this fleet, or nobody that the fleet knows.
    Node,
}

/// One part of a payment: an HTLC over one of the node's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// The channel, an index.
    pub channel: u16,
    /// What the recipient gets.
    pub amount_msat: u64,
    /// What the route costs on top.
    pub fee_msat: u64,
}

/// The parts of a payment; nearly always one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shards {
    /// No attempt was made.
    None,
    /// Not split.
    One(Shard),
    /// Split over channels.
    Many(Box<[Shard]>),
}

impl Shards {
    /// All parts.
    pub fn as_slice(&self) -> &[Shard] {
        match self {
            Shards::None => &[],
            Shards::One(shard) => std::slice::from_ref(shard),
            Shards::Many(shards) => shards,
        }
    }

    /// The fees of all parts together, in millisatoshi.
    pub fn fee_msat(&self) -> u64 {
        self.as_slice().iter().map(|shard| shard.fee_msat).sum()
    }
}

impl From<Vec<Shard>> for Shards {
    fn from(shards: Vec<Shard>) -> Shards {
        match shards.as_slice() {
            [] => Shards::None,
            [shard] => Shards::One(*shard),
            _ => Shards::Many(shards.into()),
        }
    }
}

/// One payment of a node.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    /// The hash that names it.
    pub payment_hash: [u8; 32],
    /// Where it stands.
    pub status: Status,
    /// Why it failed, if it did.
    pub reason: FailureReason,
    /// Superseded: the same hash was sent again after it had failed.
    pub superseded: bool,
    /// Who gets it.
    pub recipient: Recipient,
    /// Without fees.
    pub amount_msat: u64,
    /// By the node's clock.
    pub created_ns: i64,
    /// By the node's clock, 0 while it is open.
    pub resolved_ns: i64,
    /// Its HTLCs.
    pub shards: Shards,
    /// Known once it has succeeded.
    pub preimage: [u8; 32],
    /// Where its invoice stands in the book, and how long it is.
    pub invoice_at: (u64, u16),
}

/// All payments of a node, in the order in which they began.
#[derive(Default)]
pub(crate) struct Payments {
    all: Vec<Payment>,
    by_hash: HashMap<[u8; 32], u32, BuildHasherDefault<PrefixHasher>>,
}

impl Payments {
    /// The place of the payment with this hash, the latest if it was sent again.
    pub fn find(&self, payment_hash: &[u8; 32]) -> Option<u32> {
        self.by_hash.get(payment_hash).copied()
    }

    /// The payment at `slot`, which [`Payments::find`] or [`Payments::add`] gave.
    pub fn get(&self, slot: u32) -> &Payment {
        &self.all[slot as usize]
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, slot: u32) -> &mut Payment {
        &mut self.all[slot as usize]
    }

    /// Every payment that was ever begun.
    pub fn all(&self) -> &[Payment] {
        &self.all
    }

    /// Appends a payment; an older one with the same hash is superseded.
    pub fn add(&mut self, payment: Payment) -> u32 {
        let slot = u32::try_from(self.all.len()).expect("no book has 2^32 payments");
        if let Some(older) = self.by_hash.insert(payment.payment_hash, slot) {
            self.all[older as usize].superseded = true;
        }
        self.all.push(payment);
        slot
    }
}

/// Payment hashes are uniform already: their first 8 bytes are as good as any hash of them.
#[derive(Default)]
pub(crate) struct PrefixHasher(u64);

impl Hasher for PrefixHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(prefix) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*prefix);
        }
    }

    // The length that slices hash first says nothing.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
