//! Where the twins go wrong, as far as that takes more than one line in the engine.

use fulgurite_core::{
    AttemptId, UnixMs,
    id::SendId,
    port::{FailureReason, PaymentStatus, TrackReport},
    tracker::{Outcome, Phase},
};

use crate::{engine::Engine, engine_node::Tracked, twin::Twin};

impl Engine {
    /// Ends an attempt by a rule of its own.
    pub fn over(&mut self, attempt: AttemptId, outcome: Outcome, now: UnixMs) {
        let found = self.nodes.iter().position(|node| node.tracked.contains_key(&attempt));
        if let Some(at) = found {
            self.done(at, attempt, outcome, now);
        }
    }

    /// Sends of dead actors go out, whatever became of their attempts.
    pub fn send_what_was_left(&mut self, now: UnixMs) {
        let due = self.left.iter().position(|(at, _)| *at <= now);
        let Some((_, attempt)) = due.map(|due| self.left.remove(due)) else {
            return;
        };
        let payment = self.payment(attempt.payment);
        let Some(made) = payment.attempts.get(usize::from(attempt.number) - 1) else {
            return;
        };
        let at = made.node.len() - 1;
        self.nodes[at].number += 1;
        let number = self.nodes[at].number;
        let expiry = self.nodes[at].expiry(self.steady(now));
        self.send(at, SendId { attempt, number }, expiry);
    }

    /// What takes long is called failed, and tried elsewhere.
    pub fn retry_in_flight(&mut self, at: usize, now: UnixMs) {
        if !self.is(Twin::RetriesInFlight) {
            return;
        }
        let slow = |tracked: &Tracked| {
            let watching = matches!(tracked.tracker.phase(), Phase::Watching(_) | Phase::Sending);
            watching && now.since(tracked.tracker.started()) > 5_000
        };
        let slow = self.nodes[at].tracked.iter().filter(|(_, tracked)| slow(tracked));
        for attempt in slow.map(|(attempt, _)| *attempt).collect::<Vec<_>>() {
            self.over(attempt, Outcome::Failed(FailureReason::Timeout), now);
        }
    }

    /// An answer that the tracker would not take, because the fence rose after the question, is
    /// taken all the same.
    pub fn believe_old_answer(
        &mut self,
        at: usize,
        attempt: AttemptId,
        report: &TrackReport,
        now: UnixMs,
    ) {
        let asks_again = matches!(self.phase(at, attempt), Some(Phase::Asking(_)));
        if !asks_again || self.nodes[at].fence.up_to() == UnixMs(i64::MIN) {
            return;
        }
        let outcome = match report {
            TrackReport::Payment(payment) => match payment.status {
                PaymentStatus::Failed(reason) => Outcome::Failed(reason),
                PaymentStatus::InFlight | PaymentStatus::Succeeded { .. } => return,
            },
            TrackReport::NotFound => Outcome::Failed(FailureReason::Unknown),
            TrackReport::Unreachable(_) => return,
        };
        self.over(attempt, outcome, now);
    }

    /// What the tracker of an attempt waits for.
    pub fn phase(&self, at: usize, attempt: AttemptId) -> Option<Phase> {
        self.nodes[at].tracked.get(&attempt).map(|tracked| tracked.tracker.phase())
    }
}
