//! Attempts that hang: silent ones are asked for, long ones leave the windows (rule E21), and those
//! without an HTLC are looked for (rule E15).

use std::collections::BTreeMap;

use fulgurite_core::{
    AttemptId, UnixMs,
    payment::State,
    port::{ChannelInfo, ChannelsCall, Command},
    tracker::{Input, Phase, may_live},
};

use crate::{coverage::Kind, engine::Engine, engine_node::Tracked, twin::Twin};

/// How often silent and long attempts are seen to, in milliseconds.
const WATCH_EACH_MS: i64 = 1_000;
/// An attempt of which its node says nothing for so long is asked for, in milliseconds.
const SILENCE_MS: i64 = 60_000;
/// An attempt that takes longer leaves the windows, in milliseconds.
const LONG_AFTER_MS: i64 = 20_000;

/// How often suspects are looked for, and from what age on.
const LOOK_EACH_MS: i64 = 5_000;
const STUCK_AFTER_MS: i64 = 5_000;

/// What an attempt keeps from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Its place in the windows and its channels.
    Everything,
    /// Its channels: it takes long.
    Channels,
    /// Nothing: it is stuck.
    Nothing,
}

impl Engine {
    /// Has attempts asked for that are silent, and lets long ones leave the windows.
    pub fn watch(&mut self, at: usize, now: UnixMs) {
        if now.since(self.nodes[at].watched).abs() < WATCH_EACH_MS {
            return;
        }
        self.nodes[at].watched = now;
        let all: Vec<AttemptId> = self.nodes[at].tracked.keys().copied().collect();
        for attempt in all {
            let before = self.phase(at, attempt);
            if !self.is(Twin::NoWatchdog) {
                self.input(at, attempt, Input::Silence(SILENCE_MS), now);
            }
            let asks = matches!(self.phase(at, attempt), Some(Phase::Asking(_)));
            if asks && self.phase(at, attempt) != before {
                self.seen.push((Kind::Moment, "a silent attempt was asked for"));
            }
            self.leave_window(at, attempt, now);
        }
    }

    fn leave_window(&mut self, at: usize, attempt: AttemptId, now: UnixMs) {
        let node = &mut self.nodes[at];
        let Some(tracked) = node.tracked.get_mut(&attempt) else {
            return;
        };
        let age_ms = now.since(tracked.tracker.started());
        if tracked.holds != Holds::Everything || age_ms < LONG_AFTER_MS {
            return;
        }
        tracked.holds = Holds::Channels;
        node.node.left_window();
        self.seen.push((Kind::Moment, "a long attempt left the window"));
        self.tell_long(attempt);
    }

    /// The batch hears that the attempt takes long; again when its actor was rebuilt.
    pub fn tell_long(&mut self, attempt: AttemptId) {
        let work = self.batches.get_mut(&attempt.payment.batch()).expect("batches stay");
        work.long.push(attempt);
    }

    /// Another may have the places of long attempts in the batch's window.
    pub fn leave_batch_windows(&mut self) {
        for work in self.batches.values_mut().filter(|work| work.reborn_at.is_none()) {
            for attempt in std::mem::take(&mut work.long) {
                let payment = work.batch.payment(attempt.payment).expect("a payment of its batch");
                if let State::InFlight(open) = &payment.state
                    && open.attempt == attempt.number
                {
                    work.schedule.left_window(payment);
                }
            }
        }
    }

    /// Long attempts of a batch whose actor was rebuilt.
    pub fn long_ones(&self) -> Vec<AttemptId> {
        let long = |(_, tracked): &(&AttemptId, &Tracked)| tracked.holds == Holds::Channels;
        let all = self.nodes.iter().flat_map(|node| &node.tracked);
        all.filter(long).map(|(attempt, _)| *attempt).collect()
    }

    /// Has the channels read anew when a payment is in flight for longer than it should be.
    pub fn look_for_suspects(&mut self, at: usize, now: UnixMs) {
        let node = &mut self.nodes[at];
        if now.since(node.looked).abs() < LOOK_EACH_MS || !node.node.is_connected() {
            return;
        }
        node.looked = now;
        let suspect = |tracked: &Tracked| tracked.tracker.suspect(now, STUCK_AFTER_MS).is_some();
        if node.tracked.values().any(suspect) {
            node.looking = true;
            self.out.push((at, Command::ListChannels(ChannelsCall::default())));
        }
    }

    /// The channels were read: does any suspect have an HTLC there?
    pub fn look(&mut self, at: usize, now: UnixMs) {
        let peers_are_there = self.is(Twin::PeerAway);
        let node = &mut self.nodes[at];
        if !std::mem::take(&mut node.looking) {
            return;
        }
        let seen = |info: &ChannelInfo| {
            let active = info.active || peers_are_there;
            ChannelInfo { active, ..info.clone() }
        };
        let infos: BTreeMap<u64, ChannelInfo> =
            node.infos.iter().map(|(id, info)| (*id, seen(info))).collect();
        let looked = node.tracked.iter().filter_map(|(attempt, tracked)| {
            let first_hops = tracked.tracker.suspect(now, STUCK_AFTER_MS)?;
            let hash = tracked.tracker.payment_hash();
            Some((*attempt, may_live(hash, first_hops, |id| infos.get(&id).into())))
        });
        for (attempt, alive) in looked.collect::<Vec<_>>() {
            self.input(at, attempt, Input::Look { alive }, now);
        }
    }
}
