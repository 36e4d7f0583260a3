//! One attempt at its node: which sends were made, what accounts for each, what to ask next.
//!
//! Rules E5-E13. The tracker decides nothing about the payment: it finds out what is true at the
//! node and reports one [`Outcome`]. A lost stream, a deadline or an error text mean *unknown*:
//! ask. Failed and never sent need every send accounted for: by a `Payment` message on its own
//! stream, by a refusal that proves that it cannot start, by never having been handed over, or by
//! the fence.
//!
//! ```text
//!  Sending ──lost──► Asking ──in flight──► Watching ──final──► Over
//!     │                │ not found, or failed with a send unaccounted for
//!     │                ▼
//!     │            Permission ──yes──► Sending (same hash, same node)
//!     │                │ no, or often enough
//!     │                ▼
//!     └─────────────► Fencing ──up──► Asking ──► Over
//! ```

mod inputs;
mod moves;
mod news;
mod sends;
mod stuck;
mod suspended;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    inputs::{Action, Context, Input, Outcome, Phase},
    moves::WAIT_MS_MAX,
    stuck::{FirstHop, LOOKS_APART_MS, may_live},
};
use self::{
    news::News,
    sends::{Account, Send},
    stuck::Liveness,
};
use crate::{
    event::{AttemptStarted, Contradiction, NeverSent},
    id::{AttemptId, PaymentHash, PaymentId},
    port::{
        FailureReason, PaymentReport, PaymentStatus, Refused, SendEnd, SendReport, TrackReport,
    },
    standing::Quarantine,
    time::UnixMs,
};

/// How often an attempt is sent again before it ends behind the fence: a node that loses it twice
/// is left for another.
pub const RESENDS_MAX: u8 = 1;
/// How long to wait before asking again, in milliseconds.
const ASK_AGAIN_MS: i64 = 1_000;
/// How much older than the attempt a payment at the node must be to be somebody else's: more
/// than any clock offset that is tolerated, in milliseconds.
const FOREIGN_MS: i64 = 120_000;

/// An attempt at its node.
#[derive(Clone, Debug)]
pub struct Tracker {
    id: AttemptId,
    payment_hash: PaymentHash,
    attempt: Arc<AttemptStarted>,
    started: UnixMs,
    sends: Vec<Send>,
    /// Taken over from an earlier engine or actor: our first send may not be the attempt's.
    resumed: bool,
    /// Sends of an earlier engine or actor, unaccounted for: none expires later than this.
    earlier: Option<UnixMs>,
    /// The last number given when a `Payment` message was first seen: from then on the node knew
    /// the payment.
    confirmed: Option<u64>,
    /// The last number given when the fence accounted for a send: what answers an earlier send or
    /// call may have been true before that send started (rule E13 (3)).
    fenced: u64,
    /// The send or call whose answer [`Phase::Permission`] rests on.
    answer: u64,
    /// The node said that it knew the hash at our very first send.
    existed: bool,
    /// Why the node refused the last send, when that refuses all further ones.
    refused: Option<NeverSent>,
    resends: u8,
    /// Whether an HTLC of it is anywhere.
    liveness: Liveness,
    /// The node is not believed (rule E19).
    suspended: Option<Quarantine>,
    /// It was suspended, and a person trusts the node as it is now.
    trusted: bool,
    /// When it was last heard of.
    news: News,
    phase: Phase,
}

impl Tracker {
    /// An attempt that was just decided: its first input is [`Input::Start`].
    pub fn new(
        payment: PaymentId,
        hash: PaymentHash,
        attempt: Arc<AttemptStarted>,
        started: UnixMs,
    ) -> Tracker {
        Tracker {
            id: AttemptId { payment, number: attempt.attempt },
            payment_hash: hash,
            attempt,
            started,
            sends: Vec::new(),
            resumed: false,
            earlier: None,
            confirmed: None,
            fenced: 0,
            answer: 0,
            existed: false,
            refused: None,
            resends: 0,
            liveness: Liveness::default(),
            suspended: None,
            trusted: false,
            news: News { heard: started, asked: started },
            phase: Phase::Waiting { until: started },
        }
    }

    /// An attempt of an earlier engine or actor, none of whose sends expires after `earlier` (node
    /// clock): its first input is [`Input::Tick`], which asks.
    pub fn resumed(mut self, earlier: UnixMs) -> Tracker {
        self.resumed = true;
        self.earlier = Some(earlier);
        self
    }

    /// Which attempt.
    pub fn id(&self) -> AttemptId {
        self.id
    }

    /// Its payment hash.
    pub fn payment_hash(&self) -> PaymentHash {
        self.payment_hash
    }

    /// What was decided.
    pub fn attempt(&self) -> &Arc<AttemptStarted> {
        &self.attempt
    }

    /// What it waits for.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How often it was sent again.
    pub fn resends(&self) -> u8 {
        self.resends
    }

    /// The node has shown the payment.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.is_some()
    }

    /// When it was decided, or taken over.
    pub fn started(&self) -> UnixMs {
        self.started
    }

    /// Takes one input. Inputs of calls and sends that no longer matter change nothing.
    pub fn step(&mut self, input: Input, context: &mut Context<'_>) -> Option<Action> {
        if self.phase == Phase::Over {
            return None;
        }
        if let Some(why) = self.suspended {
            return self.step_suspended(input, why, context);
        }
        match input {
            // What was sent before, here or by a predecessor, is asked for.
            Input::Start if self.sends.is_empty() && !self.resumed => Some(self.send(context)),
            Input::Start => None,
            Input::Send(number, report) => self.on_send(number, report, context),
            Input::Track(number, report) => self.on_track(number, report, context),
            Input::Permission(granted) => self.on_permission(granted, context),
            Input::Fence(up_to) => self.on_fence(up_to, context),
            Input::Tick => self.on_tick(context),
            Input::Silence(limit_ms) => self.on_silence(limit_ms, context),
            Input::Look { alive } => self.on_look(alive, context),
        }
    }

    fn on_send(
        &mut self,
        number: u64,
        report: SendReport,
        context: &mut Context<'_>,
    ) -> Option<Action> {
        let last = self.sends.last().is_some_and(|send| send.number == number);
        let current = last && self.phase == Phase::Sending;
        let send = self.sends.iter_mut().find(|send| send.number == number)?;
        match report {
            SendReport::Payment(payment) => {
                send.account = Account::Accounted;
                self.news.heard = context.now;
                self.confirm(context);
                match payment.status {
                    // A late word: what is asked now is newer.
                    PaymentStatus::Failed(_) if !current => None,
                    PaymentStatus::Failed(_)
                    | PaymentStatus::InFlight
                    | PaymentStatus::Succeeded { .. } => self.on_payment(number, &payment, context),
                }
            }
            SendReport::Ended(end) => {
                // Only the first end of a stream says something about its send.
                if send.account == Account::Open {
                    send.account = Account::after(&end);
                }
                if current { self.on_end(end, context) } else { None }
            }
        }
    }

    fn on_end(&mut self, end: SendEnd, context: &mut Context<'_>) -> Option<Action> {
        match end {
            SendEnd::Completed | SendEnd::Lost(_) => self.ask(context),
            SendEnd::NotHandedOver if self.is_first_send() => {
                Some(self.done(Outcome::NeverSent(NeverSent::NotDelivered)))
            }
            SendEnd::NotHandedOver => {
                self.wait(context);
                None
            }
            SendEnd::Refused(refused) => self.on_refused(refused, context),
        }
    }

    /// True when the last send is the attempt's first ever, whoever made it.
    fn is_first_send(&self) -> bool {
        self.sends.len() == 1 && !self.resumed
    }

    fn confirm(&mut self, context: &Context<'_>) {
        self.confirmed = self.confirmed.or(Some(*context.number));
    }

    fn on_refused(&mut self, refused: Refused, context: &mut Context<'_>) -> Option<Action> {
        match refused {
            Refused::AlreadyExists => {
                self.existed = self.is_first_send();
            }
            Refused::InvoiceExpired => self.refused = Some(NeverSent::InvoiceExpired),
            Refused::SelfPayment => self.refused = Some(NeverSent::SelfPayment),
            Refused::Invalid => self.refused = Some(NeverSent::Invalid),
            Refused::MacaroonExpired => {}
        }
        // Rule E10: no refusal says "not paid". The node's own books do.
        self.ask(context)
    }

    fn on_track(
        &mut self,
        number: u64,
        report: TrackReport,
        context: &mut Context<'_>,
    ) -> Option<Action> {
        if !matches!(self.phase, Phase::Asking(call) | Phase::Watching(call) if call == number) {
            return None;
        }
        if !matches!(report, TrackReport::Unreachable(_)) {
            self.news.heard = context.now;
        }
        match report {
            TrackReport::Payment(payment) => {
                self.phase = Phase::Watching(number);
                if self.existed && self.is_foreign(&payment) {
                    return Some(self.done(Outcome::Contradicted(Contradiction::PaidBefore)));
                }
                self.confirm(context);
                self.on_payment(number, &payment, context)
            }
            TrackReport::NotFound => match self.confirmed {
                Some(confirmed) if confirmed < number => {
                    Some(self.done(Outcome::Contradicted(Contradiction::Forgotten)))
                }
                // An answer from before the node knew it.
                Some(_) => self.ask(context),
                None => self.not_started(number, None, context),
            },
            TrackReport::Unreachable(_) => {
                self.phase = Phase::Waiting { until: context.now.plus_ms(ASK_AGAIN_MS) };
                None
            }
        }
    }

    fn is_foreign(&self, payment: &PaymentReport) -> bool {
        payment.amount != self.attempt.amount || payment.created < self.started.plus_ms(-FOREIGN_MS)
    }

    fn on_payment(
        &mut self,
        number: u64,
        payment: &PaymentReport,
        context: &mut Context<'_>,
    ) -> Option<Action> {
        match payment.status {
            PaymentStatus::InFlight => {
                self.liveness.reported(payment);
                None
            }
            PaymentStatus::Succeeded { preimage, fee_paid } => {
                let amount = payment.amount;
                Some(self.done(Outcome::Settled { preimage, amount, fee_paid }))
            }
            PaymentStatus::Failed(reason) => self.not_started(number, Some(reason), context),
        }
    }

    /// The node says FAILED (with its reason) or that it does not know the hash, in answer to the
    /// send or call with this number.
    fn not_started(
        &mut self,
        number: u64,
        failed: Option<FailureReason>,
        context: &mut Context<'_>,
    ) -> Option<Action> {
        // Rule E13 (3): only the answer to a call made after the fence counts.
        if number <= self.fenced {
            return self.ask(context);
        }
        self.answer = number;
        if self.unaccounted().is_none() {
            match (failed, self.refused) {
                (Some(reason), _) => return Some(self.done(Outcome::Failed(reason))),
                (None, Some(cause)) => return Some(self.done(Outcome::NeverSent(cause))),
                (None, None) => {}
            }
        }
        let refuses_for_ever = failed == Some(FailureReason::IncorrectPaymentDetails);
        let is_enough = self.resends >= RESENDS_MAX || self.liveness.is_stuck;
        if self.refused.is_some() || refuses_for_ever || is_enough {
            return self.end_behind_fence();
        }
        self.phase = Phase::Permission;
        Some(Action::AskPermission)
    }

    fn end_behind_fence(&mut self) -> Option<Action> {
        match self.unaccounted() {
            Some(expiry) => {
                self.phase = Phase::Fencing { expiry };
                Some(Action::Fence(expiry))
            }
            None => {
                let cause = self.refused.unwrap_or(NeverSent::NotDelivered);
                Some(self.done(Outcome::NeverSent(cause)))
            }
        }
    }

    fn on_permission(&mut self, granted: bool, context: &mut Context<'_>) -> Option<Action> {
        if self.phase != Phase::Permission {
            return None;
        }
        if granted {
            self.resends += 1;
            return Some(self.send(context));
        }
        self.refused = Some(NeverSent::Withdrawn);
        if self.answer <= self.fenced {
            return self.ask(context);
        }
        self.end_behind_fence()
    }
}
