//! The nodes as witnesses (rule E18): a thread of its own compares what they list with the journal,
//! because it reads views from the disk. Whoever finds that this journal is not the only one ends
//! the process: nothing may be paid from it.

use std::{collections::HashSet, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, Sender, unbounded};
use fulgurite_core::{
    BatchId, Event, PaymentHash, PaymentId, UnixMs,
    book::Book,
    guard::KeyId,
    payment::Payment,
    port::Journal,
    witness::{Origin, origin},
};
use fulgurite_journal::{Opened, Views};
use parking_lot::Mutex;

use crate::{
    clock::now,
    engine::{Engine, sound},
    message::NodeMessage,
    slot::{NodeSlot, Shared},
};

/// The exit code of a process that is not the only one with its journal, or has an old copy of it.
pub const EXIT_FENCED: i32 = 75;

/// How the nodes' payments are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessPolicy {
    /// How much further back than the journal's end, in milliseconds.
    pub margin_ms: i64,
    /// How often they are read on, in milliseconds.
    pub every_ms: i64,
}

impl Default for WitnessPolicy {
    fn default() -> WitnessPolicy {
        WitnessPolicy { margin_ms: 60_000, every_ms: 10_000 }
    }
}

/// What is known of the comparison of nodes and journal in this engine.
pub struct Witness {
    /// How the nodes are read.
    pub policy: WitnessPolicy,
    /// Nodes that have not been compared since the start, by index.
    waited_for: Mutex<HashSet<usize>>,
    /// Batches that were open at the start.
    old: HashSet<BatchId>,
    /// When this engine started.
    started: UnixMs,
    /// The time of the last event before that.
    ended: UnixMs,
    checks: Sender<Check>,
}

/// Payments that a node lists and that its actor does not know.
pub struct Check {
    /// Which node.
    pub node: Arc<NodeSlot>,
    /// The call that listed them.
    pub number: u32,
    /// Their hashes, and when they were created, by the engine's clock.
    pub listed: Vec<(PaymentHash, UnixMs)>,
}

impl Witness {
    /// Nothing has been compared. The receiver is for [`run`].
    pub fn new(
        policy: WitnessPolicy,
        nodes: usize,
        book: &Book,
        ended: UnixMs,
    ) -> (Witness, Receiver<Check>) {
        let (checks, receiver) = unbounded();
        let witness = Witness {
            policy,
            waited_for: Mutex::new((0..nodes).collect()),
            old: book.batches.keys().copied().collect(),
            started: now(),
            ended,
            checks,
        };
        (witness, receiver)
    }

    /// True while any node may have paid an order of before the start that we do not know of.
    pub fn is_waiting(&self) -> bool {
        !self.waited_for.lock().is_empty()
    }

    /// True while nothing of the batch may be sent: it is from before the start.
    pub fn holds(&self, batch: BatchId) -> bool {
        self.is_waiting() && self.old.contains(&batch)
    }

    /// True while nothing may be sent to the node.
    pub fn waits_for(&self, node: usize) -> bool {
        self.waited_for.lock().contains(&node)
    }

    /// A node joins that was not there at the start.
    pub fn joins(&self, node: usize) {
        self.waited_for.lock().insert(node);
    }

    /// A node has been compared, or left; true when it was waited for.
    pub fn compared(&self, node: usize) -> bool {
        self.waited_for.lock().remove(&node)
    }

    /// Hands payments over to be looked up; answered with [`NodeMessage::Checked`].
    pub fn check(&self, check: Check) {
        // The thread lives as long as the process.
        drop(self.checks.send(check));
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

/// Starts the thread.
pub fn run(shared: Arc<Shared>, views: Views, checks: Receiver<Check>) {
    let work = move || {
        let checker = Checker { shared, views };
        for check in checks {
            checker.check(&check);
        }
    };
    let thread = thread::Builder::new().name("witness".to_owned()).spawn(work);
    thread.expect("the process may start a thread");
}

struct Checker {
    shared: Arc<Shared>,
    views: Views,
}

/// How often it is looked again while an order is on its way into the journal.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How often at most.
const LOOKS_MAX: u32 = 400;

impl Checker {
    fn check(&self, check: &Check) {
        let elsewhere: Vec<PaymentHash> = check
            .listed
            .iter()
            .filter(|(hash, created)| self.is_elsewhere(&check.node, *hash, *created))
            .map(|(hash, _)| *hash)
            .collect();
        if !elsewhere.is_empty() {
            let node = Arc::clone(&check.node.name);
            tracing::info!(%node, payments = elsewhere.len(),
                "payments that were not ordered here are claimed as paid elsewhere");
            let hashes = Arc::new(elsewhere);
            let event = Event::PaidElsewhere { node, hashes: Arc::clone(&hashes), time: now() };
            let lsn = self.shared.journal.append(event);
            self.shared.claims.written_elsewhere(&hashes, lsn);
        }
        check.node.inbox.deliver(NodeMessage::Checked(check.number));
    }

    /// True for a hash that is claimed for nobody now. Does not return when it is of an order that
    /// another journal paid.
    fn is_elsewhere(&self, node: &NodeSlot, hash: PaymentHash, created: UnixMs) -> bool {
        for _ in 0..LOOKS_MAX {
            let ours = self.payments(hash);
            match origin(&node.name, created, &ours, self.shared.witness.started) {
                Origin::Ours => return false,
                Origin::PaidBefore(payment) => {
                    tracing::error!(node = %node.name, %payment,
                        "the node made a payment for this invoice before it was ordered here");
                    return false;
                }
                Origin::OtherJournal(payment) => {
                    let ours = ours.into_iter().find(|found| found.id == payment);
                    self.end(node, hash, created, ours.as_ref())
                }
                Origin::Elsewhere if self.is_known_elsewhere(hash) => return false,
                Origin::Elsewhere => {
                    if self.shared.claims.claim_elsewhere(hash).is_ok() {
                        return true;
                    }
                    // Its order is on its way into the journal, or just out of the views.
                    thread::sleep(LOOK_AGAIN);
                }
            }
        }
        tracing::error!(node = %node.name, %hash, "a payment that nobody here made has an owner");
        false
    }

    /// Every payment with this hash, as of now or later.
    fn payments(&self, hash: PaymentHash) -> Vec<Payment> {
        // What we sent was durable before; the views may be behind.
        self.shared.journal.projected().block_until(self.shared.journal.last());
        let ids: Vec<PaymentId> = sound(self.views.by_hash(hash));
        ids.into_iter().filter_map(|id| sound(self.views.payment(id))).collect()
    }

    fn is_known_elsewhere(&self, hash: PaymentHash) -> bool {
        let claim = sound(self.views.hash_claim(hash));
        claim.is_some_and(|claim| claim.payment.is_none()) || self.shared.claims.is_elsewhere(hash)
    }

    /// Has the nodes revoke this engine's macaroons, as far as they answer.
    fn withdraw(&self) {
        let nodes = self.shared.nodes.present();
        for node in &nodes {
            node.inbox.deliver(NodeMessage::Withdraw);
        }
        for _ in 0..LOOKS_MAX {
            if nodes.iter().all(|node| node.compared.lock().withdrawn) {
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn end(&self, node: &NodeSlot, hash: PaymentHash, at: UnixMs, ours: Option<&Payment>) -> ! {
        // The next start has to look from there, however often it is tried.
        let (name, until) = (Arc::clone(&node.name), at.plus_ms(-1_000));
        let seen = Event::NodeCompared { node: name, until, live: false };
        self.shared.journal.watermark().block_until(self.shared.journal.append(seen));
        self.withdraw();
        let witness = &self.shared.witness;
        let (id, ordered) =
            ours.map_or((String::new(), at), |ours| (ours.id.to_string(), ours.created));
        eprintln!(
            "fulgurite: node {} made a payment for {hash} at {}, and this journal, which ended at \
             {} before this start, knows nothing of it: {id} was ordered here at {} and not sent. \
             It is an old copy, or a second engine pays from another one: stop that engine, or put \
             the newest journal back; see docs/exactly-once.md, \"Old copies\"",
            node.name,
            text(at),
            text(witness.ended),
            text(ordered),
        );
        std::process::exit(EXIT_FENCED);
    }
}

/// This engine's root key at every node (rule E18). The installation is decided at the first start,
/// and durable before any node hears of it.
pub fn guard_key(opened: &Opened) -> KeyId {
    // Random but for the version's bits.
    let random = uuid::Uuid::new_v4().as_u128();
    let mut installation = opened.book.installation;
    if installation == 0 {
        installation = ((random >> 96) as u32 & 0x7fff_ffff).max(1);
        let lsn = opened.journal.append(Event::Installed { installation });
        opened.journal.watermark().block_until(lsn);
    }
    KeyId::new(installation, opened.epoch, random as u32)
}

/// Another engine has a copy of this journal: nothing more may be paid from this one.
pub(crate) fn end_fenced(node: &NodeSlot, reason: &str) -> ! {
    eprintln!(
        "fulgurite: node {} says that this is not the only engine with its journal: {reason}. Stop \
         the other one, or leave this one stopped if it has the older copy; nothing more is sent \
         from here; see docs/exactly-once.md, \"Old copies\"",
        node.name
    );
    std::process::exit(EXIT_FENCED);
}

/// A time for a person.
fn text(time: UnixMs) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(time) => format!("{time:.0}"),
        Err(_) => time.to_string(),
    }
}
