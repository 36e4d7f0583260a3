//! What a batch actor does: decide, write down, hand on. All rules are in `fulgurite_core`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use fulgurite_core::{
    AttemptId, BatchId, Event, PaymentId, UnixMs,
    batch::{self, Batch},
    dispatch::{Candidate, Choice, choose},
    event::AttemptStarted,
    payment::{Effect, Input, State},
    port::Journal,
    schedule::Schedule,
    tracker::Outcome,
};

use crate::{
    clock::now,
    message::{BatchMessage, Grant, NodeMessage, Place, Placed, Request, Start},
    release::{Release, ReleaseList},
    slot::{BatchSlot, Shared},
};

/// The work of one batch actor: one batch, or the single payments.
pub struct BatchWork {
    shared: Arc<Shared>,
    slot: Arc<BatchSlot>,
    releases: ReleaseList,
    incarnation: u32,
    batches: HashMap<BatchId, Work>,
    /// Orders that wait at a node, without an attempt.
    placed: HashMap<AttemptId, Placed>,
    placement: u64,
    /// Batches that may have something to place, in turn.
    hungry: VecDeque<BatchId>,
    /// The time of the last drain or tick.
    now: UnixMs,
    /// When batches have something to do by themselves.
    wakes: BinaryHeap<Reverse<(UnixMs, BatchId)>>,
}

struct Work {
    batch: Batch,
    schedule: Schedule,
    hungry: bool,
    wake_at: Option<UnixMs>,
}

impl BatchWork {
    /// The work of a fresh or rebuilt actor on its slot.
    pub fn new(
        shared: Arc<Shared>, slot: Arc<BatchSlot>, releases: ReleaseList, incarnation: u32,
    ) -> BatchWork {
        BatchWork {
            shared,
            slot,
            releases,
            incarnation,
            batches: HashMap::new(),
            placed: HashMap::new(),
            // Placements of a predecessor never look like ours.
            placement: u64::from(incarnation) << 40,
            hungry: VecDeque::new(),
            now: now(),
            wakes: BinaryHeap::new(),
        }
    }

    /// The slot.
    pub fn slot(&self) -> &Arc<BatchSlot> {
        &self.slot
    }

    /// Takes a batch over that is open from before.
    pub fn take_over(&mut self, batch: Batch) {
        self.adopt(batch, now());
    }

    /// True when the slot's one batch is finished, so that its actor can go.
    pub fn is_over(&self) -> bool {
        self.slot.batch.is_some() && self.batches.is_empty()
    }

    /// Takes everything that waited in the inbox.
    pub fn drain(&mut self, messages: Vec<BatchMessage>) {
        let time = now();
        self.now = time;
        for message in messages {
            self.step(message, time);
        }
        self.dispatch(time);
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        let time = now();
        self.now = time;
        while let Some(&Reverse((at, batch))) = self.wakes.peek() {
            if at > time {
                break;
            }
            self.wakes.pop();
            self.expire(batch, time);
            if let Some(work) = self.batches.get_mut(&batch) {
                work.wake_at = None;
            }
            self.feed(batch);
        }
        self.dispatch(time);
    }

    fn step(&mut self, message: BatchMessage, time: UnixMs) {
        match message {
            BatchMessage::Adopt(batch) => self.adopt(*batch, time),
            BatchMessage::Request(request) => self.request(request, time),
            BatchMessage::Grant(grant) => self.grant(grant, time),
            BatchMessage::Returned(placed) => self.returned(placed),
            BatchMessage::Outcome(attempt, outcome) => self.outcome(attempt, outcome, time),
            BatchMessage::AskPermission(attempt) => self.permission(attempt, time),
            BatchMessage::NodeReborn(node) => {
                let placed = self.placed.values().filter(|placed| placed.node == node);
                let lost: Vec<Placed> = placed.copied().collect();
                lost.into_iter().for_each(|placed| self.returned(placed));
            }
            #[cfg(test)]
            BatchMessage::Die => panic!("a batch actor was told to die"),
        }
    }

    fn adopt(&mut self, batch: Batch, time: UnixMs) {
        let id = batch.summary.accepted.batch;
        let schedule = Schedule::new(&batch, self.shared.retry, time);
        for payment in &batch.payments {
            if let State::InFlight(attempt) = &payment.state {
                let started = payment.attempts.last().map_or(time, |attempt| attempt.started);
                let start = Start {
                    payment: payment.id,
                    attempt: Arc::clone(attempt),
                    order: Arc::clone(&payment.order),
                    time: started,
                    batch: Arc::clone(&self.slot),
                    incarnation: self.incarnation,
                };
                self.resume(start);
            }
        }
        let work = Work { batch, schedule, hungry: false, wake_at: None };
        self.batches.insert(id, work);
        self.follow_up(id, time);
        self.feed(id);
    }

    fn resume(&self, start: Start) {
        match self.shared.node_index(&start.attempt.node) {
            Some(node) => {
                let message = NodeMessage::Resume(Box::new(start));
                self.shared.nodes[node].inbox.deliver(message);
            }
            None => tracing::error!(payment = %start.payment, node = %start.attempt.node,
                "an attempt is open at a node that is not configured; put the node back"),
        }
    }

    fn request(&mut self, request: Request, time: UnixMs) {
        let Some(work) = self.batches.get(&request.batch) else {
            // Finished meanwhile: what the views say.
            return;
        };
        match work.batch.decide(request.input, time) {
            Ok(event) => {
                let lsn = self.record(request.batch, event, time);
                self.follow_up(request.batch, time);
                self.feed(request.batch);
                if let Some(work) = self.batches.get(&request.batch) {
                    let summary = Box::new(Ok(work.batch.summary.clone()));
                    self.releases.push(lsn, Release::Reply(request.reply, summary));
                }
            }
            Err(batch::Refusal::AlreadySo) => {
                let summary = Box::new(Ok(work.batch.summary.clone()));
                let lsn = self.shared.journal.last();
                self.releases.push(lsn, Release::Reply(request.reply, summary));
            }
            // What a refusal rests on may not be durable yet (rule E1).
            Err(refusal) => {
                let lsn = self.shared.journal.last();
                self.releases.push(lsn, Release::Reply(request.reply, Box::new(Err(refusal))));
            }
        }
    }

    /// Appends and applies an event of a batch.
    fn record(&mut self, batch: BatchId, event: Event, _time: UnixMs) -> u64 {
        let lsn = self.shared.journal.append(event.clone());
        let work = self.batches.get_mut(&batch).expect("events are decided by their batch");
        work.batch.apply(&event, lsn);
        lsn
    }

    fn grant(&mut self, grant: Grant, time: UnixMs) {
        let attempt = grant.placed.attempt;
        let node = &self.shared.nodes[grant.placed.node];
        let known = self.placed.get(&attempt) == Some(&grant.placed);
        let work = self.batches.get_mut(&attempt.payment.batch());
        let (true, Some(work)) = (known, work) else {
            node.inbox.deliver(NodeMessage::Declined(grant.placed));
            return;
        };
        if !work.batch.is_running() {
            node.inbox.deliver(NodeMessage::Declined(grant.placed));
            self.returned(grant.placed);
            return;
        }
        let payment = work.batch.payment(attempt.payment).expect("what is placed is ours");
        let order = Arc::clone(&payment.order);
        let (send_until, _) = work.batch.terms(self.shared.retry).start_until(&order);
        let started = Arc::new(AttemptStarted {
            attempt: attempt.number,
            node: Arc::clone(&node.name),
            epoch: self.shared.epoch,
            amount: order.amount,
            fee_limit: order.fee_limit,
            channels: grant.channels,
            cltv_limit: work.batch.summary.accepted.options.cltv_limit_blocks,
            timeout_seconds: self.shared.sends.payment_timeout_seconds,
            send_until,
        });
        let input = Input::Start(Arc::clone(&started));
        match work.batch.decide_payment(attempt.payment, &input, self.shared.retry, time) {
            Ok(event) => {
                let lsn = self.shared.journal.append(event.clone());
                work.batch.apply(&event, lsn);
                self.placed.remove(&attempt);
                let start = Box::new(Start {
                    payment: attempt.payment,
                    attempt: started,
                    order,
                    time,
                    batch: Arc::clone(&self.slot),
                    incarnation: self.incarnation,
                });
                let release = Release::Start(Arc::clone(node), start, Instant::now());
                self.releases.push(lsn, release);
            }
            Err(refusal) => {
                tracing::debug!(payment = %attempt.payment, %refusal, "grant declined");
                node.inbox.deliver(NodeMessage::Declined(grant.placed));
                self.returned(grant.placed);
                self.expire(attempt.payment.batch(), time);
            }
        }
    }

    /// A placed order is with us again.
    fn returned(&mut self, placed: Placed) {
        if self.placed.get(&placed.attempt) != Some(&placed) {
            return;
        }
        self.placed.remove(&placed.attempt);
        let batch = placed.attempt.payment.batch();
        let Some(work) = self.batches.get_mut(&batch) else { return };
        let Some(payment) = work.batch.payment(placed.attempt.payment) else { return };
        work.schedule.ended(payment);
        if payment.is_queued()
            && let Some(position) = work.batch.position(payment.id)
        {
            work.schedule.returned(position);
        }
        self.feed(batch);
    }

    fn outcome(&mut self, attempt: AttemptId, outcome: Outcome, time: UnixMs) {
        let number = attempt.number;
        let input = match outcome {
            Outcome::Settled { preimage, amount, fee_paid } => {
                Input::Settled { attempt: number, preimage, amount, fee_paid }
            }
            Outcome::Failed(reason) => Input::Failed { attempt: number, reason },
            Outcome::NeverSent(cause) => Input::NeverSent { attempt: number, cause },
            Outcome::Contradicted(contradiction) => {
                Input::Contradicted { attempt: number, contradiction }
            }
        };
        self.payment(attempt.payment, &input, time);
    }

    /// Decides about a payment that is in flight or waits, and does what follows.
    fn payment(&mut self, payment: PaymentId, input: &Input, time: UnixMs) {
        let batch = payment.batch();
        let Some(work) = self.batches.get_mut(&batch) else { return };
        let was_in_flight =
            work.batch.payment(payment).is_some_and(|found| matches!(found.state, State::InFlight(_)));
        let event = match work.batch.decide_payment(payment, input, self.shared.retry, time) {
            Ok(event) => event,
            Err(refusal) => {
                tracing::debug!(%payment, %refusal, "input refused");
                return;
            }
        };
        let lsn = self.shared.journal.append(event.clone());
        let effect = work.batch.apply(&event, lsn);
        let Some(found) = work.batch.payment(payment) else { return };
        if was_in_flight {
            work.schedule.ended(found);
        }
        match effect {
            Some(Effect::Wait { not_before }) => {
                if let Some(position) = work.batch.position(payment) {
                    work.schedule.queued(position, not_before, time);
                }
            }
            Some(Effect::Finished) => {
                let hash = found.order.payment_hash;
                let accepted = work.batch.summary.accepted.time;
                self.shared.metrics.finished(&found.state);
                self.shared.claims.leaves(lsn, hash, payment);
                self.shared.intake.closed(1);
                self.releases.push(lsn, Release::Outcome { at: Instant::now(), accepted });
            }
            Some(Effect::Alarm) => {
                self.shared.metrics.contradiction();
                tracing::error!(%payment, "the node contradicts itself: the payment is unresolved");
            }
            Some(Effect::Send(_) | Effect::Ask(_)) | None => {}
        }
        self.follow_up(batch, time);
        self.feed(batch);
    }

    fn permission(&mut self, attempt: AttemptId, time: UnixMs) {
        let Some(work) = self.batches.get(&attempt.payment.batch()) else { return };
        let Some(payment) = work.batch.payment(attempt.payment) else { return };
        let State::InFlight(started) = &payment.state else { return };
        // Rule E9: the same door as a first send.
        let granted = started.attempt == attempt.number
            && work.batch.is_running()
            && time <= started.send_until;
        if let Some(node) = self.shared.node_index(&started.node) {
            let message = NodeMessage::Permission(attempt, granted);
            self.shared.nodes[node].inbox.deliver(message);
        }
    }

    /// Fails what can no longer start.
    fn expire(&mut self, batch: BatchId, time: UnixMs) {
        while let Some(work) = self.batches.get_mut(&batch)
            && let Some(position) = work.schedule.expired(time)
        {
            let payment = &work.batch.payments[position as usize];
            let (id, number) = (payment.id, payment.next_attempt());
            if !payment.is_queued() {
                continue;
            }
            self.withdraw(AttemptId { payment: id, number });
            self.payment(id, &Input::Expire, time);
        }
    }

    /// A placed order will not start: a grant for it will be declined.
    fn withdraw(&mut self, attempt: AttemptId) {
        if self.placed.remove(&attempt).is_some()
            && let Some(work) = self.batches.get_mut(&attempt.payment.batch())
            && let Some(payment) = work.batch.payment(attempt.payment)
        {
            work.schedule.ended(payment);
        }
    }

    /// Does what the batch itself must do by now.
    fn follow_up(&mut self, batch: BatchId, time: UnixMs) {
        while let Some(event) =
            self.batches.get(&batch).and_then(|work| work.batch.follow_up(time))
        {
            if let Event::PaymentsCancelled { rows, .. } = &event {
                self.cancelling(batch, rows);
            }
            let finished = matches!(event, Event::BatchFinished { .. });
            let lsn = self.record(batch, event.clone(), time);
            if let Event::PaymentsCancelled { rows, .. } = &event {
                self.cancelled(batch, rows, lsn);
            }
            if finished {
                self.batches.remove(&batch);
                if self.slot.batch.is_none() {
                    self.shared.directory.remove(&batch);
                }
                if self.slot.batch.is_some() {
                    tracing::info!(%batch, "batch finished");
                }
            }
        }
    }

    /// Takes rows that will be cancelled back from the nodes.
    fn cancelling(&mut self, batch: BatchId, rows: &[u32]) {
        for row in rows {
            let payment = batch.payment(*row);
            let Some(work) = self.batches.get(&batch) else { return };
            let Some(found) = work.batch.payment(payment) else { continue };
            self.withdraw(AttemptId { payment, number: found.next_attempt() });
        }
    }

    fn cancelled(&self, batch: BatchId, rows: &[u32], lsn: u64) {
        let Some(work) = self.batches.get(&batch) else { return };
        for row in rows {
            if let Some(payment) = work.batch.payment(batch.payment(*row)) {
                self.shared.metrics.finished(&payment.state);
                self.shared.claims.leaves(lsn, payment.order.payment_hash, payment.id);
            }
        }
        self.shared.intake.closed(rows.len());
    }

    /// The batch may have something to place.
    fn feed(&mut self, batch: BatchId) {
        let Some(work) = self.batches.get_mut(&batch) else { return };
        if !work.hungry && work.batch.is_running() {
            work.hungry = true;
            self.hungry.push_back(batch);
        }
        // What is due already waits for a node or the window, not for a moment.
        let soonest = self.now.plus_ms(10);
        let wake_at = work.schedule.wake_at().map(|at| at.max(soonest));
        if let Some(at) = wake_at
            && work.wake_at.is_none_or(|earlier| at < earlier)
        {
            work.wake_at = Some(at);
            self.wakes.push(Reverse((at, batch)));
        }
    }

    /// Places orders at nodes while they take them.
    fn dispatch(&mut self, time: UnixMs) {
        if self.hungry.is_empty() {
            return;
        }
        let mut fleet: Vec<(Candidate, fulgurite_core::Msat)> = self
            .shared
            .nodes
            .iter()
            .map(|node| {
                let board = *node.board.lock();
                let waits = u32::try_from(node.inbox.depth().door).unwrap_or(u32::MAX);
                let load = board.in_flight.saturating_add(board.queued).saturating_add(waits);
                let candidate =
                    Candidate { usable: board.usable, load, window: board.window, carries: true };
                (candidate, board.idle)
            })
            .collect();
        let mut candidates = Vec::with_capacity(fleet.len());
        while let Some(batch) = self.hungry.pop_front() {
            if !self.place_batch(batch, &mut fleet, &mut candidates, time) {
                self.hungry.push_front(batch);
                return;
            }
            if let Some(work) = self.batches.get_mut(&batch) {
                work.hungry = false;
            }
        }
    }

    /// Places what a batch has; false when the nodes take no more.
    fn place_batch(
        &mut self, batch: BatchId, fleet: &mut [(Candidate, fulgurite_core::Msat)],
        candidates: &mut Vec<Candidate>, time: UnixMs,
    ) -> bool {
        let Some(work) = self.batches.get_mut(&batch) else { return true };
        if !work.batch.is_running() {
            return true;
        }
        while let Some(position) = work.schedule.take(&work.batch.payments, time) {
            let payment = &work.batch.payments[position as usize];
            let needed = payment.order.amount.saturating_add(payment.order.fee_limit);
            candidates.clear();
            candidates.extend(fleet.iter().map(|(node, idle)| Candidate {
                carries: *idle >= needed,
                ..*node
            }));
            let last = payment.attempts.last();
            let avoid = last.and_then(|attempt| self.shared.node_index(&attempt.node));
            let Choice::Node(node) = choose(candidates, avoid) else {
                work.schedule.ended(payment);
                work.schedule.returned(position);
                return false;
            };
            self.placement += 1;
            let attempt = AttemptId { payment: payment.id, number: payment.next_attempt() };
            let placed = Placed { attempt, node, placement: self.placement };
            let place = Place {
                placed,
                order: Arc::clone(&payment.order),
                priority: work.batch.summary.accepted.options.priority,
                batch: Arc::clone(&self.slot),
                incarnation: self.incarnation,
                at: Instant::now(),
            };
            if self.shared.nodes[node].inbox.offer(NodeMessage::Place(place)).is_err() {
                work.schedule.ended(payment);
                work.schedule.returned(position);
                return false;
            }
            fleet[node].0.load = fleet[node].0.load.saturating_add(1);
            self.placed.insert(attempt, placed);
        }
        true
    }

}
