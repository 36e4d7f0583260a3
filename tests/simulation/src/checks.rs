//! What must be true after every step, by the orders and the nodes' own books alone.

use std::collections::BTreeMap;

use fulgurite_core::{
    PaymentHash, PaymentId, batch,
    book::Book,
    event::Failure,
    payment::{AttemptEnd, Payment, State},
    port::SendPayment,
};

use crate::{
    coverage::Kind,
    engine::Engine,
    rule::{broken, rule},
    sim_node::Status,
    twin::Twin,
    world::World,
};

impl World {
    /// No hash is paid twice or alive twice, nothing runs that is not on disk, and no state
    /// contradicts the nodes.
    pub fn check(&self) {
        for (hash, times) in &self.paid {
            let excused = self.excused.contains_key(hash);
            rule!(*times <= 1 || excused, "{hash} was paid {times} times");
        }
        if self.is_copy() {
            return;
        }
        self.check_alive();
        for plan in &self.client.plans {
            if let Some(batch) = plan.batch() {
                rule!(self.visible.batches.contains_key(&batch), "{batch} was acknowledged");
            }
        }
        let mut owners: BTreeMap<PaymentHash, PaymentId> = BTreeMap::new();
        for payment in self.payments() {
            let hash = payment.order.payment_hash;
            if let State::Succeeded { fee_paid, .. } = payment.state {
                let known = self.excused.contains_key(&hash) || self.client.invoice(hash).foreign;
                rule!(known || self.paid.get(&hash) == Some(&1), "{hash} is not paid");
                rule!(fee_paid <= payment.order.fee_limit, "{hash} cost too much");
            }
            if payment.state == State::Failed(Failure::OperatorDecision) {
                let excused = self.excused.contains_key(&hash);
                rule!(excused || !self.paid.contains_key(&hash), "{hash} was called not paid");
            }
            if payment.claims_hash() && !self.excused.contains_key(&hash) {
                let other = owners.insert(hash, payment.id);
                rule!(other.is_none(), "{hash} belongs to {} and {other:?}", payment.id);
            }
        }
    }

    fn check_alive(&self) {
        let entries = self.nodes.iter().flat_map(|node| &node.books);
        let alive = entries.filter(|(_, entry)| entry.is_alive());
        let mut seen: BTreeMap<PaymentHash, u64> = BTreeMap::new();
        for (hash, entry) in alive {
            let Some(attempt) = entry.attempt else { continue };
            if self.excused.contains_key(hash) {
                continue;
            }
            if let Some(other) = seen.insert(*hash, entry.run) {
                broken!("{hash} is alive twice: as run {other} and as run {}", entry.run);
            }
            let id = attempt.payment;
            let Some(batch) = self.visible.batches.get(&id.batch()) else {
                broken!("{id} is alive at a node and its batch is not durable");
            };
            let payment = batch.payment(id).expect("a payment of its batch");
            let made = payment.attempts.iter().any(|made| made.number == attempt.number);
            rule!(made, "{id}: attempt {} is alive and not durable", attempt.number);
            // A person may end what its node only shows (rule E20).
            let shown = payment.state == State::Failed(Failure::OperatorDecision) && entry.lost;
            let not_paid = matches!(payment.state, State::Failed(_) | State::Cancelled) && !shown;
            rule!(!not_paid, "{id} was reported {} and is alive", payment.state.name());
        }
    }

    /// A send leaves the engine: its attempt must be on disk and open (E1, E4), its node in use
    /// (E19, E22), and a send that is repeated must still be wanted (E9).
    pub fn check_send(&mut self, send: &SendPayment) {
        let attempt = send.send.attempt;
        let copy = self.is_copy() && !self.is(Twin::NoWitness);
        rule!(!copy, "{} is sent from an old copy of the journal", attempt.payment);
        let batch = self.visible.batches.get(&attempt.payment.batch());
        let payment = batch.and_then(|batch| batch.payment(attempt.payment));
        let open = payment.and_then(|payment| payment.state.open_attempt());
        let open = open.filter(|open| open.attempt == attempt.number);
        let Some((batch, open)) = batch.zip(open) else {
            broken!("{}: attempt {} is sent and not open", attempt.payment, attempt.number);
        };
        let standing = self.visible.nodes.get(&open.node);
        let in_use = standing.is_none_or(|standing| standing.may_send());
        rule!(in_use, "{} is sent to {}: {standing:?}", attempt.payment, open.node);
        if !self.sent.insert(attempt) {
            let cancelling = batch.summary.state == batch::State::Cancelling;
            rule!(!cancelling, "{} is sent again after its cancel", attempt.payment);
            let paused = matches!(batch.summary.state, batch::State::Paused(_));
            rule!(!paused, "{} is sent again while its batch is paused", attempt.payment);
            let late = self.now() > open.send_until;
            rule!(!late, "{} is sent again after its time", attempt.payment);
        }
    }

    /// A payment became stuck: none of its HTLCs may be on a channel (E15), unless its node is not
    /// believed (E19).
    pub fn check_stuck(&self, payment: &Payment) {
        let end = payment.attempts.last().map(|last| last.end);
        if matches!(end, Some(AttemptEnd::Suspended { .. })) {
            return;
        }
        let hash = payment.order.payment_hash;
        let entries = self.nodes.iter().filter_map(|node| node.books.get(&hash));
        // One that began after the look is another run.
        let mut old = entries.filter(|entry| entry.began < self.now - 20_000);
        rule!(!old.any(|entry| entry.has_htlc()), "{} is called stuck and lives", payment.id);
    }

    pub fn payments(&self) -> impl Iterator<Item = &Payment> {
        self.visible.batches.values().flat_map(|batch| &batch.payments)
    }

    /// What is on disk or on its way there gives the state in memory.
    pub fn check_replay(&self, engine: &Engine) {
        let mut book = Book::default();
        for (lsn, event) in (1..).zip(self.disk.all()) {
            book.apply(&event, lsn);
        }
        for (id, work) in &engine.batches {
            let replayed = book.batches.get(id);
            rule!(replayed == Some(&work.batch), "{id}: replay differs from the original");
        }
    }

    /// Everything is answered, and final or unresolved.
    pub fn is_over(&self) -> bool {
        let answered = self.client.plans.iter().all(|plan| plan.answer.is_some());
        answered
            && self.payments().all(|payment| match payment.state {
                State::Unresolved { .. } => true,
                // Its node may have ended it, and the word be on its way.
                State::Stuck(_) => {
                    self.is_lost(payment.order.payment_hash) || self.is_a_persons(payment)
                }
                _ => payment.is_final(),
            })
    }

    /// A node shows the hash in flight for ever.
    fn is_lost(&self, hash: PaymentHash) -> bool {
        let mut entries = self.nodes.iter().filter_map(|node| node.books.get(&hash));
        entries.any(|entry| entry.lost && !entry.is_final())
    }

    /// Its node was replaced and shows no proof of it, and will not: a person decides (rule E19).
    fn is_a_persons(&self, payment: &Payment) -> bool {
        let Some(last) = payment.attempts.last() else {
            return false;
        };
        let standing = self.visible.nodes.get(&last.node);
        let mut entries =
            self.nodes.iter().filter_map(|node| node.books.get(&payment.order.payment_hash));
        standing.is_some_and(|standing| standing.may_not_know(last.started))
            && entries.all(|entry| matches!(entry.status, Status::Failed(_)))
    }

    /// What is open, in one line.
    pub fn open_payments(&self) -> String {
        let open = self.payments().filter(|payment| !payment.is_final());
        let mut open: Vec<String> = open
            .map(|payment| {
                let (id, attempts) = (payment.id, payment.attempts.len());
                format!("{id} is {} at attempt {attempts}", payment.state.name())
            })
            .collect();
        open.extend(
            self.client
                .plans
                .iter()
                .filter(|plan| plan.answer.is_none())
                .map(|plan| format!("{} is not answered", plan.key)),
        );
        open.sort();
        open.join(", ")
    }

    /// The last looks: whatever is unresolved has its reason at a node.
    pub fn finish(&mut self) {
        if let Some(engine) = &self.engine {
            self.check_replay(engine);
        }
        for payment in self.payments() {
            let hash = payment.order.payment_hash;
            let excused = self.excused.contains_key(&hash) || self.client.invoice(hash).foreign;
            match payment.state {
                State::Stuck(_) => {
                    let suspended = payment.attempts.last().map(|last| last.end);
                    let suspended = matches!(suspended, Some(AttemptEnd::Suspended { .. }));
                    let excused = suspended || self.is_lost(hash) || self.is_a_persons(payment);
                    rule!(excused, "{} is stuck", payment.id);
                }
                State::Unresolved { contradiction, .. } => {
                    rule!(excused, "{} is unresolved: {contradiction:?}", payment.id);
                }
                _ => {}
            }
        }
        for fault in self.faults.struck() {
            self.coverage.saw(Kind::Fault, fault.name());
        }
    }
}

/// The name of a payment's state, unlike `State::name` with one for what is stuck.
pub fn name(state: &State) -> &'static str {
    match state {
        State::Queued { .. } => "payment queued",
        State::InFlight(_) => "payment in_flight",
        State::Stuck(_) => "payment stuck",
        State::Unresolved { .. } => "payment unresolved",
        State::Succeeded { .. } => "payment succeeded",
        State::Failed(_) => "payment failed",
        State::Cancelled => "payment cancelled",
    }
}

pub fn batch_name(state: batch::State) -> &'static str {
    match state {
        batch::State::Running => "batch running",
        batch::State::Paused(_) => "batch paused",
        batch::State::Cancelling => "batch cancelling",
        batch::State::Finished => "batch finished",
    }
}
