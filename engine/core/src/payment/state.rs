//! Where a payment stands, and what its attempts came to.

use std::sync::Arc;

use crate::{
    amount::Msat,
    event::{AttemptStarted, Contradiction, Failure, NeverSent},
    id::{NodeName, Preimage},
    port::FailureReason,
    time::UnixMs,
};

/// Where a payment stands (API.md 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing in flight; also waiting for a retry.
    Queued {
        /// No attempt starts before it.
        not_before: UnixMs,
    },
    /// An attempt is alive.
    InFlight(Arc<AttemptStarted>),
    /// In flight at the node for all that it says, with no HTLC on any channel (rule E15). It is
    /// watched, not paid elsewhere, and a person may decide: unresolved.
    Stuck(Arc<AttemptStarted>),
    /// The node said something impossible: a person decides. Never paid elsewhere.
    Unresolved {
        /// The attempt that it was said of; 0 when it is of none.
        attempt: u16,
        /// What was said.
        contradiction: Contradiction,
    },
    /// Paid: for ever.
    Succeeded {
        /// The proof.
        preimage: Preimage,
        /// What it cost.
        fee_paid: Msat,
    },
    /// Not paid, and this order can never become paid.
    Failed(Failure),
    /// Not paid, as asked.
    Cancelled,
}

/// One attempt, for a client to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u16,
    /// The node that it was made over.
    pub node: NodeName,
    /// When it was decided.
    pub started: UnixMs,
    /// When it was over.
    pub ended: Option<UnixMs>,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Not yet.
    Open,
    /// Not yet; the node has shown it.
    Confirmed,
    /// Not yet, and its node is not believed any more (rule E19).
    Suspended {
        /// The node had shown it.
        confirmed: bool,
    },
    /// It paid.
    Settled,
    /// The node said FAILED.
    Failed(FailureReason),
    /// It was never sent.
    NeverSent(NeverSent),
    /// What the node said cannot be.
    Contradicted(Contradiction),
    /// A person decided (rule E20).
    Resolved,
}

impl State {
    /// The attempt that is open at its node.
    pub fn open_attempt(&self) -> Option<&Arc<AttemptStarted>> {
        match self {
            State::InFlight(attempt) | State::Stuck(attempt) => Some(attempt),
            State::Queued { .. }
            | State::Unresolved { .. }
            | State::Succeeded { .. }
            | State::Failed(_)
            | State::Cancelled => None,
        }
    }

    /// The state's one name, everywhere: in the wire forms, in metrics, on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            State::Queued { .. } => "queued",
            State::InFlight(_) => "in_flight",
            State::Stuck(_) | State::Unresolved { .. } => "unresolved",
            State::Succeeded { .. } => "succeeded",
            State::Failed(_) => "failed",
            State::Cancelled => "cancelled",
        }
    }
}
