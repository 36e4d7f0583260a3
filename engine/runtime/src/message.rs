//! What travels through the actors' inboxes.

use std::{sync::Arc, time::Instant};

use fulgurite_core::{
    AttemptId, BatchId, Lsn, Msat, Order, PaymentId, UnixMs,
    batch::{self, Batch, Summary},
    event::AttemptStarted,
    order::Priority,
    payment::{self, Payment},
    port::{ChannelInfo, NodeEvent},
    resolve::{Finding, Wanted},
    standing,
    tracker::Outcome,
};
use tokio::sync::oneshot;

use crate::slot::BatchSlot;

/// To a batch actor.
pub enum BatchMessage {
    /// Pay this batch: just accepted, or open at a restart.
    Adopt(Box<Batch>),
    /// Somebody wants something of the batch.
    Request(Request),
    /// Somebody wants something of a payment.
    PaymentRequest(PaymentRequest),
    /// A node has room for an order that waited there.
    Grant(Grant),
    /// A node has room for orders of this priority, by its place in
    /// [`fulgurite_core::order::Priority::ALL`].
    Room(usize),
    /// A node gives an order back that waited there.
    Returned(Placed),
    /// An attempt is over at its node, or stuck there.
    Outcome(AttemptId, Outcome),
    /// An attempt takes long: it leaves the window (rule E21).
    Long(AttemptId),
    /// The node with this index asks whether an attempt may be sent again (rule E9).
    AskPermission(AttemptId, usize),
    /// The node has shown an attempt that takes long: it may not forget it (rule E19).
    Confirmed(AttemptId),
    /// The actor of a node was rebuilt: what waited at its predecessors without an attempt is gone.
    NodeReborn {
        /// The node's index.
        node: usize,
        /// The incarnation that counts now.
        incarnation: u32,
    },
    /// Panics, to show that nothing is lost by it.
    #[cfg(test)]
    Die,
}

/// A request on a batch and where its answer goes.
pub struct Request {
    /// Which batch.
    pub batch: BatchId,
    /// What is wanted.
    pub input: batch::Input,
    /// Answered when what it rests on is durable.
    pub reply: oneshot::Sender<Result<Summary, batch::Refusal>>,
}

/// A payment that is to be cancelled or resolved, and where the answer goes.
pub struct PaymentRequest {
    /// Which payment.
    pub payment: PaymentId,
    /// What is wanted.
    pub input: payment::Input,
    /// The version that the decision rests on; `None` when any will do.
    pub seen: Option<Lsn>,
    /// Answered when what it rests on is durable: the payment, or why it cannot be.
    pub reply: oneshot::Sender<Result<Payment, payment::Refusal>>,
}

/// What must be seen of an unresolved payment before a person may call it not paid (rule E20).
pub struct Inspect {
    /// Its last attempt.
    pub attempt: AttemptId,
    /// What is looked for.
    pub wanted: Wanted,
    /// Nothing of it was sent after this, by the engine's clock: the fence goes from here.
    pub sent_until: UnixMs,
    /// Dropped when the node's actor dies.
    pub reply: oneshot::Sender<Finding>,
}

/// What a person wants of a node, and where the answer goes.
pub struct Steer {
    /// What.
    pub input: standing::Input,
    /// Answered with the LSN that must be durable before anybody is told.
    pub reply: oneshot::Sender<Lsn>,
}

/// Which order waits where: an order that moves gets a new number, so that an old grant shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placed {
    /// The attempt that it will become.
    pub attempt: AttemptId,
    /// The node's index.
    pub node: usize,
    /// The incarnation of its actor: an older one's orders are placed again (rule E8).
    pub incarnation: u32,
    /// Grows with every placement of the batch actor.
    pub placement: u64,
}

/// An order at a node, without an attempt: it can still move.
pub struct Place {
    /// Which.
    pub placed: Placed,
    /// What is to be paid.
    pub order: Arc<Order>,
    /// Which lane.
    pub priority: Priority,
    /// Who asks.
    pub batch: Arc<BatchSlot>,
    /// The incarnation of the actor that asks (rule E8).
    pub incarnation: u32,
    /// When it was placed.
    pub at: Instant,
}

/// A node's word that an order may start there now. A place in its window and the channels are
/// reserved.
pub struct Grant {
    /// Which order.
    pub placed: Placed,
    /// The reserved channels.
    pub channels: Vec<(u64, Msat)>,
    /// When the order was placed.
    pub at: Instant,
}

/// An attempt that is durable and may be sent.
pub struct Start {
    /// Which payment.
    pub payment: PaymentId,
    /// What was decided.
    pub attempt: Arc<AttemptStarted>,
    /// What was asked.
    pub order: Arc<Order>,
    /// When it was decided.
    pub time: UnixMs,
    /// Who decided it.
    pub batch: Arc<BatchSlot>,
    /// The incarnation of the actor that decided it (rule E8).
    pub incarnation: u32,
    /// It is unresolved (rules E15, E19): it takes no place and reserves nothing.
    pub stuck: bool,
    /// The node had shown it (rule E19).
    pub confirmed: bool,
}

/// To a node actor.
pub enum NodeMessage {
    /// An order that wants to start here.
    Place(Place),
    /// The batch does not want a grant any more.
    Declined(Placed),
    /// Send this attempt.
    Start(Box<Start>),
    /// Ask about this attempt: it is from before a restart.
    Resume(Box<Start>),
    /// The batch's word on sending again (rule E9).
    Permission(AttemptId, bool),
    /// A batch actor was rebuilt: what its predecessor queued here is dropped (rule E8).
    BatchReborn {
        /// The slot of the batch.
        slot: u64,
        /// The incarnation that counts now.
        incarnation: u32,
    },
    /// A person wants to call an unresolved payment not paid: what is there to see?
    Inspect(Box<Inspect>),
    /// A person wants something of the node.
    Steer(Steer),
    /// It is to leave the fleet: is anything about to start?
    Leave(oneshot::Sender<bool>),
    /// The actor is to end: the node leaves, or is opened anew.
    Stop,
    /// A person decided how the attempt's payment ended: it is watched no more.
    Resolved(AttemptId),
    /// The node shows a payment as paid that had ended otherwise, with its whole batch (rule E14).
    PaidAfterAll(PaymentId),
    /// The adapter reports.
    Event(NodeEvent),
    /// The engine ends: the node is to revoke its macaroon (rule E18).
    Withdraw,
    /// The payments that this call listed are no reason to end (rule E18).
    Checked(u64),
    /// A channel has reserved, or not.
    Reserved {
        /// For which order.
        placed: Placed,
        /// Which channel.
        channel: u64,
        /// Whether it did.
        reserved: bool,
    },
    /// A channel has room again for which an order waits.
    ChannelFreed,
    /// An actor of a channel is gone.
    ChannelDied {
        /// Which channel.
        channel: u64,
        /// Which of its actors.
        birth: u64,
    },
    /// Panics, to show that nothing is lost by it.
    #[cfg(test)]
    Die,
    /// Makes all channel actors of the node panic.
    #[cfg(test)]
    KillChannels,
}

/// To a channel actor.
pub enum ChannelMessage {
    /// Reserve for an order.
    Reserve {
        /// Which.
        placed: Placed,
        /// How much, its fee included.
        amount: Msat,
    },
    /// Free the reservation of an attempt.
    Release {
        /// Which.
        attempt: AttemptId,
        /// It was paid.
        spent: bool,
    },
    /// Put a reservation back: its HTLC may exist.
    Restore {
        /// Which.
        attempt: AttemptId,
        /// How much, its fee included.
        amount: Msat,
    },
    /// The node's new report.
    Reported(Box<ChannelInfo>),
    /// Panics, to show that nothing is lost by it.
    #[cfg(test)]
    Die,
}
