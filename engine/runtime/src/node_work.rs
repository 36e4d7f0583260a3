//! What a node actor does: admit orders, reserve channels, send attempts, find out how they end.
//!
//! The rules are `fulgurite_core`'s (`Node`, `Queue`, `channel::pick`, `Tracker`, `Fence`); this
//! moves data between them.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use fulgurite_core::{
    AttemptId, Lsn, Msat, UnixMs,
    event::NeverSent,
    fence::Fence,
    map::HashMap,
    moments::Moments,
    node::Node,
    port::{self, Journal, NodeEvent, NodeInfo, Whose},
    queue::Queue,
    tracker::{Outcome, Phase, Tracker, WAIT_MS_MAX},
};
use fulgurite_journal::Views;

use crate::{
    channels::Channels,
    clock::{now, steady},
    message::{BatchMessage, NodeMessage, Place, Placed, Start},
    metrics::Stage,
    node_inspect::{Inspecting, Quiet},
    node_stuck::{Holds, Looking},
    node_witness::Witnessing,
    slot::{BatchSlot, NodeSlot, Shared},
};

/// The work of one node actor.
pub struct NodeWork {
    pub(crate) shared: Arc<Shared>,
    pub(crate) views: Views,
    pub(crate) slot: Arc<NodeSlot>,
    pub(crate) adapter: Rc<dyn port::Node>,
    /// Which of the node's actors this is.
    incarnation: u32,
    /// The change that last let payments be sent there: it must be durable first (rule E1).
    pub(crate) allowed: Lsn,
    /// It was told to end.
    pub(crate) is_over: bool,
    pub(crate) node: Node,
    pub(crate) fence: Fence,
    pub(crate) info: Option<NodeInfo>,
    /// How far its clock is ahead of the steady one; 0 before it is known.
    pub(crate) steady_offset_ms: i64,
    pub(crate) channels: Channels,
    pub(crate) tracked: HashMap<AttemptId, Tracked>,
    /// Trackers that wait for the node and a moment.
    pub(crate) waiting: Moments<AttemptId>,
    /// Trackers that wait for the fence.
    pub(crate) fencing: Vec<AttemptId>,
    /// When suspects were looked for last (rule E15), by the steady clock.
    pub(crate) looked: UnixMs,
    /// When attempts that take long were looked for last (rule E19).
    pub(crate) confirmed: UnixMs,
    /// The reading of the channels that is awaited for them.
    pub(crate) looking: Option<Looking>,
    /// When attempts were last seen to that are silent or take long, by the steady clock.
    pub(crate) watched: UnixMs,
    /// What a person wants to call not paid (rule E20).
    pub(crate) inspecting: Vec<Inspecting>,
    /// How far its payments are compared with the journal (rule E18).
    pub(crate) witnessing: Witnessing,
    /// Since when a look found these in flight without an HTLC.
    pub(crate) quiet: Quiet,
    /// Attempts from before a restart that wait for the node's clock to be known.
    pub(crate) resumed: Vec<Start>,
    pub(crate) queue: Queue<Place>,
    /// When the rate lets the next order start; `None` when the rate is not what it waits for.
    pub(crate) start_at: Option<UnixMs>,
    pub(crate) reserving: HashMap<Placed, Reserving>,
    pub(crate) granted: HashMap<AttemptId, Granted>,
    /// The incarnation that counts of each batch slot that was rebuilt (rule E8).
    incarnations: HashMap<u64, u32>,
}

/// An attempt at the node.
pub(crate) struct Tracked {
    pub(crate) tracker: Tracker,
    pub(crate) start: Box<Start>,
    pub(crate) sent: Instant,
    /// What it keeps from others.
    pub(crate) holds: Holds,
    /// It was seen to have left by a channel that is not open any more.
    pub(crate) on_chain: bool,
}

pub(crate) struct Reserving {
    pub(crate) place: Place,
    pub(crate) parts: Vec<(u64, Msat)>,
    pub(crate) unanswered: Vec<u64>,
    pub(crate) refused: bool,
}

pub(crate) struct Granted {
    pub(crate) placed: Placed,
    pub(crate) parts: Vec<(u64, Msat)>,
    pub(crate) batch: u64,
    pub(crate) at: Instant,
}

impl NodeWork {
    /// The work of a fresh or rebuilt actor on its slot.
    pub fn new(
        (shared, views): (Arc<Shared>, Views),
        slot: Arc<NodeSlot>,
        adapter: Rc<dyn port::Node>,
    ) -> NodeWork {
        let sends = shared.sends;
        let limits = *slot.limits.lock();
        NodeWork {
            incarnation: slot.incarnation.load(Ordering::Relaxed),
            // What was written before it, as far as it may not be durable yet.
            allowed: shared.journal.last(),
            is_over: false,
            node: Node::new(limits, now()),
            fence: Fence::new(shared.send_bounds.deadline_ms + sends.fence_margin_ms),
            info: None,
            steady_offset_ms: 0,
            channels: Channels::new(Arc::clone(&slot), shared.channels),
            tracked: HashMap::default(),
            waiting: Moments::new(WAIT_MS_MAX),
            fencing: Vec::new(),
            confirmed: now(),
            looked: steady(),
            looking: None,
            watched: steady(),
            inspecting: Vec::new(),
            witnessing: Witnessing::new(shared.witness.waits_for(slot.index)),
            quiet: Quiet::default(),
            resumed: Vec::new(),
            queue: Queue::default(),
            start_at: None,
            reserving: HashMap::default(),
            granted: HashMap::default(),
            incarnations: HashMap::default(),
            shared,
            views,
            slot,
            adapter,
        }
    }

    /// Goes on where a predecessor died: with what the node said of itself last.
    pub fn take_over(&mut self) {
        let last = self.slot.last_info.lock().clone();
        if let Some(info) = last {
            self.event(NodeEvent::Connected(info), now());
            self.list_channels(false);
        }
    }

    /// Takes everything that waited in the inbox.
    pub fn drain(&mut self, batch: Vec<NodeMessage>) {
        let time = now();
        for message in batch {
            self.step(message, time);
        }
        self.pump(time);
        self.publish(time);
    }

    fn step(&mut self, message: NodeMessage, time: UnixMs) {
        match message {
            NodeMessage::Place(place) => {
                let for_us = place.placed.incarnation == self.incarnation;
                if for_us && self.is_current(&place.batch, place.incarnation) {
                    self.queue.push(place.priority, place);
                }
            }
            NodeMessage::Declined(placed) => {
                let current = self.granted.get(&placed.attempt);
                if current.is_some_and(|granted| granted.placed == placed)
                    && let Some(granted) = self.granted.remove(&placed.attempt)
                {
                    self.give_back(placed.attempt, &granted.parts);
                }
            }
            NodeMessage::Start(start) => self.start(start, time),
            NodeMessage::Resume(start) => self.resume(start, time),
            NodeMessage::Permission(attempt, granted) => {
                let granted = granted && self.may_send_now();
                self.input(attempt, fulgurite_core::tracker::Input::Permission(granted), time);
            }
            NodeMessage::BatchReborn { slot, incarnation } => self.batch_reborn(slot, incarnation),
            NodeMessage::Steer(steer) => self.steer(steer, time),
            // Who asked may be gone.
            NodeMessage::Leave(reply) => drop(reply.send(self.leave())),
            NodeMessage::Stop => self.is_over = true,
            NodeMessage::Inspect(inspect) => self.inspect(*inspect, time),
            NodeMessage::Resolved(attempt) => self.forget(attempt),
            NodeMessage::PaidAfterAll(payment) => self.paid_after_all(payment, time),
            NodeMessage::Event(event) => self.event(event, time),
            NodeMessage::Withdraw => self.withdraw(),
            NodeMessage::Checked(number) => self.checked(number, time),
            NodeMessage::Reserved { placed, channel, reserved } => {
                self.reserved(placed, channel, reserved);
            }
            // The pump that follows finds it.
            NodeMessage::ChannelFreed => {}
            NodeMessage::ChannelDied { channel, birth } => {
                if self.channels.rebuild(channel, birth) {
                    self.shared.metrics.actor_died("channel");
                    self.answer_for(channel);
                }
            }
            #[cfg(test)]
            NodeMessage::Die => panic!("a node actor was told to die"),
            #[cfg(test)]
            NodeMessage::KillChannels => self.channels.kill_all(),
        }
    }

    pub(crate) fn is_current(&self, batch: &BatchSlot, incarnation: u32) -> bool {
        self.incarnations.get(&batch.id).is_none_or(|&current| current <= incarnation)
    }

    fn batch_reborn(&mut self, slot: u64, incarnation: u32) {
        self.incarnations.insert(slot, incarnation);
        let lost: Vec<AttemptId> = self
            .granted
            .iter()
            .filter_map(|(attempt, granted)| (granted.batch == slot).then_some(*attempt))
            .collect();
        for attempt in lost {
            if let Some(granted) = self.granted.remove(&attempt) {
                self.give_back(attempt, &granted.parts);
            }
        }
        let kept: Vec<Place> = self.queue.drain().filter(|place| place.batch.id != slot).collect();
        for place in kept {
            self.queue.push(place.priority, place);
        }
    }

    /// How far the node's clock is ahead of ours, as far as it is known; also after ours was set.
    pub(crate) fn clock_offset_ms(&self, time: UnixMs) -> i64 {
        self.steady_offset_ms - time.since(steady())
    }

    /// Wants the fence up to `expiry`. It waits by the steady clock: a clock that is set forward
    /// would cut the wait short, and a late request pay behind it (rule E13 (2)).
    pub(crate) fn want_fence(&mut self, expiry: UnixMs) {
        self.fence.want(expiry, steady(), self.steady_offset_ms);
    }

    fn event(&mut self, event: NodeEvent, time: UnixMs) {
        match event {
            NodeEvent::Connected(info) => {
                self.log_connected(&info);
                let was_connected = self.node.is_connected();
                if !was_connected {
                    self.node.answered();
                }
                self.steady_offset_ms = info.clock_offset_ms + time.since(steady());
                self.identified(&info, time);
                self.info = Some(info);
                self.node.connection(true);
                for start in std::mem::take(&mut self.resumed) {
                    self.resume(Box::new(start), time);
                }
                self.tick_waiting(time);
                self.witness_tick(time);
            }
            NodeEvent::Disconnected { reason } => {
                if self.node.is_connected() {
                    tracing::warn!(node = %self.slot.name, %reason, "node disconnected");
                }
                self.node.connection(false);
                self.slot.status.lock().problem = reason;
                self.return_queued();
                self.inspect_no_more();
                self.witness_disconnected();
            }
            NodeEvent::Channels(report) => {
                self.inspect_channels(&report);
                self.channels_listed(report, time);
            }
            NodeEvent::Send { send, report } => self.sent(send, report, time),
            NodeEvent::Track { call, report } if self.inspected(call, &report) => {
                // It may be news for its tracker too, which asks for itself.
            }
            NodeEvent::Track { call, report } => {
                let input = fulgurite_core::tracker::Input::Track(call.number, report);
                self.input(call.attempt, input, time);
            }
            NodeEvent::ExpiryProbe { expiry, answer } => {
                self.fence.answered(expiry, answer, steady());
            }
            NodeEvent::Payments { call, page } => self.listed(call, page, time),
            NodeEvent::Revoked(Whose::Own, revoked) => self.withdrawn(revoked),
            NodeEvent::Revoked(Whose::Older(call), revoked) => self.revoked(call, revoked, time),
            // It ends anyway. What nodes say once its own keys go is no reason never to start.
            NodeEvent::Fenced { .. } if self.shared.is_withdrawn() => {}
            NodeEvent::Fenced { epoch, reason } => {
                crate::clone_guard::end_fenced(&self.shared, &self.slot, epoch, &reason);
            }
        }
    }

    fn start(&mut self, start: Box<Start>, time: UnixMs) {
        let attempt = AttemptId { payment: start.payment, number: start.attempt.attempt };
        let Some(granted) = self.granted.remove(&attempt) else {
            // Its reservations went with its predecessor: the rebuilt batch actor resumes it.
            return;
        };
        if !self.is_current(&start.batch, start.incarnation) {
            self.give_back(attempt, &granted.parts);
            return;
        }
        if !self.may_send_now() {
            // Decided just before; nothing of it has left.
            self.give_back(attempt, &granted.parts);
            let outcome = Outcome::NeverSent(NeverSent::Withdrawn);
            start.batch.inbox.deliver(BatchMessage::Outcome(attempt, outcome));
            return;
        }
        self.shared.metrics.record(Stage::Dispatch, granted.at.elapsed());
        let hash = start.order.payment_hash;
        self.witnessing.starts(hash);
        let tracker = Tracker::new(start.payment, hash, Arc::clone(&start.attempt), start.time);
        let sent = Instant::now();
        let holds = Holds::Everything;
        self.tracked.insert(attempt, Tracked { tracker, start, sent, holds, on_chain: false });
        self.input(attempt, fulgurite_core::tracker::Input::Start, time);
    }

    /// Takes an attempt over from before a restart: asks, never sends.
    fn resume(&mut self, start: Box<Start>, time: UnixMs) {
        let attempt = AttemptId { payment: start.payment, number: start.attempt.attempt };
        if let Some(tracked) = self.tracked.get(&attempt) {
            // Its batch's actor died with our word in its inbox.
            if tracked.holds == Holds::Channels {
                start.batch.inbox.deliver(BatchMessage::Long(attempt));
            }
            let message = match tracked.tracker.phase() {
                Phase::Permission => BatchMessage::AskPermission(attempt, self.slot.index),
                _ if tracked.tracker.is_suspended() && !start.stuck => {
                    BatchMessage::Outcome(attempt, Outcome::Suspended)
                }
                _ if tracked.tracker.is_stuck() && !start.stuck => {
                    BatchMessage::Outcome(attempt, Outcome::Stuck)
                }
                _ => return,
            };
            start.batch.inbox.deliver(message);
            return;
        }
        if self.info.is_none() {
            self.resumed.push(*start);
            if !self.slot.standing.lock().is_believed() {
                self.suspend_resumed();
            }
            return;
        }
        let holds = if start.stuck { Holds::Nothing } else { Holds::Everything };
        if holds == Holds::Everything {
            for &(channel, amount) in &start.attempt.channels {
                self.channels.restore(channel, attempt, amount);
            }
            self.node.started();
        }
        let latest = time.max(self.shared.recovered);
        // No send that was made until now expires later, by the node's clock.
        let bound_ms = self.shared.send_bounds.expiry_ms + self.clock_offset_ms(time);
        let earlier = latest.plus_ms(bound_ms);
        let hash = start.order.payment_hash;
        let tracker = Tracker::new(start.payment, hash, Arc::clone(&start.attempt), start.time)
            .resumed(earlier);
        let tracker = if start.stuck { tracker.stuck() } else { tracker };
        let tracker = if start.confirmed { tracker.shown() } else { tracker };
        let sent = Instant::now();
        self.tracked.insert(attempt, Tracked { tracker, start, sent, holds, on_chain: false });
        self.doubt(attempt, time);
        self.input(attempt, fulgurite_core::tracker::Input::Tick, time);
    }
}
