//! The batch actor's order of things: what goes to a node next, what expires, what a batch must do
//! by itself.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use fulgurite_core::{
    AttemptId, BatchId, Event, Msat, UnixMs,
    batch::Summary,
    dispatch::{Candidate, Choice, choose},
    order::Priority,
    payment::{Input, Refusal, State},
    port::Journal,
};

use crate::{
    batch_work::BatchWork,
    message::{NodeMessage, PaymentRequest, Place, Placed},
    release::Release,
    slot::{Board, NodeSlot},
};

impl BatchWork {
    /// Fails what can no longer start.
    pub(crate) fn expire(&mut self, batch: BatchId, time: UnixMs) {
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
    pub(crate) fn withdraw(&mut self, attempt: AttemptId) {
        if self.placed.remove(&attempt).is_some()
            && let Some(work) = self.batches.get_mut(&attempt.payment.batch())
            && let Some(payment) = work.batch.payment(attempt.payment)
        {
            work.schedule.ended(payment);
        }
    }

    /// An attempt takes long (rule E21): another may have its place in the batch's window.
    pub(crate) fn long(&mut self, attempt: AttemptId) {
        let batch = attempt.payment.batch();
        let Some(work) = self.batches.get_mut(&batch) else {
            return;
        };
        let Some(payment) = work.batch.payment(attempt.payment) else {
            return;
        };
        if let State::InFlight(current) = &payment.state
            && current.attempt == attempt.number
        {
            work.schedule.left_window(payment);
            self.feed(batch);
        }
    }

    /// Does what the batch itself must do by now. Returns its last summary when that finished it.
    pub(crate) fn follow_up(&mut self, batch: BatchId, time: UnixMs) -> Option<Summary> {
        let mut summary = None;
        while let Some(event) = self.batches.get(&batch).and_then(|work| work.batch.follow_up(time))
        {
            if let Event::PaymentsCancelled { rows, .. } = &event {
                self.cancelling(batch, rows);
            }
            let finished = matches!(event, Event::BatchFinished { .. });
            let lsn = self.record(batch, event.clone());
            if let Event::PaymentsCancelled { rows, .. } = &event {
                self.cancelled(batch, rows, lsn);
            }
            if finished {
                if let Some(work) = self.batches.remove(&batch) {
                    self.wakes.remove(batch);
                    summary = Some(work.batch.summary);
                }
                if self.slot.batch.is_none() {
                    self.shared.directory.remove(&batch);
                }
                if self.slot.batch.is_some() {
                    tracing::info!(%batch, "batch finished");
                }
            }
        }
        summary
    }

    /// Takes rows that will be cancelled back from the nodes.
    fn cancelling(&mut self, batch: BatchId, rows: &[u32]) {
        for row in rows {
            let payment = batch.payment(*row);
            let Some(work) = self.batches.get(&batch) else {
                return;
            };
            let Some(found) = work.batch.payment(payment) else {
                continue;
            };
            self.withdraw(AttemptId { payment, number: found.next_attempt() });
        }
    }

    fn cancelled(&self, batch: BatchId, rows: &[u32], lsn: u64) {
        let Some(work) = self.batches.get(&batch) else {
            return;
        };
        for row in rows {
            if let Some(payment) = work.batch.payment(batch.payment(*row)) {
                self.shared.metrics.finished(&payment.state);
                self.shared.claims.leaves(lsn, payment.order.payment_hash, payment.id);
            }
        }
        self.shared.intake.closed(rows.len());
    }

    /// Cancels or resolves one payment, if the rules allow it.
    pub(crate) fn payment_request(&mut self, request: PaymentRequest, time: UnixMs) {
        let PaymentRequest { payment, input, seen, reply } = request;
        let Some(work) = self.batches.get(&payment.batch()) else {
            // Finished meanwhile: what the views say.
            return;
        };
        let Some(found) = work.batch.payment(payment) else {
            return;
        };
        let decided = match seen {
            Some(seen) if seen != found.version && !found.is_final() => Err(Refusal::Changed),
            _ => found.decide(&input, &work.batch.terms(self.shared.retry), time),
        };
        let (lsn, answer) = match decided {
            Ok(change) => {
                let mut changed = found.clone();
                let open = changed.state.open_attempt().cloned();
                self.withdraw(AttemptId { payment, number: changed.next_attempt() });
                let Some(lsn) = self.payment(payment, &input, time) else {
                    return;
                };
                changed.apply(&change, time, lsn);
                if let Some(open) = open
                    && let Some(node) = self.shared.nodes.find(&open.node)
                {
                    let message =
                        NodeMessage::Resolved(AttemptId { payment, number: open.attempt });
                    node.inbox.deliver(message);
                }
                (lsn, Ok(changed))
            }
            // To ask twice is no error.
            Err(Refusal::AlreadyFinal) if found.stands_as(&input) => {
                (self.shared.journal.last(), Ok(found.clone()))
            }
            // What a refusal rests on may not be durable yet (rule E1).
            Err(refusal) => (self.shared.journal.last(), Err(refusal)),
        };
        self.releases.push(lsn, Release::PaymentReply(reply, Box::new(answer)));
    }

    /// The batch may have something to place.
    pub(crate) fn feed(&mut self, batch: BatchId) {
        let Some(work) = self.batches.get_mut(&batch) else {
            return;
        };
        if !work.hungry && work.batch.is_running() {
            work.hungry = true;
            self.hungry[work.priority().lane()].push_back(batch);
        }
        self.set_wake(batch);
    }

    /// Has the batch looked at when time brings what no message tells of.
    fn set_wake(&mut self, batch: BatchId) {
        let Some(work) = self.batches.get(&batch) else {
            return;
        };
        // A request resumes it, a node tells of room, and what is held is looked at by itself:
        // until then what is due would only wake it again and again.
        let held = self.held.batches.contains(&batch);
        let places = work.batch.is_running() && !work.hungry && !held;
        let schedule = &work.schedule;
        let Some(at) = (if places { schedule.wake_at(self.now) } else { schedule.end_at() }) else {
            return self.wakes.remove(batch);
        };
        let soonest = at.max(self.now.plus_ms(WAKE_MS_MIN));
        // Feeding it again and again does not put off what is due.
        let before = self.wakes.at(batch).filter(|before| at <= *before && *before < soonest);
        self.wakes.set(batch, before.unwrap_or(soonest));
    }

    /// Places orders at nodes while they take them.
    pub(crate) fn dispatch(&mut self, time: UnixMs) {
        if self.hungry.iter().all(VecDeque::is_empty) && self.in_line == [false; 3] {
            return;
        }
        let nodes = self.shared.nodes.every();
        let mut fleet: Vec<Seat> = nodes.iter().map(|node| Seat::of(node)).collect();
        let mut candidates = Vec::with_capacity(fleet.len());
        for lane in Priority::ALL.map(Priority::lane) {
            let is_hungry = !self.hungry[lane].is_empty();
            if !is_hungry && !self.in_line[lane] {
                continue;
            }
            if is_hungry && !self.shared.rooms.may_try(lane, &self.slot) {
                self.in_line[lane] = true;
                continue;
            }
            // What fits nowhere now does not hold up others that fit elsewhere.
            let mut passed = Vec::new();
            while passed.len() < LOOK_PAST && has_room(&fleet, lane) {
                let Some(batch) = self.hungry[lane].pop_front() else { break };
                if self.place_batch(batch, &mut fleet, &mut candidates, time) {
                    if let Some(work) = self.batches.get_mut(&batch) {
                        work.hungry = false;
                    }
                    // Its next moment depends on what it has just placed: the rate's does.
                    self.set_wake(batch);
                } else {
                    passed.push(batch);
                }
            }
            self.hungry[lane].extend(passed);
            self.in_line[lane] = !self.hungry[lane].is_empty();
            let left = has_room(&fleet, lane);
            self.shared.rooms.tried(lane, &self.slot, self.in_line[lane], left);
        }
    }

    /// Places what a batch has; false when the nodes do not take all of it now.
    fn place_batch(
        &mut self,
        batch: BatchId,
        fleet: &mut [Seat],
        candidates: &mut Vec<Candidate>,
        time: UnixMs,
    ) -> bool {
        let Some(work) = self.batches.get_mut(&batch) else {
            return true;
        };
        if !work.batch.is_running() {
            return true;
        }
        if self.shared.witness.holds(batch) {
            self.held.batches.insert(batch);
            return true;
        }
        let (priority, lane) = (work.priority(), work.priority().lane());
        let mut passed = Vec::new();
        while passed.len() < LOOK_PAST
            && has_room(fleet, lane)
            && let Some(position) = work.schedule.take(&work.batch.payments, time)
        {
            let payment = &work.batch.payments[position as usize];
            let needed = payment.order.amount.saturating_add(payment.order.fee_limit);
            candidates.clear();
            candidates.extend(fleet.iter().map(|seat| seat.candidate(lane, needed)));
            let last = payment.attempts.last();
            let avoid = last.and_then(|attempt| self.shared.node_index(&attempt.node));
            let Choice::Node(node) = choose(candidates, avoid) else {
                passed.push(position);
                continue;
            };
            self.placement += 1;
            let attempt = AttemptId { payment: payment.id, number: payment.next_attempt() };
            let slot = self.shared.nodes.at(node);
            let incarnation = slot.incarnation.load(Ordering::Relaxed);
            let placed = Placed { attempt, node, incarnation, placement: self.placement };
            let place = Place {
                placed,
                order: Arc::clone(&payment.order),
                priority,
                batch: Arc::clone(&self.slot),
                incarnation: self.incarnation,
                at: Instant::now(),
            };
            if slot.inbox.offer(NodeMessage::Place(place)).is_err() {
                passed.push(position);
                fleet[node].usable = false;
                continue;
            }
            fleet[node].waits[lane] = fleet[node].waits[lane].saturating_add(1);
            self.placed.insert(attempt, placed);
        }
        let stopped = !has_room(fleet, lane) && work.schedule.has_ready();
        let all = passed.is_empty() && !stopped;
        for position in passed.into_iter().rev() {
            work.schedule.ended(&work.batch.payments[position as usize]);
            work.schedule.returned(position);
        }
        all
    }

    /// Answers whether an attempt may be sent again (rule E9): always, or it would wait for ever.
    pub(crate) fn permission(&mut self, attempt: AttemptId, node: usize, time: UnixMs) {
        let batch = attempt.payment.batch();
        let resumed = self.batches.get(&batch).map_or(0, |work| work.resumed);
        if self.shared.witness.holds(batch) || resumed > self.shared.journal.durable() {
            self.held.attempts.push((attempt, node));
            return;
        }
        let granted = self.permits(attempt, time);
        let message = NodeMessage::Permission(attempt, granted);
        self.shared.nodes.at(node).inbox.deliver(message);
    }

    /// Lets go what waited for the nodes to be compared with the journal (rule E18), or for the
    /// disk.
    pub(crate) fn release_held(&mut self, time: UnixMs) {
        // Who has to wait on is held again.
        for (attempt, node) in std::mem::take(&mut self.held.attempts) {
            self.permission(attempt, node, time);
        }
        if !self.held.batches.is_empty() && !self.shared.witness.is_waiting() {
            let batches = std::mem::take(&mut self.held.batches);
            batches.into_iter().for_each(|batch| self.feed(batch));
        }
    }

    /// Rule E9: the same door as a first send. What is not the open attempt of its payment was
    /// decided before its actor died, and ends behind the fence.
    fn permits(&self, attempt: AttemptId, time: UnixMs) -> bool {
        let Some(work) = self.batches.get(&attempt.payment.batch()) else {
            return false;
        };
        let Some(State::InFlight(started)) =
            work.batch.payment(attempt.payment).map(|payment| &payment.state)
        else {
            return false;
        };
        started.attempt == attempt.number && work.batch.is_running() && time <= started.send_until
    }
}

/// How many payments and batches that find no node are looked past for one that does.
const LOOK_PAST: usize = 16;
/// No batch is looked at again for time alone before so many milliseconds.
const WAKE_MS_MIN: i64 = 10;

/// A node as it stood when the batch actor looked, and what it has placed there since.
pub(crate) struct Seat {
    usable: bool,
    window: u32,
    in_flight: u32,
    /// By priority, as in [`Priority::ALL`].
    waits: [u32; 3],
    idle: Msat,
}

impl Seat {
    pub(crate) fn of(node: &NodeSlot) -> Seat {
        let Board { usable, window, in_flight, queued, idle } = *node.board.lock();
        // What is in its inbox counts for every priority: nobody knows which it is of.
        let coming = u32::try_from(node.inbox.depth().door).unwrap_or(u32::MAX);
        let waits = queued.map(|queued| queued.saturating_add(coming));
        Seat { usable, window, in_flight, waits, idle }
    }

    /// Another order of this priority finds room there, if the node carries it.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        self.candidate(lane, Msat::ZERO).has_room()
    }

    fn candidate(&self, lane: usize, needed: Msat) -> Candidate {
        Candidate {
            usable: self.usable,
            load: self.in_flight.saturating_add(self.waits[lane]),
            window: self.window,
            carries: self.idle >= needed,
        }
    }
}

/// Any node takes another order of this priority.
fn has_room(fleet: &[Seat], lane: usize) -> bool {
    fleet.iter().any(|seat| seat.has_room(lane))
}
