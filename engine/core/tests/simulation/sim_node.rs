//! A simulated lnd: its books, by the rules of `routerrpc` (payments by hash).

use std::collections::BTreeMap;

use fulgurite_core::{
    AttemptId, Msat, PaymentHash, Preimage, SendId, UnixMs,
    port::{FailureReason, PaymentReport, PaymentStatus, TrackCall},
};

/// One lnd and the engine's connection to it.
#[derive(Debug)]
pub struct SimNode {
    /// How far its clock is ahead of the engine's.
    pub offset_ms: i64,
    /// How far the engine's reading of it is always off, besides a second.
    pub reading_error_ms: i64,
    pub up: bool,
    /// Grows with each start of its process.
    pub life: u32,
    /// The connection that works, if any.
    pub connection: Option<u32>,
    pub connections: u32,
    pub books: BTreeMap<PaymentHash, Entry>,
    /// Streams of sends that the engine still reads.
    pub sends: BTreeMap<SendId, Stream>,
    /// Streams of Track calls that the engine still reads, by number.
    pub tracks: BTreeMap<u32, (TrackCall, Stream)>,
}

/// A stream that the engine reads.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// It shows the payment.
    pub shows: bool,
    /// When its last message arrives: they stay in order.
    pub last_at: i64,
}

/// One payment in the node's books.
#[derive(Clone, Debug)]
pub struct Entry {
    pub status: Status,
    /// Who started it; `None` for a payment that is not ours.
    pub attempt: Option<AttemptId>,
    pub created: UnixMs,
    pub amount: Msat,
    /// Which run of the hash, over all nodes.
    pub run: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Initiated,
    InFlight,
    Succeeded(Preimage),
    Failed(FailureReason),
}

/// A `SendPaymentV2` on its way.
#[derive(Clone, Debug)]
pub struct Request {
    pub node: usize,
    pub send: SendId,
    pub hash: PaymentHash,
    pub amount: Msat,
    /// The macaroon's end, by the node's clock.
    pub expiry: UnixMs,
    pub invoice_expiry: UnixMs,
    /// How long its message is held back after its HEADERS.
    pub hold_ms: i64,
    /// The node's life when its HEADERS arrived.
    pub life: u32,
}

impl Entry {
    pub fn is_alive(&self) -> bool {
        !matches!(self.status, Status::Failed(_))
    }

    pub fn is_final(&self) -> bool {
        matches!(self.status, Status::Failed(_) | Status::Succeeded(_))
    }

    pub fn report(&self) -> PaymentReport {
        let status = match self.status {
            Status::Initiated | Status::InFlight => PaymentStatus::InFlight,
            Status::Succeeded(preimage) => {
                PaymentStatus::Succeeded { preimage, fee_paid: Msat::from_sat_clamped(1) }
            }
            Status::Failed(reason) => PaymentStatus::Failed(reason),
        };
        PaymentReport {
            status,
            amount: self.amount,
            first_hops: Vec::new(),
            htlc_expiry_height: 0,
            created: self.created,
        }
    }
}

impl SimNode {
    pub fn new(offset_ms: i64, reading_error_ms: i64) -> SimNode {
        SimNode {
            offset_ms,
            reading_error_ms,
            up: true,
            life: 1,
            connection: None,
            connections: 0,
            books: BTreeMap::new(),
            sends: BTreeMap::new(),
            tracks: BTreeMap::new(),
        }
    }
}
