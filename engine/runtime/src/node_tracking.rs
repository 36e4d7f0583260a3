//! The node actor's attempts: inputs to their trackers, and what comes of them.

use std::{sync::Arc, time::Duration};

use fulgurite_core::{
    AttemptId, UnixMs,
    event::{Contradiction, NeverSent},
    id::SendId,
    port::{Command, PaymentStatus, SendEnd, SendPayment, SendReport, TrackReport},
    standing,
    tracker::{Action, Context, Input, Outcome, Phase},
};

use crate::{
    message::{BatchMessage, Start},
    metrics::Stage,
    node_work::{NodeWork, Tracked},
    slot::SendPolicy,
};

impl NodeWork {
    /// Something happened to a send.
    pub(crate) fn sent(&mut self, send: SendId, report: SendReport, time: UnixMs) {
        match &report {
            SendReport::Payment(_) => self.node.answered(),
            SendReport::Ended(SendEnd::Lost(text)) => {
                self.shared.metrics.send_lost(&self.slot.name);
                let confirmed = self
                    .tracked
                    .get(&send.attempt)
                    .is_some_and(|tracked| tracked.tracker.is_confirmed());
                // A long payment outlives the deadline of its send: nobody's fault.
                if !confirmed {
                    tracing::debug!(node = %self.slot.name, payment = %send.attempt.payment,
                        error = %text, "send lost");
                    self.node.lost(time);
                }
            }
            SendReport::Ended(
                SendEnd::Completed | SendEnd::NotHandedOver | SendEnd::Refused(_),
            ) => {}
        }
        self.input(send.attempt, Input::Send(send.number, report), time);
    }

    /// Gives one input to an attempt's tracker and does what it says.
    pub(crate) fn input(&mut self, attempt: AttemptId, input: Input, time: UnixMs) {
        let expiry = self.shared.sends.expiry(time, self.clock_offset_ms(time));
        let connected = self.node.is_connected();
        let Some(tracked) = self.tracked.get_mut(&attempt) else {
            self.after_the_end(attempt, &input);
            return;
        };
        let resends = tracked.tracker.resends();
        let action = {
            let mut number = self.slot.number.lock();
            let mut context = Context { now: time, expiry, connected, number: &mut number };
            tracked.tracker.step(input, &mut context)
        };
        if tracked.tracker.resends() > resends {
            self.shared.metrics.resent(&self.slot.name);
        }
        if let Phase::Waiting { until } = tracked.tracker.phase() {
            self.waiting.set(attempt, until);
        }
        if let Some(action) = action {
            self.act(attempt, action, time);
        }
    }

    /// What comes after an attempt's outcome changes nothing, but a success: its payment may have
    /// ended as not paid (rule E14).
    fn after_the_end(&self, attempt: AttemptId, input: &Input) {
        let report = match input {
            Input::Send(_, SendReport::Payment(report))
            | Input::Track(_, TrackReport::Payment(report)) => report,
            _ => return,
        };
        let PaymentStatus::Succeeded { preimage, fee_paid } = report.status else {
            return;
        };
        let batch = attempt.payment.batch();
        let Some(slot) = self.shared.directory.get(&batch).map(|slot| Arc::clone(slot.value()))
        else {
            return self.after_its_batch(attempt.payment, preimage);
        };
        let outcome = Outcome::Settled { preimage, amount: report.amount, fee_paid };
        slot.inbox.deliver(BatchMessage::Outcome(attempt, outcome));
    }

    fn act(&mut self, attempt: AttemptId, action: Action, time: UnixMs) {
        match action {
            Action::Send(send, expiry) => {
                let Some(tracked) = self.tracked.get(&attempt) else {
                    return;
                };
                let payment = send_payment(&tracked.start, send, expiry, self.shared.sends);
                self.adapter.command(Command::Send(Box::new(payment)));
            }
            Action::Track(call) => self.adapter.command(Command::Track(call)),
            Action::AskPermission => {
                let Some(tracked) = self.tracked.get(&attempt) else {
                    return;
                };
                let message = BatchMessage::AskPermission(attempt, self.slot.index);
                tracked.start.batch.inbox.deliver(message);
            }
            // It was raised for others; who asks now is not told by its next rise.
            Action::Fence(expiry) if expiry <= self.fence.up_to() => {
                self.input(attempt, Input::Fence(self.fence.up_to()), time);
            }
            Action::Fence(expiry) => {
                self.fencing.push(attempt);
                self.want_fence(expiry);
            }
            Action::Stuck => self.stuck(attempt, time),
            Action::Done(outcome) => self.done(attempt, outcome, time),
        }
    }

    fn done(&mut self, attempt: AttemptId, outcome: Outcome, time: UnixMs) {
        self.let_go(attempt, outcome, time);
        self.waiting.remove(attempt);
        let Some(Tracked { start, sent, tracker, .. }) = self.tracked.remove(&attempt) else {
            return;
        };
        self.shared.metrics.record(Stage::Node, sent.elapsed());
        if let Outcome::NeverSent(cause) = outcome {
            self.shared.metrics.never_sent(&self.slot.name);
            if cause == NeverSent::NotDelivered {
                tracing::debug!(node = %self.slot.name, payment = %attempt.payment, "never sent");
            }
        }
        start.batch.inbox.deliver(BatchMessage::Outcome(attempt, outcome));
        if outcome == Outcome::Contradicted(Contradiction::Forgotten) && !tracker.was_trusted() {
            self.stand(&standing::Input::Forgot, time);
        }
    }

    /// Lets trackers ask whose moment or node has come.
    pub(crate) fn tick_waiting(&mut self, time: UnixMs) {
        if !self.node.is_connected() {
            return;
        }
        // What they do now may have them wait again.
        let due: Vec<_> = std::iter::from_fn(|| self.waiting.take_due(time)).collect();
        for attempt in due {
            self.input(attempt, Input::Tick, time);
        }
    }

    /// The fence has risen: trackers behind it ask once more.
    pub(crate) fn fence_is_up(&mut self, time: UnixMs) {
        let up_to = self.fence.up_to();
        for attempt in std::mem::take(&mut self.fencing) {
            self.input(attempt, Input::Fence(up_to), time);
            let still = self.tracked.get(&attempt).map(|tracked| tracked.tracker.phase());
            if let Some(Phase::Fencing { expiry }) = still {
                self.fencing.push(attempt);
                self.want_fence(expiry);
            }
        }
    }
}

fn send_payment(start: &Start, send: SendId, expiry: UnixMs, policy: SendPolicy) -> SendPayment {
    let (order, attempt) = (&start.order, &start.attempt);
    let deadline_ms = u64::try_from(policy.deadline_ms).unwrap_or(0);
    SendPayment {
        send,
        payment_hash: order.payment_hash,
        invoice: Arc::clone(&order.invoice),
        amount: order.amount_in_send.then_some(order.amount),
        fee_limit: attempt.fee_limit,
        cltv_limit: attempt.cltv_limit,
        timeout_seconds: attempt.timeout_seconds,
        outgoing_chan_ids: attempt.channels.iter().map(|&(channel, _)| channel).collect(),
        max_parts: policy.parts_max,
        expiry,
        deadline: Duration::from_millis(deadline_ms),
    }
}
