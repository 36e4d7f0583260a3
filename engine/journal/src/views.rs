//! What the doors look up: open payments in memory, final ones in the views.
//!
//! A batch is in memory from its seal until its last row is in the views, so whoever looks in
//! memory first and in the views second misses nothing.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use fulgurite_core::{
    BatchId, Lsn, PaymentHash, PaymentId,
    batch::Summary,
    book::Book,
    payment::{Payment, State},
};
use fulgurite_inbox::Watermark;
use rocksdb::{DBRawIterator, Direction, IteratorMode, ReadOptions};

use crate::{
    codec::{self, DecodeError},
    followed::{Follow, Followed},
    keys,
    model::{Change, Model},
    store::{Family, Store},
};

/// The views; cheap to clone. All answers are copies, as of [`Views::projected`] or later.
#[derive(Clone)]
pub struct Views {
    pub(crate) model: Arc<Model>,
    pub(crate) store: Arc<Store>,
    pub(crate) projected: Arc<Watermark>,
    pub(crate) followed: Arc<Followed>,
}

/// A view could not be read: the disk or a bug, never the question.
#[derive(Debug, thiserror::Error)]
pub enum ViewFault {
    /// RocksDB failed.
    #[error("storage: {0}")]
    Storage(#[from] rocksdb::Error),
    /// A row is not what was written.
    #[error("a row is damaged: {0}")]
    Row(#[from] DecodeError),
}

impl Views {
    /// Only what is on the disk.
    pub(crate) fn stored(store: Arc<Store>) -> Views {
        let (model, projected) = (Arc::default(), Arc::new(Watermark::new(0)));
        Views { model, store, projected, followed: Arc::default() }
    }

    /// The LSN that every answer covers at least, to wait for and to be woken by.
    pub fn projected(&self) -> &Arc<Watermark> {
        &self.projected
    }

    /// Follows a batch: woken by its changes and those of its payments alone.
    pub fn follow_batch(&self, id: BatchId) -> Follow {
        self.followed.batch(id, &self.projected)
    }

    /// Follows a payment: woken when it is final and not before.
    pub fn follow_end(&self, id: PaymentId) -> Follow {
        self.followed.payment(id, &self.projected)
    }

    /// Lends what is open to `look`, which must be short: nothing is projected meanwhile.
    pub fn read_open<R>(&self, look: impl FnOnce(&Book) -> R) -> R {
        self.model.read(look)
    }

    /// How many bytes are free on the journal's disk.
    pub fn free_bytes(&self) -> std::io::Result<u64> {
        self.store.free_bytes()
    }

    /// A payment; `None` when there is none with this id.
    pub fn payment(&self, id: PaymentId) -> Result<Option<Payment>, ViewFault> {
        if let Some(found) = self.model.batch(id.batch(), |batch| batch.payment(id).cloned()) {
            return Ok(found);
        }
        let row =
            self.store.db().get_pinned_cf(self.family(Family::Payments), keys::payment(id))?;
        Ok(row.map(|row| codec::decode_payment(&row)).transpose()?)
    }

    /// The payments of a batch with rows above `after_row` whose state `keep` takes, by row, at
    /// most `limit`. Empty when there is no such batch.
    pub fn payments_of_batch(
        &self,
        id: BatchId,
        after_row: u32,
        limit: usize,
        keep: impl Fn(&State) -> bool,
    ) -> Result<Vec<Payment>, ViewFault> {
        let open = self.model.batch(id, |batch| {
            let from = batch.payments.partition_point(|payment| payment.id.row() <= after_row);
            let kept = batch.payments[from..].iter().filter(|payment| keep(&payment.state));
            kept.take(limit).cloned().collect()
        });
        if let Some(payments) = open {
            return Ok(payments);
        }
        let mut payments = Vec::new();
        let range = keys::payments(id, after_row);
        self.scan(Family::Payments, range, true, |_, row| {
            if payments.len() < limit {
                let payment = codec::decode_payment(row)?;
                if keep(&payment.state) {
                    payments.push(payment);
                }
            }
            Ok(payments.len() < limit)
        })?;
        Ok(payments)
    }

    /// The last change of each payment of a batch that came after `after`, growing, at most
    /// `limit`: what a watcher with that cursor has not seen. Start with `(0, 0)`. A finished
    /// batch is read as a whole by each call: ask once, with a high limit.
    pub fn changes_after(
        &self,
        id: BatchId,
        after: Change,
        limit: usize,
    ) -> Result<Vec<Change>, ViewFault> {
        if let Some(changes) = self.model.changes(id, after, limit) {
            return Ok(changes);
        }
        let mut changes = Vec::new();
        self.scan(Family::Payments, keys::payments(id, 0), true, |key, row| {
            let version = codec::payment_version(row)?;
            if let Some(payment) = keys::payment_at_end(key)
                && (version, payment.row()) > after
            {
                changes.push((version, payment.row()));
            }
            Ok(true)
        })?;
        changes.sort_unstable();
        changes.truncate(limit);
        Ok(changes)
    }

    /// All payments with this hash: one that owns it or is open, and those that freed it.
    pub fn by_hash(&self, hash: PaymentHash) -> Result<Vec<PaymentId>, ViewFault> {
        let mut found = self.model.by_hash(hash);
        self.scan_prefix(Family::Hashes, &hash.0, |key, _| {
            found.extend(keys::payment_at_end(key));
            Ok(true)
        })?;
        Ok(sorted(found))
    }

    /// All payments with this reference, over all batches.
    pub fn by_reference(&self, reference: &[u8]) -> Result<Vec<PaymentId>, ViewFault> {
        let mut found = self.model.by_reference(reference);
        self.scan_prefix(Family::References, &keys::reference_prefix(reference), |key, _| {
            found.extend(keys::payment_at_end(key));
            Ok(true)
        })?;
        Ok(sorted(found))
    }

    /// A batch without its payments; `None` when there is none with this id.
    pub fn batch(&self, id: BatchId) -> Result<Option<Summary>, ViewFault> {
        if let Some(summary) = self.model.batch(id, |batch| batch.summary.clone()) {
            return Ok(Some(summary));
        }
        for single in [false, true] {
            let key = keys::batch(id, single);
            if let Some(row) = self.store.db().get_pinned_cf(self.family(Family::Batches), key)? {
                return Ok(Some(codec::decode_summary(&row)?));
            }
        }
        Ok(None)
    }

    /// The batch that an account's idempotency key is bound to; `None` when it is free.
    pub fn batch_by_key(&self, account: &str, key: &str) -> Result<Option<BatchId>, ViewFault> {
        let key = keys::idempotency(account, key);
        if let Some(batch) = self.model.by_key(&key) {
            return Ok(Some(batch));
        }
        let row = self.store.db().get_pinned_cf(self.family(Family::Keys), key)?;
        Ok(row.and_then(|row| keys::batch_at_end(&row)))
    }

    /// Batches older than `before` (`None`: from the newest), newest first, at most `limit`; those
    /// of a single payment only when asked for.
    pub fn batches(
        &self,
        before: Option<BatchId>,
        limit: usize,
        include_single: bool,
        keep: impl Fn(&Summary) -> bool,
    ) -> Result<Vec<Summary>, ViewFault> {
        let bound = before.map_or(u128::MAX, BatchId::as_u128);
        let wanted = |summary: &Summary| {
            (include_single || !summary.accepted.single)
                && summary.accepted.batch.as_u128() < bound
                && keep(summary)
        };
        // Memory first: what finishes meanwhile is then found in the views too, and counted once.
        let mut found: BTreeMap<BatchId, Summary> = self.model.read(|book| {
            let open = book.batches.iter().filter(|(_, batch)| wanted(&batch.summary));
            let mut ids: Vec<BatchId> = open.map(|(id, _)| *id).collect();
            ids.sort_unstable_by_key(|id| Reverse(*id));
            // Only what is shown is copied: there can be very many single payments.
            ids.truncate(limit);
            ids.into_iter().map(|id| (id, book.batches[&id].summary.clone())).collect()
        });
        for single in [false, true] {
            if include_single || !single {
                let finished = self.finished_batches(single, bound, limit, wanted)?;
                found.extend(finished.into_iter().map(|summary| (summary.accepted.batch, summary)));
            }
        }
        Ok(found.into_values().rev().take(limit).collect())
    }

    /// The finished batches of one kind with ids below `bound`, newest first, at most `limit`.
    fn finished_batches(
        &self,
        single: bool,
        bound: u128,
        limit: usize,
        wanted: impl Fn(&Summary) -> bool,
    ) -> Result<Vec<Summary>, ViewFault> {
        let from = keys::batch(BatchId::from_uuid(bound), single);
        let mode = IteratorMode::From(&from, Direction::Reverse);
        let mut found = Vec::new();
        for row in self.store.db().iterator_cf(self.family(Family::Batches), mode) {
            let (key, row) = row?;
            if key.first() != Some(&u8::from(single)) || found.len() >= limit {
                break;
            }
            let summary = codec::decode_summary(&row)?;
            if wanted(&summary) {
                found.push(summary);
            }
        }
        Ok(found)
    }

    /// Reads the final payments of a batch from the views, whatever is in memory.
    pub(crate) fn final_payments(&self, id: BatchId) -> Result<Vec<Payment>, ViewFault> {
        let mut payments = Vec::new();
        self.scan(Family::Payments, keys::payments(id, 0), false, |_, row| {
            payments.push(codec::decode_payment(row)?);
            Ok(true)
        })?;
        Ok(payments)
    }

    /// How many final payments of a batch are in the views.
    pub(crate) fn count_final(&self, id: BatchId) -> Result<u64, ViewFault> {
        let mut count = 0;
        self.scan(Family::Payments, keys::payments(id, 0), false, |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }

    fn family(&self, family: Family) -> &rocksdb::ColumnFamily {
        self.store.family(family)
    }

    fn scan_prefix(
        &self,
        family: Family,
        prefix: &[u8],
        row: impl FnMut(&[u8], &[u8]) -> Result<bool, ViewFault>,
    ) -> Result<(), ViewFault> {
        rows_with(&mut self.prefix_iterator(family), prefix, row)
    }

    /// An iterator that stays within the prefix of each seek.
    pub(crate) fn prefix_iterator(&self, family: Family) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        // Within one prefix the bloom filters answer for absent ones.
        options.set_prefix_same_as_start(true);
        self.store.db().raw_iterator_cf_opt(self.family(family), options)
    }

    /// Shows the rows of a range; `keeps` their blocks for whoever asks next.
    fn scan(
        &self,
        family: Family,
        (from, to): ([u8; 16], [u8; 16]),
        keeps: bool,
        row: impl FnMut(&[u8], &[u8]) -> Result<bool, ViewFault>,
    ) -> Result<(), ViewFault> {
        let mut options = ReadOptions::default();
        options.fill_cache(keeps);
        options.set_iterate_upper_bound(to.to_vec());
        let mut rows = self.store.db().raw_iterator_cf_opt(self.family(family), options);
        rows_from(&mut rows, &from, row)
    }
}

/// Shows the rows with this prefix to `row`, for as long as it says yes.
pub(crate) fn rows_with(
    rows: &mut DBRawIterator<'_>,
    prefix: &[u8],
    mut row: impl FnMut(&[u8], &[u8]) -> Result<bool, ViewFault>,
) -> Result<(), ViewFault> {
    rows_from(rows, prefix, |key, value| Ok(key.starts_with(prefix) && row(key, value)?))
}

/// Shows rows to `row` from `from` on, for as long as it says yes.
fn rows_from(
    rows: &mut DBRawIterator<'_>,
    from: &[u8],
    mut row: impl FnMut(&[u8], &[u8]) -> Result<bool, ViewFault>,
) -> Result<(), ViewFault> {
    rows.seek(from);
    while let Some((key, value)) = rows.item() {
        if !row(key, value)? {
            return Ok(());
        }
        rows.next();
    }
    Ok(rows.status()?)
}

/// Where the views' position is kept, in [`Family::Meta`].
pub(crate) const POSITION_KEY: &[u8] = b"views";

/// The last event that the views on disk contain.
pub(crate) fn stored_position(store: &Store) -> Result<Lsn, ViewFault> {
    let row = store.db().get_cf(store.family(Family::Meta), POSITION_KEY)?;
    let lsn = row.and_then(|row| row.try_into().ok()).map(u64::from_be_bytes);
    Ok(lsn.unwrap_or(0))
}

/// Memory and views can both name a payment whose batch is just leaving memory.
fn sorted(mut payments: Vec<PaymentId>) -> Vec<PaymentId> {
    payments.sort_unstable();
    payments.dedup();
    payments
}
