//! The one thread that writes the journal.
//!
//! It takes what waits in ticket order, up to 1 MiB, as one record; writes and syncs it; only then
//! publishes the durable LSN, and hands the events on to the projector. Groups grow with load by
//! themselves: what comes while the disk syncs is the next group.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use fulgurite_core::Event;
use rocksdb::WriteBatch;

use crate::{
    codec,
    fault::Fault,
    handle::{Shared, count},
    reader::{Group, key},
    record::{self, Header, Position},
    store::{Family, Store},
    watermark::WatermarkFile,
};

/// A group ends with the event that brings it to this size, in bytes.
const PAYLOAD_ENOUGH: usize = 1 << 20;

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
}

impl Writer {
    /// Writes until the journal is closed.
    pub(crate) fn run(mut self) {
        let mut bytes = Vec::with_capacity(PAYLOAD_ENOUGH);
        let mut closed = false;
        while !closed {
            let first = self.shared.bell.wait_until(|| self.shared.ring.pop());
            let Some(first) = first else { return };
            let mut events = Vec::new();
            closed = self.gather(first, &mut events, &mut bytes);
            self.commit(events, &mut bytes);
        }
    }

    /// Takes what waits; true when the journal was closed behind it.
    fn gather(&self, first: Event, events: &mut Vec<Event>, bytes: &mut Vec<u8>) -> bool {
        record::start(bytes);
        codec::encode_event(&first, bytes);
        events.push(first);
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
