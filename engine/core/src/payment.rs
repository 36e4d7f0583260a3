//! One outgoing payment.
//!
//! ```text
//!            AttemptStarted               AttemptSettled
//!  Queued ──────────────────► InFlight ───────────────────► Succeeded
//!    ▲ │                        │ │ │
//!    │ │      Retry             │ │ └─ Contradicted ───────► Unresolved
//!    └─┼────────────────────────┘ │                              ▲
//!      │ Failed, Cancelled        │ AttemptFailed, NeverSent     │ Contradicted
//!      └──────────────────────────┴──────────────► Failed, Cancelled
//! ```
//!
//! AttemptStuck takes InFlight to Stuck, which ends in the same ways; to a client both Stuck and
//! Unresolved are `unresolved`. A person may end them: Resolved takes them to Succeeded or Failed.
//!
//! The same struct serves the actor that decides and the read model that clients see: both apply
//! the same events.

mod inputs;
mod state;
#[cfg(test)]
mod tests;
mod unresolved;

use std::sync::Arc;

pub use self::{
    inputs::{Effect, Input, Refusal},
    state::{Attempt, AttemptEnd, State},
};
use crate::{
    amount::Msat,
    event::{AttemptStarted, Contradiction, Failure, Next, PaymentChange},
    id::{AttemptId, PaymentId, Preimage},
    order::Order,
    port::Lsn,
    retry::{Over, Terms},
    time::UnixMs,
};

/// The life of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Which.
    pub id: PaymentId,
    /// What was asked.
    pub order: Arc<Order>,
    /// Where it stands.
    pub state: State,
    /// Every attempt so far, the one in flight included.
    pub attempts: Vec<Attempt>,
    /// When the batch was accepted.
    pub created: UnixMs,
    /// When it last changed.
    pub updated: UnixMs,
    /// The LSN of its last change.
    pub version: Lsn,
}

impl Payment {
    /// A payment of an accepted batch.
    pub fn new(id: PaymentId, order: Arc<Order>, created: UnixMs, version: Lsn) -> Payment {
        let state = State::Queued { not_before: created };
        Payment { id, order, state, attempts: Vec::new(), created, updated: created, version }
    }

    /// How long ago the newest attempt was decided, in milliseconds; 0 when there is none.
    pub fn attempt_age_ms(&self, now: UnixMs) -> i64 {
        self.attempts.last().map_or(0, |last| now.since(last.started))
    }

    /// Decides what `input` means for this payment at time `now`. Changes nothing.
    pub fn decide(
        &self,
        input: &Input,
        terms: &Terms,
        now: UnixMs,
    ) -> Result<PaymentChange, Refusal> {
        match &self.state {
            State::Queued { not_before } => self.decide_queued(input, *not_before, terms, now),
            State::Stuck(_) | State::Unresolved { .. } if matches!(input, Input::Resolve(_)) => {
                self.decide_resolved(input)
            }
            State::Stuck(_) if matches!(input, Input::Stuck { .. } | Input::Suspended { .. }) => {
                Err(Refusal::Unresolved)
            }
            State::InFlight(current) | State::Stuck(current) => {
                self.decide_in_flight(input, current, terms, now)
            }
            State::Unresolved { .. } => Err(Refusal::Unresolved),
            State::Succeeded { .. } => Err(Refusal::AlreadyFinal),
            State::Failed(_) | State::Cancelled => match *input {
                // Rule E14: a payment that was declared not paid is paid after all.
                Input::Settled { attempt, .. } => Ok(PaymentChange::Contradicted {
                    attempt,
                    contradiction: Contradiction::SucceededAfterFinal,
                }),
                Input::Start(_)
                | Input::Failed { .. }
                | Input::NeverSent { .. }
                | Input::Stuck { .. }
                | Input::Confirmed { .. }
                | Input::Suspended { .. }
                | Input::Contradicted { .. }
                | Input::Resolve(_)
                | Input::Cancel
                | Input::Expire => Err(Refusal::AlreadyFinal),
            },
        }
    }

    fn decide_queued(
        &self,
        input: &Input,
        not_before: UnixMs,
        terms: &Terms,
        now: UnixMs,
    ) -> Result<PaymentChange, Refusal> {
        let (start_until, too_late) = terms.start_until(&self.order);
        match input {
            Input::Start(_) if !not_before.has_come(now, terms.retry.backoff_ms_max) => {
                Err(Refusal::TooEarly)
            }
            Input::Start(_) if now > start_until || terms.cancelling => Err(Refusal::TooLate),
            Input::Start(attempt) if !self.fits(attempt) => Err(Refusal::DoesNotFit),
            Input::Start(attempt) => Ok(PaymentChange::AttemptStarted(Arc::clone(attempt))),
            Input::Cancel => Ok(PaymentChange::Cancelled),
            Input::Expire if now > start_until => Ok(PaymentChange::Failed(too_late)),
            Input::Expire => Err(Refusal::NotExpired),
            Input::Resolve(_) => Err(Refusal::NotUnresolved),
            // An attempt that ended as failed and is paid after all (rule E14).
            Input::Settled { attempt, .. } => Ok(PaymentChange::Contradicted {
                attempt: *attempt,
                contradiction: Contradiction::SucceededAfterFinal,
            }),
            // Of no attempt: its node shows what somebody else paid (rule E18).
            Input::Contradicted { attempt: 0, contradiction } => {
                Ok(PaymentChange::Contradicted { attempt: 0, contradiction: *contradiction })
            }
            Input::Failed { attempt, .. }
            | Input::NeverSent { attempt, .. }
            | Input::Stuck { attempt }
            | Input::Confirmed { attempt }
            | Input::Suspended { attempt }
            | Input::Contradicted { attempt, .. } => Err(Refusal::StaleAttempt(*attempt)),
        }
    }

    fn decide_in_flight(
        &self,
        input: &Input,
        current: &AttemptStarted,
        terms: &Terms,
        now: UnixMs,
    ) -> Result<PaymentChange, Refusal> {
        let over = |attempt: u16| {
            if attempt == current.attempt {
                Ok(attempt)
            } else {
                Err(Refusal::StaleAttempt(attempt))
            }
        };
        match *input {
            Input::Start(_) | Input::Cancel | Input::Expire => Err(Refusal::InFlight),
            Input::Resolve(_) => Err(Refusal::NotUnresolved),
            // Every attempt of a payment has the same hash: a proof counts whichever it names.
            Input::Settled { preimage, amount, fee_paid, .. } => {
                Ok(self.settled(current, preimage, amount, fee_paid))
            }
            Input::Failed { attempt, reason } => {
                over(attempt)?;
                let (counted, made) = (self.counted_attempts() + 1, attempt);
                let why = Over { why: reason, counted, made };
                let next = terms.after_failure(self.id, &self.order, why, now);
                Ok(PaymentChange::AttemptFailed { attempt, reason, next })
            }
            Input::NeverSent { attempt, cause } => {
                over(attempt)?;
                let (counted, made) = (self.counted_attempts(), attempt);
                let why = Over { why: cause, counted, made };
                let next = terms.after_never_sent(self.id, &self.order, why, now);
                Ok(PaymentChange::AttemptNeverSent { attempt, cause, next })
            }
            Input::Stuck { attempt } => Ok(PaymentChange::AttemptStuck { attempt: over(attempt)? }),
            Input::Confirmed { .. } if self.is_confirmed() => Err(Refusal::AlreadySo),
            Input::Confirmed { attempt } => {
                Ok(PaymentChange::AttemptConfirmed { attempt: over(attempt)? })
            }
            Input::Suspended { attempt } => {
                Ok(PaymentChange::AttemptSuspended { attempt: over(attempt)? })
            }
            Input::Contradicted { attempt, contradiction } => {
                Ok(PaymentChange::Contradicted { attempt: over(attempt)?, contradiction })
            }
        }
    }

    /// Attempts that are over and count towards the most that are allowed: those that failed. One
    /// that was never sent, as by a pause or without a connection, says nothing about the payment.
    fn counted_attempts(&self) -> u16 {
        let failed = |attempt: &&Attempt| matches!(attempt.end, AttemptEnd::Failed(_));
        u16::try_from(self.attempts.iter().filter(failed).count()).unwrap_or(u16::MAX)
    }

    fn settled(
        &self,
        current: &AttemptStarted,
        preimage: Preimage,
        amount: Msat,
        fee_paid: Msat,
    ) -> PaymentChange {
        let attempt = current.attempt;
        let contradiction = if preimage.payment_hash() != self.order.payment_hash {
            Contradiction::WrongPreimage
        } else if amount > self.order.amount || fee_paid > self.order.fee_limit {
            Contradiction::PaidTooMuch
        } else {
            return PaymentChange::AttemptSettled { attempt, preimage, fee_paid };
        };
        PaymentChange::Contradicted { attempt, contradiction }
    }

    fn fits(&self, attempt: &AttemptStarted) -> bool {
        usize::from(attempt.attempt) == self.attempts.len() + 1
            && attempt.amount == self.order.amount
            && attempt.fee_limit <= self.order.fee_limit
    }

    /// Applies an event that was decided here or read from the journal.
    pub fn apply(&mut self, change: &PaymentChange, time: UnixMs, lsn: Lsn) -> Option<Effect> {
        self.updated = time;
        self.version = lsn;
        match change {
            PaymentChange::AttemptStarted(attempt) => {
                assert!(self.is_queued(), "{}: one attempt in flight at most", self.id);
                self.attempts.push(Attempt {
                    number: attempt.attempt,
                    node: Arc::clone(&attempt.node),
                    started: time,
                    ended: None,
                    end: AttemptEnd::Open,
                });
                self.state = State::InFlight(Arc::clone(attempt));
                Some(Effect::Send(AttemptId { payment: self.id, number: attempt.attempt }))
            }
            PaymentChange::AttemptSettled { attempt, preimage, fee_paid } => {
                self.assert_in_flight(*attempt);
                assert_eq!(preimage.payment_hash(), self.order.payment_hash, "{}", self.id);
                self.end_attempt(AttemptEnd::Settled, time);
                self.state = State::Succeeded { preimage: *preimage, fee_paid: *fee_paid };
                Some(Effect::Finished)
            }
            PaymentChange::AttemptFailed { attempt, reason, next } => {
                self.assert_in_flight(*attempt);
                self.end_attempt(AttemptEnd::Failed(*reason), time);
                Some(self.next(*next))
            }
            PaymentChange::AttemptNeverSent { attempt, cause, next } => {
                self.assert_in_flight(*attempt);
                self.end_attempt(AttemptEnd::NeverSent(*cause), time);
                Some(self.next(*next))
            }
            PaymentChange::Failed(failure) => {
                assert!(self.is_queued(), "{}: not failed with an attempt in flight", self.id);
                Some(self.next(Next::Failed(*failure)))
            }
            PaymentChange::Cancelled => {
                assert!(self.is_queued(), "{}: not cancelled with an attempt in flight", self.id);
                Some(self.next(Next::Cancelled))
            }
            PaymentChange::AttemptStuck { attempt } => {
                self.unresolved(*attempt);
                Some(Effect::Stuck)
            }
            PaymentChange::AttemptSuspended { attempt } => {
                let confirmed = self.is_confirmed();
                self.note_attempt(AttemptEnd::Suspended { confirmed });
                self.unresolved(*attempt);
                Some(Effect::Suspended)
            }
            PaymentChange::AttemptConfirmed { attempt } => {
                self.assert_in_flight(*attempt);
                self.note_confirmed();
                None
            }
            PaymentChange::Contradicted { attempt, contradiction } => {
                assert!(!matches!(self.state, State::Succeeded { .. }), "succeeded is for ever");
                self.end_attempt(AttemptEnd::Contradicted(*contradiction), time);
                self.state = State::Unresolved { attempt: *attempt, contradiction: *contradiction };
                Some(Effect::Alarm)
            }
            PaymentChange::Resolved(resolution) => {
                self.resolve(resolution, time);
                Some(Effect::Finished)
            }
        }
    }

    fn assert_in_flight(&self, attempt: u16) {
        let open = self.state.open_attempt().is_some_and(|own| own.attempt == attempt);
        assert!(open, "{}: attempt {attempt} is not the one in flight", self.id);
    }

    fn next(&mut self, next: Next) -> Effect {
        let (state, effect) = match next {
            Next::Retry { not_before } => {
                (State::Queued { not_before }, Effect::Wait { not_before })
            }
            Next::Failed(failure) => (State::Failed(failure), Effect::Finished),
            Next::Cancelled => (State::Cancelled, Effect::Finished),
        };
        self.state = state;
        effect
    }

    fn end_attempt(&mut self, end: AttemptEnd, time: UnixMs) {
        if let Some(last) = self.attempts.last_mut() {
            last.end = end;
            last.ended = Some(time);
        }
    }

    /// What to ask again after a restart; never sends anything new.
    pub fn resume(&self) -> Option<Effect> {
        match &self.state {
            State::Queued { not_before } => Some(Effect::Wait { not_before: *not_before }),
            State::InFlight(attempt) | State::Stuck(attempt) => {
                Some(Effect::Ask(AttemptId { payment: self.id, number: attempt.attempt }))
            }
            State::Unresolved { .. }
            | State::Succeeded { .. }
            | State::Failed(_)
            | State::Cancelled => None,
        }
    }

    /// Nothing is in flight and an attempt may come.
    pub fn is_queued(&self) -> bool {
        matches!(self.state, State::Queued { .. })
    }

    /// Succeeded, failed or cancelled.
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::Succeeded { .. } | State::Failed(_) | State::Cancelled)
    }

    /// True while nobody else may pay the hash (rule E2): always but after failed or cancelled.
    /// What a person called not paid keeps it for ever: a person can be wrong.
    pub fn claims_hash(&self) -> bool {
        match self.state {
            State::Failed(Failure::OperatorDecision) => true,
            State::Failed(_) | State::Cancelled => false,
            State::Queued { .. }
            | State::InFlight(_)
            | State::Stuck(_)
            | State::Unresolved { .. }
            | State::Succeeded { .. } => true,
        }
    }

    /// When it became final.
    pub fn finished(&self) -> Option<UnixMs> {
        self.is_final().then_some(self.updated)
    }

    /// The number of the next attempt.
    pub fn next_attempt(&self) -> u16 {
        u16::try_from(self.attempts.len()).unwrap_or(u16::MAX).saturating_add(1)
    }
}
