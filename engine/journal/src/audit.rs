//! Whether what stays says all that records say which are about to go.
//!
//! Every record is read once more, and what it speaks of is looked up in the views and in what was
//! open at the older snapshot: batches and their keys, orders, outcomes, claims, what others paid.
//! Of what is said several times only the last word is compared.

use std::sync::Arc;

use fulgurite_core::{
    BatchId, Event, Lsn, Msat, Order, PaymentId, UnixMs,
    batch::{Counts, Summary},
    book::Book,
    event::{Failure, Next, PaymentChange, Verdict},
    map::{HashMap, HashSet},
    order::Accepted,
    payment::State,
};

use crate::{stored::Broken, views::Views};

/// Compares events, which must come in order.
pub(crate) struct Audit<'a> {
    views: &'a Views,
    /// What was open at the older snapshot.
    book: &'a Book,
    /// The rows of uploads whose end was not read yet.
    uploads: HashMap<BatchId, Vec<(u32, Arc<Order>)>>,
}

impl<'a> Audit<'a> {
    pub(crate) fn new(views: &'a Views, book: &'a Book) -> Audit<'a> {
        Audit { views, book, uploads: HashMap::default() }
    }

    /// Whether there are uploads whose end was not read yet.
    pub(crate) fn waits(&self) -> bool {
        !self.uploads.is_empty()
    }

    /// An event whose record is to go.
    pub(crate) fn event(&mut self, lsn: Lsn, event: &Event) -> Result<(), Broken> {
        match event {
            Event::OrdersAdded { batch, orders } => {
                self.uploads.entry(*batch).or_default().extend(orders.iter().cloned());
                Ok(())
            }
            Event::UploadDropped { .. } | Event::EngineStarted { .. } | Event::BatchAccepted(_) => {
                self.end_of_upload(event)
            }
            Event::BatchPaused { batch, .. }
            | Event::BatchResumed { batch, .. }
            | Event::BatchCancelRequested { batch, .. } => {
                self.summary(*batch).and_then(|batch| changed_at(batch.version, lsn))
            }
            Event::BatchFinished { batch, time } => self.finished(*batch, *time),
            Event::Payment { payment, time, change } => {
                self.payment(*payment, (lsn, *time), change)
            }
            Event::PaymentsCancelled { batch, rows, time } => rows.iter().try_for_each(|row| {
                self.payment(batch.payment(*row), (lsn, *time), &PaymentChange::Cancelled)
            }),
            Event::PaidElsewhere { hashes, .. } => {
                hashes.iter().try_for_each(|hash| self.views.check_elsewhere(*hash))
            }
            Event::Node { node, .. } => known(self.book.nodes.contains_key(node), node),
            Event::NodeCompared { node, .. } => {
                known(self.book.compared.contains_key(node), "when a node was compared")
            }
            Event::Installed { .. } => known(self.book.installation != 0, "whose journal it is"),
            // The newest of them alone counts, and is in every snapshot.
            Event::SendBounds(_) | Event::NotAlone { .. } | Event::TakenOver { .. } => Ok(()),
            Event::Barrier => Ok(()),
        }
    }

    /// An event whose record stays: it may end uploads that began before.
    pub(crate) fn later(&mut self, event: &Event) -> Result<(), Broken> {
        match event {
            Event::OrdersAdded { batch, orders } => {
                if let Some(rows) = self.uploads.get_mut(batch) {
                    rows.extend(orders.iter().cloned());
                }
                Ok(())
            }
            Event::BatchAccepted(accepted) if !self.uploads.contains_key(&accepted.batch) => Ok(()),
            _ => self.end_of_upload(event),
        }
    }

    /// There are no more events before the older snapshot.
    pub(crate) fn end(self) -> Result<(), Broken> {
        for (batch, rows) in &self.uploads {
            let kept = self.book.uploads.get(batch).map_or(&[][..], Vec::as_slice);
            let kept: HashMap<u32, &Order> =
                kept.iter().map(|(row, order)| (*row, &**order)).collect();
            let all = rows.iter().all(|(row, order)| kept.get(row) == Some(&&**order));
            known(all, "rows of an upload")?;
        }
        Ok(())
    }

    fn end_of_upload(&mut self, event: &Event) -> Result<(), Broken> {
        match event {
            Event::UploadDropped { batch } => {
                self.uploads.remove(batch);
            }
            // Rule E3: what had no seal when its engine died will never have one.
            Event::EngineStarted { epoch, .. } => {
                self.uploads.clear();
                known(self.book.epoch >= *epoch, "an epoch")?;
            }
            Event::BatchAccepted(accepted) => {
                let rows = self.uploads.remove(&accepted.batch).unwrap_or_default();
                self.accepted(accepted, &rows)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn accepted(&self, accepted: &Accepted, rows: &[(u32, Arc<Order>)]) -> Result<(), Broken> {
        let id = accepted.batch;
        let summary = self.summary(id)?;
        known(*summary.accepted == *accepted, &id)?;
        let stored;
        let payments = match self.book.batches.get(&id) {
            Some(batch) => &batch.payments,
            None => {
                self.views.check_key(&summary)?;
                stored = self.views.final_payments(id)?;
                &stored
            }
        };
        let all = summary.counts.total() - summary.counts.refused;
        known(payments.len() == all as usize, &id)?;
        let refused: HashSet<u32> = accepted.refused.iter().map(|refused| refused.row).collect();
        for (row, order) in rows.iter().filter(|(row, _)| !refused.contains(row)) {
            let id = id.payment(*row);
            let at = payments.binary_search_by_key(&id, |payment| payment.id);
            known(at.is_ok_and(|at| payments[at].order == *order), &id)?;
        }
        Ok(())
    }

    fn finished(&self, id: BatchId, time: UnixMs) -> Result<(), Broken> {
        known(!self.book.batches.contains_key(&id), &format!("the end of {id}"))?;
        let summary = self.summary(id)?;
        known(summary.finished == Some(time), &format!("the end of {id}"))?;
        self.views.check_key(&summary)?;
        let mut counts = Counts { refused: summary.counts.refused, ..Counts::default() };
        let (mut amount, mut fees) = (Msat::ZERO, Msat::ZERO);
        for payment in self.views.final_payments(id)? {
            match payment.state {
                State::Succeeded { fee_paid, .. } => {
                    counts.succeeded += 1;
                    amount = amount.saturating_add(payment.order.amount);
                    fees = fees.saturating_add(fee_paid);
                }
                State::Failed(_) => counts.failed += 1,
                State::Cancelled => counts.cancelled += 1,
                _ => counts.unresolved += 1,
            }
        }
        let said = (summary.counts, summary.amount_succeeded, summary.fee_paid);
        known((counts, amount, fees) == said, &id)
    }

    fn summary(&self, id: BatchId) -> Result<Summary, Broken> {
        if let Some(batch) = self.book.batches.get(&id) {
            return Ok(batch.summary.clone());
        }
        let stored = match self.views.stored_batch(id, false)? {
            None => self.views.stored_batch(id, true)?,
            some => some,
        };
        stored.ok_or_else(|| missing(&id))
    }

    fn payment(
        &self,
        id: PaymentId,
        (lsn, time): (Lsn, UnixMs),
        change: &PaymentChange,
    ) -> Result<(), Broken> {
        let payment = match self.book.batches.get(&id.batch()) {
            Some(batch) => batch.payment(id).cloned(),
            // What is final says with its end what it was before, but for the nodes.
            None if !ends(change) && !matches!(change, PaymentChange::AttemptStarted(_)) => {
                return Ok(());
            }
            None => self.views.stored_payment(id)?,
        };
        let payment = payment.ok_or_else(|| missing(&id))?;
        changed_at(payment.version, lsn)?;
        if let PaymentChange::AttemptStarted(attempt) = change {
            let made = payment.attempts.iter().find(|made| made.number == attempt.attempt);
            known(made.is_some_and(|made| made.node == attempt.node), &id)?;
        }
        // Succeeded is for ever; of everything else this event must be the last word.
        let expected = outcome(change);
        let is_last = payment.version == lsn;
        if is_last || matches!(expected, Some(State::Succeeded { .. })) {
            known(expected.is_none_or(|expected| payment.state == expected), &id)?;
        }
        if !is_last {
            return Ok(());
        }
        known(payment.updated == time, &id)?;
        if !payment.is_final() {
            return Ok(());
        }
        self.views.check_ended(&payment)
    }
}

/// What a payment is after this, as far as the event alone says it.
fn outcome(change: &PaymentChange) -> Option<State> {
    match change {
        PaymentChange::AttemptStarted(attempt) => Some(State::InFlight(Arc::clone(attempt))),
        PaymentChange::AttemptSettled { preimage, fee_paid, .. } => {
            Some(State::Succeeded { preimage: *preimage, fee_paid: *fee_paid })
        }
        PaymentChange::AttemptFailed { next, .. }
        | PaymentChange::AttemptNeverSent { next, .. } => Some(match next {
            Next::Retry { not_before } => State::Queued { not_before: *not_before },
            Next::Failed(failure) => State::Failed(*failure),
            Next::Cancelled => State::Cancelled,
        }),
        PaymentChange::Failed(failure) => Some(State::Failed(*failure)),
        PaymentChange::Cancelled => Some(State::Cancelled),
        PaymentChange::Contradicted { attempt, contradiction } => {
            Some(State::Unresolved { attempt: *attempt, contradiction: *contradiction })
        }
        PaymentChange::Resolved(resolution) => Some(match resolution.verdict {
            Verdict::Paid(preimage) => State::Succeeded { preimage, fee_paid: Msat::ZERO },
            Verdict::NotPaid => State::Failed(Failure::OperatorDecision),
        }),
        PaymentChange::AttemptStuck { .. }
        | PaymentChange::AttemptConfirmed { .. }
        | PaymentChange::AttemptSuspended { .. } => None,
    }
}

/// Whether a payment can be final after this.
fn ends(change: &PaymentChange) -> bool {
    let outcome = outcome(change);
    matches!(outcome, Some(State::Succeeded { .. } | State::Failed(_) | State::Cancelled))
}

fn changed_at(version: Lsn, lsn: Lsn) -> Result<(), Broken> {
    known(version >= lsn, "the last change")
}

fn known(is_known: bool, what: &(impl std::fmt::Display + ?Sized)) -> Result<(), Broken> {
    match is_known {
        true => Ok(()),
        false => Err(Broken::Differs(format!("{what} is not what its record says"))),
    }
}

fn missing(what: &impl std::fmt::Display) -> Broken {
    Broken::Differs(format!("{what} is missing"))
}
