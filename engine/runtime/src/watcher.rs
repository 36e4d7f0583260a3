//! Follows one batch from a position on: replay and live are one.

use std::collections::VecDeque;

use fulgurite_core::{
    BatchId, Lsn, PaymentId,
    batch::Summary,
    payment::{Payment, State},
};
use fulgurite_journal::{Follow, Views};

use crate::engine::{Engine, sound};

/// A place in a batch's history: an event and, as one event can change several, a row.
pub type Position = (Lsn, u32);

/// What changed in a batch after a position.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Payments by growing version, each as it is now.
    pub payments: Vec<Payment>,
    /// The position to go on from: every change up to it is in `payments` or superseded.
    pub through: Position,
    /// True when there may be more right away.
    pub more: bool,
    /// The batch as it is now, read before its payments: when it is finished and there is no
    /// `more`, these payments are its last.
    pub batch: Summary,
}

/// Follows one batch. Nothing is buffered but positions.
pub struct Watcher {
    views: Views,
    batch: BatchId,
    position: Position,
    outcomes_only: bool,
    ahead: VecDeque<Position>,
    /// How many rows the batch has; 0 when that is not known.
    rows: u32,
}

/// How many positions are read ahead. A finished batch is read whole each time, so it is read once.
const AHEAD_MAX: usize = 100_000;
/// An open batch of so many rows is read in no time: it is in memory.
const QUICK_ROWS_MAX: u32 = 256;
/// A finished one of so many lies in a few blocks of the views, mostly just written.
const QUICK_FINISHED_ROWS_MAX: u32 = 64;

impl Engine {
    /// Follows the batch's payments from after a position, `(0, 0)` being its beginning. With
    /// `outcomes_only` only final and unresolved payments. `None` without such a batch.
    pub fn watch(&self, batch: BatchId, after: Position, outcomes_only: bool) -> Option<Watcher> {
        let rows = self.batch(batch)?.accepted.order_count;
        let watcher = Watcher::new(self.views.clone(), batch, after, outcomes_only);
        Some(Watcher { rows, ..watcher })
    }

    /// Follows a batch, to be woken by its changes alone.
    pub fn follow_batch(&self, batch: BatchId) -> Follow {
        self.views.follow_batch(batch)
    }

    /// Follows a payment, to be woken when it is final and not before.
    pub fn follow_end(&self, payment: PaymentId) -> Follow {
        self.views.follow_end(payment)
    }
}

impl Watcher {
    /// From after `position` on.
    pub(crate) fn new(
        views: Views,
        batch: BatchId,
        position: Position,
        outcomes_only: bool,
    ) -> Watcher {
        Watcher { views, batch, position, outcomes_only, ahead: VecDeque::new(), rows: 0 }
    }

    /// True when [`Watcher::next`] takes so little time that a thread which serves others may call
    /// it.
    pub fn is_quick(&self) -> bool {
        let is_open = || self.views.read_open(|book| book.batches.contains_key(&self.batch));
        match self.rows {
            0 => false,
            rows if rows <= QUICK_FINISHED_ROWS_MAX => true,
            rows => rows <= QUICK_ROWS_MAX && is_open(),
        }
    }

    /// What changed since the last call, at most `limit` payments; none when nothing did. `None`
    /// when the batch is gone.
    pub fn next(&mut self, limit: usize) -> Option<Changes> {
        let batch = sound(self.views.batch(self.batch))?;
        // Positions that were read ahead before the batch was do not hold what came in between.
        let may_lack = !self.ahead.is_empty();
        if self.ahead.is_empty() {
            let ahead = self.views.changes_after(self.batch, self.position, AHEAD_MAX);
            self.ahead = sound(ahead).into();
        }
        let mut payments = Vec::new();
        while payments.len() < limit
            && let Some(position) = self.ahead.pop_front()
        {
            self.position = position;
            let payment = sound(self.views.payment(self.batch.payment(position.1)));
            // A later change of the payment has a later position of its own.
            if let Some(payment) = payment.filter(|payment| payment.version == position.0)
                && (!self.outcomes_only || is_outcome(&payment.state))
            {
                payments.push(payment);
            }
        }
        let more = may_lack || !self.ahead.is_empty();
        Some(Changes { payments, through: self.position, more, batch })
    }
}

/// What `outcomes_only` shows.
fn is_outcome(state: &State) -> bool {
    match state {
        State::Succeeded { .. }
        | State::Failed(_)
        | State::Cancelled
        | State::Stuck(_)
        | State::Unresolved { .. } => true,
        State::Queued { .. } | State::InFlight(_) => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use fulgurite_core::{
        Event, Msat, Order, PaymentHash, UnixMs,
        order::{Accepted, BatchOptions},
        port::Journal,
        testing,
    };
    use fulgurite_journal::{JournalOptions, Opened};

    use super::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);
    const ROWS: u32 = 5;

    fn order(row: u32) -> (u32, Arc<Order>) {
        let order = Order {
            invoice: "lnbcrt1".into(),
            payment_hash: PaymentHash([row as u8; 32]),
            payee: None,
            amount: Msat::from_sat_clamped(1),
            amount_in_send: false,
            fee_limit: Msat::from_sat_clamped(1),
            invoice_expiry: NOW,
            deadline: None,
            reference: None,
        };
        (row, Arc::new(order))
    }

    pub(crate) fn accepted(batch: BatchId) -> Accepted {
        let options = BatchOptions { start_paused: true, ..BatchOptions::default() };
        let amount = Msat::from_sat_clamped(u64::from(ROWS));
        let accepted = testing::accepted(options, ROWS);
        Accepted { batch, amount, fee_limit: amount, time: NOW, ..accepted }
    }

    fn append(opened: &Opened, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let lsn = opened.journal.append(event);
            opened.views.projected().block_until(lsn);
        }
    }

    #[test]
    fn a_batch_that_finishes_while_it_is_read_is_told_to_its_last_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = fulgurite_journal::open(JournalOptions::new(folder.path()), NOW);
        let opened = opened.expect("a journal");
        let batch = BatchId::from_uuid(1 << 20);
        let cancelled =
            |rows: Vec<u32>| Event::PaymentsCancelled { batch, rows: Arc::new(rows), time: NOW };
        append(
            &opened,
            [
                Event::OrdersAdded { batch, orders: Arc::new((1..=ROWS).map(order).collect()) },
                Event::BatchAccepted(Arc::new(accepted(batch))),
                Event::BatchCancelRequested { batch, time: NOW },
                cancelled(vec![1, 2, 3]),
            ],
        );
        let mut watcher = Watcher::new(opened.views.clone(), batch, (0, 0), true);
        let mut changes = watcher.next(2).expect("the batch");
        let mut told = changes.payments.len();
        append(&opened, [cancelled(vec![4, 5]), Event::BatchFinished { batch, time: NOW }]);
        while changes.more || changes.batch.finished.is_none() {
            changes = watcher.next(2).expect("the batch");
            told += changes.payments.len();
        }
        assert_eq!(told, ROWS as usize);
        opened.running.close();
    }
}
