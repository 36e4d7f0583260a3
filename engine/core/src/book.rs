//! All open batches, as the journal tells them: the read model, the content of a snapshot and
//! what a rebuilt actor starts from.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    batch::{Batch, State},
    event::{Event, SendBounds},
    guard::NotAlone,
    id::{BatchId, NodeName},
    map::{HashMap, HashSet},
    order::Order,
    port::Lsn,
    standing::Standing,
    time::UnixMs,
    witness::Compared,
};

/// Everything that is open after the event with [`Book::lsn`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// The last event that was applied; 0 for none.
    pub lsn: Lsn,
    /// The last epoch; 0 before the first start.
    pub epoch: u32,
    /// The latest time that any event carried, by the engine's clock.
    pub time: UnixMs,
    /// How late a send that is open may start a payment.
    pub send_bounds: SendBounds,
    /// How the nodes stand, by their names.
    pub nodes: BTreeMap<NodeName, Standing>,
    /// Whose journal it is; 0 before that was decided (rule E18).
    pub installation: u32,
    /// When the first engine started on it.
    pub born: UnixMs,
    /// Nothing may be paid from it before a person decides: another engine has a copy (rule E18).
    pub not_alone: Option<NotAlone>,
    /// How far each node's payments have been compared with it (rule E18).
    pub compared: BTreeMap<NodeName, Compared>,
    /// Batches that are not finished, and finished ones until [`Book::forget`].
    pub batches: HashMap<BatchId, Batch>,
    /// Uploads without a seal.
    pub uploads: HashMap<BatchId, Vec<(u32, Arc<Order>)>>,
}

/// What an event changed in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nothing that a client sees.
    Nothing,
    /// A batch came into being.
    Accepted(BatchId),
    /// A batch, but none of its payments.
    Batch(BatchId),
    /// One payment, its row given.
    Payment(BatchId, u32),
    /// Several payments at once: the rows of a `PaymentsCancelled`.
    Payments(BatchId),
    /// A batch is finished.
    Finished(BatchId),
}

impl Book {
    /// Applies the event with number `lsn`, which must follow [`Book::lsn`] without a gap.
    pub fn apply(&mut self, event: &Event, lsn: Lsn) -> Changed {
        assert_eq!(lsn, self.lsn + 1, "the journal has no gaps");
        self.lsn = lsn;
        match event {
            Event::EngineStarted { epoch, time, .. } => {
                self.start(*epoch, *time);
                Changed::Nothing
            }
            Event::OrdersAdded { batch, orders } => {
                self.uploads.entry(*batch).or_default().extend(orders.iter().cloned());
                Changed::Nothing
            }
            Event::UploadDropped { batch } => {
                self.uploads.remove(batch);
                Changed::Nothing
            }
            Event::BatchAccepted(accepted) => {
                let mut orders = self.uploads.remove(&accepted.batch).unwrap_or_default();
                if !accepted.refused.is_empty() {
                    let refused: HashSet<u32> =
                        accepted.refused.iter().map(|refused| refused.row).collect();
                    orders.retain(|(row, _)| !refused.contains(row));
                }
                self.time = self.time.max(accepted.time);
                let batch = Batch::new(Arc::clone(accepted), &orders, lsn);
                self.batches.insert(accepted.batch, batch);
                Changed::Accepted(accepted.batch)
            }
            Event::Payment { payment, time, .. } => {
                self.change(payment.batch(), event, *time, lsn);
                Changed::Payment(payment.batch(), payment.row())
            }
            Event::PaymentsCancelled { batch, time, .. } => {
                self.change(*batch, event, *time, lsn);
                Changed::Payments(*batch)
            }
            Event::BatchPaused { batch, time, .. }
            | Event::BatchResumed { batch, time }
            | Event::BatchCancelRequested { batch, time } => {
                self.change(*batch, event, *time, lsn);
                Changed::Batch(*batch)
            }
            Event::BatchFinished { batch, time } => {
                self.change(*batch, event, *time, lsn);
                Changed::Finished(*batch)
            }
            Event::SendBounds(bounds) => {
                self.send_bounds = *bounds;
                Changed::Nothing
            }
            Event::Node { node, time, change } => {
                self.time = self.time.max(*time);
                self.nodes.entry(Arc::clone(node)).or_default().apply(change, *time);
                Changed::Nothing
            }
            Event::Installed { .. }
            | Event::NodeCompared { .. }
            | Event::NotAlone { .. }
            | Event::TakenOver { .. } => {
                self.other_copies(event, lsn);
                Changed::Nothing
            }
            Event::Barrier | Event::PaidElsewhere { .. } => Changed::Nothing,
        }
    }

    /// What is known of old copies of this journal (rule E18).
    fn other_copies(&mut self, event: &Event, lsn: Lsn) {
        match event {
            Event::Installed { installation } => self.installation = *installation,
            Event::NodeCompared { node, until, live } => {
                let compared = Compared { until: *until, live: *live };
                self.compared.insert(Arc::clone(node), compared);
            }
            Event::NotAlone { node, epoch, time } => {
                // Whoever is told to take over does so with the newest key.
                self.epoch = self.epoch.max(*epoch);
                let node = Arc::clone(node);
                self.not_alone = Some(NotAlone { lsn, node, time: *time });
            }
            Event::TakenOver { .. } => self.not_alone = None,
            // `apply` hands on nothing else.
            _ => {}
        }
    }

    fn start(&mut self, epoch: u32, time: UnixMs) {
        if self.epoch == 0 {
            self.born = time;
        }
        self.epoch = epoch;
        // What the engine before read on was compared up to its last event; what it did not, not.
        // A start that is refused must not move this.
        for compared in self.compared.values_mut().filter(|compared| compared.live) {
            *compared = Compared { until: compared.until.max(self.time), live: false };
        }
        self.time = self.time.max(time);
        // Rule E3: what had no seal when its engine died will never have one.
        self.uploads.clear();
    }

    fn change(&mut self, batch: BatchId, event: &Event, time: UnixMs, lsn: Lsn) {
        self.time = self.time.max(time);
        let batch = self.batches.get_mut(&batch).expect("events follow their batch's seal");
        batch.apply(event, lsn);
    }

    /// How many attempts are open at each node; without those that have none.
    pub fn open_attempts(&self) -> BTreeMap<NodeName, u32> {
        let mut open = BTreeMap::new();
        let payments = self.batches.values().flat_map(|batch| &batch.payments);
        for attempt in payments.filter_map(|payment| payment.state.open_attempt()) {
            *open.entry(Arc::clone(&attempt.node)).or_default() += 1;
        }
        open
    }

    /// Lets a finished batch go, once the views hold all of it.
    pub fn forget(&mut self, batch: BatchId) -> Option<Batch> {
        assert_eq!(self.batches.get(&batch)?.summary.state, State::Finished);
        self.batches.remove(&batch)
    }
}
