//! The simulated disk: events go to it in records, a record at a time becomes durable with the
//! sync that covers it; a crash keeps some of the records that were being synced and may tear the
//! next one.

use std::cell::{Cell, RefCell};

use fulgurite_core::{Event, Lsn, port::Journal};

use crate::random::Random;

#[derive(Debug, Default)]
pub struct Disk {
    events: RefCell<Vec<Event>>,
    durable: Cell<Lsn>,
    /// The last LSN of each record that the running sync covers; none when no sync runs.
    syncing: RefCell<Vec<Lsn>>,
}

/// What a crash left.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// Events that are gone.
    pub lost: u64,
    /// Events that are there although no sync said so.
    pub survived: u64,
    /// There was a record to tear.
    pub tearable: bool,
}

impl Disk {
    /// A copy of its first events, all of them durable.
    pub fn copy(&self, kept: Lsn) -> Disk {
        let events = self.events.borrow()[..position(kept)].to_vec();
        Disk { events: RefCell::new(events), durable: Cell::new(kept), ..Disk::default() }
    }

    /// Starts a sync when there is something to sync and none runs.
    pub fn start_sync(&self, random: &mut Random) -> bool {
        if !self.syncing.borrow().is_empty() || self.last() == self.durable() {
            return false;
        }
        let mut ends = self.syncing.borrow_mut();
        let mut end = self.durable();
        while end < self.last() {
            end = (end + 1 + random.draw() % 6).min(self.last());
            ends.push(end);
        }
        true
    }

    /// The running sync is done.
    pub fn synced(&self) {
        let synced = self.syncing.take();
        self.durable.set(synced.last().copied().unwrap_or(self.durable()));
    }

    /// The events after `lsn`, up to the durable one.
    pub fn durable_after(&self, lsn: Lsn) -> Vec<Event> {
        self.events.borrow()[position(lsn)..position(self.durable())].to_vec()
    }

    /// Every event, durable or not.
    pub fn all(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// The machine stops: of the records that were being synced, the first few are there. The one
    /// behind them may be there in part: its checksum is wrong, so that recovery ends before it.
    pub fn crash(&self, random: &mut Random) -> Left {
        let (durable, last) = (self.durable(), self.last());
        let syncing = self.syncing.take();
        let whole = random.index(syncing.len() + 1);
        let kept = if whole == 0 { durable } else { syncing[whole - 1] };
        self.events.borrow_mut().truncate(position(kept));
        self.durable.set(kept);
        let tearable = whole < syncing.len();
        Left { lost: last - kept, survived: kept - durable, tearable }
    }
}

fn position(lsn: Lsn) -> usize {
    usize::try_from(lsn).expect("few events")
}

impl Journal for Disk {
    fn append(&self, event: Event) -> Lsn {
        self.events.borrow_mut().push(event);
        self.last()
    }

    fn last(&self) -> Lsn {
        self.events.borrow().len() as Lsn
    }

    fn durable(&self) -> Lsn {
        self.durable.get()
    }
}
