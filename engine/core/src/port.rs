//! The ports: what the rules need from outside, as traits that the runtime and the adapters meet.
//!
//! The runtime knows no adapter and an adapter no actor. `main` joins them.

use std::{sync::Arc, time::Duration};

use crate::{
    amount::Msat,
    event::Event,
    id::{AttemptId, PaymentHash, Preimage, SendId},
    time::UnixMs,
};

/// A position in the journal: the number of one event, from 1, without gaps.
pub type Lsn = u64;

/// The write-ahead journal. Implementations never lose what [`Journal::durable`] covers.
pub trait Journal {
    /// Takes the next place in the journal for `event`. It is durable once [`Journal::durable`]
    /// reaches the returned LSN.
    fn append(&self, event: Event) -> Lsn;

    /// The LSN of the last event appended by anyone; 0 when there is none.
    fn last(&self) -> Lsn;

    /// Every event up to this LSN is on disk.
    fn durable(&self) -> Lsn;
}

/// A Lightning node, seen from the engine. Commands go in and never wait; everything that comes
/// of them is reported as a [`NodeEvent`] to the function that the adapter was opened with.
pub trait Node {
    /// Hands a command over. Without a connection it is reported as unreachable, never queued.
    fn command(&self, command: Command);
}

/// What the engine asks of a node.
#[derive(Clone, Debug)]
pub enum Command {
    /// Sends a payment: exactly one `SendPaymentV2` call, reported by [`NodeEvent::Send`].
    Send(Box<SendPayment>),
    /// Asks for a payment: one `TrackPaymentV2` call with in-flight updates, reported by
    /// [`NodeEvent::Track`].
    Track(TrackCall),
    /// Asks whether the node refuses a macaroon that expires at this node time (rule E13 (1)):
    /// one harmless call with that caveat, reported by [`NodeEvent::ExpiryProbe`].
    ProbeExpiry {
        /// The caveat's time, by the node's clock.
        expiry: UnixMs,
    },
    /// Reads the channels again, reported by [`NodeEvent::Channels`].
    ListChannels(ChannelsCall),
    /// Has macaroons of the clone guard revoked (rule E18), reported by [`NodeEvent::Revoked`].
    Revoke(Whose),
    /// Reads a page of the node's payments, reported by [`NodeEvent::Payments`].
    ListPayments(ListCall),
}

/// Whose macaroons are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of older engines with this journal, as the present session found them. The number
    /// is the call's: what comes of one that was made over an earlier connection says nothing.
    Older(u64),
    /// This engine's own: it ends.
    Own,
}

/// One `ListPayments` call, with payments that are not paid (lnrpc.ListPaymentsRequest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCall {
    /// Which call.
    pub number: u64,
    /// The index after which the page begins, or before which it ends; 0 is the end that fits.
    pub index_offset: u64,
    /// The newest before the offset, not the oldest behind it.
    pub reversed: bool,
    /// The most payments.
    pub max: u32,
}

impl ListCall {
    /// A payment with this index belongs on the page.
    pub fn covers(&self, index: u64) -> bool {
        let ListCall { index_offset: offset, reversed, .. } = *self;
        if reversed { offset == 0 || index < offset } else { index > offset }
    }
}

/// One payment in a node's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedPayment {
    /// Its place in the list, from 1; a hash that is paid anew gets another.
    pub index: u64,
    /// What was paid.
    pub payment_hash: PaymentHash,
    /// How it stands.
    pub state: ListedState,
    /// When the node created it, by its clock.
    pub created: UnixMs,
}

/// How a listed payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedState {
    /// It may be paid yet.
    InFlight,
    /// Paid.
    Succeeded,
    /// Not paid, and nothing of it is in flight.
    Failed,
}

/// Which reading of the channels is wanted. Many calls may be answered by one reading that began
/// after the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelsCall {
    /// Grows with every call: a reading that answers it began later.
    pub number: u64,
    /// Channels that are no longer open are asked for, too.
    pub closed: bool,
}

/// One `TrackPaymentV2` call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackCall {
    /// On whose behalf.
    pub attempt: AttemptId,
    /// Which call of the attempt: an answer is worth only as much as its call is late.
    pub number: u64,
    /// What is asked for.
    pub payment_hash: PaymentHash,
    /// Whether changes are reported until the payment is final, or the first answer alone. Of an
    /// attempt's calls that follow only the last one goes on: earlier ones end without a word.
    pub follow: bool,
}

/// One `SendPaymentV2` call (routerrpc.SendPaymentRequest). Always with `cancelable = false` and
/// in-flight updates.
#[derive(Clone, Debug)]
pub struct SendPayment {
    /// Which send it is.
    pub send: SendId,
    /// The invoice's payment hash.
    pub payment_hash: PaymentHash,
    /// The BOLT 11 invoice.
    pub invoice: Arc<str>,
    /// The amount of an invoice without one; `None` when the invoice has an amount.
    pub amount: Option<Msat>,
    /// The most that may be paid in fees; 0 allows only routes without a fee.
    pub fee_limit: Msat,
    /// The most blocks that the payment may be locked for (`cltv_limit`).
    pub cltv_limit: u32,
    /// For how long lnd starts new HTLCs (`timeout_seconds`).
    pub timeout_seconds: u32,
    /// The channels it may leave by; empty means any.
    pub outgoing_chan_ids: Vec<u64>,
    /// The most parts that lnd may split it into.
    pub max_parts: u32,
    /// The `time-before` caveat, by the node's clock (rule E6 (a)).
    pub expiry: UnixMs,
    /// The `grpc-timeout` (rule E6 (b)).
    pub deadline: Duration,
}

/// What a node reports.
#[derive(Clone, Debug)]
pub enum NodeEvent {
    /// The node can be used: connected, unlocked, in sync. Sent again when anything in it changed.
    Connected(NodeInfo),
    /// The node cannot be reached or used; the adapter goes on trying by itself.
    Disconnected {
        /// For the operator.
        reason: String,
    },
    /// The node refuses this engine, because another one has a copy of its journal (rule E18).
    Fenced {
        /// The other engine's epoch; this one's when the node does not say it.
        epoch: u32,
        /// For the operator.
        reason: String,
    },
    /// What came of a [`Command::Revoke`]: done, or why not.
    Revoked(Whose, Result<(), String>),
    /// The channels of the node, read anew.
    Channels(ChannelReport),
    /// Something happened to a send.
    Send {
        /// Which send.
        send: SendId,
        /// What happened.
        report: SendReport,
    },
    /// Something came of a [`Command::Track`].
    Track {
        /// The call that is answered.
        call: TrackCall,
        /// The answer.
        report: TrackReport,
    },
    /// What came of a [`Command::ProbeExpiry`].
    ExpiryProbe {
        /// The caveat's time.
        expiry: UnixMs,
        /// The answer.
        answer: ProbeAnswer,
    },
    /// What came of a [`Command::ListPayments`].
    Payments {
        /// The call that is answered.
        call: ListCall,
        /// The page, or why there is none.
        page: Result<Vec<ListedPayment>, String>,
    },
}

/// What a node says of itself (lnrpc.GetInfoResponse).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node's identity key, 33 bytes.
    pub identity_pubkey: Vec<u8>,
    /// Its name in gossip.
    pub alias: String,
    /// lnd's version.
    pub version: String,
    /// The height of its chain.
    pub block_height: u32,
    /// How far the node's clock is ahead of ours; exact to one second or better.
    pub clock_offset_ms: i64,
}

/// The channels of a node as it listed them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelReport {
    /// All that are open.
    pub open: Vec<ChannelInfo>,
    /// What became of the others; `None` when it was not asked for, or not said.
    pub closed: Option<ClosedChannels>,
    /// The last [`ChannelsCall`] that was made before the reading began; 0 for none.
    pub number: u64,
}

impl ChannelReport {
    /// The node says that the channel is closed and resolved on chain.
    pub fn has_resolved(&self, short_channel_id: u64) -> bool {
        let closed = self.closed.as_ref();
        closed.is_some_and(|closed| closed.resolved.contains(&short_channel_id))
    }
}

/// Channels that are no longer open (lnrpc PendingChannels and ClosedChannels).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedChannels {
    /// Closed, and nothing of them is left to be decided on chain: short channel ids as lnd's
    /// numbers.
    pub resolved: Vec<u64>,
    /// How many are being closed, or closed with something left to be decided on chain.
    pub closing: u32,
}

/// One channel (lnrpc.Channel).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// The short channel id (BOLT 7) as lnd's number.
    pub short_channel_id: u64,
    /// The other side's identity key in hex.
    pub remote_pubkey: Arc<str>,
    /// Usable now.
    pub active: bool,
    /// The funding amount.
    pub capacity: Msat,
    /// Our balance, HTLCs in flight taken off.
    pub local_balance: Msat,
    /// What must stay with us (`local_constraints.chan_reserve_sat`).
    pub reserve: Msat,
    /// What we pay for the commitment transaction when we opened the channel, else zero.
    pub commit_fee: Msat,
    /// The most HTLCs that we may offer at once (`local_constraints.max_accepted_htlcs`).
    pub max_accepted_htlcs: u32,
    /// The most that we may have in flight (`local_constraints.max_pending_amt_msat`).
    pub max_in_flight: Msat,
    /// HTLCs below this are dust (`local_constraints.dust_limit_sat`).
    pub dust_limit: Msat,
    /// The payment hashes of the HTLCs that we offered and that are pending now; one with two
    /// HTLCs stands here twice.
    pub outgoing: Arc<[PaymentHash]>,
}

/// What happened to a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendReport {
    /// A `Payment` message on the send's own stream: it started, and cannot start again (E11).
    Payment(PaymentReport),
    /// The send is over. Nothing more comes for it.
    Ended(SendEnd),
}

/// How a send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendEnd {
    /// The node closed the stream in order, after a final `Payment` message.
    Completed,
    /// It was never handed to the transport, so it can never arrive (E8, E11).
    NotHandedOver,
    /// lnd refused it in a way that proves that it did not and cannot start (E11).
    Refused(Refused),
    /// Anything else: a lost stream, a deadline, an error that proves nothing. Unknown, not failed
    /// (E10). The code and text are for the operator.
    Lost(String),
}

/// A refusal by lnd that accounts for the send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `AlreadyExists`: a payment with this hash is known: in flight or paid. Ask for it.
    AlreadyExists,
    /// `invoice expired`: says nothing about an earlier send of the hash (reference: lnd#7621).
    InvoiceExpired,
    /// `macaroon has expired`, or its root key does not exist.
    MacaroonExpired,
    /// The destination is the node itself.
    SelfPayment,
    /// lnd cannot use the invoice or the request, and said why in a text that is known to come
    /// from the validation before its database.
    Invalid,
}

/// A payment as lnd reports it (lnrpc.Payment).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentReport {
    /// The state.
    pub status: PaymentStatus,
    /// What was to be paid, without fees (`value_msat`).
    pub amount: Msat,
    /// The channels by which the HTLCs left that are in flight in this report; 0 for one whose
    /// channel the node does not say.
    pub first_hops: Vec<u64>,
    /// The highest block at which an HTLC in flight expires; 0 when none is known.
    pub htlc_expiry_height: u32,
    /// When lnd created the payment, by its clock.
    pub created: UnixMs,
}

/// The state of a payment at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Known, no HTLC yet (`INITIATED`), or on its way (`IN_FLIGHT`).
    InFlight,
    /// Paid.
    Succeeded {
        /// The proof, as the node gave it: not yet checked.
        preimage: Preimage,
        /// What was paid in fees.
        fee_paid: Msat,
    },
    /// Final at the node: nothing of it is in flight there.
    Failed(FailureReason),
}

/// lnrpc.PaymentFailureReason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum FailureReason {
    /// No reason given, or one that we do not know.
    Unknown,
    /// `FAILURE_REASON_TIMEOUT`: the attempt's time was over.
    Timeout,
    /// `FAILURE_REASON_NO_ROUTE`: none within the fee limit either; also after an lnd restart.
    NoRoute,
    /// `FAILURE_REASON_ERROR`: a non-recoverable error, under load a recoverable one.
    Error,
    /// `FAILURE_REASON_INCORRECT_PAYMENT_DETAILS`: the recipient refused this invoice.
    IncorrectPaymentDetails,
    /// `FAILURE_REASON_INSUFFICIENT_BALANCE`: our channels could not carry it, or were full.
    InsufficientBalance,
    /// `FAILURE_REASON_CANCELED`.
    Canceled,
}

/// What came of asking for a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackReport {
    /// The payment as it is now.
    Payment(PaymentReport),
    /// The node does not know the hash. Alone it proves nothing about what may still arrive.
    NotFound,
    /// No answer, or the stream ended before the payment was final: ask again.
    Unreachable(String),
}

/// What came of a macaroon that should have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// lnd itself said that it has expired: nothing with this or an earlier time can start.
    Expired,
    /// lnd still took it.
    NotYet,
    /// No answer, or one that proves nothing.
    Unreachable,
}
