//! The witness' thread: it looks up in the journal's views what the nodes list and their actors do
//! not know, and claims it, or ends the process.

use std::{collections::HashSet, sync::Arc, thread};

use crossbeam_channel::Receiver;
use fulgurite_core::{
    AttemptId, Event, NodeName, PaymentHash, PaymentId, UnixMs,
    event::Contradiction,
    payment::{Payment, State},
    port::Journal,
    tracker::Outcome,
    witness::{Origin, origin},
};
use fulgurite_journal::Views;

use crate::{
    clock::now,
    clone_guard,
    end::end,
    engine::sound,
    message::{BatchMessage, NodeMessage},
    slot::{NodeSlot, Shared},
    witness::{Check, EXIT_FENCED, LOOK_AGAIN, text},
};

/// Starts the thread.
pub fn run(shared: Arc<Shared>, views: Views, checks: Receiver<Check>) {
    let work = move || {
        let checker = Checker { shared, views };
        for check in checks {
            checker.check(&check);
            // Before its actor hears of it, and hands the next page over.
            checker.shared.witness.has_looked_up(check.node.index);
            check.node.inbox.deliver(NodeMessage::Checked(check.number));
        }
    };
    let thread = thread::Builder::new().name("witness".to_owned()).spawn(work);
    thread.expect("the process may start a thread");
}

struct Checker {
    shared: Arc<Shared>,
    views: Views,
}

/// How often at most.
const LOOKS_MAX: u32 = 400;

impl Checker {
    fn check(&self, check: &Check) {
        // What we sent was durable before; the views may be behind.
        self.catch_up();
        let names = self.names(&check.node);
        let elsewhere: Vec<PaymentHash> = check
            .listed
            .iter()
            .filter(|(hash, created)| self.is_elsewhere((&check.node, &names), *hash, *created))
            .map(|(hash, _)| *hash)
            .collect();
        if !elsewhere.is_empty() {
            let node = Arc::clone(&check.node.name);
            let payments = elsewhere.len();
            // What was paid before this engine began may be anybody's.
            if self.shared.witness.waits_for(check.node.index) {
                tracing::info!(%node, payments,
                    "payments that were not ordered here are claimed as paid elsewhere");
            } else {
                tracing::warn!(%node, payments, "somebody else pays over the node: a person, or an \
                    engine with an older copy of this journal; what was not ordered here is \
                    claimed as paid elsewhere");
            }
            let hashes = Arc::new(elsewhere);
            let event = Event::PaidElsewhere { node, hashes: Arc::clone(&hashes), time: now() };
            let lsn = self.shared.journal.append(event);
            self.shared.claims.written_elsewhere(&hashes, lsn);
        }
    }

    fn catch_up(&self) {
        self.shared.journal.projected().block_until(self.shared.journal.last());
    }

    /// Every name under which the journal knows this node: it may have been renamed, or have two.
    fn names(&self, node: &NodeSlot) -> HashSet<NodeName> {
        let identity = Arc::clone(&node.standing.lock().identity_pubkey);
        let mut names = HashSet::from([Arc::clone(&node.name)]);
        if !identity.is_empty() {
            self.views.read_open(|book| {
                let same = book.nodes.iter().filter(|(_, at)| at.identity_pubkey == identity);
                names.extend(same.map(|(name, _)| Arc::clone(name)));
            });
        }
        names
    }

    /// True for a hash that is claimed for nobody now. Does not return when it is of an order that
    /// another journal paid.
    fn is_elsewhere(
        &self,
        (node, names): (&NodeSlot, &HashSet<NodeName>),
        hash: PaymentHash,
        created: UnixMs,
    ) -> bool {
        for _ in 0..LOOKS_MAX {
            let ours = self.payments(hash);
            let is_here = |name: &str| names.contains(name);
            match origin(is_here, created, &ours, *self.shared.witness.started.lock()) {
                Origin::Ours => return false,
                Origin::AfterAll(payment) => {
                    node.inbox.deliver(NodeMessage::PaidAfterAll(payment));
                    if self.is_known_elsewhere(hash) || ours.iter().any(Payment::claims_hash) {
                        return false;
                    }
                }
                Origin::PaidBefore(payment) => {
                    tracing::error!(node = %node.name, %payment,
                        "the node made a payment for this invoice before it was ordered here");
                    self.contradict(node, AttemptId { payment, number: 0 });
                    return false;
                }
                Origin::OtherJournal(payment) => {
                    let ours = ours.into_iter().find(|found| found.id == payment);
                    if !self.shared.witness.policy.accepted.contains(&hash) {
                        self.end(node, hash, created, ours.as_ref())
                    }
                    tracing::error!(node = %node.name, %payment,
                        "a person accepted that the node paid this order, and not by this engine");
                    let open = ours.as_ref().and_then(|ours| ours.state.open_attempt());
                    let number = open.map_or(0, |open| open.attempt);
                    self.contradict(node, AttemptId { payment, number });
                    return false;
                }
                Origin::Elsewhere if self.is_known_elsewhere(hash) => return false,
                Origin::Elsewhere => {}
            }
            if self.shared.claims.claim_elsewhere(hash).is_ok() {
                return true;
            }
            // Its order is on its way into the journal, or just out of the views.
            thread::sleep(LOOK_AGAIN);
            self.catch_up();
        }
        tracing::error!(node = %node.name, %hash, "a payment that nobody here made has an owner");
        false
    }

    /// Has the payment made unresolved, unless its end is known: somebody else paid its invoice
    /// (rule E14). Waits for it: its node counts as compared only when nothing of it can start.
    fn contradict(&self, node: &NodeSlot, attempt: AttemptId) {
        let slot = self.shared.directory.get(&attempt.payment.batch());
        let Some(slot) = slot.map(|slot| Arc::clone(slot.value())) else {
            // All of its batch is over.
            return node.inbox.deliver(NodeMessage::PaidAfterAll(attempt.payment));
        };
        let outcome = Outcome::Contradicted(Contradiction::PaidBefore);
        slot.inbox.deliver(BatchMessage::Outcome(attempt, outcome));
        for _ in 0..LOOKS_MAX {
            self.catch_up();
            match sound(self.views.payment(attempt.payment)).map(|found| found.state) {
                Some(State::Queued { .. }) => thread::sleep(LOOK_AGAIN),
                Some(State::InFlight(_) | State::Stuck(_)) if attempt.number > 0 => {
                    thread::sleep(LOOK_AGAIN);
                }
                _ => return,
            }
        }
    }

    /// Every payment with this hash, as the views have it.
    fn payments(&self, hash: PaymentHash) -> Vec<Payment> {
        let ids: Vec<PaymentId> = sound(self.views.by_hash(hash));
        ids.into_iter().filter_map(|id| sound(self.views.payment(id))).collect()
    }

    fn is_known_elsewhere(&self, hash: PaymentHash) -> bool {
        let claim = sound(self.views.hash_claim(hash));
        claim.is_some_and(|claim| claim.payment.is_none()) || self.shared.claims.is_elsewhere(hash)
    }

    fn end(&self, node: &NodeSlot, hash: PaymentHash, at: UnixMs, ours: Option<&Payment>) -> ! {
        // The next start has to look from there, however often it is tried.
        let (name, until) = (Arc::clone(&node.name), at.plus_ms(-1_000));
        let seen = Event::NodeCompared { node: name, until, live: false };
        self.shared.journal.watermark().block_until(self.shared.journal.append(seen));
        let left = clone_guard::withdraw(&self.shared);
        let witness = &self.shared.witness;
        let (id, ordered) =
            ours.map_or((String::new(), at), |ours| (ours.id.to_string(), ours.created));
        let line = format!(
            "node {} made a payment for {hash} at {}, and this journal, whose open \
             payments had changed last at {}, knows nothing of it: {id} was ordered here at {} and \
             not sent. It is an old copy, or a second engine pays from another one: stop that \
             engine, or put the newest journal back. Only when neither is so, and a person paid \
             it by hand: `fulgurite serve --accept-paid-elsewhere {hash}`; see \
             docs/exactly-once.md, \"Old copies\"{left}",
            node.name,
            text(at),
            text(witness.changed),
            text(ordered),
        );
        end(EXIT_FENCED, &line)
    }
}
