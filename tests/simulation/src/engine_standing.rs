//! How the nodes stand: drained, quarantined, trusted again (rules E19, E22).

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, Event, UnixMs,
    order::Sealed,
    payment::Input as PaymentInput,
    port::Journal,
    standing::{Input, NodeChange},
    tracker::{Context, Outcome},
};

use crate::{coverage::Kind, engine::Engine, engine_node::NodeWork, twin::Twin};

/// A payment that takes longer than this is confirmed in the journal, in milliseconds.
const CONFIRM_AFTER_MS: i64 = 1_000;

/// A person's name, or what was checked.
pub fn text() -> Sealed {
    Sealed::plain("operator")
}

impl Engine {
    /// Decides, writes down and does what follows.
    pub fn stand(&mut self, at: usize, input: &Input, now: UnixMs) {
        let Some(change) = self.nodes[at].standing.decide(input) else {
            return;
        };
        let node = NodeWork::name(at);
        let lsn = self.disk.append(Event::Node { node, time: now, change: change.clone() });
        self.nodes[at].standing.apply(&change, now);
        if change.lets_send() {
            self.nodes[at].allowed = lsn;
        }
        match change {
            NodeChange::Quarantined(_) => {
                self.return_queued(at);
                let open: Vec<AttemptId> = self.nodes[at].tracked.keys().copied().collect();
                open.into_iter().for_each(|attempt| self.suspend(at, attempt, now));
            }
            NodeChange::Trusted { .. } => self.trust_all(at, now),
            NodeChange::Drained { .. } => self.return_queued(at),
            NodeChange::Identified { .. }
            | NodeChange::PaidAfterAll(_)
            | NodeChange::Undrained { .. } => {}
        }
    }

    /// Payments may be sent there now: what allows it is on disk (rule E1).
    pub fn may_send_now(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        if self.is(Twin::IgnoresStanding) {
            return true;
        }
        let durable = node.allowed <= self.disk.durable() || self.is(Twin::ResendsEarly);
        node.may_send() && durable
    }

    /// Whatever waits at the node without an attempt moves.
    pub fn return_queued(&mut self, at: usize) {
        for payment in self.nodes[at].take_queued() {
            self.seen.push((Kind::Moment, "an order moved to another node"));
            self.give_back(payment);
        }
    }

    /// The attempt is unresolved while its node is not believed.
    pub fn suspend(&mut self, at: usize, attempt: AttemptId, now: UnixMs) {
        let Some(why) = self.nodes[at].standing.quarantine else {
            return;
        };
        let (expiry, connected) = (now, self.nodes[at].node.is_connected());
        let node = &mut self.nodes[at];
        let Some(tracked) = node.tracked.get_mut(&attempt) else {
            return;
        };
        let number = &mut node.number;
        let was_stuck = tracked.tracker.is_stuck();
        let news = tracked.tracker.suspend(why, &Context { now, expiry, connected, number });
        self.let_go(at, attempt, Outcome::Suspended, now);
        if news && !was_stuck {
            self.outcome(attempt, Outcome::Suspended);
        }
    }

    /// Of an attempt that the node may never have known only a proof counts: its payment is
    /// unresolved.
    pub fn believe_proofs_alone(&mut self, at: usize, attempt: AttemptId, now: UnixMs) {
        let (expiry, connected) = (now, self.nodes[at].node.is_connected());
        let node = &mut self.nodes[at];
        let Some(tracked) = node.tracked.get_mut(&attempt) else {
            return;
        };
        if !node.standing.may_not_know(tracked.tracker.started()) {
            return;
        }
        let known = tracked.tracker.is_stuck();
        let number = &mut node.number;
        let context = Context { now, expiry, connected, number };
        tracked.tracker.believe_proofs_alone(&context);
        self.let_go(at, attempt, Outcome::Suspended, now);
        if !known {
            self.outcome(attempt, Outcome::Suspended);
        }
    }

    fn trust_all(&mut self, at: usize, now: UnixMs) {
        let (expiry, connected) = (now, self.nodes[at].node.is_connected());
        let all: Vec<AttemptId> = self.nodes[at].tracked.keys().copied().collect();
        for attempt in all {
            self.believe_proofs_alone(at, attempt, now);
            let node = &mut self.nodes[at];
            let Some(tracked) = node.tracked.get_mut(&attempt) else { continue };
            if !node.standing.may_not_know(tracked.tracker.started()) {
                let number = &mut node.number;
                tracked.tracker.trust(&Context { now, expiry, connected, number });
            }
        }
    }

    /// Writes down what the node may not forget any more (rule E19).
    pub fn confirm(&mut self, at: usize, now: UnixMs) {
        if now.since(self.nodes[at].confirmed).abs() < CONFIRM_AFTER_MS {
            return;
        }
        self.nodes[at].confirmed = now;
        let long = |started: UnixMs| now.since(started) >= CONFIRM_AFTER_MS;
        let tracked = self.nodes[at].tracked.iter();
        let shown = tracked.filter(|(_, tracked)| tracked.tracker.is_confirmed());
        let shown = shown.filter(|(_, tracked)| long(tracked.tracker.started()));
        let shown: Vec<AttemptId> = shown.map(|(attempt, _)| *attempt).collect();
        for attempt in shown {
            if self.batches[&attempt.payment.batch()].reborn_at.is_none() {
                let input = PaymentInput::Confirmed { attempt: attempt.number };
                // Refused: it is known already, or over.
                let _ = self.decide(attempt.payment, &input, now);
            }
        }
    }

    /// A person has looked at everything: all nodes are in use again.
    pub fn use_all_nodes(&mut self, now: UnixMs) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].reborn_at.is_none() {
                let key = Some(Arc::from([2; 33]));
                let trust = Input::Trust { identity_pubkey: key, by: text(), checked: text() };
                self.stand(at, &trust, now);
                self.stand(at, &Input::Undrain(text()), now);
            }
        }
    }
}
