//! Snapshots of what is open, so that recovery reads them and the tail, not history.
//!
//! A snapshot is a copy of the book at the end of a record, without what succeeded, which the views
//! hold for ever. Its rows are numbered; the last one has the highest number there is and says how
//! many others there are. Without it, or with another count, the snapshot does not exist: it is
//! written over many write batches while the engine goes on, and an engine may die between any
//! two. The one before is removed only after the last row.

use std::{collections::HashMap, sync::Arc, vec::IntoIter};

use fulgurite_core::{
    BatchId, Lsn, NodeName, Order, UnixMs,
    batch::{Batch, Summary},
    book::Book,
    event::SendBounds,
    guard::NotAlone,
    payment::{Payment, State},
    standing::Standing,
    witness::Compared,
};
use rocksdb::IteratorMode;

use crate::{
    codec::{self, DecodeError},
    keys,
    projector::{ROWS_MAX, Rows},
    record::{Chain, Position},
    store::{Family, Store},
    views::{ViewFault, Views},
};

#[cfg(test)]
mod tests;

/// Takes snapshots, a chunk at a time.
pub(crate) struct Snapshots {
    every_events: u64,
    events: u64,
    /// How many rows the last one had.
    last_rows: u64,
    job: Option<Job>,
    completed: u64,
}

/// A snapshot that is being written.
struct Job {
    end: Position,
    epoch: u32,
    time: UnixMs,
    send_bounds: SendBounds,
    installation: u32,
    born: UnixMs,
    rows: IntoIter<Row>,
    count: u32,
}

enum Row {
    Batch(Summary),
    Payment(Payment),
    Upload(BatchId, u32, Arc<Order>),
    Node(NodeName, Standing),
    Compared(NodeName, Compared),
    NotAlone(NotAlone),
}

const BATCH: u8 = 1;
const PAYMENT: u8 = 2;
const UPLOAD: u8 = 3;
const LAST: u8 = 4;
const NODE: u8 = 5;
const COMPARED: u8 = 6;
const NOT_ALONE: u8 = 7;

/// The number of the last row.
const LAST_NUMBER: u32 = u32::MAX;

impl Snapshots {
    /// A snapshot after every so many events.
    pub(crate) fn new(every_events: u64) -> Snapshots {
        Snapshots { every_events, events: 0, last_rows: 0, job: None, completed: 0 }
    }

    /// Counts events.
    pub(crate) fn count(&mut self, events: usize) {
        self.events += events as u64;
    }

    /// Whether it is time for the next one. A large one is taken more rarely: it must not be most
    /// of what is written, and reading it takes as long as reading as many events.
    pub(crate) fn is_due(&self) -> bool {
        self.events >= self.every_events.max(2 * self.last_rows) && self.job.is_none()
    }

    /// Whether one is being written.
    pub(crate) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// How many were completed since the last call.
    pub(crate) fn take_completed(&mut self) -> u64 {
        std::mem::take(&mut self.completed)
    }

    /// Copies what is open at `end`; [`Snapshots::step`] writes it.
    pub(crate) fn start(&mut self, book: &Book, end: Position) {
        assert_eq!(book.lsn, end.lsn, "a snapshot is taken at the end of a record");
        let mut rows = Vec::new();
        for batch in book.batches.values() {
            rows.push(Row::Batch(batch.summary.clone()));
            // What failed can turn out to be paid: the views may have it from after the snapshot.
            let changes = |payment: &&Payment| !matches!(payment.state, State::Succeeded { .. });
            rows.extend(batch.payments.iter().filter(changes).cloned().map(Row::Payment));
        }
        for (batch, orders) in &book.uploads {
            rows.extend(orders.iter().map(|(row, order)| Row::Upload(*batch, *row, order.clone())));
        }
        rows.extend(book.nodes.iter().map(|(name, at)| Row::Node(name.clone(), at.clone())));
        rows.extend(book.compared.iter().map(|(node, seen)| Row::Compared(node.clone(), *seen)));
        rows.extend(book.not_alone.clone().map(Row::NotAlone));
        self.events = 0;
        self.job = Some(Job {
            end,
            epoch: book.epoch,
            time: book.time,
            send_bounds: book.send_bounds,
            installation: book.installation,
            born: book.born,
            rows: rows.into_iter(),
            count: 0,
        });
    }

    /// Writes the next chunk, if there is a snapshot in the making.
    pub(crate) fn step(&mut self, rows: &mut Rows) -> Result<(), rocksdb::Error> {
        let Some(mut job) = self.job.take() else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for row in job.rows.by_ref().take(ROWS_MAX - 3) {
            bytes.clear();
            row.encode(&mut bytes);
            rows.snapshot(row_key(job.end.lsn, job.count), &bytes)?;
            job.count += 1;
        }
        rows.write()?;
        if job.rows.len() > 0 {
            self.job = Some(job);
            return Ok(());
        }
        rows.snapshot(row_key(job.end.lsn, LAST_NUMBER), &job.last_row())?;
        rows.write()?;
        rows.remove_snapshots(job.end.lsn)?;
        rows.write()?;
        self.completed += 1;
        self.last_rows = u64::from(job.count);
        Ok(())
    }
}

impl Job {
    fn last_row(&self) -> Vec<u8> {
        let mut row = vec![LAST];
        row.extend(codec::SCHEMA.to_le_bytes());
        row.extend(self.count.to_le_bytes());
        row.extend(self.epoch.to_le_bytes());
        row.extend(self.time.0.to_le_bytes());
        row.extend(self.end.lsn.to_le_bytes());
        row.extend(self.end.chain);
        row.extend(self.send_bounds.expiry_ms.to_le_bytes());
        row.extend(self.send_bounds.deadline_ms.to_le_bytes());
        row.extend(self.installation.to_le_bytes());
        row.extend(self.born.0.to_le_bytes());
        row
    }
}

impl Row {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Row::Batch(summary) => {
                bytes.push(BATCH);
                codec::encode_summary(summary, bytes);
            }
            Row::Payment(payment) => {
                bytes.push(PAYMENT);
                codec::encode_payment(payment, bytes);
            }
            Row::Upload(batch, row, order) => {
                bytes.push(UPLOAD);
                bytes.extend(batch.as_u128().to_be_bytes());
                codec::encode_order(*row, order, bytes);
            }
            Row::Node(name, standing) => {
                bytes.push(NODE);
                codec::encode_node(name, standing, bytes);
            }
            Row::Compared(node, seen) => {
                bytes.extend([COMPARED, u8::from(seen.live)]);
                bytes.extend(seen.until.0.to_le_bytes());
                bytes.extend(node.as_bytes());
            }
            Row::NotAlone(NotAlone { lsn, node, time }) => {
                bytes.push(NOT_ALONE);
                bytes.extend(lsn.to_le_bytes());
                bytes.extend(time.0.to_le_bytes());
                bytes.extend(node.as_bytes());
            }
        }
    }
}

fn row_key(lsn: Lsn, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&lsn.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// What a snapshot's last row says.
struct LastRow {
    count: u32,
    epoch: u32,
    time: UnixMs,
    send_bounds: SendBounds,
    installation: u32,
    born: UnixMs,
    end: Position,
}

fn last_row(row: &[u8]) -> Result<Option<LastRow>, DecodeError> {
    let Some((&LAST, row)) = row.split_first() else {
        return Ok(None);
    };
    let bytes = |at: usize, length: usize| row.get(at..at + length);
    let read = || {
        let chain: Chain = bytes(26, 32)?.try_into().ok()?;
        let lsn = u64::from_le_bytes(bytes(18, 8)?.try_into().ok()?);
        let schema = u16::from_le_bytes(bytes(0, 2)?.try_into().ok()?);
        let last = LastRow {
            count: u32::from_le_bytes(bytes(2, 4)?.try_into().ok()?),
            epoch: u32::from_le_bytes(bytes(6, 4)?.try_into().ok()?),
            time: UnixMs(i64::from_le_bytes(bytes(10, 8)?.try_into().ok()?)),
            send_bounds: SendBounds {
                expiry_ms: i64::from_le_bytes(bytes(58, 8)?.try_into().ok()?),
                deadline_ms: i64::from_le_bytes(bytes(66, 8)?.try_into().ok()?),
            },
            installation: u32::from_le_bytes(bytes(74, 4)?.try_into().ok()?),
            born: UnixMs(i64::from_le_bytes(bytes(78, 8)?.try_into().ok()?)),
            end: Position { lsn, chain },
        };
        Some((schema, last))
    };
    match read() {
        Some((codec::SCHEMA, last)) => Ok(Some(last)),
        Some((schema, _)) if schema > codec::SCHEMA => Err(DecodeError::NewerSchema(schema)),
        _ => Err(DecodeError::Malformed("a snapshot's last row".to_owned())),
    }
}

/// The newest snapshot that is whole, as a book with the place after which the journal must be
/// read; an empty book and the journal's beginning when there is none.
pub(crate) fn load(views: &Views) -> Result<(Book, Position), ViewFault> {
    let Some(last) = newest(&views.store)? else {
        return Ok((Book::default(), Position::default()));
    };
    let LastRow { epoch, time, send_bounds, installation, born, end, .. } = last;
    let lsn = end.lsn;
    let book = Book { lsn, epoch, time, send_bounds, installation, born, ..Book::default() };
    let mut loading = Loading { book, summaries: HashMap::new(), payments: HashMap::new() };
    let count = each_row(&views.store, end.lsn, |row| loading.add(row))?;
    if count != last.count {
        let message = format!("a snapshot of {count} rows that had {}", last.count);
        return Err(DecodeError::Malformed(message).into());
    }
    Ok((loading.finish(views)?, end))
}

/// Goes back from the last row of all to the last row of a snapshot.
fn newest(store: &Store) -> Result<Option<LastRow>, ViewFault> {
    let family = store.family(Family::Snapshots);
    let mut rows = store.db().raw_iterator_cf(family);
    rows.seek_to_last();
    while let Some((key, row)) = rows.item() {
        if let Some(last) = last_row(row)? {
            return Ok(Some(last));
        }
        // This snapshot never became whole: skip all of it.
        let lsn = key.first_chunk::<8>().map_or(0, |lsn| u64::from_be_bytes(*lsn));
        rows.seek_for_prev(row_key(lsn.saturating_sub(1), LAST_NUMBER));
    }
    rows.status()?;
    Ok(None)
}

fn each_row(
    store: &Store,
    lsn: Lsn,
    mut add: impl FnMut(&[u8]) -> Result<(), ViewFault>,
) -> Result<u32, ViewFault> {
    let from = row_key(lsn, 0);
    let mode = IteratorMode::From(&from, rocksdb::Direction::Forward);
    let mut count = 0;
    for row in store.db().iterator_cf(store.family(Family::Snapshots), mode) {
        let (key, row) = row?;
        if *key == row_key(lsn, LAST_NUMBER) {
            break;
        }
        add(&row)?;
        count += 1;
    }
    Ok(count)
}

/// A snapshot that is being read.
struct Loading {
    book: Book,
    summaries: HashMap<BatchId, Summary>,
    payments: HashMap<BatchId, Vec<Payment>>,
}

impl Loading {
    fn add(&mut self, row: &[u8]) -> Result<(), ViewFault> {
        match row.split_first() {
            Some((&BATCH, row)) => {
                let summary = codec::decode_summary(row)?;
                self.summaries.insert(summary.accepted.batch, summary);
            }
            Some((&PAYMENT, row)) => {
                let payment = codec::decode_payment(row)?;
                self.payments.entry(payment.id.batch()).or_default().push(payment);
            }
            Some((&UPLOAD, row)) if row.len() >= 16 => {
                let (batch, row) = row.split_at(16);
                let batch = keys::batch_at_end(batch).ok_or(DecodeError::UnknownValue("batch"))?;
                let (row, order) = codec::decode_order(row)?;
                self.book.uploads.entry(batch).or_default().push((row, Arc::new(order)));
            }
            Some((&NODE, row)) => {
                let (name, standing) = codec::decode_node(row)?;
                self.book.nodes.insert(name.into(), standing);
            }
            Some((&COMPARED, row)) => {
                let (node, seen) = compared(row).ok_or(DecodeError::UnknownValue("a node"))?;
                self.book.compared.insert(node, seen);
            }
            Some((&NOT_ALONE, row)) => {
                let told = not_alone(row).ok_or(DecodeError::UnknownValue("a node"))?;
                self.book.not_alone = Some(told);
            }
            _ => return Err(DecodeError::UnknownValue("a snapshot's row").into()),
        }
        Ok(())
    }

    /// Puts the batches together: their payments from the snapshot, those that succeeded from the
    /// views.
    fn finish(mut self, views: &Views) -> Result<Book, ViewFault> {
        for (id, summary) in self.summaries {
            let mut payments = self.payments.remove(&id).unwrap_or_default();
            let all = summary.counts.total() - summary.counts.refused;
            if payments.len() < all as usize {
                add_final(&mut payments, views.final_payments(id)?, self.book.lsn);
            }
            payments.sort_unstable_by_key(|payment| payment.id);
            if payments.len() != all as usize {
                let message = format!("{id} has {} payments where it had {all}", payments.len());
                return Err(DecodeError::Malformed(message).into());
            }
            self.book.batches.insert(id, Batch { summary, payments });
        }
        Ok(self.book)
    }
}

fn compared(row: &[u8]) -> Option<(NodeName, Compared)> {
    let (live, row) = row.split_first()?;
    let (until, node) = row.split_first_chunk::<8>()?;
    let until = UnixMs(i64::from_le_bytes(*until));
    Some((std::str::from_utf8(node).ok()?.into(), Compared { until, live: *live == 1 }))
}

fn not_alone(row: &[u8]) -> Option<NotAlone> {
    let (lsn, row) = row.split_first_chunk::<8>()?;
    let (time, node) = row.split_first_chunk::<8>()?;
    let (lsn, time) = (u64::from_le_bytes(*lsn), UnixMs(i64::from_le_bytes(*time)));
    Some(NotAlone { lsn, node: std::str::from_utf8(node).ok()?.into(), time })
}

/// Adds the payments that were final at `lsn`. The views may be further: what they have from after
/// it was open then, so the snapshot has it as it was, and the journal's tail will tell the rest.
fn add_final(payments: &mut Vec<Payment>, found: Vec<Payment>, lsn: Lsn) {
    payments.sort_unstable_by_key(|payment| payment.id);
    let open = payments.len();
    for payment in found {
        let is_open = payments[..open].binary_search_by_key(&payment.id, |other| other.id).is_ok();
        if payment.version <= lsn && !is_open {
            payments.push(payment);
        }
    }
}
