//! The node actor's watch for attempts that hang: silent ones, long ones (rule E21), and payments
//! that are in flight with no HTLC anywhere (rule E15).

use fulgurite_core::{
    AttemptId, UnixMs,
    port::{ChannelReport, ChannelsCall, Command},
    tracker::{FirstHop, Input, Outcome, may_live},
};

use crate::{
    clock::steady,
    message::BatchMessage,
    node_work::{NodeWork, Tracked},
};

/// How often suspects are looked for, in milliseconds.
const LOOK_EACH_MS: i64 = 5_000;
/// How often silent and long attempts are seen to, in milliseconds.
const WATCH_EACH_MS: i64 = 1_000;

/// What an attempt keeps from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Its place in the windows and its channels.
    Everything,
    /// Its channels: it takes long (rule E21).
    Channels,
    /// Nothing: it is stuck (rule E15).
    Nothing,
}

/// A reading of the channels that is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looking {
    /// The reading that answers this call, or a later one.
    number: u64,
    /// When it was asked for: what a node said of a payment after it may not be in it.
    asked: UnixMs,
}

impl NodeWork {
    /// Has attempts asked for that are silent, and lets long ones leave the windows.
    pub(crate) fn watch(&mut self, time: UnixMs) {
        if steady().since(self.watched) < WATCH_EACH_MS {
            return;
        }
        self.watched = steady();
        let (silence_ms, long_ms) =
            (self.shared.sends.silence_ms_max, self.shared.sends.long_after_ms);
        let all: Vec<AttemptId> = self.tracked.keys().copied().collect();
        for attempt in all {
            self.input(attempt, Input::Silence(silence_ms), time);
            self.leave_window(attempt, long_ms, time);
        }
    }

    /// Rule E21: the attempt keeps its channels, where its HTLC takes a slot.
    fn leave_window(&mut self, attempt: AttemptId, long_ms: i64, time: UnixMs) {
        let Some(tracked) = self.tracked.get_mut(&attempt) else {
            return;
        };
        let age_ms = time.since(tracked.tracker.started());
        if tracked.holds != Holds::Everything || age_ms < long_ms {
            return;
        }
        tracked.holds = Holds::Channels;
        self.node.left_window();
        tracked.start.batch.inbox.deliver(BatchMessage::Long(attempt));
    }

    /// Asks for the channels; the report with this number or a later one is the answer. Many who
    /// ask share one reading.
    pub(crate) fn list_channels(&self, closed: bool) -> u64 {
        let number = {
            let mut number = self.slot.number.lock();
            *number += 1;
            *number
        };
        self.adapter.command(Command::ListChannels(ChannelsCall { number, closed }));
        number
    }

    /// Has the channels read anew when a payment is in flight for longer than it should be.
    pub(crate) fn look_for_suspects(&mut self, time: UnixMs) {
        let is_due = steady().since(self.looked) >= LOOK_EACH_MS;
        if !is_due || self.looking.is_some() || !self.node.is_connected() {
            return;
        }
        self.looked = steady();
        let after_ms = self.shared.sends.stuck_after_ms;
        let suspect = |tracked: &Tracked| tracked.tracker.suspect(time, after_ms).is_some();
        if !self.tracked.values().any(suspect) {
            return;
        }
        let hops = self.tracked.values().filter_map(|it| it.tracker.suspect(time, after_ms));
        let closed = hops.flatten().any(|hop| self.channels.info(*hop).is_none());
        self.looking = Some(Looking { number: self.list_channels(closed), asked: time });
    }

    /// The channels were read.
    pub(crate) fn channels_listed(&mut self, report: ChannelReport, time: UnixMs) {
        let ChannelReport { open, closed, number } = report;
        if self.channels.reported(open) {
            self.restore_reservations();
        }
        if let Some(closed) = &closed {
            self.slot.status.lock().closing_channels = closed.closing;
        }
        if let Some(looking) = self.looking.take_if(|looking| looking.number <= number) {
            let resolved = closed.map(|closed| closed.resolved).unwrap_or_default();
            self.look(looking, &resolved, time);
        }
    }

    /// Attempts of before a restart reserve once their channels are known (rule E4).
    fn restore_reservations(&self) {
        for (attempt, tracked) in self.tracked.iter() {
            if tracked.holds == Holds::Nothing {
                continue;
            }
            for &(channel, amount) in &tracked.start.attempt.channels {
                self.channels.restore(channel, *attempt, amount);
            }
        }
    }

    /// Does any suspect have an HTLC on a channel? `resolved` are those that are closed, and with
    /// which the chain is done.
    fn look(&mut self, looking: Looking, resolved: &[u64], time: UnixMs) {
        let after_ms = self.shared.sends.stuck_after_ms;
        let channels = &self.channels;
        let first_hop = |id| match channels.info(id) {
            Some(info) => FirstHop::Open(info),
            None if resolved.contains(&id) => FirstHop::Resolved,
            None => FirstHop::Unknown,
        };
        let mut looked = Vec::new();
        for (attempt, tracked) in &mut self.tracked {
            let Some(first_hops) = tracked.tracker.suspect(time, after_ms) else { continue };
            // The HTLCs that the node named since may be younger than the list.
            if tracked.tracker.heard() > looking.asked {
                continue;
            }
            let alive = may_live(tracked.tracker.payment_hash(), first_hops, first_hop);
            let unlisted = |hop: &&u64| matches!(first_hop(**hop), FirstHop::Unknown);
            let closing = first_hops.iter().find(unlisted).copied();
            looked.push((*attempt, alive));
            if let Some(channel) = closing
                && !std::mem::replace(&mut tracked.on_chain, true)
            {
                tracing::info!(node = %self.slot.name, payment = %attempt.payment, channel,
                    "in flight by a channel that is not open any more: the chain decides");
            }
        }
        for (attempt, alive) in looked {
            self.input(attempt, Input::Look { alive }, time);
        }
    }

    /// The attempt is stuck: it is watched on, and holds nothing back any more.
    pub(crate) fn stuck(&mut self, attempt: AttemptId, time: UnixMs) {
        self.let_go(attempt, Outcome::Stuck, time);
        if let Some(tracked) = self.tracked.get(&attempt) {
            let message = BatchMessage::Outcome(attempt, Outcome::Stuck);
            tracked.start.batch.inbox.deliver(message);
        }
    }

    /// Gives back the attempt's place in the window and its channels, once.
    pub(crate) fn let_go(&mut self, attempt: AttemptId, outcome: Outcome, time: UnixMs) {
        let Some(tracked) = self.tracked.get_mut(&attempt) else {
            return;
        };
        match std::mem::replace(&mut tracked.holds, Holds::Nothing) {
            Holds::Everything => {
                if let Outcome::Settled { .. } = outcome {
                    let latency_ms = tracked.sent.elapsed().as_millis();
                    self.node.took(i64::try_from(latency_ms).unwrap_or(i64::MAX));
                }
                self.node.ended(&outcome, time);
            }
            Holds::Channels => self.node.ended_late(&outcome, time),
            Holds::Nothing => return,
        }
        let spent = matches!(outcome, Outcome::Settled { .. });
        for &(channel, _) in &tracked.start.attempt.channels {
            self.channels.release(channel, attempt, spent);
        }
    }
}
