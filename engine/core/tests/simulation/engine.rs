//! A small engine in one thread: the real rules, wired as the runtime's actors wire them.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use fulgurite_core::{
    AttemptId, BatchId, Event, Lsn, Order, PaymentHash, PaymentId, UnixMs,
    batch::{self, Batch},
    book::Book,
    event::AttemptStarted,
    order::Accepted,
    payment::State,
    port::{Command, Journal},
    retry::RetryPolicy,
    schedule::Schedule,
    tracker::Outcome,
};

use super::{disk::Disk, engine_node::NodeWork};

/// What the engine tells a client, once it is durable.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This batch was accepted for the key, now or before.
    Accepted { key: Arc<str>, batch: BatchId },
}

/// What waits for the disk.
pub enum Release {
    Start(AttemptId),
    Reply(Reply),
}

/// One batch in the engine.
pub struct Work {
    pub batch: Batch,
    pub schedule: Schedule,
    /// Its actor died and waits for this barrier (rule E16).
    pub reborn_at: Option<Lsn>,
    pub outcomes: Vec<(AttemptId, Outcome)>,
}

pub struct Engine {
    pub disk: Rc<Disk>,
    pub epoch: u32,
    pub retry: RetryPolicy,
    pub batches: BTreeMap<BatchId, Work>,
    pub nodes: Vec<NodeWork>,
    pub pending: VecDeque<(Lsn, Release)>,
    /// Commands for the nodes.
    pub out: Vec<(usize, Command)>,
    pub replies: Vec<Reply>,
    /// For the coverage.
    pub seen: Vec<&'static str>,
    /// The latest time in the journal, or the start: no send was made after it.
    pub recovered: UnixMs,
}

impl Work {
    pub fn new(batch: Batch, retry: RetryPolicy, now: UnixMs) -> Work {
        let schedule = Schedule::new(&batch, retry, now);
        Work { batch, schedule, reborn_at: None, outcomes: Vec::new() }
    }

    /// Attempts in flight.
    pub fn open(&self) -> impl Iterator<Item = (PaymentId, Arc<AttemptStarted>)> + '_ {
        self.batch.payments.iter().filter_map(|payment| match &payment.state {
            State::InFlight(attempt) => Some((payment.id, Arc::clone(attempt))),
            _ => None,
        })
    }
}

impl Engine {
    /// An engine on what the disk kept: asks for every open attempt, sends nothing new for it.
    pub fn start(disk: Rc<Disk>, book: Book, node_count: usize, now: UnixMs) -> Engine {
        let epoch = book.epoch + 1;
        let retry = RetryPolicy { backoff_ms_max: 5_000, ..RetryPolicy::default() };
        disk.append(Event::EngineStarted { epoch, time: now, version: "sim".into() });
        let batches = book.batches.into_values();
        let batches: BTreeMap<BatchId, Work> = batches
            .map(|batch| (batch.summary.accepted.batch, Work::new(batch, retry, now)))
            .collect();
        let mut nodes: Vec<NodeWork> =
            (0..node_count).map(|_| NodeWork::new(epoch << 20, now)).collect();
        for (payment, attempt) in batches.values().flat_map(Work::open) {
            let at = index(&attempt);
            nodes[at].resumed.push((payment, attempt));
        }
        let recovered = book.time.max(now);
        let mut engine = Engine {
            disk,
            epoch,
            retry,
            batches,
            nodes,
            pending: VecDeque::new(),
            out: Vec::new(),
            replies: Vec::new(),
            seen: Vec::new(),
            recovered,
        };
        // What a request or an end asked for may not have reached the disk.
        let batches: Vec<BatchId> = engine.batches.keys().copied().collect();
        batches.into_iter().for_each(|batch| engine.follow_up(batch, now));
        engine
    }

    pub fn payment(&self, id: PaymentId) -> &fulgurite_core::payment::Payment {
        self.batches[&id.batch()].batch.payment(id).expect("a payment of its batch")
    }

    /// Who owns the hash (rule E2).
    pub fn owner(&self, hash: PaymentHash) -> Option<PaymentId> {
        let payments = self.batches.values().flat_map(|work| &work.batch.payments);
        payments
            .filter(|payment| payment.order.payment_hash == hash && payment.claims_hash())
            .map(|payment| payment.id)
            .next()
    }

    /// The batch of a key.
    pub fn batch_by_key(&self, key: &str) -> Option<BatchId> {
        let found = |work: &&Work| &*work.batch.summary.accepted.idempotency_key == key;
        self.batches.values().find(found).map(|work| work.batch.summary.accepted.batch)
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
        let key = Arc::clone(&accepted.idempotency_key);
        self.reply(Reply::Accepted { key, batch: accepted.batch });
    }

    /// Answers once everything that the answer may rest on is durable (rule E1).
    pub fn reply(&mut self, reply: Reply) {
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
        for &batch in &batches {
            self.place(batch, now);
        }
        self.pump(now);
    }

    /// When the engine has something to do by itself: after now.
    pub fn wake_at(&self, now: UnixMs) -> UnixMs {
        let batches = self.batches.values().filter(|work| work.batch.is_running());
        let batches = batches.filter_map(|work| work.schedule.wake_at());
        let nodes = self.nodes.iter().filter_map(|node| node.fence.wake_at());
        let next = batches.chain(nodes).filter(|at| *at > now).min();
        next.unwrap_or(UnixMs(i64::MAX)).min(now.plus_ms(500))
    }

    /// A batch actor dies between append and sync: a new one waits behind a barrier (rule E16).
    pub fn batch_dies(&mut self, batch: BatchId) {
        let lsn = self.disk.append(Event::Barrier);
        if let Some(work) = self.batches.get_mut(&batch) {
            work.reborn_at = Some(lsn);
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
            let outcomes = std::mem::take(&mut work.outcomes);
            *work = Work { outcomes, ..Work::new(batch, self.retry, now) };
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
        let (offset, number) = (old.offset, old.number);
        self.nodes[at] = NodeWork::new(number, now);
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

/// The node of an attempt: names are `a`, `ab`.
pub fn index(attempt: &AttemptStarted) -> usize {
    attempt.node.len() - 1
}
