//! The simulated disk: what is appended becomes durable later; a crash loses what is not durable,
//! or only some of it, or nothing.

use std::cell::{Cell, RefCell};

use fulgurite_core::{Event, Lsn, port::Journal};

use super::random::Random;

#[derive(Debug, Default)]
pub struct Disk {
    events: RefCell<Vec<Event>>,
    durable: Cell<Lsn>,
    /// What the running sync covers; 0 when none runs.
    syncing: Cell<Lsn>,
}

impl Disk {
    /// Starts a sync when there is something to sync and none runs.
    pub fn start_sync(&self) -> bool {
        if self.syncing.get() > 0 || self.last() == self.durable() {
            return false;
        }
        self.syncing.set(self.last());
        true
    }

    /// The running sync is done.
    pub fn synced(&self) {
        self.durable.set(self.syncing.take());
    }

    /// The events after `lsn`, up to the durable one.
    pub fn durable_after(&self, lsn: Lsn) -> Vec<Event> {
        self.events.borrow()[position(lsn)..position(self.durable())].to_vec()
    }

    /// Every event, durable or not.
    pub fn all(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// The machine stops. Returns how many events are lost and how many survive unsynced.
    pub fn crash(&self, random: &mut Random) -> (u64, u64) {
        let (durable, last) = (self.durable(), self.last());
        let kept = durable + random.next() % (last - durable + 1);
        self.events.borrow_mut().truncate(position(kept));
        self.durable.set(kept);
        self.syncing.set(0);
        (last - kept, kept - durable)
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
