//! The node actor's watch for payments that are in flight with no HTLC anywhere (rule E15).

use fulgurite_core::{
    AttemptId, UnixMs,
    port::Command,
    tracker::{Input, Outcome, may_live},
};

use crate::{
    message::BatchMessage,
    node_work::{NodeWork, Tracked},
};

/// How often suspects are looked for, in milliseconds.
const LOOK_EACH_MS: i64 = 5_000;

impl NodeWork {
    /// Has the channels read anew when a payment is in flight for longer than it should be.
    pub(crate) fn look_for_suspects(&mut self, time: UnixMs) {
        if time.since(self.looked) < LOOK_EACH_MS || !self.node.is_connected() {
            return;
        }
        self.looked = time;
        let after_ms = self.shared.sends.stuck_after_ms;
        let suspect = |tracked: &Tracked| tracked.tracker.suspect(time, after_ms).is_some();
        if self.tracked.values().any(suspect) {
            self.looking = true;
            self.adapter.command(Command::ListChannels);
        }
    }

    /// The channels were read: does any suspect have an HTLC there?
    pub(crate) fn look(&mut self, time: UnixMs) {
        if !std::mem::take(&mut self.looking) {
            return;
        }
        let after_ms = self.shared.sends.stuck_after_ms;
        let channels = &self.channels;
        let looked = self.tracked.iter().filter_map(|(attempt, tracked)| {
            let first_hops = tracked.tracker.suspect(time, after_ms)?;
            let hash = tracked.tracker.payment_hash();
            Some((*attempt, may_live(hash, first_hops, |id| channels.info(id))))
        });
        for (attempt, alive) in looked.collect::<Vec<_>>() {
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
        if !std::mem::take(&mut tracked.holds) {
            return;
        }
        let spent = matches!(outcome, Outcome::Settled { .. });
        for &(channel, _) in &tracked.start.attempt.channels {
            self.channels.release(channel, attempt, spent);
        }
        self.node.ended(&outcome, time);
    }
}
