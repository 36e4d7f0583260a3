//! What a payment takes, refuses and asks for.

use std::sync::Arc;

use crate::{
    amount::Msat,
    event::{AttemptStarted, Contradiction, NeverSent, Resolution},
    id::{AttemptId, Preimage},
    port::FailureReason,
    time::UnixMs,
    tracker::Outcome,
};

/// What the world says about a payment.
#[derive(Clone, Debug)]
pub enum Input {
    /// A node has room: start this attempt.
    Start(Arc<AttemptStarted>),
    /// The node says SUCCEEDED.
    Settled {
        /// Which attempt.
        attempt: u16,
        /// The proof, not yet checked.
        preimage: Preimage,
        /// What was paid, without fees.
        amount: Msat,
        /// What was paid in fees.
        fee_paid: Msat,
    },
    /// The node says FAILED, and every send is accounted for (rule E12).
    Failed {
        /// Which attempt.
        attempt: u16,
        /// Why.
        reason: FailureReason,
    },
    /// Nothing of the attempt was sent or can start any more (rule E12).
    NeverSent {
        /// Which attempt.
        attempt: u16,
        /// Why.
        cause: NeverSent,
    },
    /// The node shows it in flight and no channel has an HTLC of it (rule E15).
    Stuck {
        /// Which attempt.
        attempt: u16,
    },
    /// The node has shown it.
    Confirmed {
        /// Which attempt.
        attempt: u16,
    },
    /// The node is not believed any more (rule E19).
    Suspended {
        /// Which attempt.
        attempt: u16,
    },
    /// The node said something impossible (rule E14).
    Contradicted {
        /// Which attempt; 0 for a payment that somebody else made (rule E18).
        attempt: u16,
        /// What.
        contradiction: Contradiction,
    },
    /// A person says how it ended (rule E20). Whoever passes on `NotPaid` has seen the fence, and
    /// that no HTLC lives.
    Resolve(Arc<Resolution>),
    /// Somebody wants it cancelled.
    Cancel,
    /// Time has passed: fail it when it can no longer start.
    Expire,
}

impl Input {
    /// What the outcome of an attempt means for its payment.
    pub fn from_outcome(attempt: u16, outcome: Outcome) -> Input {
        match outcome {
            Outcome::Settled { preimage, amount, fee_paid } => {
                Input::Settled { attempt, preimage, amount, fee_paid }
            }
            Outcome::Failed(reason) => Input::Failed { attempt, reason },
            Outcome::NeverSent(cause) => Input::NeverSent { attempt, cause },
            Outcome::Stuck => Input::Stuck { attempt },
            Outcome::Suspended => Input::Suspended { attempt },
            Outcome::Contradicted(contradiction) => Input::Contradicted { attempt, contradiction },
        }
    }
}

/// Why an input changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Final states do not change.
    #[error("the payment is final")]
    AlreadyFinal,
    /// One attempt at a time (rule E5).
    #[error("an attempt is in flight")]
    InFlight,
    /// A person has to decide (rule E20).
    #[error("the payment is unresolved")]
    Unresolved,
    /// Only what is unresolved is for a person to decide.
    #[error("the payment is not unresolved")]
    NotUnresolved,
    /// What was looked at is not what it is now.
    #[error("the payment changed while the node was asked")]
    Changed,
    /// The preimage's SHA-256 is not the payment hash: it proves nothing.
    #[error("the preimage is not the one of this payment")]
    WrongPreimage,
    /// It is known already.
    #[error("the payment already stands so")]
    AlreadySo,
    /// The input speaks of another attempt.
    #[error("attempt {0} is not the one in flight")]
    StaleAttempt(u16),
    /// The retry's time has not come.
    #[error("it is too early for another attempt")]
    TooEarly,
    /// The deadline passed, the invoice expired or the batch is being cancelled.
    #[error("no attempt may start any more")]
    TooLate,
    /// The time to start has not passed.
    #[error("the payment can still start")]
    NotExpired,
    /// The attempt would pay something else than was ordered.
    #[error("the attempt does not fit the order")]
    DoesNotFit,
}

/// What to do about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the attempt.
    Send(AttemptId),
    /// Ask the node about the attempt; sends nothing new.
    Ask(AttemptId),
    /// Wait for another attempt.
    Wait {
        /// No attempt before it.
        not_before: UnixMs,
    },
    /// The payment is final.
    Finished,
    /// It is stuck at its node (rule E15): it may need a person.
    Stuck,
    /// Its node is not believed any more (rule E19).
    Suspended,
    /// An operator must look at it.
    Alarm,
}
