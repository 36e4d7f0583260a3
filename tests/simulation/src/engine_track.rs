//! The engine's attempts at their nodes: inputs to the trackers, and what comes of them.

use std::{collections::btree_map::Entry, sync::Arc, time::Duration};

use fulgurite_core::{
    AttemptId, UnixMs,
    event::{Contradiction, NeverSent},
    id::SendId,
    port::{
        ChannelsCall, Command, FailureReason, NodeEvent, PaymentStatus, ProbeAnswer, Refused,
        SendEnd, SendPayment, SendReport, TrackReport,
    },
    standing,
    tracker::{Action, Input, Outcome, Phase, Tracker},
};

use crate::{
    coverage::Kind,
    engine::{Engine, index},
    engine_node::{SEND_BOUNDS, Tracked, breaker_name},
    engine_watch::Holds,
    network::DEADLINE_MS,
    twin::Twin,
};

const CHANNELS_EACH_MS: i64 = 1_000;

impl Engine {
    /// A node reports something. A dead actor hears nothing but the state of its connection.
    pub fn event(&mut self, at: usize, event: NodeEvent, now: UnixMs) {
        let dead = self.nodes[at].reborn_at.is_some();
        match event {
            NodeEvent::Connected(info) => {
                let offset = info.clock_offset_ms + self.set_ms;
                self.nodes[at].offset = Some(offset);
                if !dead {
                    self.connected(at, offset, now);
                }
            }
            NodeEvent::Disconnected { .. } => {
                self.nodes[at].offset = None;
                self.nodes[at].looks.clear();
                self.witness_disconnected(at);
                self.nodes[at].node.connection(false);
                for payment in self.nodes[at].take_queued() {
                    self.give_back(payment);
                }
            }
            _ if dead => self.seen.push((Kind::Moment, "an event for a dead actor was lost")),
            NodeEvent::Channels(report) => {
                self.look_at_channels(at, &report, now);
                self.nodes[at].reported(report.open, now);
                self.look(at, now);
            }
            NodeEvent::Send { send, report } => self.sent(at, send, report, now),
            NodeEvent::Track { call, report } => {
                self.nodes[at].node.answered();
                if self.looked(at, call, &report) {
                    return;
                }
                if self.is(Twin::NotFoundIsFailed) && report == TrackReport::NotFound {
                    self.over(call.attempt, Outcome::NeverSent(NeverSent::NotDelivered), now);
                }
                let asked = self.phase(at, call.attempt);
                self.input(at, call.attempt, Input::Track(call.number, report.clone()), now);
                if self.is(Twin::FenceOldAnswers) && asked == Some(Phase::Asking(call.number)) {
                    self.believe_old_answer(at, call.attempt, &report, now);
                }
            }
            NodeEvent::ExpiryProbe { expiry, answer } => {
                let time = self.fence_time(now);
                self.nodes[at].fence.answered(expiry, answer, time);
            }
            NodeEvent::Payments { call, page } => self.listed(at, call, page, now),
            NodeEvent::Fenced { .. } | NodeEvent::Revoked(..) => {}
        }
    }

    fn sent(&mut self, at: usize, send: SendId, report: SendReport, now: UnixMs) {
        if let SendReport::Ended(end) = &report {
            let outcome = match end {
                SendEnd::Lost(_) if self.is(Twin::CutIsFailed) => {
                    Some(Outcome::Failed(FailureReason::Error))
                }
                SendEnd::Refused(Refused::InvoiceExpired) if self.is(Twin::ExpiredIsFailed) => {
                    Some(Outcome::NeverSent(NeverSent::InvoiceExpired))
                }
                _ => None,
            };
            if let Some(outcome) = outcome {
                self.over(send.attempt, outcome, now);
            }
            if matches!(end, SendEnd::Lost(_)) {
                self.nodes[at].node.lost(now);
            }
        }
        self.input(at, send.attempt, Input::Send(send.number, report), now);
    }

    /// The fence waits by the steady clock: one that is set would cut its wait short (rule E13).
    fn fence_time(&self, now: UnixMs) -> UnixMs {
        if self.is(Twin::FenceJumps) { now } else { self.steady(now) }
    }

    /// The node's clock is known: attempts from before are asked for.
    pub fn connected(&mut self, at: usize, offset: i64, now: UnixMs) {
        let latest = self.recovered.max(self.steady(now));
        let (forgets, sends) = (self.is(Twin::ForgetsSends), self.is(Twin::SendsAtRestart));
        let node = &mut self.nodes[at];
        node.offset = Some(offset);
        node.node.connection(true);
        let earlier = latest.plus_ms(offset + SEND_BOUNDS.expiry_ms);
        let earlier = if forgets { UnixMs(i64::MIN) } else { earlier };
        let (mut started, mut resumed) = (Vec::new(), Vec::new());
        for (payment, attempt) in std::mem::take(&mut node.resumed) {
            let found = self.batches[&payment.batch()].batch.payment(payment);
            let found = found.expect("a payment of its batch");
            let stuck = matches!(found.state, fulgurite_core::payment::State::Stuck(_));
            let began = found.attempts.last().map_or(now, |attempt| attempt.started);
            let mut tracker = Tracker::new(payment, found.order.payment_hash, attempt, began);
            if sends {
                started.push(tracker.id());
            } else {
                tracker = tracker.resumed(earlier);
            }
            let tracker = if stuck { tracker.stuck() } else { tracker };
            let tracker = if found.is_confirmed() { tracker.shown() } else { tracker };
            resumed.push(tracker.id());
            if !stuck {
                node.node.started();
                for (channel, amount) in &tracker.attempt().channels {
                    if let Some(channel) = node.channels.get_mut(channel) {
                        channel.restore(tracker.id(), *amount, now);
                    }
                }
            }
            self.seen.push((Kind::Moment, "an attempt was resumed"));
            let holds = if stuck { Holds::Nothing } else { Holds::Everything };
            node.tracked.insert(tracker.id(), Tracked { tracker, holds });
        }
        for attempt in resumed {
            self.believe_proofs_alone(at, attempt, now);
            self.suspend(at, attempt, now);
        }
        self.out.push((at, Command::ListChannels(ChannelsCall::default())));
        started.into_iter().for_each(|attempt| self.input(at, attempt, Input::Start, now));
    }

    pub fn input(&mut self, at: usize, attempt: AttemptId, input: Input, now: UnixMs) {
        let clocks = (now, self.steady(now));
        let Some(tracked) = self.nodes[at].tracked.get(&attempt) else {
            self.after_the_end(attempt, &input, now);
            return;
        };
        let resends = tracked.tracker.resends();
        let before = tracked.tracker.phase();
        let action = self.nodes[at].step(attempt, input, clocks);
        if let Some(Tracked { tracker, .. }) = self.nodes[at].tracked.get(&attempt) {
            if tracker.resends() > resends {
                self.seen.push((Kind::Moment, "a send was repeated"));
            }
            if tracker.phase() != before {
                self.seen.push((Kind::State, phase_name(tracker.phase())));
            }
        }
        match action {
            None => {}
            Some(Action::Send(send, expiry)) => self.send(at, send, expiry),
            Some(Action::Track(call)) => self.out.push((at, Command::Track(call))),
            Some(Action::AskPermission) => self.nodes[at].asking.push(attempt),
            Some(Action::Fence(expiry)) if self.is(Twin::NoFence) => {
                self.input(at, attempt, Input::Fence(expiry), now);
            }
            // It was raised for others.
            Some(Action::Fence(expiry)) if expiry <= self.nodes[at].fence.up_to() => {
                let up_to = self.nodes[at].fence.up_to();
                self.input(at, attempt, Input::Fence(up_to), now);
            }
            Some(Action::Fence(expiry)) => self.want_fence(at, expiry, now),
            Some(Action::Stuck) => {
                self.let_go(at, attempt, Outcome::Stuck, now);
                self.outcome(attempt, Outcome::Stuck);
            }
            Some(Action::Done(outcome)) => self.done(at, attempt, outcome, now),
        }
    }

    pub fn want_fence(&mut self, at: usize, expiry: UnixMs, now: UnixMs) {
        let (time, offset) = (self.fence_time(now), self.fence_offset(at, now));
        self.nodes[at].fence.want(expiry, time, offset);
    }

    /// How far the node's clock is ahead of the clock that its fence goes by.
    fn fence_offset(&self, at: usize, now: UnixMs) -> i64 {
        if self.is(Twin::FenceOfOurs) {
            return 0;
        }
        let steady = self.nodes[at].offset.unwrap_or(0);
        steady - self.fence_time(now).since(self.steady(now))
    }

    pub fn send(&mut self, at: usize, send: SendId, expiry: UnixMs) {
        let payment = self.payment(send.attempt.payment);
        let channels = payment.state.open_attempt().map(|open| open.channels.as_slice());
        let payment = SendPayment {
            send,
            payment_hash: payment.order.payment_hash,
            invoice: Arc::clone(&payment.order.invoice),
            amount: None,
            fee_limit: payment.order.fee_limit,
            cltv_limit: 1_008,
            timeout_seconds: 30,
            outgoing_chan_ids: channels.unwrap_or_default().iter().map(|part| part.0).collect(),
            max_parts: 16,
            expiry,
            deadline: Duration::from_millis(DEADLINE_MS.unsigned_abs()),
        };
        self.out.push((at, Command::Send(Box::new(payment))));
    }

    /// What comes after an attempt's end changes nothing, but a success (rule E14).
    fn after_the_end(&mut self, attempt: AttemptId, input: &Input, now: UnixMs) {
        let (Input::Send(_, SendReport::Payment(report))
        | Input::Track(_, TrackReport::Payment(report))) = input
        else {
            return;
        };
        match report.status {
            PaymentStatus::Succeeded { preimage, fee_paid } => {
                let outcome = Outcome::Settled { preimage, amount: report.amount, fee_paid };
                self.outcome(attempt, outcome);
            }
            PaymentStatus::Failed(reason) if self.is(Twin::OldUpdate) => {
                let open = self.payment(attempt.payment).state.open_attempt();
                if let Some(number) = open.map(|open| open.attempt) {
                    self.over(AttemptId { number, ..attempt }, Outcome::Failed(reason), now);
                }
            }
            PaymentStatus::Failed(_) | PaymentStatus::InFlight => {}
        }
    }

    pub fn done(&mut self, at: usize, attempt: AttemptId, outcome: Outcome, now: UnixMs) {
        self.let_go(at, attempt, outcome, now);
        let tracked = self.nodes[at].tracked.remove(&attempt);
        self.outcome(attempt, outcome);
        let was_trusted = tracked.is_some_and(|tracked| tracked.tracker.was_trusted());
        if outcome == Outcome::Contradicted(Contradiction::Forgotten) && !was_trusted {
            self.stand(at, &standing::Input::Forgot, now);
        }
    }

    /// Gives back the attempt's place in the window and its channels, once.
    pub fn let_go(&mut self, at: usize, attempt: AttemptId, outcome: Outcome, now: UnixMs) {
        let node = &mut self.nodes[at];
        let Some(tracked) = node.tracked.get_mut(&attempt) else {
            return;
        };
        match std::mem::replace(&mut tracked.holds, Holds::Nothing) {
            Holds::Everything => node.node.ended(&outcome, now),
            Holds::Channels => node.node.ended_late(&outcome, now),
            Holds::Nothing => return,
        }
        node.release(attempt, matches!(outcome, Outcome::Settled { .. }));
    }

    /// An attempt is durable: its first send.
    pub fn start_attempt(&mut self, attempt: AttemptId, now: UnixMs) {
        let payment = self.payment(attempt.payment);
        let Some(open) = payment.state.open_attempt().filter(|o| o.attempt == attempt.number)
        else {
            return;
        };
        let (open, hash, at) = (Arc::clone(open), payment.order.payment_hash, index(open));
        if self.nodes[at].reborn_at.is_some() {
            // Rule E8: dropped before it is written; the rebuilt actor finds and asks for it.
            if self.is(Twin::SendsOfTheDead) {
                self.left.push((now.plus_ms(30_000), attempt));
            }
            return;
        }
        if !self.may_send_now(at) {
            // Decided just before; nothing of it has left.
            self.nodes[at].release(attempt, false);
            self.nodes[at].node.withdrawn();
            self.seen.push((Kind::Moment, "an attempt was withdrawn with its node"));
            return self.outcome(attempt, Outcome::NeverSent(NeverSent::Withdrawn));
        }
        let node = &mut self.nodes[at];
        if let Entry::Vacant(free) = node.tracked.entry(attempt) {
            let tracker = Tracker::new(attempt.payment, hash, open, now);
            free.insert(Tracked { tracker, holds: Holds::Everything });
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
                        let granted = granted && self.may_send_now(at);
                        let moment = if granted { "permitted" } else { "permission denied" };
                        self.seen.push((Kind::Moment, moment));
                        self.input(at, attempt, Input::Permission(granted), now);
                    }
                    None => self.nodes[at].asking.push(attempt),
                }
            }
            self.raise_fence(at, now);
            let breaker = self.nodes[at].node.breaker().name();
            self.seen.push((Kind::State, breaker_name(breaker)));
            self.retry_in_flight(at, now);
            let node = &mut self.nodes[at];
            if node.offset.is_some() && now.since(node.listed).abs() >= CHANNELS_EACH_MS {
                node.listed = now;
                self.out.push((at, Command::ListChannels(ChannelsCall::default())));
            }
            self.witness(at, now);
            self.watch(at, now);
            self.look_for_suspects(at, now);
            self.confirm(at, now);
        }
    }

    fn raise_fence(&mut self, at: usize, now: UnixMs) {
        let (time, offset) = (self.fence_time(now), self.fence_offset(at, now));
        let before = self.nodes[at].fence.up_to();
        if let Some(expiry) = self.nodes[at].fence.poll(time, offset) {
            if self.is(Twin::FenceOfOurs) {
                self.nodes[at].fence.answered(expiry, ProbeAnswer::Expired, time);
            } else {
                self.out.push((at, Command::ProbeExpiry { expiry }));
            }
        }
        let up_to = self.nodes[at].fence.up_to();
        let all: Vec<AttemptId> = self.nodes[at].tracked.keys().copied().collect();
        if up_to > before {
            self.seen.push((Kind::Moment, "a fence rose"));
            all.iter().for_each(|id| self.input(at, *id, Input::Fence(up_to), now));
        }
        self.look_behind_fence(at);
        all.iter().for_each(|id| self.input(at, *id, Input::Tick, now));
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Sending => "attempt sending",
        Phase::Asking(_) => "attempt asking",
        Phase::Watching(_) => "attempt watching",
        Phase::Waiting { .. } => "attempt waiting",
        Phase::Permission => "attempt permission",
        Phase::Fencing { .. } => "attempt fencing",
        Phase::Over => "attempt over",
    }
}
