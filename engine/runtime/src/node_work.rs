//! What a node actor does: admit orders, reserve channels, send attempts, find out how they end.
//!
//! The rules are `fulgurite_core`'s (`Node`, `Queue`, `channel::pick`, `Tracker`, `Fence`); this
//! moves data between them.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Instant};

use fulgurite_core::{
    AttemptId, Msat, UnixMs,
    channel::{Pick, Room, pick},
    fence::Fence,
    node::Node,
    port::{self, Command, NodeEvent, NodeInfo},
    queue::Queue,
    tracker::Tracker,
};

use crate::{
    channels::Channels,
    clock::now,
    message::{BatchMessage, Grant, NodeMessage, Place, Placed, Start},
    metrics::Stage,
    slot::{BatchSlot, NodeSlot, Shared},
};

/// How many orders that find no channel are looked past for one that does.
const LOOK_PAST: usize = 8;

/// The work of one node actor.
pub struct NodeWork {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<NodeSlot>,
    pub(crate) adapter: Rc<dyn port::Node>,
    pub(crate) node: Node,
    pub(crate) fence: Fence,
    pub(crate) info: Option<NodeInfo>,
    pub(crate) channels: Channels,
    pub(crate) tracked: HashMap<AttemptId, Tracked>,
    /// Trackers that wait for the node or a moment.
    pub(crate) waiting: Vec<AttemptId>,
    /// Trackers that wait for the fence.
    pub(crate) fencing: Vec<AttemptId>,
    /// Attempts from before a restart that wait for the node's clock to be known.
    resumed: Vec<Box<Start>>,
    queue: Queue<Place>,
    reserving: HashMap<Placed, Reserving>,
    granted: HashMap<AttemptId, Granted>,
    /// The incarnation of each batch slot that counts (rule E8); a slot that is not here never
    /// was rebuilt.
    incarnations: HashMap<u64, u32>,
}

/// An attempt at the node.
pub(crate) struct Tracked {
    pub(crate) tracker: Tracker,
    pub(crate) start: Box<Start>,
    pub(crate) sent: Instant,
}

struct Reserving {
    place: Place,
    parts: Vec<(u64, Msat)>,
    unanswered: Vec<u64>,
    refused: bool,
}

struct Granted {
    placed: Placed,
    parts: Vec<(u64, Msat)>,
    batch: u64,
    at: Instant,
}

impl NodeWork {
    /// The work of a fresh or rebuilt actor on its slot.
    pub fn new(shared: Arc<Shared>, slot: Arc<NodeSlot>, adapter: Rc<dyn port::Node>) -> NodeWork {
        let sends = shared.sends;
        NodeWork {
            node: Node::new(slot.limits, now()),
            fence: Fence::new(sends.deadline_ms + sends.fence_margin_ms),
            info: None,
            channels: Channels::new(Arc::clone(&slot), shared.channels),
            tracked: HashMap::new(),
            waiting: Vec::new(),
            fencing: Vec::new(),
            resumed: Vec::new(),
            queue: Queue::default(),
            reserving: HashMap::new(),
            granted: HashMap::new(),
            incarnations: HashMap::new(),
            shared,
            slot,
            adapter,
        }
    }

    /// Goes on where a predecessor died: with what the node said of itself last.
    pub fn take_over(&mut self) {
        let last = self.slot.last_info.lock().clone();
        if let Some(info) = last {
            self.event(NodeEvent::Connected(info), now());
            self.adapter.command(Command::ListChannels);
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

    /// Time has passed.
    pub fn tick(&mut self) {
        let time = now();
        let offset = self.clock_offset_ms();
        let before = self.fence.up_to();
        if let Some(expiry) = self.fence.poll(time, offset) {
            self.adapter.command(Command::ProbeExpiry { expiry });
        }
        if self.fence.up_to() > before {
            self.shared.metrics.fence_raised(&self.slot.name);
            self.fence_is_up(time);
        }
        self.tick_waiting(time);
        self.pump(time);
        self.publish(time);
    }

    fn step(&mut self, message: NodeMessage, time: UnixMs) {
        match message {
            NodeMessage::Place(place) => {
                if self.is_current(&place.batch, place.incarnation) {
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
                self.input(attempt, fulgurite_core::tracker::Input::Permission(granted), time);
            }
            NodeMessage::BatchReborn { slot, incarnation } => self.batch_reborn(slot, incarnation),
            NodeMessage::Event(event) => self.event(event, time),
            NodeMessage::Reserved { placed, channel, reserved } => {
                self.reserved(placed, channel, reserved);
            }
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

    fn is_current(&self, batch: &BatchSlot, incarnation: u32) -> bool {
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

    /// How far the node's clock is ahead, as far as it is known.
    pub(crate) fn clock_offset_ms(&self) -> i64 {
        self.info.as_ref().map_or(0, |info| info.clock_offset_ms)
    }

    fn event(&mut self, event: NodeEvent, time: UnixMs) {
        match event {
            NodeEvent::Connected(info) => {
                tracing::info!(node = %self.slot.name, alias = %info.alias, version = %info.version,
                    clock_offset_ms = info.clock_offset_ms, "node connected");
                *self.slot.last_info.lock() = Some(info.clone());
                self.info = Some(info);
                self.node.connection(true);
                self.node.answered();
                for start in std::mem::take(&mut self.resumed) {
                    self.resume(start, time);
                }
                self.tick_waiting(time);
            }
            NodeEvent::Disconnected { reason } => {
                if self.node.is_connected() {
                    tracing::warn!(node = %self.slot.name, %reason, "node disconnected");
                }
                self.node.connection(false);
                *self.slot.last_info.lock() = None;
                self.slot.status.lock().problem = reason;
                self.return_queued();
            }
            NodeEvent::Channels(channels) => self.channels.reported(channels),
            NodeEvent::Send { send, report } => self.sent(send, report, time),
            NodeEvent::Track { call, report } => {
                let input = fulgurite_core::tracker::Input::Track(call.number, report);
                self.input(call.attempt, input, time);
            }
            NodeEvent::ExpiryProbe { expiry, answer } => {
                self.fence.answered(expiry, answer, time);
            }
        }
    }

    /// Orders without an attempt go back to their batches, which choose another node.
    fn return_queued(&mut self) {
        for place in self.queue.drain() {
            place.batch.inbox.deliver(BatchMessage::Returned(place.placed));
        }
    }

    /// Lets orders start while there is room.
    fn pump(&mut self, time: UnixMs) {
        if self.queue.is_empty() {
            return;
        }
        if !self.node.is_connected() || !self.channels.any_active() {
            if self.channels.are_known() || !self.node.is_connected() {
                self.return_queued();
            }
            return;
        }
        let mut rooms = self.channels.rooms();
        let mut passed = Vec::new();
        while passed.len() < LOOK_PAST && self.node.room(time) > 0 && self.node.rate_allows(time) {
            let Some(place) = self.queue.pop() else { break };
            if !self.is_current(&place.batch, place.incarnation) {
                continue;
            }
            match pick(&rooms, place.order.amount.saturating_add(place.order.fee_limit)) {
                Pick::Channels(parts) => self.reserve(place, parts, &mut rooms),
                Pick::Never => {
                    self.node.started();
                    self.grant(place, Vec::new());
                }
                Pick::Busy => passed.push(place),
            }
        }
        for place in passed.into_iter().rev() {
            self.queue.push(place.priority, place);
        }
    }

    fn reserve(&mut self, place: Place, parts: Vec<(u64, Msat)>, rooms: &mut [Room]) {
        self.node.started();
        let placed = place.placed;
        for &(channel, amount) in &parts {
            if let Some(room) = rooms.iter_mut().find(|room| room.short_channel_id == channel) {
                room.slots -= 1;
                room.available = room.available.saturating_sub(amount);
            }
            self.channels.reserve(channel, placed, amount);
        }
        let unanswered = parts.iter().map(|&(channel, _)| channel).collect();
        let reserving = Reserving { place, parts, unanswered, refused: false };
        self.reserving.insert(placed, reserving);
    }

    fn reserved(&mut self, placed: Placed, channel: u64, reserved: bool) {
        let Some(reserving) = self.reserving.get_mut(&placed) else { return };
        let Some(at) = reserving.unanswered.iter().position(|&waits| waits == channel) else {
            return;
        };
        reserving.unanswered.swap_remove(at);
        if !reserved {
            reserving.refused = true;
            reserving.parts.retain(|&(part, _)| part != channel);
            self.channels.forget(channel, placed.attempt);
        }
        if !reserving.unanswered.is_empty() {
            return;
        }
        let Some(Reserving { place, parts, refused, .. }) = self.reserving.remove(&placed) else {
            return;
        };
        if refused || !self.is_current(&place.batch, place.incarnation) {
            self.give_back(placed.attempt, &parts);
            self.queue.push(place.priority, place);
        } else {
            self.grant(place, parts);
        }
    }

    /// A rebuilt channel actor has reserved whatever its predecessor left unanswered.
    fn answer_for(&mut self, channel: u64) {
        let unanswered = self.reserving.iter().filter_map(|(placed, reserving)| {
            reserving.unanswered.contains(&channel).then_some(*placed)
        });
        for placed in unanswered.collect::<Vec<_>>() {
            self.reserved(placed, channel, true);
        }
    }

    fn grant(&mut self, place: Place, parts: Vec<(u64, Msat)>) {
        self.shared.metrics.record(Stage::Wait, place.at.elapsed());
        let (placed, batch) = (place.placed, place.batch.id);
        let grant = Grant { placed, channels: parts.clone(), at: place.at };
        let granted = Granted { placed, parts, batch, at: Instant::now() };
        self.granted.insert(placed.attempt, granted);
        place.batch.inbox.deliver(BatchMessage::Grant(grant));
    }

    fn give_back(&mut self, attempt: AttemptId, parts: &[(u64, Msat)]) {
        self.node.withdrawn();
        for &(channel, _) in parts {
            self.channels.release(channel, attempt, false);
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
        self.shared.metrics.record(Stage::Dispatch, granted.at.elapsed());
        let hash = start.order.payment_hash;
        let tracker = Tracker::new(start.payment, hash, Arc::clone(&start.attempt), start.time);
        self.tracked.insert(attempt, Tracked { tracker, start, sent: Instant::now() });
        self.input(attempt, fulgurite_core::tracker::Input::Start, time);
    }

    /// Takes an attempt over from before a restart: asks, never sends.
    fn resume(&mut self, start: Box<Start>, time: UnixMs) {
        let attempt = AttemptId { payment: start.payment, number: start.attempt.attempt };
        if self.tracked.contains_key(&attempt) {
            return;
        }
        if self.info.is_none() {
            self.resumed.push(start);
            return;
        }
        for &(channel, amount) in &start.attempt.channels {
            self.channels.restore(channel, attempt, amount);
        }
        self.node.started();
        let latest = time.max(self.shared.recovered);
        let earlier = self.shared.sends.latest_expiry(latest, self.clock_offset_ms());
        let hash = start.order.payment_hash;
        let tracker = Tracker::new(start.payment, hash, Arc::clone(&start.attempt), start.time)
            .resumed(earlier);
        self.tracked.insert(attempt, Tracked { tracker, start, sent: Instant::now() });
        self.input(attempt, fulgurite_core::tracker::Input::Tick, time);
    }

    /// Shows batch actors and operators how the node stands.
    fn publish(&mut self, time: UnixMs) {
        let active = self.channels.any_active();
        let queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        let mut board = self.slot.board.lock();
        board.usable = self.node.is_usable(time) && active;
        board.window = self.node.window();
        board.in_flight = self.node.in_flight();
        board.queued = queued;
        board.idle = self.channels.idle();
    }

    /// Writes the operator's view; less often than [`NodeWork::publish`].
    pub fn publish_status(&mut self) {
        let (spendable, active_channels) = self.channels.spendable();
        let mut status = self.slot.status.lock();
        status.connected = self.node.is_connected();
        status.breaker = self.node.breaker().name();
        status.window = self.node.window();
        status.in_flight = self.node.in_flight();
        status.queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        status.active_channels = active_channels;
        status.spendable = spendable;
        if status.connected {
            status.problem.clear();
        }
        if let Some(info) = &self.info {
            status.identity_pubkey =
                info.identity_pubkey.iter().map(|byte| format!("{byte:02x}")).collect();
            status.alias.clone_from(&info.alias);
            status.version.clone_from(&info.version);
            status.clock_offset_ms = info.clock_offset_ms;
            status.block_height = info.block_height;
        }
    }
}
