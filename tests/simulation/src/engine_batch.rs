//! The engine's side of a batch: decisions, outcomes, expiry, placement, permission.

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, BatchId, Event, Msat, PaymentId, UnixMs,
    dispatch::{Candidate, Choice, choose},
    event::AttemptStarted,
    payment::{Effect, Input, Refusal, State},
    port::Journal,
    tracker::Outcome,
};

use crate::{
    coverage::Kind,
    engine::{Engine, Release},
    engine_node::NodeWork,
    twin::Twin,
};

impl Engine {
    pub fn outcomes(&mut self, batch: BatchId, now: UnixMs) {
        let Some(work) = self.batches.get_mut(&batch) else {
            return;
        };
        if work.reborn_at.is_some() {
            return;
        }
        for (attempt, outcome) in std::mem::take(&mut work.outcomes) {
            let input = Input::from_outcome(attempt.number, outcome);
            // Refused: an outcome that was told twice, by an actor and by the one rebuilt for it.
            let _ = self.decide(attempt.payment, &input, now);
        }
    }

    /// Cancels the payment of a batch at the place that `pick` falls on, if nothing is in flight.
    pub fn cancel_payment(&mut self, batch: BatchId, pick: u64, now: UnixMs) {
        let Some(work) = self.batches.get(&batch).filter(|work| work.reborn_at.is_none()) else {
            return;
        };
        let payments = &work.batch.payments;
        if payments.is_empty() {
            return;
        }
        let at = usize::try_from(pick % payments.len() as u64).expect("below the length");
        let (id, queued) = (payments[at].id, payments[at].is_queued());
        if queued {
            self.withdraw(id);
            self.decide(id, &Input::Cancel, now).expect("what is queued can be cancelled");
        }
    }

    /// An outcome goes to its batch.
    pub fn outcome(&mut self, attempt: AttemptId, outcome: Outcome) {
        let work = self.batches.get_mut(&attempt.payment.batch()).expect("batches stay");
        work.outcomes.push((attempt, outcome));
    }

    pub fn expire(&mut self, batch: BatchId, now: UnixMs) {
        while let Some(work) = self.batches.get_mut(&batch)
            && work.reborn_at.is_none()
            && let Some(position) = work.schedule.expired(now)
        {
            let payment = &work.batch.payments[position as usize];
            let id = payment.id;
            if payment.is_queued() {
                self.withdraw(id);
                self.decide(id, &Input::Expire, now).expect("it is queued and late");
            }
        }
    }

    /// Decides, writes down, applies, and does what follows in the batch.
    pub fn decide(&mut self, id: PaymentId, input: &Input, now: UnixMs) -> Result<(), Refusal> {
        let early = self.is(Twin::SendsEarly);
        let work = self.batches.get_mut(&id.batch()).expect("batches stay");
        let state = &work.batch.payment(id).expect("a payment of its batch").state;
        let was_in_flight = matches!(state, State::InFlight(_));
        let was_stuck = matches!(state, State::Stuck(_)) && !matches!(input, Input::Resolve(_));
        let event = work.batch.decide_payment(id, input, self.retry, now)?;
        let lsn = self.disk.append(event.clone());
        let effect = work.batch.apply(&event, lsn);
        let position = work.batch.position(id).expect("a payment of its batch");
        let after = &work.batch.payments[position as usize];
        if was_in_flight && !matches!(after.state, State::InFlight(_)) {
            work.schedule.ended(after);
        }
        match effect {
            Some(Effect::Send(attempt)) if early => {
                self.pending.push_front((0, Release::Start(attempt)));
            }
            Some(Effect::Send(attempt)) => {
                self.pending.push_back((lsn, Release::Start(attempt)));
            }
            Some(Effect::Wait { not_before }) => {
                let payment = &work.batch.payments[position as usize];
                work.schedule.queued(position, payment, not_before, now);
            }
            Some(Effect::Finished) if was_stuck => {
                self.seen.push((Kind::Moment, "a stuck payment came to its end"));
            }
            Some(
                Effect::Ask(_)
                | Effect::Finished
                | Effect::Stuck
                | Effect::Suspended
                | Effect::Alarm,
            )
            | None => {}
        }
        self.follow_up(id.batch(), now);
        Ok(())
    }

    pub fn follow_up(&mut self, batch: BatchId, now: UnixMs) {
        while let Some(event) = self.batches[&batch].batch.follow_up(now) {
            if let Event::PaymentsCancelled { rows, .. } = &event {
                rows.iter().for_each(|row| self.withdraw(batch.payment(*row)));
            }
            let lsn = self.disk.append(event.clone());
            let work = self.batches.get_mut(&batch).expect("batches stay");
            work.batch.apply(&event, lsn);
        }
    }

    /// A queued payment that waits at a node will not start.
    fn withdraw(&mut self, id: PaymentId) {
        let placed = self.nodes.iter_mut().any(|node| node.forget(id));
        if placed {
            let work = self.batches.get_mut(&id.batch()).expect("batches stay");
            work.schedule.ended(work.batch.payment(id).expect("a payment of its batch"));
        }
    }

    /// A placed payment did not start.
    pub fn give_back(&mut self, id: PaymentId) {
        let work = self.batches.get_mut(&id.batch()).expect("batches stay");
        let position = work.batch.position(id).expect("a payment of its batch");
        let payment = &work.batch.payments[position as usize];
        work.schedule.ended(payment);
        if payment.is_queued() {
            work.schedule.returned(position);
        }
    }

    pub fn place(&mut self, batch: BatchId, now: UnixMs) {
        let comparing = self.is_comparing();
        let Some(work) = self.batches.get_mut(&batch) else {
            return;
        };
        let held = work.recovered && comparing;
        if !work.batch.is_running() || work.reborn_at.is_some() || held {
            return;
        }
        while let Some(position) = work.schedule.take(&work.batch.payments, now) {
            let payment = &work.batch.payments[position as usize];
            let needed = payment.order.amount.saturating_add(payment.order.fee_limit);
            let fleet: Vec<Candidate> =
                self.nodes.iter_mut().map(|node| node.candidate(needed, now)).collect();
            let avoid = payment.attempts.last().map(|last| last.node.len() - 1);
            let Choice::Node(at) = choose(&fleet, avoid) else {
                work.schedule.ended(payment);
                work.schedule.returned(position);
                return;
            };
            let priority = work.batch.summary.accepted.options.priority;
            self.nodes[at].enqueue(priority, payment.id);
        }
    }

    /// Decides an attempt of a placed payment; what was reserved for it is in `channels`.
    pub fn begin_attempt(
        &mut self,
        id: PaymentId,
        at: usize,
        channels: Vec<(u64, Msat)>,
        now: UnixMs,
    ) -> Result<(), Refusal> {
        let work = &self.batches[&id.batch()];
        if work.reborn_at.is_some() {
            return Err(Refusal::TooEarly);
        }
        let payment = self.payment(id);
        let order = &payment.order;
        let attempt = AttemptStarted {
            attempt: payment.next_attempt(),
            node: NodeWork::name(at),
            epoch: self.epoch,
            amount: order.amount,
            fee_limit: order.fee_limit,
            channels,
            cltv_limit: 1_008,
            timeout_seconds: 30,
            send_until: work.batch.terms(self.retry).start_until(order).0,
        };
        self.decide(id, &Input::Start(Arc::new(attempt)), now)
    }

    /// Whether an attempt may be sent again (rule E9).
    pub fn permits(&self, attempt: AttemptId, now: UnixMs) -> Option<bool> {
        let work = &self.batches[&attempt.payment.batch()];
        let open = self.payment(attempt.payment).state.open_attempt()?;
        let granted = self.is(Twin::IgnoresWithdrawal);
        let durable = work.resumed <= self.disk.durable() || self.is(Twin::ResendsEarly);
        let held = work.recovered && self.is_comparing();
        let same = open.attempt == attempt.number && work.reborn_at.is_none() && durable && !held;
        same.then_some(granted || (work.batch.is_running() && now <= open.send_until))
    }
}
