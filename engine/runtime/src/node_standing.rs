//! How the node stands: its identity, quarantine and draining, in the journal before they matter to
//! anybody outside (rules E19, E22).

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, Event, Lsn, UnixMs,
    port::{Journal, NodeInfo},
    standing::{Input, NodeChange},
    tracker::{Context, Outcome},
};

use crate::{
    message::{BatchMessage, Steer},
    node_work::NodeWork,
};

/// A payment that takes longer than this is confirmed in the journal, in milliseconds.
const CONFIRM_AFTER_MS: i64 = 1_000;

impl NodeWork {
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
            standing.apply(&change);
            (lsn, change)
        };
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
        self.slot.may_send() && !self.witnessing.waits
    }

    fn suspend_all(&mut self, time: UnixMs) {
        self.return_queued();
        let open: Vec<AttemptId> = self.tracked.keys().copied().collect();
        for attempt in open {
            self.suspend(attempt, time);
        }
    }

    /// The attempt is unresolved: it is watched for a proof, and holds nothing back any more.
    pub(crate) fn suspend(&mut self, attempt: AttemptId, time: UnixMs) {
        let connected = self.node.is_connected();
        let known = {
            let Some(tracked) = self.tracked.get_mut(&attempt) else {
                return;
            };
            let mut number = self.slot.number.lock();
            let context = Context { now: time, expiry: time, connected, number: &mut number };
            let was_stuck = tracked.tracker.is_stuck();
            !tracked.tracker.suspend(&context) || was_stuck
        };
        self.waiting.push(attempt);
        self.let_go(attempt, Outcome::Suspended, time);
        if let Some(tracked) = self.tracked.get(&attempt).filter(|_| !known) {
            let message = BatchMessage::Outcome(attempt, Outcome::Suspended);
            tracked.start.batch.inbox.deliver(message);
        }
    }

    fn trust_all(&mut self, time: UnixMs) {
        let connected = self.node.is_connected();
        for (attempt, tracked) in &mut self.tracked {
            let mut number = self.slot.number.lock();
            let context = Context { now: time, expiry: time, connected, number: &mut number };
            tracked.tracker.trust(&context);
            self.waiting.push(*attempt);
        }
        self.tick_waiting(time);
    }

    /// Has the batches write down what the node may not forget any more.
    pub(crate) fn confirm(&mut self, time: UnixMs) {
        if time.since(self.confirmed) < CONFIRM_AFTER_MS {
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
