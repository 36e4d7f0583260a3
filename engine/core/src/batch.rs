//! Many payments, one result.
//!
//! ```text
//!  (seal) ──► Running ◄──► Paused
//!               │  └──────────┤ cancel
//!               │             ▼
//!               │         Cancelling
//!               └──────┬──────┘ every payment final
//!                      ▼
//!                   Finished
//! ```

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    amount::Msat,
    event::{Event, PauseReason, PaymentChange},
    id::PaymentId,
    order::{Accepted, Order},
    payment::{self, Effect, Payment, State as PaymentState},
    port::Lsn,
    retry::{RetryPolicy, Terms},
    time::UnixMs,
};

/// A batch and its payments, by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The batch without its payments.
    pub summary: Summary,
    /// The payments, by growing row; refused rows are missing.
    pub payments: Vec<Payment>,
}

/// Everything about a batch but its payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What was accepted.
    pub accepted: Arc<Accepted>,
    /// Where it stands.
    pub state: State,
    /// How many payments are in which state.
    pub counts: Counts,
    /// The counts when it was last resumed: the failure threshold counts from here.
    pub counts_resumed: Counts,
    /// The sum of what was paid, without fees.
    pub amount_succeeded: Msat,
    /// The sum of the fees paid.
    pub fee_paid: Msat,
    /// When it was asked to cancel.
    pub cancel_requested: Option<UnixMs>,
    /// When it last changed.
    pub updated: UnixMs,
    /// When it finished.
    pub finished: Option<UnixMs>,
    /// The LSN of its last change, its payments' included.
    pub version: Lsn,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Attempts start.
    Running,
    /// No attempt starts.
    Paused(PauseReason),
    /// What has no attempt in flight is cancelled; what is in flight ends.
    Cancelling,
    /// Every payment is final.
    Finished,
}

/// How many payments are in which state; they sum to the orders that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that were refused.
    pub refused: u32,
    /// Nothing in flight.
    pub queued: u32,
    /// An attempt is alive.
    pub in_flight: u32,
    /// A person decides.
    pub unresolved: u32,
    /// Paid.
    pub succeeded: u32,
    /// Not paid.
    pub failed: u32,
    /// Not paid, as asked.
    pub cancelled: u32,
}

impl Counts {
    /// Everything that is counted.
    pub fn total(&self) -> u32 {
        self.refused
            + self.queued
            + self.in_flight
            + self.unresolved
            + self.succeeded
            + self.failed
            + self.cancelled
    }

    /// Payments that are final.
    pub fn finals(&self) -> u32 {
        self.succeeded + self.failed + self.cancelled
    }

    fn of(&mut self, state: &PaymentState) -> &mut u32 {
        match state {
            PaymentState::Queued { .. } => &mut self.queued,
            PaymentState::InFlight(_) => &mut self.in_flight,
            PaymentState::Stuck(_) | PaymentState::Unresolved { .. } => &mut self.unresolved,
            PaymentState::Succeeded { .. } => &mut self.succeeded,
            PaymentState::Failed(_) => &mut self.failed,
            PaymentState::Cancelled => &mut self.cancelled,
        }
    }
}

/// What somebody wants of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Start no more attempts.
    Pause,
    /// Start attempts again.
    Resume,
    /// Cancel what has no attempt in flight.
    Cancel,
}

/// Why a request changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is over.
    #[error("the batch is finished")]
    Finished,
    /// It already stands as asked: the answer is the batch as it is.
    #[error("the batch already stands as asked")]
    AlreadySo,
    /// A batch that is being cancelled cannot be paused or resumed.
    #[error("the batch is being cancelled")]
    Cancelling,
}

impl Batch {
    /// A batch at its seal. `orders` are its accepted rows, growing.
    pub fn new(accepted: Arc<Accepted>, orders: &[(u32, Arc<Order>)], lsn: Lsn) -> Batch {
        let payments: Vec<Payment> = orders
            .iter()
            .map(|(row, order)| {
                let id = accepted.batch.payment(*row);
                Payment::new(id, Arc::clone(order), accepted.time, lsn)
            })
            .collect();
        let refused = u32::try_from(accepted.refused_row_count()).expect("at most 100,000 rows");
        let queued = u32::try_from(payments.len()).expect("at most 100,000 rows");
        let state = if accepted.options.start_paused {
            State::Paused(PauseReason::StartPaused)
        } else {
            State::Running
        };
        let updated = accepted.time;
        let summary = Summary {
            accepted,
            state,
            counts: Counts { refused, queued, ..Counts::default() },
            counts_resumed: Counts::default(),
            amount_succeeded: Msat::ZERO,
            fee_paid: Msat::ZERO,
            cancel_requested: None,
            updated,
            finished: None,
            version: lsn,
        };
        Batch { summary, payments }
    }

    /// Decides what a request means. Changes nothing.
    pub fn decide(&self, input: Input, now: UnixMs) -> Result<Event, Refusal> {
        let batch = self.summary.accepted.batch;
        match (input, self.summary.state) {
            (_, State::Finished) => Err(Refusal::Finished),
            (Input::Cancel, State::Cancelling) => Err(Refusal::AlreadySo),
            (Input::Cancel, State::Running | State::Paused(_)) => {
                Ok(Event::BatchCancelRequested { batch, time: now })
            }
            (Input::Pause | Input::Resume, State::Cancelling) => Err(Refusal::Cancelling),
            (Input::Pause, State::Running) => {
                Ok(Event::BatchPaused { batch, reason: PauseReason::Requested, time: now })
            }
            (Input::Resume, State::Paused(_)) => Ok(Event::BatchResumed { batch, time: now }),
            (Input::Pause, State::Paused(_)) | (Input::Resume, State::Running) => {
                Err(Refusal::AlreadySo)
            }
        }
    }

    /// Decides what `input` means for one payment. Changes nothing.
    pub fn decide_payment(
        &self,
        payment: PaymentId,
        input: &payment::Input,
        retry: RetryPolicy,
        now: UnixMs,
    ) -> Result<Event, payment::Refusal> {
        let Some(found) = self.payment(payment) else {
            return Err(payment::Refusal::AlreadyFinal);
        };
        // Rule E9: no attempt starts while the batch is paused.
        if matches!((input, self.summary.state), (payment::Input::Start(_), State::Paused(_))) {
            return Err(payment::Refusal::TooEarly);
        }
        let change = found.decide(input, &self.terms(retry), now)?;
        Ok(Event::Payment { payment, time: now, change })
    }

    /// What the batch itself must do by now: pause at its failure threshold, cancel what waits,
    /// finish. Called after every applied event, and by whoever takes the batch over (its answer to
    /// the last event may not have reached the disk), until it returns `None`.
    pub fn follow_up(&self, now: UnixMs) -> Option<Event> {
        let batch = self.summary.accepted.batch;
        if self.summary.state == State::Finished {
            return None;
        }
        if self.summary.counts.finals() + self.summary.counts.refused == self.summary.counts.total()
        {
            return Some(Event::BatchFinished { batch, time: now });
        }
        if self.summary.state == State::Cancelling && self.summary.counts.queued > 0 {
            let waiting = self.payments.iter().filter(|payment| payment.is_queued());
            let rows = Arc::new(waiting.map(|payment| payment.id.row()).collect());
            return Some(Event::PaymentsCancelled { batch, rows, time: now });
        }
        if self.summary.state == State::Running && self.too_many_failed() {
            let reason = PauseReason::FailureThreshold;
            return Some(Event::BatchPaused { batch, reason, time: now });
        }
        None
    }

    /// Counts from the last resume on, so that a resumed batch goes on.
    fn too_many_failed(&self) -> bool {
        let options = &self.summary.accepted.options;
        let (counts, resumed) = (&self.summary.counts, &self.summary.counts_resumed);
        // A failed payment that was paid after all is no longer counted (rule E14).
        let failed = counts.failed.saturating_sub(resumed.failed);
        let finals = u64::from(counts.finals().saturating_sub(resumed.finals()));
        let by_count = options.failed_count_max > 0 && failed >= options.failed_count_max;
        // A share of very few payments says nothing.
        let by_percent = options.failed_percent_max > 0
            && finals >= 20
            && u64::from(failed) * 100 >= finals * u64::from(options.failed_percent_max);
        by_count || by_percent
    }

    /// Applies an event of this batch or one of its payments. Other batches' events and uploads
    /// are ignored.
    pub fn apply(&mut self, event: &Event, lsn: Lsn) -> Option<Effect> {
        match event {
            Event::Payment { payment, time, change } => {
                self.touch(*time, lsn);
                return self.apply_payment(*payment, change, *time, lsn);
            }
            Event::PaymentsCancelled { batch, rows, time } => {
                for row in rows.iter() {
                    let change = PaymentChange::Cancelled;
                    self.apply_payment(batch.payment(*row), &change, *time, lsn);
                }
                self.touch(*time, lsn);
            }
            Event::BatchPaused { reason, time, .. } => {
                self.summary.state = State::Paused(*reason);
                self.touch(*time, lsn);
            }
            Event::BatchResumed { time, .. } => {
                self.summary.state = State::Running;
                self.summary.counts_resumed = self.summary.counts;
                self.touch(*time, lsn);
            }
            Event::BatchCancelRequested { time, .. } => {
                self.summary.state = State::Cancelling;
                self.summary.cancel_requested = Some(*time);
                self.touch(*time, lsn);
            }
            Event::BatchFinished { time, .. } => {
                assert_eq!(
                    self.summary.counts.finals() + self.summary.counts.refused,
                    self.summary.counts.total()
                );
                self.summary.state = State::Finished;
                self.summary.finished = Some(*time);
                self.touch(*time, lsn);
            }
            Event::EngineStarted { .. }
            | Event::OrdersAdded { .. }
            | Event::BatchAccepted(_)
            | Event::UploadDropped { .. }
            | Event::SendBounds(_)
            | Event::Node { .. }
            | Event::Installed { .. }
            | Event::NodeCompared { .. }
            | Event::PaidElsewhere { .. }
            | Event::NotAlone { .. }
            | Event::TakenOver { .. }
            | Event::Barrier => {}
        }
        None
    }

    fn touch(&mut self, time: UnixMs, lsn: Lsn) {
        self.summary.updated = time;
        self.summary.version = lsn;
    }

    fn apply_payment(
        &mut self,
        id: PaymentId,
        change: &PaymentChange,
        time: UnixMs,
        lsn: Lsn,
    ) -> Option<Effect> {
        let at = self.position(id).expect("an event names a payment of its batch");
        let payment = &mut self.payments[at as usize];
        *self.summary.counts.of(&payment.state) -= 1;
        let effect = payment.apply(change, time, lsn);
        *self.summary.counts.of(&payment.state) += 1;
        if let PaymentState::Succeeded { fee_paid, .. } = &payment.state {
            self.summary.amount_succeeded =
                self.summary.amount_succeeded.saturating_add(payment.order.amount);
            self.summary.fee_paid = self.summary.fee_paid.saturating_add(*fee_paid);
        }
        effect
    }

    /// The payment, or `None` when it is not of this batch or its row was refused.
    pub fn payment(&self, id: PaymentId) -> Option<&Payment> {
        self.position(id).map(|at| &self.payments[at as usize])
    }

    /// Where the payment stands in [`Batch::payments`].
    pub fn position(&self, id: PaymentId) -> Option<u32> {
        let at = id.row() - 1;
        // Without refused rows, a row is its own position.
        if self.payments.get(at as usize).is_some_and(|payment| payment.id == id) {
            return Some(at);
        }
        let found = self.payments.binary_search_by_key(&id, |payment| payment.id).ok()?;
        u32::try_from(found).ok()
    }

    /// What the batch says about each of its payments.
    pub fn terms(&self, retry: RetryPolicy) -> Terms {
        let options = &self.summary.accepted.options;
        Terms {
            attempts_max: options.attempts_max.max(1),
            deadline: options.deadline,
            cancelling: self.summary.state == State::Cancelling,
            retry,
        }
    }

    /// True while attempts may start.
    pub fn is_running(&self) -> bool {
        self.summary.state == State::Running
    }
}
