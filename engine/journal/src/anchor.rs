//! Where the journal begins: at its first event, or behind what retention removed.
//!
//! Two kinds of rows in [`Family::Meta`], coded by hand, all numbers little-endian, each with a
//! crc32c over everything before it at its end, in every format to come, too:
//!
//! ```text
//! "anchor"             format u8: 1, lsn u64, chain [32], time i64, removed i64, keep_ms i64
//! "mark", lsn (BE)     chain [32], time i64
//! ```
//!
//! The anchor is on disk before the first record is removed, and the watermark file with it: it
//! never says less than the anchor. Records up to the anchor may still be there, with gaps: nobody
//! reads them. Without an anchor the first event must be there, so a journal whose beginning
//! was taken away by somebody else is refused.

use fulgurite_core::{Lsn, UnixMs};
use rocksdb::{Direction, IteratorMode, WriteBatch};

use crate::{
    codec::DecodeError,
    reader::{Damaged, Groups},
    record::{Chain, Damage, Position},
    store::{Family, Store},
    views::ViewFault,
};

const ANCHOR_KEY: &[u8] = b"anchor";
const MARK_KEY: &[u8; 4] = b"mark";
const FORMAT: u8 = 1;

/// Retention removed the records up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The last event that was removed, and its record's chain.
    pub position: Position,
    /// No removed event is newer than this.
    pub time: UnixMs,
    /// When the removal was decided, by the journal's own time.
    pub removed: UnixMs,
    /// How long records were to be kept then, in milliseconds.
    pub keep_ms: i64,
}

/// A place up to which records may be removed: the end of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) position: Position,
    /// No event up to there is newer.
    pub(crate) time: UnixMs,
}

/// The anchor of a journal; `None` when nothing was ever removed.
pub(crate) fn read(store: &Store) -> Result<Option<Anchor>, ViewFault> {
    let row = store.db().get_cf(store.family(Family::Meta), ANCHOR_KEY)?;
    let Some(row) = row else { return Ok(None) };
    let anchor = match unsealed(&row) {
        Some([format, ..]) if *format > FORMAT => {
            return Err(DecodeError::NewerAnchor(*format).into());
        }
        row => row.and_then(decode),
    };
    Ok(Some(anchor.ok_or_else(|| malformed("the anchor of retention"))?))
}

/// The first place that is read: behind the anchor, or the journal's beginning.
pub(crate) fn start(anchor: Option<Anchor>) -> Position {
    anchor.map_or_else(Position::default, |anchor| anchor.position)
}

/// Adds the anchor to a batch, and removes the marks before it.
pub(crate) fn put(store: &Store, batch: &mut WriteBatch, anchor: &Anchor) {
    let mut row = vec![FORMAT];
    row.extend(anchor.position.lsn.to_le_bytes());
    row.extend(anchor.position.chain);
    row.extend(anchor.time.0.to_le_bytes());
    row.extend(anchor.removed.0.to_le_bytes());
    row.extend(anchor.keep_ms.to_le_bytes());
    let family = store.family(Family::Meta);
    batch.put_cf(family, ANCHOR_KEY, sealed(row));
    batch.delete_range_cf(family, mark_key(0), mark_key(anchor.position.lsn));
}

/// Adds a mark to a batch.
pub(crate) fn put_mark(store: &Store, batch: &mut WriteBatch, mark: &Mark) {
    let mut row = mark.position.chain.to_vec();
    row.extend(mark.time.0.to_le_bytes());
    batch.put_cf(store.family(Family::Meta), mark_key(mark.position.lsn), sealed(row));
}

/// The newest mark behind `after` that is not behind `until` and not newer than `time`.
pub(crate) fn newest_mark_within(
    store: &Store,
    after: Lsn,
    until: Lsn,
    time: UnixMs,
) -> Result<Option<Mark>, ViewFault> {
    let mut newest = None;
    for mark in marks(store, IteratorMode::From(&mark_key(after + 1), Direction::Forward)) {
        let mark = mark?;
        if mark.position.lsn > until || mark.time > time {
            break;
        }
        newest = Some(mark);
    }
    Ok(newest)
}

/// Whether a snapshot of this event became whole once.
pub(crate) fn has_mark(store: &Store, lsn: Lsn) -> Result<bool, rocksdb::Error> {
    let row = store.db().get_pinned_cf(store.family(Family::Meta), mark_key(lsn))?;
    Ok(row.is_some())
}

/// The newest marks, at most `limit`, the newest first.
pub(crate) fn newest_marks(store: &Store, limit: usize) -> Result<Vec<Mark>, ViewFault> {
    marks(store, IteratorMode::From(&mark_key(Lsn::MAX), Direction::Reverse)).take(limit).collect()
}

fn marks<'a>(
    store: &'a Store,
    mode: IteratorMode<'a>,
) -> impl Iterator<Item = Result<Mark, ViewFault>> + 'a {
    let rows = store.db().iterator_cf(store.family(Family::Meta), mode);
    let marks = rows.map(|row| {
        let (key, row) = row?;
        let Some(lsn) = key.strip_prefix(MARK_KEY) else { return Ok(None) };
        let mark = decode_mark(lsn, &row).ok_or_else(|| malformed("a mark of retention"))?;
        Ok(Some(mark))
    });
    marks.map_while(Result::transpose)
}

/// Proves that the journal begins where it must: its first record is there and continues what was
/// removed. `end` is a place that it certainly reached. A record that is there and cannot be read
/// is answered, for nothing else that a start reads depends on it.
pub(crate) fn check_start(
    store: &Store,
    anchor: Option<Anchor>,
    end: Position,
    shard: Option<u32>,
) -> Result<Option<Damaged>, Damaged> {
    let start = start(anchor);
    match Groups::after(store, start, shard).next() {
        None if end.lsn <= start.lsn => Ok(None),
        None => Err(Damaged { lsn: start.lsn + 1, damage: Damage::Missing }),
        Some(Ok(_)) => Ok(None),
        Some(Err(damaged)) => match damaged.damage {
            Damage::Length { .. }
            | Damage::Checksum
            | Damage::Envelope
            | Damage::Payload(DecodeError::Malformed(_))
            | Damage::Payload(DecodeError::TrailingBytes(_))
            | Damage::Payload(DecodeError::UnknownValue(_))
            | Damage::Storage(_) => Ok(Some(damaged)),
            _ => Err(damaged),
        },
    }
}

fn mark_key(lsn: Lsn) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(MARK_KEY);
    key[4..].copy_from_slice(&lsn.to_be_bytes());
    key
}

fn decode(row: &[u8]) -> Option<Anchor> {
    let (&FORMAT, row) = row.split_first()? else { return None };
    let (lsn, row) = row.split_first_chunk()?;
    let (chain, row) = row.split_first_chunk::<32>()?;
    let (time, row) = row.split_first_chunk()?;
    let (removed, row) = row.split_first_chunk()?;
    Some(Anchor {
        position: Position { lsn: Lsn::from_le_bytes(*lsn), chain: *chain },
        time: UnixMs(i64::from_le_bytes(*time)),
        removed: UnixMs(i64::from_le_bytes(*removed)),
        keep_ms: i64::from_le_bytes(row.try_into().ok()?),
    })
}

fn decode_mark(lsn: &[u8], row: &[u8]) -> Option<Mark> {
    let (chain, time) = unsealed(row)?.split_first_chunk::<{ size_of::<Chain>() }>()?;
    let position = Position { lsn: Lsn::from_be_bytes(lsn.try_into().ok()?), chain: *chain };
    Some(Mark { position, time: UnixMs(i64::from_le_bytes(time.try_into().ok()?)) })
}

fn sealed(mut row: Vec<u8>) -> Vec<u8> {
    row.extend(crc32c::crc32c(&row).to_le_bytes());
    row
}

fn unsealed(row: &[u8]) -> Option<&[u8]> {
    let (row, checksum) = row.split_last_chunk()?;
    (crc32c::crc32c(row) == u32::from_le_bytes(*checksum)).then_some(row)
}

fn malformed(what: &str) -> ViewFault {
    DecodeError::Malformed(what.to_owned()).into()
}
