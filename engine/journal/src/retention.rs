//! The one thread that removes old records, where they are not kept for ever.
//!
//! Only records go: views, and with them every claim (rule E2), stay. After each snapshot the
//! thread looks for the newest place that is old enough and not behind the older of the two newest
//! snapshots: a start needs nothing before that, also when the newest snapshot is damaged.
//!
//! ```text
//! both snapshots load ─► the records agree with them and the views ─► watermark, anchor, synced
//!                                                     ─► whole files, some at a time, with pauses
//! ```
//!
//! Records that share a file with such as stay are left in it, and read by nobody. Whoever dies
//! between two steps goes on at the next start. What cannot be proved removes nothing, is told,
//! and is tried again after the next snapshot.

use std::{
    fs::File,
    io,
    mem::{self, Discriminant},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use fulgurite_core::{Lsn, UnixMs, book::Book};
use rocksdb::WriteBatch;

use crate::{
    age::Clock,
    anchor::{self, Anchor, Mark},
    audit::Audit,
    fault::Fault,
    handle::Shared,
    reader::{Damaged, Group, Groups},
    record::{Damage, Position},
    snapshot,
    store::Store,
    stored::Broken,
    views::{ViewFault, Views, stored_position},
};

/// The most files that are removed at once.
const FILES_AT_ONCE: usize = 8;
/// So many events are compared at once.
const EVENTS_AT_ONCE: usize = 2_000;
/// After so many events what was compared goes: a restart must not begin again at the first.
pub(crate) const EVENTS_OF_A_TURN: u64 = 500_000;
/// The shortest wait between two steps: others want the disk and the processor, too.
const PAUSE: Duration = Duration::from_millis(5);

/// A snapshot became whole, and there was one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshotted {
    /// Its last event.
    pub(crate) newest: Lsn,
    /// The last event of the one before it.
    pub(crate) older: Lsn,
    /// The time of the newest event.
    pub(crate) now: UnixMs,
}

/// Why old records are not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRemoved {
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
    /// Clocks went wrong: nobody knows how old anything is.
    #[error("the journal has an event of {newest}, and the clock says {wall} (ms since 1970)")]
    Future {
        /// The time of the newest event.
        newest: i64,
        /// The time by the clock.
        wall: i64,
    },
    /// A snapshot that a start may need is not whole.
    #[error("the snapshot of event {0} is not whole")]
    Snapshot(Lsn),
    /// The views do not contain what would go.
    #[error("the views contain the events up to {0} only")]
    Views(Lsn),
    /// A record says what nothing else says that stays.
    #[error("event {lsn}: {broken}")]
    Alone {
        /// The event.
        lsn: Lsn,
        /// What is missing, or something else.
        broken: Broken,
    },
    /// Something that a start needs cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ViewFault),
    /// The records are not what the snapshots were taken of.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The watermark file could not be synced.
    #[error("the watermark file: {0}")]
    Watermark(#[source] io::Error),
    /// A file could not be removed.
    #[error("storage: {0}")]
    Files(#[source] rocksdb::Error),
    /// The anchor could not be written.
    #[error("storage: {0}")]
    Write(#[source] rocksdb::Error),
}

/// Removes records that are older than they must be kept.
pub(crate) struct Retention {
    pub(crate) store: Arc<Store>,
    pub(crate) watermark: PathBuf,
    /// How long they are kept, in milliseconds.
    pub(crate) keep_ms: i64,
    pub(crate) clock: Clock,
    /// So many events go at once; a few more where uploads or records are large.
    pub(crate) events_of_a_turn: u64,
    /// Its other end is gone when the journal is closed.
    pub(crate) closed: Receiver<()>,
}

impl Retention {
    /// Runs until the projector, who tells of snapshots, is gone. An anchor or a watermark that
    /// cannot be synced ends the process; everything else is told and tried again.
    pub(crate) fn run(&self, told: &Receiver<Snapshotted>, shared: &Shared, fault: Fault) {
        let mut failed = None;
        // What the engine before did not get to.
        let mut done = self.remove_files().map(drop);
        loop {
            match done {
                Ok(()) => failed = None,
                Err(NotRemoved::Closed) => return,
                Err(NotRemoved::Write(error)) => {
                    fault.end("old records could not be removed", &error)
                }
                Err(NotRemoved::Watermark(error)) => {
                    fault.end("the journal's watermark could not be synced", &error)
                }
                Err(why) => tell(&why, &mut failed),
            }
            shared.counters.set_retention_failed(failed.is_some());
            let Ok(snapshots) = told.recv() else { return };
            done = self.turn(snapshots, shared);
        }
    }

    fn turn(&self, snapshots: Snapshotted, shared: &Shared) -> Result<(), NotRemoved> {
        while let Some(anchor) = self.due(snapshots)? {
            self.decide(&anchor)?;
            shared.counters.set_oldest(anchor.position.lsn + 1, anchor.time);
            self.remove_files()?;
        }
        self.remove_files().map(drop)
    }

    /// Up to where records may go now; `None` when none is old enough. Everything that is needed
    /// instead of them was read and says what they say.
    pub(crate) fn due(&self, snapshots: Snapshotted) -> Result<Option<Anchor>, NotRemoved> {
        let Snapshotted { newest, older, now } = snapshots;
        let old = self.clock.now(now)?.plus_ms(self.keep_ms.saturating_neg());
        let start = anchor::start(anchor::read(&self.store)?);
        let Some(mark) = anchor::newest_mark_within(&self.store, start.lsn, older, old)? else {
            return Ok(None);
        };
        let views = Views::stored(Arc::clone(&self.store));
        // Only one of them is in memory at a time: each is as large as what is open.
        if self.load(&views, newest, newest)?.is_none() {
            return Ok(None);
        }
        let Some(book) = self.load(&views, older, newest)? else {
            return Ok(None);
        };
        let stored = stored_position(&self.store)?;
        if stored < older {
            return Err(NotRemoved::Views(stored));
        }
        let position = self.compare(Audit::new(&views, &book), start, &mark, older)?;
        Ok(Some(Anchor { position, time: mark.time, removed: now, keep_ms: self.keep_ms }))
    }

    /// What a start would load; `None` when the snapshot went because of a newer one, of which the
    /// projector tells, too.
    fn load(&self, views: &Views, lsn: Lsn, newest: Lsn) -> Result<Option<Book>, NotRemoved> {
        let loaded = snapshot::load_one(views, lsn, || !self.is_closed());
        if self.is_closed() {
            return Err(NotRemoved::Closed);
        }
        match loaded {
            Ok(Some(book)) => Ok(Some(book)),
            _ if self.is_one_behind(newest)? => Ok(None),
            Ok(None) => Err(NotRemoved::Snapshot(lsn)),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Reads records from `start` on, up to the mark at most, which must continue each other, with
    /// the first that stays, and compares them with what stays. Answers up to where.
    fn compare(
        &self,
        mut audit: Audit<'_>,
        start: Position,
        mark: &Mark,
        older: Lsn,
    ) -> Result<Position, NotRemoved> {
        let mut groups = Groups::after(&self.store, start, None);
        let (mut events, mut end, mut began) = (0, None, Instant::now());
        loop {
            let group = groups.next().transpose()?;
            let lsn = groups.position().lsn + 1;
            let group = group.ok_or(Damaged { lsn, damage: Damage::Missing })?;
            compare_group(&mut audit, &group, end.is_none(), older)?;
            if end.is_some() && (!audit.waits() || group.end.lsn >= older) {
                break;
            }
            if end.is_none() && group.end.lsn >= mark.position.lsn && group.end != mark.position {
                let lsn = mark.position.lsn;
                return Err(Damaged { lsn, damage: Damage::Chain }.into());
            }
            let is_enough = group.end.lsn - start.lsn >= self.events_of_a_turn;
            if end.is_none() && (is_enough || group.end == mark.position) {
                end = Some(group.end);
            }
            events += group.events.len();
            if events >= EVENTS_AT_ONCE {
                self.pause(began.elapsed())?;
                (events, began) = (0, Instant::now());
                // An iterator keeps from being removed all that was there when it was made.
                groups = Groups::after(&self.store, groups.position(), None);
            }
        }
        let end = end.unwrap_or(start);
        audit.end().map_err(|broken| NotRemoved::Alone { lsn: end.lsn, broken })?;
        Ok(end)
    }

    fn is_closed(&self) -> bool {
        self.closed.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits as long as the work before took.
    fn pause(&self, took: Duration) -> Result<(), NotRemoved> {
        match self.closed.recv_timeout(took.max(PAUSE)) {
            Err(RecvTimeoutError::Disconnected) => Err(NotRemoved::Closed),
            _ => Ok(()),
        }
    }

    /// Whether there is a snapshot behind this one.
    fn is_one_behind(&self, newest: Lsn) -> Result<bool, ViewFault> {
        let marks = anchor::newest_marks(&self.store, 1)?;
        Ok(marks.iter().any(|mark| mark.position.lsn > newest))
    }

    /// Writes down, durably, that records go: before the first does.
    pub(crate) fn decide(&self, anchor: &Anchor) -> Result<(), NotRemoved> {
        let before = anchor::start(anchor::read(&self.store)?).lsn;
        // The file is written after each commit, and not synced: once records are gone, an older
        // position in it could not be compared with them any more.
        let synced = File::open(&self.watermark).and_then(|file| file.sync_all());
        synced.map_err(NotRemoved::Watermark)?;
        let mut batch = WriteBatch::default();
        anchor::put(&self.store, &mut batch, anchor);
        self.store.write_synced(batch).map_err(NotRemoved::Write)?;
        let (lsn, events) = (anchor.position.lsn, anchor.position.lsn - before);
        tracing::info!(lsn, events, time_ms = anchor.time.0, "old records are removed");
        Ok(())
    }

    /// Removes the files that hold nothing but records up to the anchor; says how many there were.
    /// Those in level 0 and those at the edge go later, when compaction has moved them on.
    pub(crate) fn remove_files(&self) -> Result<usize, NotRemoved> {
        let last = anchor::start(anchor::read(&self.store)?).lsn;
        let files = self.store.files_of_records(last).map_err(NotRemoved::Files)?;
        for ends in files.chunks(FILES_AT_ONCE) {
            if let Some(end) = ends.last() {
                self.store.remove_files_of_records(*end).map_err(NotRemoved::Files)?;
            }
            self.pause(PAUSE)?;
        }
        Ok(files.len())
    }
}

/// What stays is as it was after event `older`; of a group that stays, too, nothing else counts.
fn compare_group(
    audit: &mut Audit<'_>,
    group: &Group,
    goes: bool,
    older: Lsn,
) -> Result<(), NotRemoved> {
    for (lsn, event) in group.numbered().take_while(|(lsn, _)| *lsn <= older) {
        let compared = match goes {
            true => audit.event(lsn, event),
            false => audit.later(event),
        };
        compared.map_err(|broken| NotRemoved::Alone { lsn, broken })?;
    }
    Ok(())
}

/// Tells once of each kind of fault, until a turn succeeds.
fn tell(why: &NotRemoved, failed: &mut Option<Discriminant<NotRemoved>>) {
    if failed.replace(mem::discriminant(why)) == Some(mem::discriminant(why)) {
        return;
    }
    match why {
        NotRemoved::Future { .. } => {
            tracing::warn!(error = %why, "old records are kept: check the clock");
        }
        _ => tracing::error!(error = %why, "old records are kept: verify the journal"),
    }
}
