//! The nodes as witnesses (rule E18): what is known of the comparison of what they list with the
//! journal. A thread of its own makes it, because it reads views from the disk. Whoever finds that
//! this journal is not the only one ends the process: nothing may be paid from it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use fulgurite_core::{
    BatchId, Event, PaymentHash, UnixMs, book::Book, port::Journal, witness::Started,
};
use parking_lot::Mutex;

use crate::{
    clock::{now, steady},
    engine::Engine,
    slot::{NodeSlot, Shared},
};

#[cfg(test)]
mod tests;

/// The exit code of a process that is not the only one with its journal, or has an old copy of it.
pub const EXIT_FENCED: i32 = 75;

/// How often it is looked again for what comes by itself.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How the nodes' payments are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessPolicy {
    /// How much further back than the journal's end, in milliseconds.
    pub margin_ms: i64,
    /// How often they are read on, in milliseconds.
    pub every_ms: i64,
    /// Hashes that somebody else paid after they were ordered here, and a person says that the
    /// journal is the newest all the same.
    pub accepted: Vec<PaymentHash>,
}

impl Default for WitnessPolicy {
    fn default() -> WitnessPolicy {
        WitnessPolicy { margin_ms: 120_000, every_ms: 10_000, accepted: Vec::new() }
    }
}

/// What is known of the comparison of nodes and journal in this engine.
pub struct Witness {
    /// How the nodes are read.
    pub policy: WitnessPolicy,
    /// Nodes that have not been compared since the start, by index, and whether orders from before
    /// the start wait for them too.
    waited_for: Mutex<HashMap<usize, bool>>,
    /// Nodes with this index and higher ones joined since the start.
    first_joined: usize,
    /// Nodes with payments that are looked up now, by index. One look for each: a node that comes
    /// and goes would queue the same payments again and again.
    looked_up: Mutex<HashSet<usize>>,
    /// Batches that were open at the start.
    old: HashSet<BatchId>,
    /// When this engine started, and how its clock was set since.
    pub(crate) started: Mutex<Started>,
    /// How far the clock was ahead of the steady one then, in milliseconds.
    ahead_ms: i64,
    /// How far it was behind the journal then, in milliseconds: so far it had been set back.
    behind_ms: i64,
    /// When a payment that was open at the start had changed last; the start itself if none was.
    pub(crate) changed: UnixMs,
    checks: Sender<Check>,
}

/// Payments that a node lists and that its actor does not know.
pub struct Check {
    /// Which node.
    pub node: Arc<NodeSlot>,
    /// The call that listed them.
    pub number: u64,
    /// Their hashes, and when they were created, by the engine's clock.
    pub listed: Vec<(PaymentHash, UnixMs)>,
}

impl Witness {
    /// Nothing has been compared. The receiver is for `witness_thread::run`.
    pub fn new(policy: WitnessPolicy, nodes: usize, book: &Book) -> (Witness, Receiver<Check>) {
        let (checks, receiver) = unbounded();
        let payments = book.batches.values().flat_map(|batch| &batch.payments);
        // Not the time of the last event: starts that were refused have written some.
        let changed = payments.map(|payment| payment.updated).max();
        let started = now();
        let witness = Witness {
            policy,
            waited_for: Mutex::new((0..nodes).map(|node| (node, true)).collect()),
            first_joined: nodes,
            looked_up: Mutex::default(),
            old: book.batches.keys().copied().collect(),
            started: Mutex::new(started.into()),
            ahead_ms: started.since(steady()),
            behind_ms: book.time.since(started).max(0),
            changed: changed.unwrap_or(started),
            checks,
        };
        (witness, receiver)
    }

    /// Looks whether the clock was set.
    pub fn see_clock(&self, time: UnixMs) {
        self.started.lock().clock_is_ahead(time.since(steady()) - self.ahead_ms);
    }

    /// How much further back than the journal says a node is read, in milliseconds: the clock may
    /// have been set back since.
    pub fn read_back_ms(&self) -> i64 {
        self.policy.margin_ms + self.behind_ms + self.started.lock().set_back_ms()
    }

    /// True while any node may have paid an order of before the start that we do not know of.
    pub fn is_waiting(&self) -> bool {
        self.waited_for.lock().values().any(|orders_wait| *orders_wait)
    }

    /// True while nothing of the batch may be sent: it is from before the start.
    pub fn holds(&self, batch: BatchId) -> bool {
        self.is_waiting() && self.old.contains(&batch)
    }

    /// True while nothing may be sent to the node.
    pub fn waits_for(&self, node: usize) -> bool {
        self.waited_for.lock().contains_key(&node)
    }

    /// A node joins that was not there at the start.
    pub fn joins(&self, node: usize) {
        self.waited_for.lock().insert(node, true);
    }

    /// A node cannot be compared now. What was ordered before the start goes on without one that
    /// joined since: it went on before that, too. The node itself is sent nothing before.
    pub fn could_not(&self, node: usize) {
        if node >= self.first_joined
            && let Some(orders_wait) = self.waited_for.lock().get_mut(&node)
        {
            *orders_wait = false;
        }
    }

    /// A node has been compared, or left.
    pub fn compared(&self, node: usize) {
        self.waited_for.lock().remove(&node);
    }

    /// Hands payments over to be looked up; answered with `NodeMessage::Checked`. False, and
    /// nothing is handed over, while others of that node are looked up.
    pub fn check(&self, check: Check) -> bool {
        let is_free = self.looked_up.lock().insert(check.node.index);
        if is_free {
            // The thread lives as long as the process.
            drop(self.checks.send(check));
        }
        is_free
    }

    /// True while payments of that node are looked up.
    pub fn looks_up(&self, node: usize) -> bool {
        self.looked_up.lock().contains(&node)
    }

    /// What was handed over for that node has been looked up.
    pub(crate) fn has_looked_up(&self, node: usize) {
        self.looked_up.lock().remove(&node);
    }
}

impl Engine {
    /// Waits until every node was compared with the journal (rule E18) or could not be.
    pub async fn wait_compared(&self) {
        let waits = |node: &Arc<NodeSlot>| {
            self.shared.witness.waits_for(node.index) && !node.compared.lock().tried
        };
        while self.shared.nodes.present().iter().any(waits) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// What the node does from now on, nobody sees, and the journal says so.
pub(crate) fn not_read(shared: &Shared, slot: &NodeSlot) {
    let mut seen = slot.compared.lock();
    if std::mem::take(&mut seen.live) {
        let (node, until) = (Arc::clone(&slot.name), seen.until);
        shared.journal.append(Event::NodeCompared { node, until, live: false });
    }
}

/// A time for a person.
pub(crate) fn text(time: UnixMs) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(time) => format!("{time:.0}"),
        Err(_) => time.to_string(),
    }
}
