//! Payments that nobody can say the end of: stuck or suspended at their node, and what a person
//! decides about them (rules E15, E19, E20).

use std::sync::Arc;

use super::{AttemptEnd, Input, Payment, Refusal, State};
use crate::{
    amount::Msat,
    event::{Contradiction, Failure, PaymentChange, Resolution, Verdict},
    time::UnixMs,
};

impl Payment {
    /// It ended as this input wants it to: to ask twice is no error.
    pub fn stands_as(&self, input: &Input) -> bool {
        match (input, &self.state) {
            (Input::Cancel, State::Cancelled) => true,
            (Input::Resolve(resolution), state) => match (resolution.verdict, state) {
                (Verdict::Paid(proof), State::Succeeded { preimage, .. }) => proof == *preimage,
                (Verdict::NotPaid, State::Failed(Failure::OperatorDecision)) => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// Rule E20: a proof is checked; a "not paid" was checked by whoever asked the node.
    pub(super) fn decide_resolved(&self, input: &Input) -> Result<PaymentChange, Refusal> {
        let Input::Resolve(resolution) = input else {
            return Err(Refusal::Unresolved);
        };
        match resolution.verdict {
            Verdict::Paid(preimage) if preimage.payment_hash() != self.order.payment_hash => {
                Err(Refusal::WrongPreimage)
            }
            Verdict::Paid(_) | Verdict::NotPaid => {
                Ok(PaymentChange::Resolved(Arc::clone(resolution)))
            }
        }
    }

    /// It is watched on, and a person may decide.
    pub(super) fn unresolved(&mut self, attempt: u16) {
        let State::InFlight(current) = &self.state else {
            panic!("{}: only what is in flight becomes unresolved", self.id);
        };
        assert_eq!(current.attempt, attempt, "{}: another attempt is open", self.id);
        self.state = State::Stuck(Arc::clone(current));
    }

    /// Somebody else paid its invoice, and that is known: a person was or is asked (rule E14).
    pub fn is_known_paid_before(&self) -> bool {
        match self.attempts.last() {
            Some(last) => last.end == AttemptEnd::Contradicted(Contradiction::PaidBefore),
            // Without an attempt there is no other reason for one of these.
            None => matches!(
                self.state,
                State::Unresolved { .. }
                    | State::Succeeded { .. }
                    | State::Failed(Failure::OperatorDecision)
            ),
        }
    }

    pub(super) fn note_attempt(&mut self, end: AttemptEnd) {
        if let Some(last) = self.attempts.last_mut() {
            last.end = end;
        }
    }

    /// The node has shown the attempt that is open. That its word does not count any more stays.
    pub(super) fn note_confirmed(&mut self) {
        let end = self.attempts.last().map(|attempt| attempt.end);
        self.note_attempt(match end {
            Some(AttemptEnd::Suspended { .. }) => AttemptEnd::Suspended { confirmed: true },
            _ => AttemptEnd::Confirmed,
        });
    }

    /// The node has shown the attempt that is open: it may not forget it (rule E19).
    pub fn is_confirmed(&self) -> bool {
        let end = self.attempts.last().map(|attempt| attempt.end);
        match (&self.state, end) {
            (_, Some(AttemptEnd::Confirmed | AttemptEnd::Suspended { confirmed: true })) => true,
            // It was found stuck because its node showed it in flight.
            (State::Stuck(_), Some(AttemptEnd::Open)) => true,
            _ => false,
        }
    }

    pub(super) fn resolve(&mut self, resolution: &Resolution, time: UnixMs) {
        let unresolved = matches!(self.state, State::Stuck(_) | State::Unresolved { .. });
        assert!(unresolved, "{}: a person decides about what is unresolved alone", self.id);
        // What an attempt ended with by a contradiction stays on record.
        if self.state.open_attempt().is_some() {
            self.end_attempt(AttemptEnd::Resolved, time);
        }
        self.state = match resolution.verdict {
            Verdict::Paid(preimage) => {
                assert_eq!(preimage.payment_hash(), self.order.payment_hash, "{}", self.id);
                // What it cost is in the node's books alone.
                State::Succeeded { preimage, fee_paid: Msat::ZERO }
            }
            Verdict::NotPaid => State::Failed(Failure::OperatorDecision),
        };
    }
}
