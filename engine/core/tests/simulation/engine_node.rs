//! The engine's side of a node: window, breaker, channels, queue, trackers, fence.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fulgurite_core::{
    AttemptId, BatchId, Msat, NodeName, PaymentId, UnixMs, breaker,
    channel::{self, Channel, Pick, pick},
    dispatch::Candidate,
    event::{AttemptStarted, NeverSent},
    fence::Fence,
    node::{Limits, Node},
    order::Priority,
    port::{ChannelInfo, Command, NodeEvent, SendEnd, SendPayment, SendReport},
    queue::Queue,
    tracker::{Action, Context, Input, Outcome, Tracker},
    window,
};

use super::{engine::Engine, network::DEADLINE_MS};

/// A macaroon serves 5 s of sends and ends 10 s after them.
const MACAROON_MS: i64 = 10_000;
const SERVES_MS: i64 = 5_000;
/// How far two readings of a node's clock may lie apart.
const CLOCK_ERROR_MS: i64 = 2_000;
const CHANNELS_EACH_MS: i64 = 1_000;

pub struct NodeWork {
    pub node: Node,
    pub fence: Fence,
    /// How far its clock is ahead, while it is connected.
    pub offset: Option<i64>,
    pub channels: BTreeMap<u64, Channel>,
    listed: UnixMs,
    queue: Queue<PaymentId>,
    pub tracked: BTreeMap<AttemptId, Tracker>,
    /// Open attempts that wait for the node's clock to be known.
    pub resumed: Vec<(PaymentId, Arc<AttemptStarted>)>,
    pub number: u32,
    asking: Vec<AttemptId>,
    /// Its actor died and waits for this barrier.
    pub reborn_at: Option<u64>,
}

impl NodeWork {
    pub fn new(number: u32, now: UnixMs) -> NodeWork {
        let limits = Limits {
            window: window::Limits { start: 4, min: 2, max: 10 },
            breaker: breaker::Limits { faults: 5, open_ms: 2_000, probes: 1 },
            payments_per_second_max: 0,
        };
        NodeWork {
            node: Node::new(limits, now),
            fence: Fence::new(DEADLINE_MS + 10_000),
            offset: None,
            channels: BTreeMap::new(),
            listed: UnixMs(0),
            queue: Queue::default(),
            tracked: BTreeMap::new(),
            resumed: Vec::new(),
            number,
            asking: Vec::new(),
            reborn_at: None,
        }
    }

    pub fn name(at: usize) -> NodeName {
        "ab"[..=at].into()
    }

    pub fn candidate(&mut self, needed: Msat, now: UnixMs) -> Candidate {
        let queued = u32::try_from(self.queue.len()).expect("few orders");
        let idle = self.channels.values().map(|channel| channel.room().idle);
        Candidate {
            usable: self.reborn_at.is_none() && self.node.is_usable(now),
            load: self.node.in_flight() + queued,
            window: self.node.window(),
            carries: idle.fold(Msat::ZERO, Msat::saturating_add) >= needed,
        }
    }

    pub fn enqueue(&mut self, priority: Priority, payment: PaymentId) {
        self.queue.push(priority, payment);
    }

    pub fn take_queued(&mut self) -> Vec<PaymentId> {
        self.queue.drain().collect()
    }

    /// Takes a payment out of the queue; true when it was there.
    pub fn forget(&mut self, payment: PaymentId) -> bool {
        let before = self.queue.len();
        self.keep(|queued| queued != payment);
        self.queue.len() < before
    }

    /// A batch actor died: what it had placed is forgotten.
    pub fn drop_batch(&mut self, batch: BatchId) {
        self.keep(|queued| queued.batch() != batch);
    }

    fn keep(&mut self, keep: impl Fn(PaymentId) -> bool) {
        let kept: Vec<PaymentId> = self.queue.drain().filter(|queued| keep(*queued)).collect();
        kept.into_iter().for_each(|payment| self.queue.push(Priority::Normal, payment));
    }

    fn reported(&mut self, infos: Vec<ChannelInfo>, now: UnixMs) {
        let limits = channel::Limits { slots_reserve: 0, fee_exposure_max: Msat::MAX };
        for info in infos {
            let id = info.short_channel_id;
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.reported(info, now);
                continue;
            }
            let mut channel = Channel::new(info, limits);
            for tracker in self.tracked.values() {
                let parts = tracker.attempt().channels.iter().filter(|(part, _)| *part == id);
                parts.for_each(|(_, amount)| channel.restore(tracker.id(), *amount, now));
            }
            self.channels.insert(id, channel);
        }
    }

    fn release(&mut self, attempt: AttemptId, spent: bool) {
        self.channels.values_mut().for_each(|channel| channel.release(attempt, spent));
    }

    fn expiry(&self, now: UnixMs) -> UnixMs {
        let node_now = now.plus_ms(self.offset.unwrap_or(0));
        UnixMs((node_now.0.div_euclid(SERVES_MS) + 1) * SERVES_MS + MACAROON_MS)
    }

    fn step(&mut self, attempt: AttemptId, input: Input, now: UnixMs) -> Option<Action> {
        let expiry = self.expiry(now);
        let connected = self.node.is_connected();
        let tracker = self.tracked.get_mut(&attempt)?;
        let number = &mut self.number;
        tracker.step(input, &mut Context { now, expiry, connected, number })
    }
}

impl Engine {
    /// A node reports something. A dead actor hears nothing but the state of its connection.
    pub fn event(&mut self, at: usize, event: NodeEvent, now: UnixMs) {
        let dead = self.nodes[at].reborn_at.is_some();
        match event {
            NodeEvent::Connected(info) if dead => {
                self.nodes[at].offset = Some(info.clock_offset_ms)
            }
            NodeEvent::Connected(info) => self.connected(at, info.clock_offset_ms, now),
            NodeEvent::Disconnected { .. } => {
                self.nodes[at].offset = None;
                self.nodes[at].node.connection(false);
                for payment in self.nodes[at].take_queued() {
                    self.give_back(payment);
                }
            }
            _ if dead => self.seen.push("an event for a dead actor was lost"),
            NodeEvent::Channels(infos) => self.nodes[at].reported(infos, now),
            NodeEvent::Send { send, report } => {
                if matches!(report, SendReport::Ended(SendEnd::Lost(_))) {
                    self.nodes[at].node.lost(now);
                }
                self.input(at, send.attempt, Input::Send(send.number, report), now);
            }
            NodeEvent::Track { call, report } => {
                self.nodes[at].node.answered();
                self.input(at, call.attempt, Input::Track(call.number, report), now);
            }
            NodeEvent::ExpiryProbe { expiry, answer } => {
                self.nodes[at].fence.answered(expiry, answer, now);
            }
        }
    }

    /// The node's clock is known: attempts from before are asked for.
    pub fn connected(&mut self, at: usize, offset: i64, now: UnixMs) {
        let latest = self.recovered.max(now);
        let node = &mut self.nodes[at];
        node.offset = Some(offset);
        node.node.connection(true);
        let earlier = latest.plus_ms(offset + MACAROON_MS + SERVES_MS + CLOCK_ERROR_MS);
        for (payment, attempt) in std::mem::take(&mut node.resumed) {
            node.node.started();
            let hash = self.batches[&payment.batch()].batch.payment(payment);
            let hash = hash.expect("a payment of its batch").order.payment_hash;
            let tracker = Tracker::new(payment, hash, attempt, now).resumed(earlier);
            for (channel, amount) in &tracker.attempt().channels {
                if let Some(channel) = node.channels.get_mut(channel) {
                    channel.restore(tracker.id(), *amount, now);
                }
            }
            self.seen.push("an attempt was resumed");
            node.tracked.insert(tracker.id(), tracker);
        }
        self.out.push((at, Command::ListChannels));
    }

    fn input(&mut self, at: usize, attempt: AttemptId, input: Input, now: UnixMs) {
        let resends = self.nodes[at].tracked.get(&attempt).map(Tracker::resends);
        let Some(action) = self.nodes[at].step(attempt, input, now) else {
            return;
        };
        if self.nodes[at].tracked.get(&attempt).map(Tracker::resends) > resends {
            self.seen.push("a send was repeated");
        }
        match action {
            Action::Send(send, expiry) => {
                let order = &self.payment(attempt.payment).order;
                let tracker = &self.nodes[at].tracked[&attempt];
                let payment = SendPayment {
                    send,
                    payment_hash: order.payment_hash,
                    invoice: Arc::clone(&order.invoice),
                    amount: None,
                    fee_limit: order.fee_limit,
                    cltv_limit: 1_008,
                    timeout_seconds: 30,
                    outgoing_chan_ids: tracker.attempt().channels.iter().map(|c| c.0).collect(),
                    max_parts: 16,
                    expiry,
                    deadline: Duration::from_millis(10_000),
                };
                self.out.push((at, Command::Send(Box::new(payment))));
            }
            Action::Track(call) => self.out.push((at, Command::Track(call))),
            Action::AskPermission => self.nodes[at].asking.push(attempt),
            Action::Fence(expiry) => {
                let offset = self.nodes[at].offset.unwrap_or(0);
                self.nodes[at].fence.want(expiry, now, offset);
            }
            Action::Stuck => unreachable!("nobody looks for HTLCs here"),
            Action::Done(outcome) => self.done(at, attempt, outcome, now),
        }
    }

    fn done(&mut self, at: usize, attempt: AttemptId, outcome: Outcome, now: UnixMs) {
        self.seen.push(match outcome {
            Outcome::Settled { .. } => "attempt settled",
            Outcome::Failed(_) => "attempt failed",
            Outcome::NeverSent(NeverSent::Withdrawn) => "attempt withdrawn",
            Outcome::NeverSent(NeverSent::InvoiceExpired) => "attempt never sent: invoice expired",
            Outcome::NeverSent(_) => "attempt never sent",
            Outcome::Stuck => unreachable!("nobody looks for HTLCs here"),
            Outcome::Contradicted(_) => "attempt contradicted",
        });
        let node = &mut self.nodes[at];
        node.tracked.remove(&attempt);
        node.node.ended(&outcome, now);
        node.release(attempt, matches!(outcome, Outcome::Settled { .. }));
        self.outcome(attempt, outcome);
    }

    /// An attempt is durable: its first send.
    pub fn start_attempt(&mut self, attempt: AttemptId, now: UnixMs) {
        let fulgurite_core::payment::State::InFlight(open) = &self.payment(attempt.payment).state
        else {
            return;
        };
        let (open, at) = (Arc::clone(open), super::engine::index(open));
        let hash = self.payment(attempt.payment).order.payment_hash;
        let node = &mut self.nodes[at];
        if node.reborn_at.is_some() {
            // Rule E8: dropped before it is written; the rebuilt actor finds and asks for it.
            return;
        }
        let tracker = Tracker::new(attempt.payment, hash, open, now);
        if node.tracked.insert(attempt, tracker).is_none() {
            self.input(at, attempt, Input::Start, now);
        }
    }

    /// Permissions, fences, moments.
    pub fn run_nodes(&mut self, now: UnixMs) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].reborn_at.is_some() {
                continue;
            }
            for attempt in std::mem::take(&mut self.nodes[at].asking) {
                match self.permits(attempt, now) {
                    Some(granted) => {
                        self.seen.push(if granted { "permitted" } else { "permission denied" });
                        self.input(at, attempt, Input::Permission(granted), now);
                    }
                    None => self.nodes[at].asking.push(attempt),
                }
            }
            let offset = self.nodes[at].offset.unwrap_or(0);
            let before = self.nodes[at].fence.up_to();
            if let Some(expiry) = self.nodes[at].fence.poll(now, offset) {
                self.out.push((at, Command::ProbeExpiry { expiry }));
            }
            let up_to = self.nodes[at].fence.up_to();
            let all: Vec<AttemptId> = self.nodes[at].tracked.keys().copied().collect();
            if up_to > before {
                self.seen.push("a fence rose");
                all.iter().for_each(|id| self.input(at, *id, Input::Fence(up_to), now));
            }
            all.iter().for_each(|id| self.input(at, *id, Input::Tick, now));
            let node = &mut self.nodes[at];
            if node.offset.is_some() && now.since(node.listed) >= CHANNELS_EACH_MS {
                node.listed = now;
                self.out.push((at, Command::ListChannels));
            }
        }
    }

    /// Lets placed payments start while there is room.
    pub fn pump(&mut self, now: UnixMs) {
        for at in 0..self.nodes.len() {
            while self.nodes[at].reborn_at.is_none()
                && !self.nodes[at].channels.is_empty()
                && self.nodes[at].node.room(now) > 0
                && let Some(payment) = self.nodes[at].queue.pop()
            {
                if !self.admit(at, payment, now) {
                    break;
                }
            }
        }
    }

    /// Reserves and decides; false when the node takes nothing more now.
    fn admit(&mut self, at: usize, id: PaymentId, now: UnixMs) -> bool {
        let payment = self.payment(id);
        let attempt = AttemptId { payment: id, number: payment.next_attempt() };
        let needed = payment.order.amount.saturating_add(payment.order.fee_limit);
        let node = &mut self.nodes[at];
        let rooms: Vec<_> = node.channels.values().map(Channel::room).collect();
        let parts = match pick(&rooms, needed) {
            Pick::Channels(parts) => parts,
            Pick::Never => Vec::new(),
            Pick::Busy => {
                self.seen.push("channels were busy");
                node.queue.push(Priority::High, id);
                return false;
            }
        };
        for (channel, amount) in &parts {
            let channel = node.channels.get_mut(channel).expect("a room of a channel");
            channel.reserve(attempt, *amount, now).expect("what has room can be reserved");
        }
        node.node.started();
        if self.begin_attempt(id, at, parts, now).is_err() {
            self.nodes[at].release(attempt, false);
            self.nodes[at].node.withdrawn();
            self.give_back(id);
            return false;
        }
        true
    }
}
