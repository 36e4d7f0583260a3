//! Snapshots of what is open, so that recovery reads them and the tail, not history.
//!
//! A snapshot is a copy of the book at the end of a record, without what succeeded, which the views
//! hold for ever. Its rows are numbered; the last one has the highest number there is and says how
//! many others there are. Without it the snapshot does not exist: it is written over many write
//! batches while the engine goes on, and an engine may die between any two.
//!
//! The newest that is whole is kept; with retention the one before it, too, for the records that
//! could say again what a damaged one said are removed some day: [`load`].

use std::{sync::Arc, vec::IntoIter};

use fulgurite_core::{
    BatchId, Lsn, NodeName, Order, UnixMs,
    batch::Summary,
    book::Book,
    event::SendBounds,
    guard::NotAlone,
    payment::{Payment, State},
    standing::Standing,
    witness::Compared,
};

use crate::{
    anchor::Mark,
    codec,
    projector::{ROWS_MAX, Rows},
    record::Position,
};

mod load;
#[cfg(test)]
mod tests;

pub(crate) use load::{Loaded, Take, load, load_one};

/// Takes snapshots, a chunk at a time.
pub(crate) struct Snapshots {
    every_events: u64,
    /// Two are kept, for retention.
    two: bool,
    events: u64,
    /// How many rows the last one had.
    last_rows: u64,
    /// The newest that is whole.
    newest: Option<Lsn>,
    job: Option<Job>,
}

/// A snapshot became whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    /// Its last event.
    pub(crate) newest: Lsn,
    /// The last event of the one before it; `None` for the first.
    pub(crate) older: Option<Lsn>,
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
    /// A snapshot after every so many events. Of `two` the older one is kept, too, for retention;
    /// `newest` is the last event of the one that was loaded.
    pub(crate) fn new(every_events: u64, two: bool, newest: Option<Lsn>) -> Snapshots {
        Snapshots { every_events, two, events: 0, last_rows: 0, newest, job: None }
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

    /// Writes the next chunk, if there is a snapshot in the making; says when it became whole.
    pub(crate) fn step(&mut self, rows: &mut Rows) -> Result<Option<Completed>, rocksdb::Error> {
        let Some(mut job) = self.job.take() else {
            return Ok(None);
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
            return Ok(None);
        }
        rows.snapshot(row_key(job.end.lsn, LAST_NUMBER), &job.last_row())?;
        // Also without retention: when it begins, it finds places that are old.
        rows.mark(&Mark { position: job.end, time: job.time })?;
        rows.write()?;
        self.last_rows = u64::from(job.count);
        let (newest, before) = (job.end.lsn, self.newest.replace(job.end.lsn));
        let older = before.filter(|_| self.two);
        rows.remove_snapshots(older.unwrap_or(newest))?;
        rows.write()?;
        let completed = Completed { newest, older };
        Ok(Some(completed))
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
