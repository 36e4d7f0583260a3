//! What happened, in the past tense: everything that the journal keeps.

use std::sync::Arc;

use crate::{
    amount::Msat,
    id::{BatchId, NodeName, PaymentHash, PaymentId, Preimage},
    order::{Accepted, Order, Sealed},
    port::FailureReason,
    standing::NodeChange,
    time::UnixMs,
};

/// One event of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An engine took the journal over. The first event of each epoch.
    EngineStarted {
        /// Grows by one at each start.
        epoch: u32,
        /// When.
        time: UnixMs,
        /// The program's version.
        version: Arc<str>,
    },
    /// Rows of an upload. They claim and pay nothing before the batch's seal (rule E3).
    OrdersAdded {
        /// The batch that is being uploaded.
        batch: BatchId,
        /// The rows with their orders, growing.
        orders: Arc<Vec<(u32, Arc<Order>)>>,
    },
    /// The seal: from here on the batch exists and its orders will be paid.
    BatchAccepted(Arc<Accepted>),
    /// The upload ended without a seal: its rows are forgotten.
    UploadDropped {
        /// The batch that will never be.
        batch: BatchId,
    },
    /// No new attempt starts.
    BatchPaused {
        /// Which.
        batch: BatchId,
        /// Why.
        reason: PauseReason,
        /// When.
        time: UnixMs,
    },
    /// Attempts start again.
    BatchResumed {
        /// Which.
        batch: BatchId,
        /// When.
        time: UnixMs,
    },
    /// Whatever has no attempt in flight will be cancelled, and nothing is tried again.
    BatchCancelRequested {
        /// Which.
        batch: BatchId,
        /// When.
        time: UnixMs,
    },
    /// Every payment of the batch is final.
    BatchFinished {
        /// Which.
        batch: BatchId,
        /// When.
        time: UnixMs,
    },
    /// Something happened to a payment.
    Payment {
        /// Which.
        payment: PaymentId,
        /// When.
        time: UnixMs,
        /// What.
        change: PaymentChange,
    },
    /// Payments without an attempt in flight were cancelled with their batch.
    PaymentsCancelled {
        /// The batch.
        batch: BatchId,
        /// The rows, growing.
        rows: Arc<Vec<u32>>,
        /// When.
        time: UnixMs,
    },
    /// A rebuilt actor's barrier (rule E16): nothing of its own.
    Barrier,
    /// Something happened to a node.
    Node {
        /// Its name in the configuration.
        node: NodeName,
        /// When.
        time: UnixMs,
        /// What.
        change: NodeChange,
    },
    /// From here on, no send that is open may start a payment later than this says.
    SendBounds(SendBounds),
    /// Whose journal this is, and every copy of it (rule E18): a random number below 2^31.
    Installed {
        /// The number.
        installation: u32,
    },
    /// A node's payments were compared with this journal (rule E18).
    NodeCompared {
        /// Which node.
        node: NodeName,
        /// Everything that it paid until then, by the engine's clock, has been seen.
        until: UnixMs,
        /// It is read on from there, for as long as this engine runs and nothing else is said.
        live: bool,
    },
    /// A node shows these hashes as paid, or on their way, and they are of no order (rule E18):
    /// they are never paid here.
    PaidElsewhere {
        /// Which node.
        node: NodeName,
        /// The payment hashes.
        hashes: Arc<Vec<PaymentHash>>,
        /// When they were found.
        time: UnixMs,
    },
    /// A node refused this engine, because another one has a copy of its journal (rule E18): from
    /// here on nothing is paid from it, over restarts too, until [`Event::TakenOver`].
    NotAlone {
        /// Which node.
        node: NodeName,
        /// The epoch of the other engine, as far as it is known; else this one's.
        epoch: u32,
        /// When.
        time: UnixMs,
    },
    /// A person says that the other engine is stopped for good, and that this journal is the
    /// newest.
    TakenOver {
        /// When.
        time: UnixMs,
    },
}

/// How late a send may still start a payment (rule E6): the configuration of the engine that made
/// it, which a later one may not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendBounds {
    /// For how long its macaroon is valid at most, in milliseconds.
    pub expiry_ms: i64,
    /// Its `grpc-timeout`, in milliseconds.
    pub deadline_ms: i64,
}

impl SendBounds {
    /// What bounds the sends of both.
    #[must_use]
    pub fn max(self, other: SendBounds) -> SendBounds {
        SendBounds {
            expiry_ms: self.expiry_ms.max(other.expiry_ms),
            deadline_ms: self.deadline_ms.max(other.deadline_ms),
        }
    }
}

/// Why a batch is paused (API.md, `PauseReason`, same numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PauseReason {
    /// Somebody asked for it.
    Requested = 1,
    /// It was to start paused.
    StartPaused = 2,
    /// Too many payments failed.
    FailureThreshold = 3,
}

/// What happened to a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentChange {
    /// An attempt was decided; durable before its first send (rule E4).
    AttemptStarted(Arc<AttemptStarted>),
    /// The node paid: final.
    AttemptSettled {
        /// Which attempt.
        attempt: u16,
        /// The proof; its SHA-256 is the payment hash.
        preimage: Preimage,
        /// What was paid in fees.
        fee_paid: Msat,
    },
    /// The node says FAILED and every send of the attempt is accounted for (rule E12).
    AttemptFailed {
        /// Which attempt.
        attempt: u16,
        /// Why, in lnd's words.
        reason: FailureReason,
        /// What is next.
        next: Next,
    },
    /// No send of the attempt started a payment, and none can any more (rule E12).
    AttemptNeverSent {
        /// Which attempt.
        attempt: u16,
        /// Why it was not sent.
        cause: NeverSent,
        /// What is next.
        next: Next,
    },
    /// Failed without an attempt in flight.
    Failed(Failure),
    /// Cancelled without an attempt in flight.
    Cancelled,
    /// The node shows the attempt in flight, and no channel has an HTLC of it (rule E15):
    /// unresolved until the node says how it ended.
    AttemptStuck {
        /// Which attempt.
        attempt: u16,
    },
    /// The node has shown the attempt and may not forget it (rule E19); of attempts that take
    /// longer than a moment.
    AttemptConfirmed {
        /// Which attempt.
        attempt: u16,
    },
    /// The node is not believed any more (rule E19): unresolved, unless it shows a proof.
    AttemptSuspended {
        /// Which attempt.
        attempt: u16,
    },
    /// The node said something impossible (rule E14): unresolved.
    Contradicted {
        /// Which attempt; 0 for a payment that somebody else made (rule E18).
        attempt: u16,
        /// What is impossible.
        contradiction: Contradiction,
    },
    /// A person decided how an unresolved payment ended (rule E20): final.
    Resolved(Arc<Resolution>),
}

/// What a person decided about an unresolved payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// How it ended.
    pub verdict: Verdict,
    /// Who decided.
    pub by: Sealed,
    /// Why; empty where the proof says it.
    pub reason: Sealed,
}

/// How a person says that a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Paid: here is the proof.
    Paid(Preimage),
    /// Not paid, and nothing of it can start any more. Its hash stays claimed for ever.
    NotPaid,
}

/// Everything that an attempt is, enough to rebuild its reservations (rule E4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptStarted {
    /// Which attempt of the payment, from 1.
    pub attempt: u16,
    /// The node that it stays with until it is final (rule E5).
    pub node: NodeName,
    /// The epoch of the engine that decided it.
    pub epoch: u32,
    /// What is to be paid, without fees.
    pub amount: Msat,
    /// The most that may be paid in fees.
    pub fee_limit: Msat,
    /// The reserved channels with what is reserved of each; empty means any channel, unreserved.
    pub channels: Vec<(u64, Msat)>,
    /// `cltv_limit`, in blocks.
    pub cltv_limit: u32,
    /// `timeout_seconds`.
    pub timeout_seconds: u32,
    /// No further send is made after it: the order's deadline or the invoice's expiry.
    pub send_until: UnixMs,
}

/// What follows an attempt that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, not before this time.
    Retry {
        /// By the engine's clock.
        not_before: UnixMs,
    },
    /// The payment failed.
    Failed(Failure),
    /// The payment was cancelled meanwhile.
    Cancelled,
}

/// Why a payment failed (API.md, `Failure.Reason`, same numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    /// No route, or none within the fee limit: lnd does not tell which.
    NoRoute = 1,
    /// Our channels could not carry it.
    InsufficientLiquidity = 2,
    /// The recipient refused this invoice.
    RecipientRefused = 3,
    /// The invoice expired before an attempt could start.
    InvoiceExpired = 4,
    /// The order's or batch's deadline passed before an attempt could start.
    DeadlinePassed = 5,
    /// Every attempt failed.
    AttemptsExhausted = 6,
    /// The node refused the request as it is.
    NodeRefused = 7,
    /// A cancel came while an attempt was under way, and the attempt failed.
    CancelRequested = 8,
    /// An operator decided.
    OperatorDecision = 9,
}

impl Failure {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Failure; 9] = [
        Failure::NoRoute,
        Failure::InsufficientLiquidity,
        Failure::RecipientRefused,
        Failure::InvoiceExpired,
        Failure::DeadlinePassed,
        Failure::AttemptsExhausted,
        Failure::NodeRefused,
        Failure::CancelRequested,
        Failure::OperatorDecision,
    ];

    /// The reason with this number, 1 to 9.
    pub fn from_number(number: u8) -> Option<Failure> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// Why an attempt was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NeverSent {
    /// The node said that the invoice expired.
    InvoiceExpired = 1,
    /// The node cannot pay itself.
    SelfPayment = 2,
    /// The node refused the request as it is.
    Invalid = 3,
    /// The order may not be sent any more: cancelled, paused, past its deadline (rule E9).
    Withdrawn = 4,
    /// It could not be handed over or did not arrive, too often.
    NotDelivered = 5,
}

/// What a node said that cannot be (rule E14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Contradiction {
    /// The preimage's SHA-256 is not the payment hash.
    WrongPreimage = 1,
    /// Amount plus fee is above what was ordered.
    PaidTooMuch = 2,
    /// SUCCEEDED after the payment was final otherwise.
    SucceededAfterFinal = 3,
    /// AlreadyExists on a first-ever send, with another amount or from before the order.
    PaidBefore = 4,
    /// The node does not know a payment that it had shown (rule E19).
    Forgotten = 5,
}
