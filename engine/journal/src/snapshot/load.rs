//! Reads snapshots back.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use fulgurite_core::{
    BatchId, Lsn, NodeName, UnixMs,
    batch::{Batch, Summary},
    book::Book,
    event::SendBounds,
    guard::NotAlone,
    payment::Payment,
    witness::Compared,
};
use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::{BATCH, COMPARED, LAST, LAST_NUMBER, NODE, NOT_ALONE, PAYMENT, UPLOAD, row_key};
use crate::{
    anchor,
    codec::{self, DecodeError},
    keys,
    record::{Chain, Position},
    store::{Family, Store},
    views::{ViewFault, Views},
};

/// How many marks are looked at where the rows of snapshots cannot be walked: two are kept, and one
/// more may be on its way out.
const MARKS_MAX: usize = 4;

/// What a snapshot's last row says.
pub(super) struct LastRow {
    pub(super) count: u32,
    pub(super) epoch: u32,
    pub(super) time: UnixMs,
    pub(super) send_bounds: SendBounds,
    pub(super) installation: u32,
    pub(super) born: UnixMs,
    pub(super) end: Position,
}

pub(super) fn last_row(row: &[u8]) -> Result<Option<LastRow>, DecodeError> {
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
        Some((1..=codec::SCHEMA, last)) => Ok(Some(last)),
        Some((schema, _)) if schema > codec::SCHEMA => Err(DecodeError::NewerSchema(schema)),
        _ => Err(DecodeError::Malformed("a snapshot's last row".to_owned())),
    }
}

/// What was loaded.
pub(crate) struct Loaded {
    /// What was open; an empty book when there is no snapshot.
    pub(crate) book: Book,
    /// The place after which the journal must be read; its beginning when there is no snapshot.
    pub(crate) end: Position,
    /// Newer snapshots whose rows are damaged: their last events, and what is wrong.
    pub(crate) passed: Vec<(Lsn, ViewFault)>,
}

/// Which snapshots a start may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// The newest that is whole. Damage of it is an error.
    Newest,
    /// The one before, too, when rows of the newest are damaged: the records behind it are kept,
    /// and say again what the newer one said.
    Older,
}

/// Loads the newest snapshot that is whole.
///
/// An older one is taken only when rows of the newest are damaged. What does not fit together with
/// the views is an error either way: rows of views are lost then, and claims with them.
pub(crate) fn load(views: &Views, take: Take) -> Result<Loaded, ViewFault> {
    let Places { lsns, unread } = places(&views.store, take)?;
    let mut passed: Vec<_> = unread.map(|fault| (0, fault)).into_iter().collect();
    for lsn in lsns {
        match rows(&views.store, lsn, || true) {
            Ok(Some((loading, end))) => {
                return Ok(Loaded { book: loading.finish(views)?, end, passed });
            }
            Ok(None) => {}
            // Of a newer program, which is no damage.
            Err(newer @ ViewFault::Row(DecodeError::NewerSchema(_))) => return Err(newer),
            Err(fault) if take == Take::Newest => return Err(fault),
            Err(fault) => passed.push((lsn, fault)),
        }
    }
    match passed.into_iter().next() {
        Some((_, fault)) => Err(fault),
        None => Ok(Loaded { book: Book::default(), end: Position::default(), passed: Vec::new() }),
    }
}

/// Loads one snapshot as a start would; `None` when it is not whole, or when `goes_on` said no,
/// which is asked at each of its rows.
pub(crate) fn load_one(
    views: &Views,
    lsn: Lsn,
    goes_on: impl Fn() -> bool,
) -> Result<Option<Book>, ViewFault> {
    let loading = rows(&views.store, lsn, goes_on)?;
    loading.map(|(loading, _)| loading.finish(views)).transpose()
}

/// Which snapshots there may be.
struct Places {
    /// Their last events, the newest first.
    lsns: Vec<Lsn>,
    /// Why there may be more.
    unread: Option<ViewFault>,
}

fn places(store: &Store, take: Take) -> Result<Places, ViewFault> {
    let mut rows = store.db().raw_iterator_cf(store.family(Family::Snapshots));
    let mut found = Vec::new();
    rows.seek_to_last();
    while let Some(lsn) = rows.key().and_then(|key| key.first_chunk::<8>().copied()) {
        let lsn = u64::from_be_bytes(lsn);
        found.push(lsn);
        let Some(before) = lsn.checked_sub(1) else { break };
        rows.seek_for_prev(row_key(before, LAST_NUMBER));
    }
    match rows.status() {
        Ok(()) => Ok(Places { lsns: found, unread: None }),
        // Where the rows cannot be walked, the marks say where there are some.
        Err(error) if take == Take::Older => {
            let marks = anchor::newest_marks(store, MARKS_MAX)?;
            found.extend(marks.iter().map(|mark| mark.position.lsn));
            found.sort_unstable_by_key(|lsn| Reverse(*lsn));
            found.dedup();
            Ok(Places { lsns: found, unread: Some(error.into()) })
        }
        Err(error) => Err(error.into()),
    }
}

/// The last row of a snapshot; `None` when it never became whole.
fn whole(store: &Store, lsn: Lsn) -> Result<Option<LastRow>, ViewFault> {
    let key = row_key(lsn, LAST_NUMBER);
    let Some(row) = store.db().get_pinned_cf(store.family(Family::Snapshots), key)? else {
        // Its mark was written with this row.
        return match anchor::has_mark(store, lsn)? {
            true => Err(DecodeError::Malformed("the last row is missing".to_owned()).into()),
            false => Ok(None),
        };
    };
    match last_row(&row)? {
        Some(last) if last.end.lsn == lsn => Ok(Some(last)),
        _ => Err(DecodeError::Malformed("a snapshot's last row".to_owned()).into()),
    }
}

/// The rows of a snapshot, each of them read and as many as there were, and its place; `None` when
/// it never became whole, or when `goes_on` said no.
fn rows(
    store: &Store,
    lsn: Lsn,
    goes_on: impl Fn() -> bool,
) -> Result<Option<(Loading, Position)>, ViewFault> {
    let Some(last) = whole(store, lsn)? else {
        return Ok(None);
    };
    let LastRow { epoch, time, send_bounds, installation, born, end, .. } = last;
    let book = Book { lsn, epoch, time, send_bounds, installation, born, ..Book::default() };
    let mut loading = Loading::new(book);
    let (mut count, mut stopped) = (0, false);
    each_row(store, lsn, |row| {
        count += 1;
        stopped = !goes_on();
        loading.add(row).map(|()| !stopped)
    })?;
    if stopped {
        return Ok(None);
    }
    if count != last.count {
        let message = format!("a snapshot of {count} rows that had {}", last.count);
        return Err(DecodeError::Malformed(message).into());
    }
    Ok(Some((loading, end)))
}

/// Shows the rows of a snapshot but the last to `row`, for as long as it says yes.
fn each_row(
    store: &Store,
    lsn: Lsn,
    mut row: impl FnMut(&[u8]) -> Result<bool, ViewFault>,
) -> Result<(), ViewFault> {
    let mut options = ReadOptions::default();
    // A long scan must not push out what the doors read.
    options.fill_cache(false);
    let from = row_key(lsn, 0);
    let mode = IteratorMode::From(&from, Direction::Forward);
    let family = store.family(Family::Snapshots);
    for found in store.db().iterator_cf_opt(family, options, mode) {
        let (key, value) = found?;
        if *key == row_key(lsn, LAST_NUMBER) || !row(&value)? {
            break;
        }
    }
    Ok(())
}

/// A snapshot that is being read.
pub(super) struct Loading {
    pub(super) book: Book,
    pub(super) summaries: HashMap<BatchId, Summary>,
    pub(super) payments: HashMap<BatchId, Vec<Payment>>,
}

impl Loading {
    pub(super) fn new(book: Book) -> Loading {
        Loading { book, summaries: HashMap::new(), payments: HashMap::new() }
    }

    pub(super) fn add(&mut self, row: &[u8]) -> Result<(), ViewFault> {
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
