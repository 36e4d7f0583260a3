//! How the node stands: its identity, quarantine and draining, in the journal before they matter to
//! anybody outside (rules E19, E22).

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, Event, Lsn, PaymentId, Preimage, UnixMs,
    payment::State,
    port::{Journal, NodeInfo},
    standing::{Input, NodeChange},
    tracker::{Context, Outcome},
};

use crate::{
    clock::now,
    message::{BatchMessage, NodeMessage, Steer},
    node_work::NodeWork,
};

/// A clock that is further off is reported (rule E6), in milliseconds.
const CLOCK_OFFSET_MS_MAX: i64 = 60_000;
/// A payment that takes longer than this is confirmed in the journal, in milliseconds.
const CONFIRM_AFTER_MS: i64 = 1_000;

impl NodeWork {
    pub(crate) fn log_connected(&self, info: &NodeInfo) {
        let (node, clock_offset_ms) = (&self.slot.name, info.clock_offset_ms);
        if !self.node.is_connected() {
            tracing::info!(%node, alias = %info.alias, version = %info.version, clock_offset_ms,
                "node connected");
        }
        let known = self.info.as_ref().map(|before| before.clock_offset_ms);
        if clock_offset_ms.abs() > CLOCK_OFFSET_MS_MAX && known != Some(clock_offset_ms) {
            tracing::warn!(%node, clock_offset_ms, "the node's clock is more than a minute off");
        }
    }

    /// Decides, writes down and does what follows. Returns the LSN that must be durable before
    /// anybody is told.
    pub(crate) fn stand(&mut self, input: &Input, time: UnixMs) -> Lsn {
        let (lsn, change) = {
            let mut standing = self.slot.standing.lock();
            let Some(change) = standing.decide(input) else {
                return self.shared.journal.last();
            };
            let node = Arc::clone(&self.slot.name);
            let event = Event::Node { node, time, change: change.clone() };
            let lsn = self.shared.journal.append(event);
            standing.apply(&change, time);
            (lsn, change)
        };
        if change.lets_send() {
            self.allowed = lsn;
        }
        let node = &self.slot.name;
        match change {
            NodeChange::Identified { .. } => {}
            NodeChange::Quarantined(why) => {
                tracing::error!(%node, reason = ?why, "the node is not believed any more: \
                    nothing is sent to it, and what is open there is unresolved");
                self.suspend_all(time);
            }
            NodeChange::Trusted { .. } => {
                tracing::warn!(%node, "the node is trusted again");
                self.trust_all(time);
            }
            NodeChange::Drained { .. } => {
                tracing::info!(%node, "the node drains: no new attempt starts there");
                self.return_queued();
            }
            NodeChange::PaidAfterAll(payment) => {
                self.shared.metrics.contradiction();
                tracing::error!(%node, %payment, "paid, says the node of a payment that ended otherwise \
                    with its whole batch: tell whoever was told that it was not");
            }
            NodeChange::Undrained { .. } => tracing::info!(%node, "the node is in use again"),
        }
        lsn
    }

    /// The node showed its identity.
    pub(crate) fn identified(&mut self, info: &NodeInfo, time: UnixMs) {
        self.stand(&Input::Connected(info.identity_pubkey.as_slice().into()), time);
    }

    /// A person wants something.
    pub(crate) fn steer(&mut self, steer: Steer, time: UnixMs) {
        let input = match steer.input {
            Input::Trust { by, checked, .. } => {
                let info = self.info.as_ref().filter(|_| self.node.is_connected());
                let identity_pubkey = info.map(|info| info.identity_pubkey.as_slice().into());
                Input::Trust { identity_pubkey, by, checked }
            }
            other => other,
        };
        let lsn = self.stand(&input, time);
        // Who asked may be gone.
        let _ = steer.reply.send(lsn);
    }

    /// Payments may be sent there.
    pub(crate) fn may_send(&self) -> bool {
        self.slot.may_send() && !self.witnessing.waits && !self.shared.is_withdrawn()
    }

    /// They may be sent now: what allows it is on disk (rule E1). A send that writes no event of
    /// its own would leave before it, and a first one, decided before the node was drained, too.
    pub(crate) fn may_send_now(&self) -> bool {
        self.may_send() && self.allowed <= self.shared.journal.durable()
    }

    /// A person decided: it is watched no more.
    pub(crate) fn forget(&mut self, attempt: AttemptId) {
        self.tracked.remove(&attempt);
        self.waiting.remove(attempt);
        self.resumed.retain(|start| {
            (start.payment, start.attempt.attempt) != (attempt.payment, attempt.number)
        });
    }

    /// What comes after a payment's end and its batch's: the views know how it ended.
    pub(crate) fn after_its_batch(&self, payment: PaymentId, preimage: Preimage) {
        let (views, slot) = (self.views.clone(), Arc::clone(&self.slot));
        let shared = Arc::clone(&self.shared);
        let projected = Arc::clone(self.shared.journal.projected());
        let newest = self.shared.journal.last();
        // Not here: the disk may be slow.
        actix_rt::spawn(async move {
            projected.wait_owned(newest).await;
            let found = tokio::task::spawn_blocking(move || views.payment(payment)).await;
            let Ok(Ok(Some(found))) = found else {
                return;
            };
            let is_proved = preimage.payment_hash() == found.order.payment_hash;
            if is_proved && matches!(found.state, State::Failed(_) | State::Cancelled) {
                // Nobody pays it again, over whichever node.
                let hashes = Arc::new(vec![found.order.payment_hash]);
                let node = Arc::clone(&slot.name);
                let event = Event::PaidElsewhere { node, hashes: Arc::clone(&hashes), time: now() };
                let lsn = shared.journal.append(event);
                shared.claims.written_elsewhere(&hashes, lsn);
                slot.inbox.deliver(NodeMessage::PaidAfterAll(payment));
            }
        });
    }

    /// Rule E14, of a payment that nobody changes any more.
    pub(crate) fn paid_after_all(&mut self, payment: PaymentId, time: UnixMs) {
        self.stand(&Input::PaidAfterAll(payment), time);
    }

    /// What waits for the node since a restart is unresolved too.
    pub(crate) fn suspend_resumed(&mut self) {
        for start in self.resumed.iter_mut().filter(|start| !start.stuck) {
            start.stuck = true;
            let attempt = AttemptId { payment: start.payment, number: start.attempt.attempt };
            let message = BatchMessage::Outcome(attempt, Outcome::Suspended);
            start.batch.inbox.deliver(message);
        }
    }

    fn suspend_all(&mut self, time: UnixMs) {
        self.return_queued();
        self.suspend_resumed();
        let open: Vec<AttemptId> = self.tracked.keys().copied().collect();
        for attempt in open {
            self.suspend(attempt, time);
        }
    }

    /// The attempt is unresolved: it is watched for a proof, and holds nothing back any more.
    fn suspend(&mut self, attempt: AttemptId, time: UnixMs) {
        let Some(why) = self.slot.standing.lock().quarantine else {
            return;
        };
        let connected = self.node.is_connected();
        let known = {
            let Some(tracked) = self.tracked.get_mut(&attempt) else {
                return;
            };
            let mut number = self.slot.number.lock();
            let context = Context { now: time, expiry: time, connected, number: &mut number };
            let was_stuck = tracked.tracker.is_stuck();
            !tracked.tracker.suspend(why, &context) || was_stuck
        };
        self.waiting.set(attempt, time);
        self.let_go(attempt, Outcome::Suspended, time);
        if let Some(tracked) = self.tracked.get(&attempt).filter(|_| !known) {
            let message = BatchMessage::Outcome(attempt, Outcome::Suspended);
            tracked.start.batch.inbox.deliver(message);
        }
    }

    /// An attempt from before a restart: the node may not be believed, or may never have known it.
    pub(crate) fn doubt(&mut self, attempt: AttemptId, time: UnixMs) {
        self.believe_proofs_alone(attempt, time);
        self.suspend(attempt, time);
    }

    /// Of an attempt that the node may never have known only a proof counts. Its payment is
    /// unresolved, and told so: it may be one that nobody called so before, because the clock was
    /// set back since the node was trusted.
    fn believe_proofs_alone(&mut self, attempt: AttemptId, time: UnixMs) {
        let connected = self.node.is_connected();
        let Some(tracked) = self.tracked.get_mut(&attempt) else {
            return;
        };
        if !self.slot.standing.lock().may_not_know(tracked.start.time) {
            return;
        }
        let known = tracked.tracker.is_stuck();
        {
            let mut number = self.slot.number.lock();
            let context = Context { now: time, expiry: time, connected, number: &mut number };
            tracked.tracker.believe_proofs_alone(&context);
        }
        self.waiting.set(attempt, time);
        self.let_go(attempt, Outcome::Suspended, time);
        if let Some(tracked) = self.tracked.get(&attempt).filter(|_| !known) {
            let message = BatchMessage::Outcome(attempt, Outcome::Suspended);
            tracked.start.batch.inbox.deliver(message);
        }
    }

    fn trust_all(&mut self, time: UnixMs) {
        let connected = self.node.is_connected();
        let standing = self.slot.standing.lock().clone();
        let all: Vec<AttemptId> = self.tracked.keys().copied().collect();
        for attempt in all {
            self.believe_proofs_alone(attempt, time);
            let Some(tracked) = self.tracked.get_mut(&attempt) else { continue };
            if standing.may_not_know(tracked.start.time) {
                continue;
            }
            let mut number = self.slot.number.lock();
            let context = Context { now: time, expiry: time, connected, number: &mut number };
            tracked.tracker.trust(&context);
            self.waiting.set(attempt, time);
        }
        self.tick_waiting(time);
    }

    /// Has the batches write down what the node may not forget any more.
    pub(crate) fn confirm(&mut self, time: UnixMs) {
        // A clock that was set back says nothing about how long it was.
        if time.since(self.confirmed).abs() < CONFIRM_AFTER_MS {
            return;
        }
        self.confirmed = time;
        for (attempt, tracked) in &mut self.tracked {
            let long = time.since(tracked.tracker.started()) >= CONFIRM_AFTER_MS;
            if long && !tracked.start.confirmed && tracked.tracker.is_confirmed() {
                tracked.start.confirmed = true;
                tracked.start.batch.inbox.deliver(BatchMessage::Confirmed(*attempt));
            }
        }
    }
}
