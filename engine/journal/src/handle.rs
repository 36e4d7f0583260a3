//! What everybody else holds of the journal: append, and see how far it is on disk.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread,
};

use fulgurite_core::{Event, Lsn, UnixMs, event::PaymentChange, port::Journal};
use fulgurite_inbox::{Bell, Ring, Watermark};

use crate::pace::Quickest;

/// A handle to append to the journal; cheap to clone, and safe on any thread.
#[derive(Clone, Debug)]
pub struct JournalHandle(Arc<Shared>);

/// What the appenders, the writer and the projector share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// `None` closes the journal: it is the last entry that the writer takes.
    pub(crate) ring: Ring<Option<Event>>,
    /// Wakes the writer.
    pub(crate) bell: Bell,
    /// The LSN of ticket 0.
    pub(crate) base: Lsn,
    pub(crate) durable: Arc<Watermark>,
    pub(crate) projected: Arc<Watermark>,
    pub(crate) counters: Counters,
    pub(crate) more: More,
}

/// What says whether the writer waits for more.
#[derive(Debug, Default)]
pub(crate) struct More {
    pub(crate) quickest: Quickest,
    /// How many entries were appended that are not waited with, the end among them.
    pub(crate) urgent: AtomicU64,
    /// Wakes the writer for them where it waits.
    pub(crate) bell: Bell,
}

/// Running totals since the start, and where the records begin; metrics.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) waits: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) commit_ns: AtomicU64,
    pub(crate) view_rows: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    oldest_lsn: AtomicU64,
    oldest_ms: AtomicI64,
    retention_failed: AtomicBool,
}

impl Counters {
    /// The first event that is kept, and a time that it is not older than.
    pub(crate) fn set_oldest(&self, lsn: Lsn, time: UnixMs) {
        self.oldest_lsn.store(lsn, Ordering::Relaxed);
        self.oldest_ms.store(time.0, Ordering::Relaxed);
    }

    /// Old records could not be removed when that was last tried.
    pub(crate) fn set_retention_failed(&self, failed: bool) {
        self.retention_failed.store(failed, Ordering::Relaxed);
    }
}

/// The totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Appends that found the ring full and waited.
    pub waits: u64,
    /// Group commits.
    pub commits: u64,
    /// Events that are on disk.
    pub events: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Time in synced writes, in nanoseconds.
    pub commit_ns: u64,
    /// Rows written to views and snapshots.
    pub view_rows: u64,
    /// Snapshots that were completed.
    pub snapshots: u64,
    /// The first event whose record is kept: what is before it was removed by retention.
    pub oldest_lsn: Lsn,
    /// When the newest event before that happened; without one, when the journal was begun.
    pub oldest_time: UnixMs,
    /// Old records are not removed, because something is wrong; the log says what.
    pub retention_failed: bool,
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl JournalHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> JournalHandle {
        JournalHandle(shared)
    }

    /// Appends events one after the other, others' events possibly between them. Returns the last
    /// one's LSN, or the journal's last when there are none.
    pub fn append_many(&self, events: impl IntoIterator<Item = Event>) -> Lsn {
        let last = events.into_iter().fold(None, |_, event| Some(self.push(Some(event))));
        // Ringing once wakes the writer once for all of them.
        self.0.bell.ring();
        last.unwrap_or_else(|| self.last())
    }

    /// An attempt took so many milliseconds at its node. Where all take long, groups are waited
    /// for.
    pub fn attempt_took(&self, ms: i64) {
        self.0.more.quickest.took(ms);
    }

    /// The durable LSN, to wait for and to be woken by.
    pub fn watermark(&self) -> &Arc<Watermark> {
        &self.0.durable
    }

    /// The LSN up to which the views answer, to wait for and to be woken by.
    pub fn projected(&self) -> &Arc<Watermark> {
        &self.0.projected
    }

    /// How many appended events are not yet taken by the writer; a gauge.
    pub fn depth(&self) -> usize {
        self.0.ring.len()
    }

    /// The totals since the start.
    pub fn totals(&self) -> Totals {
        let counters = &self.0.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            waits: get(&counters.waits),
            commits: get(&counters.commits),
            events: get(&counters.events),
            bytes: get(&counters.bytes),
            commit_ns: get(&counters.commit_ns),
            view_rows: get(&counters.view_rows),
            snapshots: get(&counters.snapshots),
            oldest_lsn: get(&counters.oldest_lsn),
            oldest_time: UnixMs(counters.oldest_ms.load(Ordering::Relaxed)),
            retention_failed: counters.retention_failed.load(Ordering::Relaxed),
        }
    }

    /// Tells the writer that nothing comes any more.
    pub(crate) fn close(&self) {
        self.push(None);
        self.0.bell.ring();
    }

    /// Takes the next place. The ring holds more than all limits at the door let in, so a full
    /// ring means a slow disk: whoever appends waits for room, which is backpressure.
    fn push(&self, entry: Option<Event>) -> Lsn {
        let is_urgent = entry.as_ref().is_none_or(is_urgent);
        let lsn = self.place(entry);
        if is_urgent {
            count(&self.0.more.urgent, 1);
            self.0.more.bell.ring();
        }
        lsn
    }

    fn place(&self, entry: Option<Event>) -> Lsn {
        let mut entry = match self.0.ring.push(entry) {
            Ok(ticket) => return self.0.base + ticket,
            Err(entry) => entry,
        };
        count(&self.0.counters.waits, 1);
        loop {
            self.0.bell.ring();
            self.0.more.bell.ring();
            thread::yield_now();
            match self.0.ring.push(entry) {
                Ok(ticket) => return self.0.base + ticket,
                Err(back) => entry = back,
            }
        }
    }
}

/// Somebody waits for it: it is not held up for a larger group. The others come by themselves, in
/// the course of uploads and payments.
pub(crate) fn is_urgent(event: &Event) -> bool {
    match event {
        Event::OrdersAdded { .. } | Event::BatchFinished { .. } => false,
        // By a person.
        Event::Payment { change, .. } => {
            matches!(change, PaymentChange::Cancelled | PaymentChange::Resolved(_))
        }
        _ => true,
    }
}

impl Journal for JournalHandle {
    fn append(&self, event: Event) -> Lsn {
        let lsn = self.push(Some(event));
        self.0.bell.ring();
        lsn
    }

    fn last(&self) -> Lsn {
        self.0.base + self.0.ring.pushed() - 1
    }

    fn durable(&self) -> Lsn {
        self.0.durable.get()
    }
}
