//! The node actor's door: which order may start, over which channels; and what it shows of itself.

use std::time::Instant;

use fulgurite_core::{
    AttemptId, Msat, UnixMs,
    channel::{Pick, Room, pick},
};

use crate::{
    batch_dispatch::Seat,
    clock::now,
    message::{BatchMessage, Grant, Place, Placed},
    metrics::Stage,
    node_stuck::Holds,
    node_work::{Granted, NodeWork, Reserving, Tracked},
    slot::Followed,
    status::hex,
};

/// How many orders that find no channel are looked past for one that does.
const LOOK_PAST: usize = 8;

impl NodeWork {
    /// Orders without an attempt go back to their batches, which choose another node.
    pub(crate) fn return_queued(&mut self) {
        for place in self.queue.drain() {
            place.batch.inbox.deliver(BatchMessage::Returned(place.placed));
        }
    }

    /// The node leaves: nothing new starts. True when nothing is about to start either.
    pub(crate) fn leave(&mut self) -> bool {
        self.return_queued();
        self.reserving.is_empty() && self.granted.is_empty()
    }

    /// Lets orders start while there is room.
    pub(crate) fn pump(&mut self, time: UnixMs) {
        self.start_queued(time);
        self.node.filled();
    }

    fn start_queued(&mut self, time: UnixMs) {
        self.start_at = None;
        if self.queue.is_empty() {
            return;
        }
        if self.node.breaker().is_open() || !self.may_send() {
            // They can still move: another node may take them.
            self.return_queued();
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
        // While the window is full its rate is not in the way: an end is no matter of time.
        if !self.queue.is_empty() && self.node.room(time) > 0 {
            self.start_at = self.node.rate_next();
        }
        if !passed.is_empty() {
            self.channels.want_room();
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

    pub(crate) fn reserved(&mut self, placed: Placed, channel: u64, reserved: bool) {
        let Some(reserving) = self.reserving.get_mut(&placed) else {
            return;
        };
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
    pub(crate) fn answer_for(&mut self, channel: u64) {
        let unanswered = self.reserving.iter().filter_map(|(placed, reserving)| {
            reserving.unanswered.contains(&channel).then_some(*placed)
        });
        for placed in unanswered.collect::<Vec<_>>() {
            self.reserved(placed, channel, true);
        }
    }

    pub(crate) fn give_back(&mut self, attempt: AttemptId, parts: &[(u64, Msat)]) {
        self.node.withdrawn();
        for &(channel, _) in parts {
            self.channels.release(channel, attempt, false);
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

    /// Shows batch actors and operators how the node stands.
    pub(crate) fn publish(&mut self, time: UnixMs) {
        let active = self.channels.any_active();
        let queued = self.queue.lens().map(|queued| u32::try_from(queued).unwrap_or(u32::MAX));
        let may_send = self.may_send();
        let mut board = self.slot.board.lock();
        board.usable = self.node.is_usable(time) && active && may_send;
        board.window = self.node.window();
        board.in_flight = self.node.in_flight();
        board.queued = queued;
        board.idle = self.channels.idle();
        drop(board);
        let seat = Seat::of(&self.slot);
        self.shared.rooms.opened([0, 1, 2].map(|lane| seat.has_room(lane)));
    }

    /// Writes what is known of the attempts beyond the journal.
    fn publish_followed(&self, time: UnixMs) {
        let silence_ms = self.shared.sends.silence_ms_max;
        let see = |(attempt, tracked): (&AttemptId, &Tracked)| {
            let htlc_expiry_height = tracked.tracker.htlc_expiry_height();
            let silent_since = tracked.tracker.silent_since(time, silence_ms);
            let followed = Followed { htlc_expiry_height, silent_since };
            (followed != Followed::default()).then_some((*attempt, followed))
        };
        let mut followed = self.slot.followed.lock();
        followed.clear();
        followed.extend(self.tracked.iter().filter_map(see));
        let silent = followed.values().filter(|it| it.silent_since.is_some()).count();
        drop(followed);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let long = self.tracked.values().filter(|tracked| tracked.holds == Holds::Channels).count();
        let ages = self.tracked.values().map(|tracked| time.since(tracked.tracker.started()));
        let mut status = self.slot.status.lock();
        if silent > 0 && status.silent == 0 {
            tracing::warn!(node = %self.slot.name, silent,
                "the node says nothing of attempts that it was asked for");
        }
        status.silent = count(silent);
        status.long = count(long);
        status.oldest_ms = ages.max().unwrap_or(0).max(0);
    }

    /// Writes the operator's view; less often than `publish`.
    pub fn publish_status(&mut self) {
        let time = now();
        self.publish_followed(time);
        let measured_rate = self.node.measured_rate(time);
        let (spendable, active_channels) = self.channels.spendable();
        let mut status = self.slot.status.lock();
        status.connected = self.node.is_connected();
        status.breaker = self.node.breaker().name();
        status.window = self.node.window();
        status.in_flight = self.node.in_flight().saturating_add(status.long);
        status.measured_rate = measured_rate;
        status.queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        status.active_channels = active_channels;
        status.spendable = spendable;
        if status.connected {
            status.problem.clone_from(self.witnessing.problem());
            status.disconnected_since = None;
        } else {
            status.disconnected_since.get_or_insert_with(now);
        }
        if let Some(info) = &self.info {
            status.identity_pubkey = hex(&info.identity_pubkey);
            status.alias.clone_from(&info.alias);
            status.version.clone_from(&info.version);
            status.clock_offset_ms = info.clock_offset_ms;
            status.block_height = info.block_height;
        }
    }
}
