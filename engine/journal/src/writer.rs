//! The one thread that writes the journal.
//!
//! It takes what waits in ticket order, up to 1 MiB, as one record; writes and syncs it; only then
//! publishes the durable LSN, and hands the events on to the projector. Groups grow with load by
//! themselves: what comes while the disk syncs is the next group. When so much comes that the
//! processor is short of time, or when payments take so long at their nodes that it makes no
//! difference, they are made larger still ([`Pace`], [`Patience`]): each group wakes every actor
//! that waits for it, and with it go connections, doors and clients.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use fulgurite_core::Event;
use rocksdb::WriteBatch;

use crate::{
    codec,
    fault::Fault,
    handle::{Shared, count, is_urgent},
    pace::{Pace, Patience},
    reader::{Group, key},
    record::{self, Header, Position},
    store::{Family, Store},
    watermark::WatermarkFile,
};

/// A group ends with the event that brings it to this size, in bytes.
const PAYLOAD_ENOUGH: usize = 1 << 20;
/// How long a group is waited for under heavy load.
const HEAVY_GATHER: Duration = Duration::from_millis(3);
/// How long the first attempts of a batch are waited for that was just accepted: they follow its
/// seal in no time, and would wait for the disk twice. A sleep takes some 60 us longer.
const SEAL_GATHER: Duration = Duration::from_micros(60);
/// A group of so many events is not waited for.
const EVENTS_ENOUGH: usize = 1_024;

/// What the writer owns.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<Store>,
    pub(crate) watermark: WatermarkFile,
    pub(crate) shard: u32,
    pub(crate) epoch: u32,
    pub(crate) position: Position,
    pub(crate) projector: Sender<Arc<Group>>,
    pub(crate) fault: Fault,
    /// How many urgent events it took.
    pub(crate) urgent: u64,
}

impl Writer {
    /// Writes until the journal is closed.
    pub(crate) fn run(mut self) {
        let mut bytes = Vec::with_capacity(PAYLOAD_ENOUGH);
        let mut closed = false;
        let (mut pace, mut patience) = (Pace::default(), Patience::default());
        while !closed {
            let first = self.shared.bell.wait_until(|| self.shared.ring.pop());
            let Some(first) = first else { return };
            // Whoever appends to a full ring waits for this thread.
            let enough = EVENTS_ENOUGH.min(self.shared.ring.capacity() / 2);
            let is_heavy = pace.is_heavy(Instant::now());
            if is_heavy && self.shared.ring.len() < enough {
                thread::sleep(HEAVY_GATHER);
            } else if !is_heavy && !is_urgent(&first) {
                self.linger(patience.wait(Instant::now()), enough);
            }
            record::start(&mut bytes);
            codec::encode_event(&first, &mut bytes);
            let mut events = vec![first];
            closed = self.gather(&mut events, &mut bytes);
            // Nobody else's event is held up, and no seal waits twice.
            let waits = events.iter().any(is_seal) && events.iter().all(is_of_upload);
            if !closed && !is_heavy && waits && bytes.len() < PAYLOAD_ENOUGH {
                thread::sleep(SEAL_GATHER);
                closed = self.gather(&mut events, &mut bytes);
            }
            self.urgent += events.iter().filter(|event| is_urgent(event)).count() as u64;
            pace.took(events.len(), Instant::now());
            patience.took(events.len(), Instant::now(), || self.shared.more.quickest.take());
            self.commit(events, &mut bytes);
        }
    }

    /// Waits for more, until something comes that somebody waits for.
    fn linger(&self, wait: Duration, enough: usize) {
        if wait.is_zero() {
            return;
        }
        let more = &self.shared.more;
        more.bell.wait_for(wait, || {
            let is_urgent = more.urgent.load(Ordering::Relaxed) != self.urgent;
            (is_urgent || self.shared.ring.len() >= enough).then_some(())
        });
    }

    /// Takes what waits; true when the journal was closed behind it.
    fn gather(&self, events: &mut Vec<Event>, bytes: &mut Vec<u8>) -> bool {
        while bytes.len() < PAYLOAD_ENOUGH {
            match self.shared.ring.pop() {
                Some(Some(event)) => {
                    codec::encode_event(&event, bytes);
                    events.push(event);
                }
                Some(None) => return true,
                None => return false,
            }
        }
        false
    }

    fn commit(&mut self, events: Vec<Event>, bytes: &mut Vec<u8>) {
        let first_lsn = self.position.lsn + 1;
        let count = u32::try_from(events.len()).expect("a group ends at 1 MiB");
        let mut header = Header {
            schema: codec::SCHEMA,
            shard: self.shard,
            epoch: self.epoch,
            count,
            first_lsn,
            chain: self.position.chain,
        };
        record::seal(bytes, &mut header, &self.position.chain);
        let mut batch = WriteBatch::default();
        batch.put_cf(self.store.family(Family::Journal), key(first_lsn), &*bytes);
        let start = Instant::now();
        if let Err(error) = self.store.write_synced(batch) {
            self.fault.end("a journal write or its sync failed", &error);
        }
        let took = start.elapsed();
        if let Err(error) = self.check_place() {
            self.fault.end("the journal's folder was removed or moved: bring it back", &error);
        }
        self.position = header.end();
        if let Err(error) = self.watermark.write(self.position) {
            self.fault.end("the journal's watermark could not be written", &error);
        }
        self.shared.durable.publish(self.position.lsn);
        self.count(u64::from(count), bytes.len(), took);
        let group = Group { first_lsn, epoch: self.epoch, end: self.position, events };
        // The projector ends only after this thread, unless it panicked: without it the views and
        // the claims that rest on them would stand still, so the process ends too.
        if let Err(error) = self.projector.send(Arc::new(group)) {
            self.fault.end("the projector is gone", &error);
        }
        bytes.shrink_to(4 * PAYLOAD_ENOUGH);
    }

    /// What was written can be found again under the names that the next start looks for.
    fn check_place(&self) -> std::io::Result<()> {
        self.watermark.check_place()?;
        self.store.check_place()
    }

    fn count(&self, events: u64, bytes: usize, took: Duration) {
        let counters = &self.shared.counters;
        count(&counters.commits, 1);
        count(&counters.events, events);
        count(&counters.bytes, bytes as u64);
        count(&counters.commit_ns, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// A batch is accepted by it: unless it is paused, attempts follow.
fn is_seal(event: &Event) -> bool {
    matches!(event, Event::BatchAccepted(accepted) if !accepted.options.start_paused)
}

/// It is of rows on their way in, or of their seal.
fn is_of_upload(event: &Event) -> bool {
    matches!(event, Event::OrdersAdded { .. } | Event::BatchAccepted(_))
}
