//! The one thread that carries durable events into the views.
//!
//! It applies them to what is open in memory, writes what became final to the views, lets finished
//! batches go and takes snapshots. A view and its position go in one write batch of at most 500
//! rows: larger ones hold up the journal's commits. Views may lag behind the journal, never lead.

use std::{collections::HashSet, mem, sync::Arc};

use crossbeam_channel::{Receiver, Sender};
use fulgurite_core::{
    BatchId, Event, Lsn, PaymentHash, PaymentId, batch::Summary, book::Changed, payment::Payment,
};
use rocksdb::WriteBatch;

use crate::{
    anchor::{self, Mark},
    codec,
    fault::Fault,
    followed::Subject,
    handle::{Shared, count},
    hash_claims::{ELSEWHERE, ELSEWHERE_KEY, hash_row},
    keys,
    reader::Group,
    record::Position,
    retention::Snapshotted,
    snapshot::Snapshots,
    store::{Family, Store},
    stored::Broken,
    views::{POSITION_KEY, Views},
};

/// The most rows of one write batch.
pub(crate) const ROWS_MAX: usize = 500;
/// The most events that are projected before readers are told.
const BURST_EVENTS: usize = 2_000;

/// What the projector owns.
pub(crate) struct Projector {
    views: Views,
    snapshots: Snapshots,
    rows: Rows,
    /// Everything that the views on disk already contained at the start.
    stored: Lsn,
    /// What the events of this burst made final, in order.
    finals: Vec<PaymentId>,
    finished: Vec<BatchId>,
    /// What others paid (rule E18).
    elsewhere: Vec<Arc<Vec<PaymentHash>>>,
    /// What the events of this burst changed; nothing while nobody follows anything.
    touched: Vec<Subject>,
    /// Who removes old records.
    retention: Option<Sender<Snapshotted>>,
}

impl Projector {
    /// A projector whose views on disk already contain the events up to `stored`, and so many
    /// hashes that others paid, if they were ever counted.
    pub(crate) fn new(
        views: Views,
        snapshots: Snapshots,
        stored: Lsn,
        elsewhere: Option<u64>,
    ) -> Projector {
        let rows = Rows::new(Arc::clone(&views.store), elsewhere);
        Projector {
            views,
            snapshots,
            rows,
            stored,
            finals: Vec::new(),
            finished: Vec::new(),
            elsewhere: Vec::new(),
            touched: Vec::new(),
            retention: None,
        }
    }

    /// Tells of each snapshot from now on.
    pub(crate) fn tell(&mut self, retention: Sender<Snapshotted>) {
        self.retention = Some(retention);
    }

    /// Projects until the journal's writer is gone and all that it wrote is in the views.
    pub(crate) fn run(mut self, groups: &Receiver<Arc<Group>>, shared: &Shared, fault: Fault) {
        loop {
            // A snapshot in the making goes on a chunk at a time, whenever there is time.
            let first = if self.snapshots.is_busy() { groups.try_recv().ok() } else { None };
            let Some(first) = first.or_else(|| self.wait(groups, shared, fault)) else {
                return;
            };
            let end = self.burst(first, groups).unwrap_or_else(|error| end(fault, &error));
            shared.projected.publish(end.lsn);
            self.views.followed.publish(&mut self.touched, end.lsn);
            if let Err(error) = self.begin_snapshot(end) {
                end_snapshot(fault, &error);
            }
            self.snapshot_step(shared, fault);
            count(&shared.counters.view_rows, mem::take(&mut self.rows.written));
        }
    }

    /// Works on the snapshot until something comes; `None` when nothing comes any more.
    fn wait(
        &mut self,
        groups: &Receiver<Arc<Group>>,
        shared: &Shared,
        fault: Fault,
    ) -> Option<Arc<Group>> {
        while self.snapshots.is_busy() {
            if let Ok(group) = groups.try_recv() {
                return Some(group);
            }
            self.snapshot_step(shared, fault);
        }
        groups.recv().ok()
    }

    /// Projects a group and those that wait behind it; returns the place after them.
    fn burst(
        &mut self,
        first: Arc<Group>,
        groups: &Receiver<Arc<Group>>,
    ) -> Result<Position, rocksdb::Error> {
        let mut events = first.events.len();
        self.apply(&first);
        let mut end = first.end;
        while events < BURST_EVENTS
            && let Ok(group) = groups.try_recv()
        {
            events += group.events.len();
            self.apply(&group);
            end = group.end;
        }
        self.flush(end.lsn)?;
        Ok(end)
    }

    /// Applies a group to what is in memory; [`Projector::flush`] must follow.
    pub(crate) fn apply(&mut self, group: &Group) {
        for (lsn, event) in group.numbered() {
            let changed = self.views.model.apply(event, lsn);
            self.touch(changed);
            match changed {
                Changed::Payment(batch, row) => self.finals.push(batch.payment(row)),
                Changed::Payments(batch) => {
                    if let Event::PaymentsCancelled { rows, .. } = event {
                        self.finals.extend(rows.iter().map(|row| batch.payment(*row)));
                    }
                }
                Changed::Finished(batch) => self.finished.push(batch),
                Changed::Nothing | Changed::Accepted(_) | Changed::Batch(_) => {}
            }
            if let Event::PaidElsewhere { hashes, .. } = event {
                self.elsewhere.push(Arc::clone(hashes));
            }
        }
        self.snapshots.count(group.events.len());
    }

    /// Notes which batches followers are to be told of. Who follows a payment waits for its end:
    /// [`Projector::write`] notes that.
    fn touch(&mut self, changed: Changed) {
        // Whoever comes after this look reads what was applied before it.
        if self.views.followed.is_empty() {
            return;
        }
        match changed {
            Changed::Nothing => {}
            Changed::Payment(batch, _)
            | Changed::Payments(batch)
            | Changed::Accepted(batch)
            | Changed::Batch(batch)
            | Changed::Finished(batch) => self.touched.push((batch, 0)),
        }
    }

    /// Brings the views on disk up to `lsn` and lets go what they hold whole.
    pub(crate) fn flush(&mut self, lsn: Lsn) -> Result<(), rocksdb::Error> {
        let finals = mem::take(&mut self.finals);
        let elsewhere = mem::take(&mut self.elsewhere);
        if lsn > self.stored {
            for hash in elsewhere.iter().flat_map(|hashes| hashes.iter()) {
                self.rows.elsewhere(*hash)?;
            }
            self.write(&finals, lsn)?;
        }
        for batch in self.finished.drain(..) {
            self.views.model.forget(batch);
        }
        self.finals = finals;
        self.finals.clear();
        Ok(())
    }

    /// Proves that the views on disk contain what was applied since the last flush, up to `lsn`,
    /// which they are said to contain: those who wrote them had another snapshot, and these events
    /// will not be written again.
    pub(crate) fn prove_stored(&self, lsn: Lsn) -> Result<(), Broken> {
        let views = &self.views;
        for hash in self.elsewhere.iter().flat_map(|hashes| hashes.iter()) {
            views.check_elsewhere(*hash)?;
        }
        views.model.read(|book| {
            let finished = self.finished.iter().filter_map(|id| book.batches.get(id));
            finished.clone().try_for_each(|batch| views.check_finished(batch))?;
            if lsn < self.stored {
                return Ok(());
            }
            // What is not finished was written as it was here, or a part of what came next was.
            let open = book.batches.values().flat_map(|batch| &batch.payments);
            open.filter(|payment| payment.is_final())
                .try_for_each(|payment| views.check_ended(payment))
        })
    }

    fn write(&mut self, finals: &[PaymentId], lsn: Lsn) -> Result<(), rocksdb::Error> {
        let Projector { views, rows, finished, touched, .. } = self;
        // Whoever comes after this look reads what was applied before it.
        let followed = !views.followed.is_empty();
        // Readers go on meanwhile: only this thread ever wants the lock for itself.
        views.model.read(|book| {
            for id in finals {
                let payment = book.batches.get(&id.batch()).and_then(|batch| batch.payment(*id));
                // What is unresolved stays in memory, and a later event may have come after all.
                if let Some(payment) = payment.filter(|payment| payment.is_final()) {
                    rows.payment(payment)?;
                    if followed {
                        touched.push((id.batch(), id.row()));
                    }
                }
            }
            for id in finished.iter() {
                if let Some(batch) = book.batches.get(id) {
                    rows.batch(&batch.summary)?;
                }
            }
            Ok(())
        })?;
        if rows.pending > 0 {
            rows.position(lsn)?;
        }
        Ok(())
    }

    fn begin_snapshot(&mut self, end: Position) -> Result<(), rocksdb::Error> {
        if self.snapshots.is_due() {
            // A snapshot leaves final payments to the views, so they must be there before it.
            self.rows.position(end.lsn)?;
            self.views.model.read(|book| self.snapshots.start(book, end));
        }
        Ok(())
    }

    fn snapshot_step(&mut self, shared: &Shared, fault: Fault) {
        let step = self.snapshots.step(&mut self.rows);
        let Some(completed) = step.unwrap_or_else(|error| end_snapshot(fault, &error)) else {
            return;
        };
        count(&shared.counters.snapshots, 1);
        if let (Some(retention), Some(older)) = (&self.retention, completed.older) {
            let now = self.views.model.read(|book| book.time);
            let snapshotted = Snapshotted { newest: completed.newest, older, now };
            // It may be busy: the next snapshot tells it again.
            let _ = retention.try_send(snapshotted);
        }
    }
}

fn end(fault: Fault, error: &rocksdb::Error) -> ! {
    fault.end("the views could not be written", error)
}

fn end_snapshot(fault: Fault, error: &rocksdb::Error) -> ! {
    fault.end("a snapshot could not be written", error)
}

/// Rows on their way to the disk, at most [`ROWS_MAX`] at once.
pub(crate) struct Rows {
    store: Arc<Store>,
    batch: WriteBatch,
    scratch: Vec<u8>,
    pending: usize,
    /// How many hashes others paid (rule E18); `None` in a journal from before they were counted.
    elsewhere: Option<u64>,
    /// Those of them that are not written yet.
    elsewhere_pending: HashSet<PaymentHash>,
    /// Rows written since this was last taken; a metric.
    written: u64,
}

impl Rows {
    pub(crate) fn new(store: Arc<Store>, elsewhere: Option<u64>) -> Rows {
        let batch = WriteBatch::default();
        let (scratch, elsewhere_pending) = (Vec::new(), HashSet::new());
        Rows { store, batch, scratch, pending: 0, elsewhere, elsewhere_pending, written: 0 }
    }

    fn payment(&mut self, payment: &Payment) -> Result<(), rocksdb::Error> {
        self.scratch.clear();
        codec::encode_payment(payment, &mut self.scratch);
        let (db, batch) = (&self.store, &mut self.batch);
        batch.put_cf(db.family(Family::Payments), keys::payment(payment.id), &self.scratch);
        let hash = keys::hash(payment.order.payment_hash, payment.id);
        batch.put_cf(db.family(Family::Hashes), hash, hash_row(payment));
        let reference = payment.order.reference.as_ref();
        if let Some(reference) = reference {
            let key = keys::reference(&reference.bytes, payment.id);
            batch.put_cf(db.family(Family::References), key, []);
        }
        self.added(2 + usize::from(reference.is_some()))
    }

    /// A hash that somebody else paid: of no payment here, for ever. The number of these goes with
    /// each: no payment would miss one that was lost.
    fn elsewhere(&mut self, hash: PaymentHash) -> Result<(), rocksdb::Error> {
        let (key, hashes) = (keys::hash_elsewhere(hash), self.store.family(Family::Hashes));
        let is_new = self.elsewhere_pending.insert(hash)
            && self.store.db().get_pinned_cf(hashes, key)?.is_none();
        self.batch.put_cf(hashes, key, [ELSEWHERE]);
        if let Some(count) = self.elsewhere.as_mut().filter(|_| is_new) {
            *count += 1;
            let meta = self.store.family(Family::Meta);
            self.batch.put_cf(meta, ELSEWHERE_KEY, count.to_be_bytes());
        }
        self.added(2)
    }

    fn batch(&mut self, summary: &Summary) -> Result<(), rocksdb::Error> {
        self.scratch.clear();
        codec::encode_summary(summary, &mut self.scratch);
        let accepted = &summary.accepted;
        let (db, batch) = (&self.store, &mut self.batch);
        let row = keys::batch(accepted.batch, accepted.single);
        batch.put_cf(db.family(Family::Batches), row, &self.scratch);
        let key = keys::idempotency(&accepted.account, &accepted.idempotency_key);
        let id = accepted.batch.as_u128().to_be_bytes();
        batch.put_cf(db.family(Family::Keys), key, id);
        self.added(2)
    }

    /// Writes what is pending, and with it that the views contain everything up to `lsn`.
    fn position(&mut self, lsn: Lsn) -> Result<(), rocksdb::Error> {
        self.batch.put_cf(self.store.family(Family::Meta), POSITION_KEY, lsn.to_be_bytes());
        self.pending += 1;
        self.write()
    }

    /// Adds a row of a snapshot.
    pub(crate) fn snapshot(&mut self, key: [u8; 12], row: &[u8]) -> Result<(), rocksdb::Error> {
        self.batch.put_cf(self.store.family(Family::Snapshots), key, row);
        self.added(1)
    }

    /// Adds the place of a snapshot, to be written with its last row.
    pub(crate) fn mark(&mut self, mark: &Mark) -> Result<(), rocksdb::Error> {
        anchor::put_mark(&self.store, &mut self.batch, mark);
        self.added(1)
    }

    /// Removes the snapshots with LSNs below `lsn`.
    pub(crate) fn remove_snapshots(&mut self, lsn: Lsn) -> Result<(), rocksdb::Error> {
        let (from, to) = ([0; 8], lsn.to_be_bytes());
        self.batch.delete_range_cf(self.store.family(Family::Snapshots), from, to);
        self.added(1)
    }

    /// Writes what is pending.
    pub(crate) fn write(&mut self) -> Result<(), rocksdb::Error> {
        if self.pending > 0 {
            self.store.write(mem::take(&mut self.batch))?;
            self.elsewhere_pending.clear();
            self.written += self.pending as u64;
            self.pending = 0;
        }
        Ok(())
    }

    fn added(&mut self, rows: usize) -> Result<(), rocksdb::Error> {
        self.pending += rows;
        if self.pending >= ROWS_MAX - 3 { self.write() } else { Ok(()) }
    }
}
