//! A small engine in one thread: the real rules, wired as the runtime's actors wire them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
};

use fulgurite_core::{
    AttemptId, BatchId, Event, Lsn, Order, PaymentHash, PaymentId, UnixMs,
    batch::{self, Batch},
    book::Book,
    event::AttemptStarted,
    order::Accepted,
    payment::Payment,
    port::{Command, Journal},
    retry::RetryPolicy,
    schedule::Schedule,
    tracker::Outcome,
    witness::{Compared, Started},
};

use crate::{
    coverage::Kind,
    disk::Disk,
    engine_node::{NodeWork, SEND_BOUNDS},
    plan::Answer,
    twin::Twin,
};

/// What the engine tells a client, once it is durable.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The request that is answered.
    pub key: Arc<str>,
    pub fingerprint: [u8; 32],
    pub answer: Answer,
}

/// What waits for the disk.
pub enum Release {
    Start(AttemptId),
    Reply(Reply),
}

/// What an engine is started on.
pub struct Machine {
    pub disk: Rc<Disk>,
    /// Its bug, if it has one.
    pub twin: Option<Twin>,
}

/// One batch in the engine.
pub struct Work {
    pub batch: Batch,
    pub schedule: Schedule,
    /// Its actor died and waits for this barrier (rule E16).
    pub reborn_at: Option<Lsn>,
    pub outcomes: Vec<(AttemptId, Outcome)>,
    /// Attempts that take long (rule E21), by their nodes' word.
    pub long: Vec<AttemptId>,
    /// It was accepted by an earlier engine.
    pub recovered: bool,
    /// It runs since this event: durable before anything is sent again (rule E1).
    pub resumed: Lsn,
}

pub struct Engine {
    pub disk: Rc<Disk>,
    twin: Option<Twin>,
    pub epoch: u32,
    /// The LSN of its own start.
    started: Lsn,
    pub retry: RetryPolicy,
    pub batches: BTreeMap<BatchId, Work>,
    pub nodes: Vec<NodeWork>,
    pub pending: VecDeque<(Lsn, Release)>,
    /// Commands for the nodes.
    pub out: Vec<(usize, Command)>,
    pub replies: Vec<Reply>,
    /// For the coverage.
    pub seen: Vec<(Kind, &'static str)>,
    /// The latest time in the journal, or the start: no send was made after it.
    pub recovered: UnixMs,
    /// When it started, and how its clock was set since.
    pub started_at: Started,
    /// How far its clock was behind the journal then, in milliseconds.
    pub behind_ms: i64,
    /// A hash that an engine with a newer journal paid: this one must end (rule E18).
    pub fenced: Option<PaymentHash>,
    /// Hashes that somebody paid and that are of no order here.
    pub elsewhere: BTreeSet<PaymentHash>,
    /// By how much the machine's clock was set since the engine started.
    pub set_ms: i64,
    /// Of a twin: sends that a dead actor left, and when they are made.
    pub left: Vec<(UnixMs, AttemptId)>,
}

impl Work {
    pub fn new(batch: Batch, retry: RetryPolicy, now: UnixMs) -> Work {
        let schedule = Schedule::new(&batch, retry, now);
        let (outcomes, long) = (Vec::new(), Vec::new());
        Work { batch, schedule, reborn_at: None, outcomes, long, recovered: false, resumed: 0 }
    }

    /// Attempts that are open at their nodes.
    pub fn open(&self) -> impl Iterator<Item = (PaymentId, Arc<AttemptStarted>)> + '_ {
        self.batch.payments.iter().filter_map(|payment| {
            payment.state.open_attempt().map(|attempt| (payment.id, Arc::clone(attempt)))
        })
    }
}

impl Engine {
    /// An engine on what the disk kept: asks for every open attempt, sends nothing new for it.
    pub fn start(machine: Machine, mut book: Book, node_count: usize, now: UnixMs) -> Engine {
        let Machine { disk, twin } = machine;
        let elsewhere = disk.all().iter().flat_map(hashes_elsewhere).collect();
        let epoch = book.epoch + 1;
        // A small margin, so that invoices expire between two sends.
        let retry = RetryPolicy {
            backoff_ms_max: 5_000,
            expiry_margin_ms: 1_000,
            ..RetryPolicy::default()
        };
        let event = Event::EngineStarted { epoch, time: now, version: "sim".into() };
        let started = disk.append(event.clone());
        book.apply(&event, started);
        if book.send_bounds != SEND_BOUNDS {
            disk.append(Event::SendBounds(SEND_BOUNDS));
        }
        let recovered = book.time.max(now);
        let batches: BTreeMap<BatchId, Work> = book
            .batches
            .into_values()
            .map(|batch| {
                let id = batch.summary.accepted.batch;
                (id, Work { recovered: true, ..Work::new(batch, retry, now) })
            })
            .collect();
        let mut nodes: Vec<NodeWork> =
            (0..node_count).map(|_| NodeWork::new(u64::from(epoch) << 40, now, twin)).collect();
        for (at, node) in nodes.iter_mut().enumerate() {
            node.standing = book.nodes.get(&NodeWork::name(at)).cloned().unwrap_or_default();
            node.allowed = disk.last();
            let compared = book.compared.get(&NodeWork::name(at)).copied();
            node.witnessing.seen = compared.unwrap_or(Compared { until: book.born, live: false });
            node.witnessing.waits = twin != Some(Twin::NoWitness);
        }
        for (payment, attempt) in batches.values().flat_map(Work::open) {
            let at = index(&attempt);
            nodes[at].resumed.push((payment, attempt));
        }
        let mut engine = Engine {
            disk,
            twin,
            epoch,
            started,
            retry,
            batches,
            nodes,
            pending: VecDeque::new(),
            out: Vec::new(),
            replies: Vec::new(),
            seen: Vec::new(),
            recovered,
            started_at: now.into(),
            behind_ms: recovered.since(now).max(0),
            fenced: None,
            elsewhere,
            set_ms: 0,
            left: Vec::new(),
        };
        // What a request or an end asked for may not have reached the disk.
        let batches: Vec<BatchId> = engine.batches.keys().copied().collect();
        batches.into_iter().for_each(|batch| engine.follow_up(batch, now));
        engine
    }

    /// True for the engine with this bug.
    pub fn is(&self, twin: Twin) -> bool {
        self.twin == Some(twin)
    }

    /// Its start is not on disk, or an open attempt has not been asked for.
    pub fn recovers(&self) -> bool {
        self.disk.durable() < self.started || self.nodes.iter().any(|node| !node.resumed.is_empty())
    }

    /// The time by a clock that nobody sets while the engine runs.
    pub fn steady(&self, now: UnixMs) -> UnixMs {
        now.plus_ms(-self.set_ms)
    }

    pub fn payment(&self, id: PaymentId) -> &Payment {
        self.batches[&id.batch()].batch.payment(id).expect("a payment of its batch")
    }

    /// Who owns the hash (rule E2).
    pub fn owner(&self, hash: PaymentHash) -> Option<PaymentId> {
        let known = |work: &&Work| !(work.recovered && self.is(Twin::ForgetsClaims));
        let payments = self.batches.values().filter(known).flat_map(|work| &work.batch.payments);
        payments
            .filter(|payment| payment.order.payment_hash == hash && payment.claims_hash())
            .map(|payment| payment.id)
            .next()
    }

    /// What was accepted under a key.
    pub fn accepted_by_key(&self, key: &str) -> Option<Arc<Accepted>> {
        let known = |work: &&Work| !(work.recovered && self.is(Twin::ForgetsKeys));
        let mut all = self.batches.values().filter(known).map(|work| &work.batch.summary.accepted);
        all.find(|accepted| &*accepted.idempotency_key == key).map(Arc::clone)
    }

    /// A chunk of an upload (rule E3).
    pub fn add_orders(&mut self, batch: BatchId, orders: Vec<(u32, Arc<Order>)>) {
        self.disk.append(Event::OrdersAdded { batch, orders: Arc::new(orders) });
    }

    /// The rows that came with an upload so far.
    pub fn uploaded(&self, batch: BatchId) -> Vec<u32> {
        let rows = |event: &Event| match event {
            Event::OrdersAdded { batch: of, orders } if *of == batch => {
                orders.iter().map(|(row, _)| *row).collect()
            }
            _ => Vec::new(),
        };
        self.disk.all().iter().flat_map(rows).collect()
    }

    /// The seal of an upload.
    pub fn seal(&mut self, accepted: Accepted, orders: &[(u32, Arc<Order>)], now: UnixMs) {
        let accepted = Arc::new(accepted);
        let lsn = self.disk.append(Event::BatchAccepted(Arc::clone(&accepted)));
        let batch = Batch::new(Arc::clone(&accepted), orders, lsn);
        self.batches.insert(accepted.batch, Work::new(batch, self.retry, now));
        self.follow_up(accepted.batch, now);
        let (key, fingerprint) = (Arc::clone(&accepted.idempotency_key), accepted.fingerprint);
        self.reply(Reply { key, fingerprint, answer: Answer::Accepted(accepted) });
    }

    /// Answers once everything that the answer may rest on is durable (rule E1).
    pub fn reply(&mut self, reply: Reply) {
        if self.is(Twin::AcknowledgesEarly) {
            self.replies.push(reply);
            return;
        }
        self.pending.push_back((self.disk.last(), Release::Reply(reply)));
    }

    /// Pauses, resumes or cancels.
    pub fn request(&mut self, batch: BatchId, input: batch::Input, now: UnixMs) {
        let Some(work) = self.batches.get_mut(&batch) else {
            return;
        };
        if work.reborn_at.is_some() {
            return;
        }
        if let Ok(event) = work.batch.decide(input, now) {
            let lsn = self.disk.append(event.clone());
            work.batch.apply(&event, lsn);
            if matches!(event, Event::BatchResumed { .. }) {
                work.resumed = lsn;
            }
            self.follow_up(batch, now);
        }
    }

    /// Does everything that can be done now.
    pub fn run(&mut self, now: UnixMs) {
        self.rebirths(now);
        while let Some((lsn, _)) = self.pending.front()
            && *lsn <= self.disk.durable()
        {
            match self.pending.pop_front() {
                Some((_, Release::Start(attempt))) => self.start_attempt(attempt, now),
                Some((_, Release::Reply(reply))) => self.replies.push(reply),
                None => {}
            }
        }
        let batches: Vec<BatchId> = self.batches.keys().copied().collect();
        for &batch in &batches {
            self.outcomes(batch, now);
            self.expire(batch, now);
        }
        self.run_nodes(now);
        self.leave_batch_windows();
        for &batch in &batches {
            self.place(batch, now);
        }
        self.pump(now);
        self.send_what_was_left(now);
    }

    /// When the engine has something to do by itself: after now.
    pub fn wake_at(&self, now: UnixMs) -> UnixMs {
        let batches = self.batches.values().filter(|work| work.batch.is_running());
        let batches = batches.filter_map(|work| work.schedule.wake_at(now));
        let nodes = self.nodes.iter().filter_map(|node| node.fence.wake_at());
        let nodes = nodes.map(|at| at.plus_ms(self.set_ms));
        let next = batches.chain(nodes).filter(|at| *at > now).min();
        next.unwrap_or(UnixMs(i64::MAX)).min(now.plus_ms(500))
    }

    /// A batch actor dies between append and sync: a new one waits behind a barrier (rule E16).
    pub fn batch_dies(&mut self, batch: BatchId) {
        let barrier = self.disk.append(Event::Barrier);
        let reborn_at = if self.is(Twin::NoBarrier) { 0 } else { barrier };
        if let Some(work) = self.batches.get_mut(&batch) {
            work.reborn_at = Some(reborn_at);
        }
        for node in &mut self.nodes {
            node.drop_batch(batch);
        }
    }

    /// A node actor dies.
    pub fn node_dies(&mut self, at: usize) {
        let lsn = self.disk.append(Event::Barrier);
        self.nodes[at].reborn_at = Some(lsn);
        for payment in self.nodes[at].take_queued() {
            self.give_back(payment);
        }
    }

    fn rebirths(&mut self, now: UnixMs) {
        let durable = self.disk.durable();
        let is_due = |reborn_at: Option<Lsn>| reborn_at.is_some_and(|lsn| lsn <= durable);
        let due = |work: &Work| is_due(work.reborn_at);
        if !self.batches.values().any(due) && !self.nodes.iter().any(|node| is_due(node.reborn_at))
        {
            return;
        }
        let mut book = Book::default();
        for (lsn, event) in (1..).zip(self.disk.durable_after(0)) {
            book.apply(&event, lsn);
        }
        let mut reborn = Vec::new();
        for (id, work) in self.batches.iter_mut().filter(|(_, work)| due(work)) {
            reborn.push(*id);
            let batch = book.batches.remove(id).expect("the barrier follows the seal");
            let (outcomes, recovered) = (std::mem::take(&mut work.outcomes), work.recovered);
            *work = Work { outcomes, recovered, ..Work::new(batch, self.retry, now) };
        }
        let long = self.long_ones().into_iter();
        for attempt in long.filter(|attempt| reborn.contains(&attempt.payment.batch())) {
            self.tell_long(attempt);
        }
        for batch in reborn {
            self.follow_up(batch, now);
        }
        for at in 0..self.nodes.len() {
            if is_due(self.nodes[at].reborn_at) {
                self.node_reborn(at, now);
            }
        }
    }

    fn node_reborn(&mut self, at: usize, now: UnixMs) {
        let old = &self.nodes[at];
        let (offset, number, standing) = (old.offset, old.number, old.standing.clone());
        let witnessing = old.witnessing.reborn();
        self.nodes[at] = NodeWork::new(number, now, self.twin);
        self.nodes[at].standing = standing;
        self.nodes[at].witnessing = witnessing;
        self.nodes[at].allowed = self.disk.last();
        let open = self.batches.values().flat_map(Work::open);
        let open: Vec<_> = open.filter(|(_, attempt)| index(attempt) == at).collect();
        for (payment, attempt) in open {
            let id = AttemptId { payment, number: attempt.attempt };
            let starts = |todo: &Release| matches!(todo, Release::Start(start) if *start == id);
            if self.pending.iter().any(|(_, todo)| starts(todo)) {
                // Not durable yet: it starts when it is, in the place that it has.
                self.nodes[at].node.started();
            } else {
                self.nodes[at].resumed.push((payment, attempt));
            }
        }
        if let Some(offset) = offset {
            self.connected(at, offset, now);
        }
    }
}

fn hashes_elsewhere(event: &Event) -> Vec<PaymentHash> {
    match event {
        Event::PaidElsewhere { hashes, .. } => hashes.to_vec(),
        _ => Vec::new(),
    }
}

/// The node of an attempt: names are `a`, `ab`.
pub fn index(attempt: &AttemptStarted) -> usize {
    attempt.node.len() - 1
}
