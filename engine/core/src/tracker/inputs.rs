//! What a tracker takes and what it says.

use crate::{
    amount::Msat,
    event::{Contradiction, NeverSent},
    id::{Preimage, SendId},
    port::{FailureReason, SendReport, TrackCall, TrackReport},
    time::UnixMs,
};

/// What the tracker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The stream of the last send.
    Sending,
    /// The first answer to this Track call.
    Asking(u64),
    /// The end of the payment, seen by this Track call.
    Watching(u64),
    /// The node, or a moment: ask then.
    Waiting {
        /// Ask again at this time.
        until: UnixMs,
    },
    /// The batch's word on sending again (rule E9).
    Permission,
    /// The fence, up to this time of the node's clock.
    Fencing {
        /// The latest expiry of a send that is not accounted for.
        expiry: UnixMs,
    },
    /// Nothing: the outcome was given.
    Over,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The attempt is durable: send it for the first time.
    Start,
    /// Something came of a send.
    Send(u64, SendReport),
    /// Something came of a Track call.
    Track(u64, TrackReport),
    /// The batch's word on sending again.
    Permission(bool),
    /// The fence is up to this time of the node's clock.
    Fence(UnixMs),
    /// The node is usable, or time has passed.
    Tick,
    /// Time has passed: ask when the node has said nothing for so many milliseconds.
    Silence(i64),
    /// The channels were looked at for an HTLC of the payment ([`super::may_live`]).
    Look {
        /// One of them may have it.
        alive: bool,
    },
}

/// What the outside gives with every input.
#[derive(Debug)]
pub struct Context<'a> {
    /// The engine's clock.
    pub now: UnixMs,
    /// When a send that is made now expires, by the node's clock (rule E6).
    pub expiry: UnixMs,
    /// The node can be asked now.
    pub connected: bool,
    /// The last number given to a send or call at this node; each gets a new one.
    pub number: &'a mut u64,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the attempt: this send, with this expiry.
    Send(SendId, UnixMs),
    /// Ask the node.
    Track(TrackCall),
    /// Ask the batch whether to send again (rule E9).
    AskPermission,
    /// Raise the fence to this time of the node's clock (rule E13).
    Fence(UnixMs),
    /// The attempt is stuck ([`Outcome::Stuck`]); it is watched all the same.
    Stuck,
    /// The attempt is over. Nothing more comes of it.
    Done(Outcome),
}

/// What is true at the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Paid, says the node.
    Settled {
        /// The proof, not yet checked.
        preimage: Preimage,
        /// What was paid, without fees.
        amount: Msat,
        /// What was paid in fees.
        fee_paid: Msat,
    },
    /// Failed, and nothing of it can start any more.
    Failed(FailureReason),
    /// Nothing of it started, and nothing can any more.
    NeverSent(NeverSent),
    /// In flight for all that the node says, with no HTLC on any channel (rule E15). Another
    /// outcome may follow.
    Stuck,
    /// Its node is not believed any more (rule E19). Another outcome may follow: a proof, or what a
    /// node says that a person trusts again.
    Suspended,
    /// What the node says cannot be (rule E14).
    Contradicted(Contradiction),
}
