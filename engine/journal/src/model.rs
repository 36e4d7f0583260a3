//! What is open, in memory: one writer, the projector, and many readers, who get copies.

use std::collections::BTreeSet;

use fulgurite_core::{
    BatchId, Event, Lsn, PaymentHash, PaymentId,
    batch::{Batch, Summary},
    book::{Book, Changed},
    map::HashMap,
    payment::Payment,
};
use parking_lot::{RwLock, RwLockWriteGuard};

use crate::keys;

/// One change of one payment: its number and the payment's row. Sorts by number, then row.
pub type Change = (Lsn, u32);

/// How many payments enter or leave the index under one lock.
const INDEX_CHUNK: usize = 1_000;

/// Everything that is open.
#[derive(Debug, Default)]
pub(crate) struct Model {
    open: RwLock<Open>,
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Open {
    book: Book,
    /// The changes of each batch's payments, growing; those that a later one superseded may be
    /// missing.
    changes: HashMap<BatchId, Vec<Change>>,
}

/// How open payments are found. An entry may outlive its payment or precede it by a moment: the
/// book has the last word.
#[derive(Debug, Default)]
struct Index {
    hashes: BTreeSet<(PaymentHash, PaymentId)>,
    references: BTreeSet<(Box<[u8]>, PaymentId)>,
    keys: HashMap<Vec<u8>, BatchId>,
}

impl Model {
    /// The model of a recovered book.
    pub(crate) fn new(book: Book) -> Model {
        let model = Model::default();
        for batch in book.batches.values() {
            model.enter(&batch.summary, &batch.payments);
        }
        let changes = book.batches.iter().map(|(id, batch)| (*id, versions(batch))).collect();
        *model.open.write() = Open { book, changes };
        model
    }

    /// Applies one event. Only the projector may call it.
    pub(crate) fn apply(&self, event: &Event, lsn: Lsn) -> Changed {
        let mut open = self.open.write();
        let changed = open.book.apply(event, lsn);
        match changed {
            Changed::Payment(batch, row) => open.note(batch, &[row], lsn),
            Changed::Payments(batch) => {
                if let Event::PaymentsCancelled { rows, .. } = event {
                    open.note(batch, rows, lsn);
                }
            }
            Changed::Accepted(id) => {
                let versions = versions(&open.book.batches[&id]);
                open.changes.insert(id, versions);
                // Readers may go on: only this thread ever changes the book.
                let open = RwLockWriteGuard::downgrade(open);
                let batch = &open.book.batches[&id];
                self.enter(&batch.summary, &batch.payments);
            }
            Changed::Nothing | Changed::Batch(_) | Changed::Finished(_) => {}
        }
        changed
    }

    /// Lets a finished batch go, once the views hold all of it. Only the projector may call it.
    pub(crate) fn forget(&self, id: BatchId) {
        let Some(batch) = self.forget_in_book(id) else {
            return;
        };
        for payments in batch.payments.chunks(INDEX_CHUNK) {
            let mut index = self.index.write();
            for payment in payments {
                index.hashes.remove(&(payment.order.payment_hash, payment.id));
                if let Some(reference) = &payment.order.reference {
                    index.references.remove(&(Box::from(&*reference.bytes), payment.id));
                }
            }
        }
        let accepted = &batch.summary.accepted;
        let key = keys::idempotency(&accepted.account, &accepted.idempotency_key);
        self.index.write().keys.remove(&key);
    }

    fn forget_in_book(&self, id: BatchId) -> Option<Batch> {
        let mut open = self.open.write();
        open.changes.remove(&id);
        open.book.forget(id)
    }

    fn enter(&self, summary: &Summary, payments: &[Payment]) {
        for payments in payments.chunks(INDEX_CHUNK) {
            let mut index = self.index.write();
            for payment in payments {
                index.hashes.insert((payment.order.payment_hash, payment.id));
                if let Some(reference) = &payment.order.reference {
                    index.references.insert((Box::from(&*reference.bytes), payment.id));
                }
            }
        }
        let accepted = &summary.accepted;
        let key = keys::idempotency(&accepted.account, &accepted.idempotency_key);
        self.index.write().keys.insert(key, accepted.batch);
    }

    /// Lends the book to `look`, which must be short: the projector waits meanwhile.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Book) -> R) -> R {
        look(&self.open.read().book)
    }

    /// Lends an open batch to `look`; `None` when it is not open.
    pub(crate) fn batch<R>(&self, id: BatchId, look: impl FnOnce(&Batch) -> R) -> Option<R> {
        self.open.read().book.batches.get(&id).map(look)
    }

    /// The changes after `after` that no later one superseded, at most `limit`, growing; `None`
    /// when the batch is not open.
    pub(crate) fn changes(&self, id: BatchId, after: Change, limit: usize) -> Option<Vec<Change>> {
        let open = self.open.read();
        let (batch, changes) = (open.book.batches.get(&id)?, open.changes.get(&id)?);
        let from = changes.partition_point(|change| *change <= after);
        let current = changes[from..].iter().filter(|(lsn, row)| {
            batch.payment(id.payment(*row)).is_some_and(|payment| payment.version == *lsn)
        });
        Some(current.take(limit).copied().collect())
    }

    /// The open payments with this hash.
    pub(crate) fn by_hash(&self, hash: PaymentHash) -> Vec<PaymentId> {
        let index = self.index.read();
        let from = (hash, PaymentId::from_uuid(1).expect("row 1"));
        let found = index.hashes.range(from..).take_while(|(found, _)| *found == hash);
        found.map(|(_, payment)| *payment).collect()
    }

    /// The open payments with this reference.
    pub(crate) fn by_reference(&self, reference: &[u8]) -> Vec<PaymentId> {
        let index = self.index.read();
        let from = (Box::from(reference), PaymentId::from_uuid(1).expect("row 1"));
        let found = index.references.range(from..).take_while(|(found, _)| **found == *reference);
        found.map(|(_, payment)| *payment).collect()
    }

    /// The open batch with this idempotency key.
    pub(crate) fn by_key(&self, key: &[u8]) -> Option<BatchId> {
        self.index.read().keys.get(key).copied()
    }
}

impl Open {
    fn note(&mut self, id: BatchId, rows: &[u32], lsn: Lsn) {
        let changes = self.changes.entry(id).or_default();
        changes.extend(rows.iter().map(|row| (lsn, *row)));
        let batch = &self.book.batches[&id];
        // Many attempts of few payments would grow without end.
        if changes.len() > 64 + 4 * batch.payments.len() {
            *changes = versions(batch);
        }
    }
}

/// The last change of each payment, growing.
fn versions(batch: &Batch) -> Vec<Change> {
    let versions = batch.payments.iter().map(|payment| (payment.version, payment.id.row()));
    let mut versions: Vec<Change> = versions.collect();
    versions.sort_unstable();
    versions
}
