//! What a batch actor does: decide, write down, hand on. All rules are in `fulgurite_core`.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use fulgurite_core::{
    AttemptId, BatchId, Event, Lsn, PaymentId, UnixMs,
    batch::{self, Batch},
    event::AttemptStarted,
    map::HashMap,
    moments::Moments,
    order::Priority,
    payment::{Effect, Input, State},
    port::Journal,
    schedule::Schedule,
    tracker::Outcome,
};

use crate::{
    clock::now,
    held::{HELD_AGAIN_MS, Held},
    message::{BatchMessage, Grant, NodeMessage, Placed, Request, Start},
    release::{Release, ReleaseList},
    slot::{BatchSlot, Shared},
};

/// The work of one batch actor: one batch, or the single payments.
pub struct BatchWork {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<BatchSlot>,
    pub(crate) releases: ReleaseList,
    pub(crate) incarnation: u32,
    pub(crate) batches: HashMap<BatchId, Work>,
    /// Orders that wait at a node, without an attempt.
    pub(crate) placed: HashMap<AttemptId, Placed>,
    pub(crate) placement: u64,
    /// Batches that may have something to place, in turn, by priority as in [`Priority::ALL`].
    pub(crate) hungry: [VecDeque<BatchId>; 3],
    /// The lines for room at the nodes in which it stands, by priority.
    pub(crate) in_line: [bool; 3],
    /// The time of the last drain.
    pub(crate) now: UnixMs,
    /// When batches have something to do by themselves.
    pub(crate) wakes: Moments<BatchId>,
    /// What waits until every node was compared with the journal (rule E18).
    pub(crate) held: Held,
}

pub(crate) struct Work {
    pub(crate) batch: Batch,
    pub(crate) schedule: Schedule,
    pub(crate) hungry: bool,
    /// It runs since this event: durable before anything is sent again (rule E1).
    pub(crate) resumed: Lsn,
}

impl Work {
    pub(crate) fn priority(&self) -> Priority {
        self.batch.summary.accepted.options.priority
    }
}

impl BatchWork {
    /// The work of a fresh or rebuilt actor on its slot.
    pub fn new(
        shared: Arc<Shared>,
        slot: Arc<BatchSlot>,
        releases: ReleaseList,
        incarnation: u32,
    ) -> BatchWork {
        BatchWork {
            shared,
            slot,
            releases,
            incarnation,
            batches: HashMap::default(),
            placed: HashMap::default(),
            // Placements of a predecessor never look like ours.
            placement: u64::from(incarnation) << 40,
            hungry: Default::default(),
            in_line: [false; 3],
            now: now(),
            // Some are ends of invoices, in a year for all that is known.
            wakes: Moments::new(i64::MAX),
            held: Held::default(),
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

    /// Takes everything that waited in the inbox, and does what is due by now.
    pub fn drain(&mut self, messages: Vec<BatchMessage>) {
        let time = now();
        let set_back = time < std::mem::replace(&mut self.now, time);
        for message in messages {
            self.step(message, time);
        }
        self.release_held(time);
        if set_back {
            // Their moments are by the clock that was.
            let all: Vec<BatchId> = self.batches.keys().copied().collect();
            all.into_iter().for_each(|batch| self.feed(batch));
        }
        while let Some(batch) = self.wakes.take_due(time) {
            self.expire(batch, time);
            self.feed(batch);
        }
        self.dispatch(time);
    }

    /// When there is something to do that no message tells of.
    pub fn wake_at(&self) -> Option<UnixMs> {
        let due = self.wakes.next(self.now);
        let held = self.held.is_any().then(|| self.now.plus_ms(HELD_AGAIN_MS));
        [due, held].into_iter().flatten().min()
    }

    fn step(&mut self, message: BatchMessage, time: UnixMs) {
        match message {
            BatchMessage::Adopt(batch) => self.adopt(*batch, time),
            BatchMessage::Request(request) => self.request(request, time),
            BatchMessage::PaymentRequest(request) => self.payment_request(request, time),
            BatchMessage::Grant(grant) => self.grant(grant, time),
            BatchMessage::Room(lane) => self.in_line[lane] = true,
            BatchMessage::Returned(placed) => self.returned(placed),
            BatchMessage::Outcome(attempt, outcome) => self.outcome(attempt, outcome, time),
            BatchMessage::Long(attempt) => self.long(attempt),
            BatchMessage::AskPermission(attempt, node) => self.permission(attempt, node, time),
            BatchMessage::Confirmed(attempt) => {
                self.payment(attempt.payment, &Input::Confirmed { attempt: attempt.number }, time);
            }
            BatchMessage::NodeReborn { node, incarnation } => {
                let gone =
                    |placed: &&Placed| placed.node == node && placed.incarnation < incarnation;
                let placed = self.placed.values().filter(gone);
                let lost: Vec<Placed> = placed.copied().collect();
                lost.into_iter().for_each(|placed| self.returned(placed));
            }
            #[cfg(test)]
            BatchMessage::Die => panic!("a batch actor was told to die"),
        }
    }

    fn adopt(&mut self, batch: Batch, time: UnixMs) {
        let id = batch.summary.accepted.batch;
        // A rebuilt actor has what its inbox still holds.
        if self.batches.contains_key(&id) {
            return;
        }
        let schedule = Schedule::new(&batch, self.shared.retry, time);
        for payment in &batch.payments {
            if let (Some(Effect::Ask(_)), Some(attempt)) =
                (payment.resume(), payment.state.open_attempt())
            {
                let started = payment.attempts.last().map_or(time, |attempt| attempt.started);
                let start = Start {
                    payment: payment.id,
                    attempt: Arc::clone(attempt),
                    order: Arc::clone(&payment.order),
                    time: started,
                    batch: Arc::clone(&self.slot),
                    incarnation: self.incarnation,
                    stuck: matches!(payment.state, State::Stuck(_)),
                    confirmed: payment.is_confirmed(),
                };
                self.resume(start);
            }
        }
        // What is known of it is durable: its seal, or what was behind a barrier.
        let work = Work { batch, schedule, hungry: false, resumed: 0 };
        self.batches.insert(id, work);
        self.follow_up(id, time);
        self.feed(id);
    }

    fn resume(&self, start: Start) {
        match self.shared.nodes.find(&start.attempt.node) {
            Some(node) => node.inbox.deliver(NodeMessage::Resume(Box::new(start))),
            None => tracing::error!(payment = %start.payment, node = %start.attempt.node,
                "an attempt is open at a node that is not configured; put the node back"),
        }
    }

    fn request(&mut self, request: Request, time: UnixMs) {
        let Some(work) = self.batches.get(&request.batch) else {
            // Finished meanwhile.
            let lsn = self.shared.journal.last();
            let finished = Box::new(Err(batch::Refusal::Finished));
            return self.releases.push(lsn, Release::Reply(request.reply, finished));
        };
        match work.batch.decide(request.input, time) {
            Ok(event) => {
                self.record(request.batch, event);
                let finished = self.follow_up(request.batch, time);
                self.feed(request.batch);
                let open = || Some(self.batches.get(&request.batch)?.batch.summary.clone());
                if let Some(summary) = finished.or_else(open) {
                    // The answer shows what followed, too (rule E1).
                    let lsn = self.shared.journal.last();
                    self.releases.push(lsn, Release::Reply(request.reply, Box::new(Ok(summary))));
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
    pub(crate) fn record(&mut self, batch: BatchId, event: Event) -> u64 {
        let lsn = self.shared.journal.append(event.clone());
        let work = self.batches.get_mut(&batch).expect("events are decided by their batch");
        work.batch.apply(&event, lsn);
        if matches!(event, Event::BatchResumed { .. }) {
            work.resumed = lsn;
        }
        lsn
    }

    fn grant(&mut self, grant: Grant, time: UnixMs) {
        let attempt = grant.placed.attempt;
        let node = &self.shared.nodes.at(grant.placed.node);
        // The reservations of an actor that died went with it: nobody would send the attempt.
        let alive = grant.placed.incarnation == node.incarnation.load(Ordering::Relaxed);
        if !alive {
            return self.returned(grant.placed);
        }
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
                    stuck: false,
                    confirmed: false,
                });
                let release = Release::Start(Arc::clone(node), start, Instant::now());
                self.releases.push(lsn, release);
            }
            Err(refusal) => {
                tracing::debug!(payment = %attempt.payment, reason = %refusal, "grant declined");
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
        let Some(work) = self.batches.get_mut(&batch) else {
            return;
        };
        let Some(payment) = work.batch.payment(placed.attempt.payment) else {
            return;
        };
        work.schedule.ended(payment);
        if payment.is_queued()
            && let Some(position) = work.batch.position(payment.id)
        {
            work.schedule.returned(position);
        }
        self.feed(batch);
    }

    fn outcome(&mut self, attempt: AttemptId, outcome: Outcome, time: UnixMs) {
        self.payment(attempt.payment, &Input::from_outcome(attempt.number, outcome), time);
    }

    /// Decides about a payment that is in flight or waits, and does what follows. Returns the LSN
    /// of the event, if there is one.
    pub(crate) fn payment(
        &mut self,
        payment: PaymentId,
        input: &Input,
        time: UnixMs,
    ) -> Option<Lsn> {
        let batch = payment.batch();
        let work = self.batches.get_mut(&batch)?;
        let before = work.batch.payment(payment)?;
        let was_final = before.is_final();
        let was_in_flight = matches!(before.state, State::InFlight(_));
        let event = match work.batch.decide_payment(payment, input, self.shared.retry, time) {
            Ok(event) => event,
            Err(refusal) => {
                tracing::debug!(%payment, reason = %refusal, "input refused");
                return None;
            }
        };
        let lsn = self.shared.journal.append(event.clone());
        let effect = work.batch.apply(&event, lsn);
        let found = work.batch.payment(payment)?;
        if was_in_flight && !matches!(found.state, State::InFlight(_)) {
            work.schedule.ended(found);
            self.shared.journal.attempt_took(found.attempt_age_ms(time));
        }
        match effect {
            Some(Effect::Wait { not_before }) => {
                if let Some(position) = work.batch.position(payment) {
                    work.schedule.queued(position, found, not_before, time);
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
            Some(Effect::Stuck) => {
                self.shared.metrics.stuck();
                tracing::warn!(%payment, "in flight at its node with no HTLC on any channel: \
                    the payment is unresolved");
            }
            Some(Effect::Suspended) => {
                tracing::warn!(%payment, "its node is not believed any more: the payment is \
                    unresolved");
            }
            Some(Effect::Alarm) => {
                if was_final {
                    self.shared.intake.reopened();
                }
                self.shared.metrics.contradiction();
                tracing::error!(%payment, "the node contradicts itself: the payment is unresolved");
            }
            Some(Effect::Send(_) | Effect::Ask(_)) | None => {}
        }
        self.follow_up(batch, time);
        self.feed(batch);
        Some(lsn)
    }
}

impl Drop for BatchWork {
    fn drop(&mut self) {
        self.shared.rooms.leave(self.slot.id);
    }
}
