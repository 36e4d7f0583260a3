//! The engine's side of a node: window, breaker, channels, queue, and who may start.

use std::{collections::BTreeMap, sync::Arc};

use fulgurite_core::{
    AttemptId, BatchId, Lsn, Msat, NodeName, PaymentId, UnixMs, breaker,
    channel::{self, Channel, Pick, pick},
    dispatch::Candidate,
    event::{AttemptStarted, SendBounds},
    fence::Fence,
    node::{Limits, Node},
    order::Priority,
    port::ChannelInfo,
    queue::Queue,
    standing::Standing,
    tracker::{Action, Context, Input, Tracker},
    window,
};

use crate::{
    coverage::Kind, engine::Engine, engine_inspect::Looking, engine_watch::Holds,
    engine_witness::Witnessing, network::DEADLINE_MS, twin::Twin,
};

/// A macaroon serves 5 s of sends and ends 10 s after them.
const MACAROON_MS: i64 = 10_000;
const SERVES_MS: i64 = 5_000;
/// How far two readings of a node's clock may lie apart.
const CLOCK_ERROR_MS: i64 = 2_000;
/// How late any send may start a payment, clocks apart.
pub const SEND_BOUNDS: SendBounds =
    SendBounds { expiry_ms: MACAROON_MS + SERVES_MS + CLOCK_ERROR_MS, deadline_ms: DEADLINE_MS };

pub struct NodeWork {
    pub node: Node,
    pub fence: Fence,
    /// How far its clock is ahead of the engine's steady one, while it is connected.
    pub offset: Option<i64>,
    pub channels: BTreeMap<u64, Channel>,
    /// The channels as they were reported last.
    pub infos: BTreeMap<u64, ChannelInfo>,
    pub listed: UnixMs,
    queue: Queue<PaymentId>,
    pub tracked: BTreeMap<AttemptId, Tracked>,
    /// Open attempts that wait for the node's clock to be known.
    pub resumed: Vec<(PaymentId, Arc<AttemptStarted>)>,
    pub number: u64,
    pub asking: Vec<AttemptId>,
    /// When suspects were looked for last (rule E15).
    pub looked: UnixMs,
    /// When silent and long attempts were seen to last.
    pub watched: UnixMs,
    /// The next report of the channels is for them.
    pub looking: bool,
    /// Looks before a person's word is taken (rule E20).
    pub looks: Vec<Looking>,
    /// How it stands, by the journal (rules E19, E22).
    pub standing: Standing,
    /// The change that last let payments be sent there: it must be durable first (rule E1).
    pub allowed: Lsn,
    /// When attempts that take long were looked for last.
    pub confirmed: UnixMs,
    /// How far its payments are compared with the journal (rule E18).
    pub witnessing: Witnessing,
    /// Its actor died and waits for this barrier.
    pub reborn_at: Option<u64>,
}

/// An attempt at the node.
pub struct Tracked {
    pub tracker: Tracker,
    pub holds: Holds,
}

impl NodeWork {
    pub fn new(number: u64, now: UnixMs, twin: Option<Twin>) -> NodeWork {
        let limits = Limits {
            window: window::Limits { start: 4, min: 2, max: 10 },
            breaker: breaker::Limits { faults: 3, open_ms: 2_000, probes: 1 },
            payments_per_second_max: 0,
        };
        let wait_ms = if twin == Some(Twin::FenceWithoutWait) { 0 } else { DEADLINE_MS + 10_000 };
        NodeWork {
            node: Node::new(limits, now),
            fence: Fence::new(wait_ms),
            offset: None,
            channels: BTreeMap::new(),
            infos: BTreeMap::new(),
            listed: UnixMs(0),
            queue: Queue::default(),
            tracked: BTreeMap::new(),
            resumed: Vec::new(),
            number,
            asking: Vec::new(),
            looked: now,
            watched: now,
            looking: false,
            looks: Vec::new(),
            standing: Standing::default(),
            allowed: 0,
            confirmed: now,
            witnessing: Witnessing::default(),
            reborn_at: None,
        }
    }

    pub fn name(at: usize) -> NodeName {
        "ab"[..=at].into()
    }

    pub fn candidate(&mut self, needed: Msat, now: UnixMs) -> Candidate {
        let queued = u32::try_from(self.queue.len()).expect("few orders");
        let idle = self.channels.values().map(|channel| channel.room().idle);
        let alive = self.reborn_at.is_none() && self.any_active();
        Candidate {
            usable: alive && self.node.is_usable(now) && self.may_send(),
            load: self.node.in_flight() + queued,
            window: self.node.window(),
            carries: idle.fold(Msat::ZERO, Msat::saturating_add) >= needed,
        }
    }

    /// Payments may be sent there.
    pub fn may_send(&self) -> bool {
        self.standing.may_send() && !self.witnessing.waits
    }

    fn any_active(&self) -> bool {
        self.infos.values().any(|info| info.active)
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

    /// The node lists its channels: some may be new, some gone.
    pub fn reported(&mut self, infos: Vec<ChannelInfo>, now: UnixMs) {
        let limits = channel::Limits { slots_reserve: 0, fee_exposure_max: Msat::MAX };
        self.infos = infos.into_iter().map(|info| (info.short_channel_id, info)).collect();
        let infos = &self.infos;
        self.channels.retain(|id, _| infos.contains_key(id));
        for (id, info) in infos {
            if let Some(channel) = self.channels.get_mut(id) {
                channel.reported(info.clone(), now);
                continue;
            }
            let mut channel = Channel::new(info.clone(), limits);
            let holding = self.tracked.values().filter(|tracked| tracked.holds != Holds::Nothing);
            for tracker in holding.map(|tracked| &tracked.tracker) {
                let parts = tracker.attempt().channels.iter().filter(|(part, _)| part == id);
                parts.for_each(|(_, amount)| channel.restore(tracker.id(), *amount, now));
            }
            self.channels.insert(*id, channel);
        }
    }

    pub fn release(&mut self, attempt: AttemptId, spent: bool) {
        self.channels.values_mut().for_each(|channel| channel.release(attempt, spent));
    }

    /// When a send that is made now expires, by the node's clock.
    pub fn expiry(&self, steady: UnixMs) -> UnixMs {
        let node_now = steady.plus_ms(self.offset.unwrap_or(0));
        UnixMs((node_now.0.div_euclid(SERVES_MS) + 1) * SERVES_MS + MACAROON_MS)
    }

    /// Gives a tracker an input; `clocks` are the engine's clock and its steady one.
    pub fn step(
        &mut self,
        attempt: AttemptId,
        input: Input,
        clocks: (UnixMs, UnixMs),
    ) -> Option<Action> {
        let (now, steady) = clocks;
        let expiry = self.expiry(steady);
        let connected = self.node.is_connected();
        let tracked = self.tracked.get_mut(&attempt)?;
        let number = &mut self.number;
        tracked.tracker.step(input, &mut Context { now, expiry, connected, number })
    }
}

impl Engine {
    /// Lets placed payments start while there is room.
    pub fn pump(&mut self, now: UnixMs) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let known = !node.infos.is_empty();
            let may_send = node.may_send() && !node.node.breaker().is_open();
            if !may_send || (known && !node.any_active()) {
                // They can still move: another node may take them.
                self.return_queued(at);
                continue;
            }
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
                self.seen.push((Kind::Moment, "channels were busy"));
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

/// The state of a breaker, for the coverage.
pub fn breaker_name(name: &'static str) -> &'static str {
    match name {
        "closed" => "breaker closed",
        "open" => "breaker open",
        _ => "breaker half_open",
    }
}
