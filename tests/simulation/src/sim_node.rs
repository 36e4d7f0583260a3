//! A simulated lnd: its books, by the rules of `routerrpc` (payments by hash), and its channels.

use std::collections::{BTreeMap, BTreeSet};

use fulgurite_core::{
    AttemptId, Msat, PaymentHash, Preimage, SendId, UnixMs,
    port::{
        ChannelInfo, FailureReason, ListCall, ListedPayment, ListedState, PaymentReport,
        PaymentStatus, TrackCall,
    },
};

/// One lnd and the engine's connection to it.
#[derive(Debug)]
pub struct SimNode {
    /// How far its clock is ahead of the true one.
    pub offset_ms: i64,
    /// How far the engine's reading of it is always off, besides a second.
    pub reading_error_ms: i64,
    pub up: bool,
    /// Until then it answers slowly.
    pub slow_until: i64,
    /// Grows with each start of its process.
    pub life: u32,
    /// The connection that works, if any.
    pub connection: Option<u32>,
    pub connections: u32,
    pub books: BTreeMap<PaymentHash, Entry>,
    pub channels: Vec<SimChannel>,
    /// Streams of sends that the engine still reads.
    pub sends: BTreeMap<SendId, Stream>,
    /// Streams of Track calls that the engine still reads, by number.
    pub tracks: BTreeMap<u64, (TrackCall, Stream)>,
    /// The life of the engine that asked for a hash last.
    pub asked: BTreeMap<PaymentHash, u32>,
}

/// A channel of the node.
#[derive(Clone, Copy, Debug)]
pub struct SimChannel {
    pub id: u64,
    /// Until then its peer is away.
    pub away_until: i64,
    /// Until then it has no balance.
    pub full_until: i64,
}

/// A stream that the engine reads.
#[derive(Clone, Copy, Debug, Default)]
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
    /// The same by the true clock.
    pub began: i64,
    pub amount: Msat,
    pub fee: Msat,
    /// Which run of the hash, over all nodes.
    pub run: u64,
    /// The channels that the request named.
    pub allowed: Vec<u64>,
    /// By which channel its HTLC left; 0 for none.
    pub channel: u64,
    /// Its HTLC is lost: the books show it in flight, and nothing comes of it.
    pub lost: bool,
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
    pub channels: Vec<u64>,
    /// How long its message is held back after its HEADERS.
    pub hold_ms: i64,
    /// How long it waits for the node's database; 0 for as long as others.
    pub database_ms: i64,
    /// The node's life when its HEADERS arrived.
    pub life: u32,
    /// The life of the engine that made it.
    pub engine: u32,
}

impl Entry {
    pub fn is_alive(&self) -> bool {
        !matches!(self.status, Status::Failed(_))
    }

    pub fn is_final(&self) -> bool {
        matches!(self.status, Status::Failed(_) | Status::Succeeded(_))
    }

    /// An HTLC of it is on a channel.
    pub fn has_htlc(&self) -> bool {
        self.status == Status::InFlight && !self.lost
    }

    pub fn report(&self) -> PaymentReport {
        let status = match self.status {
            Status::Initiated | Status::InFlight => PaymentStatus::InFlight,
            Status::Succeeded(preimage) => {
                PaymentStatus::Succeeded { preimage, fee_paid: self.fee }
            }
            Status::Failed(reason) => PaymentStatus::Failed(reason),
        };
        let in_flight = self.status == Status::InFlight;
        PaymentReport {
            status,
            amount: self.amount,
            first_hops: if in_flight { vec![self.channel] } else { Vec::new() },
            htlc_expiry_height: 0,
            created: self.created,
        }
    }
}

impl SimNode {
    pub fn new(at: u64, offset_ms: i64, reading_error_ms: i64) -> SimNode {
        SimNode {
            offset_ms,
            reading_error_ms,
            up: true,
            slow_until: 0,
            life: 1,
            connection: None,
            connections: 0,
            books: BTreeMap::new(),
            channels: (1..=2).map(|channel| SimChannel::new(channel + 1_000 * at)).collect(),
            sends: BTreeMap::new(),
            tracks: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// What the node lists: an HTLC is shown only while the channel's peer is there.
    pub fn list(&self, now: i64) -> Vec<ChannelInfo> {
        self.channels.iter().map(|channel| self.info(channel, now)).collect()
    }

    fn info(&self, channel: &SimChannel, now: i64) -> ChannelInfo {
        let active = channel.away_until <= now;
        let here = |entry: &Entry| active && entry.has_htlc() && entry.channel == channel.id;
        let outgoing: Vec<PaymentHash> =
            self.books.iter().filter(|(_, entry)| here(entry)).map(|(hash, _)| *hash).collect();
        let balance = if channel.full_until > now { 0 } else { 30_000 };
        ChannelInfo {
            short_channel_id: channel.id,
            remote_pubkey: "02".into(),
            active,
            capacity: Msat::from_sat_clamped(1_000_000),
            local_balance: Msat::from_sat_clamped(balance),
            reserve: Msat::ZERO,
            commit_fee: Msat::ZERO,
            max_accepted_htlcs: 3,
            max_in_flight: Msat::from_sat_clamped(1_000_000),
            dust_limit: Msat::ZERO,
            outgoing: outgoing.into(),
        }
    }

    /// A page of its payments, by their places.
    pub fn payments(&self, call: ListCall) -> Vec<ListedPayment> {
        let listed = |(hash, entry): (&PaymentHash, &Entry)| ListedPayment {
            index: entry.run,
            payment_hash: *hash,
            state: match entry.status {
                Status::Initiated | Status::InFlight => ListedState::InFlight,
                Status::Succeeded(_) => ListedState::Succeeded,
                Status::Failed(_) => ListedState::Failed,
            },
            created: entry.created,
        };
        // What others paid long ago has no place.
        let placed = self.books.iter().filter(|(_, entry)| entry.run > 0);
        placed.map(listed).filter(|listed| call.covers(listed.index)).collect()
    }

    /// The channel by which an HTLC leaves: one that the request allows, its peer there.
    pub fn first_hop(&self, allowed: &BTreeSet<u64>, now: i64) -> Option<u64> {
        let usable = |channel: &&SimChannel| {
            channel.away_until <= now && (allowed.is_empty() || allowed.contains(&channel.id))
        };
        self.channels.iter().find(usable).map(|channel| channel.id)
    }
}

impl SimChannel {
    pub fn new(id: u64) -> SimChannel {
        SimChannel { id, away_until: 0, full_until: 0 }
    }
}
