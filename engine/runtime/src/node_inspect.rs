//! The node actor's look at an unresolved payment, before a person may call it not paid (rule E20):
//! the fence, then lnd's word on it, then the channels.

use fulgurite_core::{
    AttemptId, UnixMs,
    port::{ChannelInfo, Command, TrackCall, TrackReport},
    resolve::Finding,
    tracker::LOOKS_APART_MS,
};

use crate::{clock::now, message::Inspect, node_work::NodeWork};

/// One look on its way.
pub(crate) struct Inspecting {
    inspect: Inspect,
    step: Step,
}

enum Step {
    /// The fence must reach this time of the node's clock.
    Fence(UnixMs),
    /// The call with this number was made behind the fence.
    Asked(u32),
    /// This was the answer; the channels are read.
    Reading(TrackReport),
}

impl NodeWork {
    /// Starts a look. Behind a fence that is up already it takes one round to the node.
    pub(crate) fn inspect(&mut self, inspect: Inspect, time: UnixMs) {
        if !self.node.is_connected() {
            return answer(inspect, Finding::Unreachable);
        }
        let offset = self.clock_offset_ms(time);
        let expiry = inspect.sent_until.plus_ms(self.shared.send_bounds.expiry_ms + offset);
        self.want_fence(expiry);
        self.inspecting.push(Inspecting { inspect, step: Step::Fence(expiry) });
        self.inspect_behind_fence();
    }

    /// Asks for what the fence has reached.
    pub(crate) fn inspect_behind_fence(&mut self) {
        let up_to = self.fence.up_to();
        for looking in &mut self.inspecting {
            let Step::Fence(expiry) = looking.step else { continue };
            if expiry > up_to {
                continue;
            }
            let number = {
                let mut number = self.slot.number.lock();
                *number += 1;
                *number
            };
            looking.step = Step::Asked(number);
            let Inspect { attempt, wanted, .. } = &looking.inspect;
            let payment_hash = wanted.payment_hash;
            let call = TrackCall { attempt: *attempt, number, payment_hash };
            self.adapter.command(Command::Track(call));
        }
    }

    /// Takes the answer to a call of ours; false when it is not ours.
    pub(crate) fn inspected(&mut self, call: TrackCall, report: &TrackReport) -> bool {
        let ours =
            |looking: &&mut Inspecting| matches!(looking.step, Step::Asked(n) if n == call.number);
        let Some(looking) = self.inspecting.iter_mut().find(ours) else {
            return false;
        };
        looking.step = Step::Reading(report.clone());
        self.adapter.command(Command::ListChannels);
        true
    }

    /// The channels were read.
    pub(crate) fn inspect_channels(&mut self, channels: &[ChannelInfo]) {
        let time = now();
        for looking in std::mem::take(&mut self.inspecting) {
            match looking.step {
                Step::Reading(report) => {
                    let finding = looking.inspect.wanted.finding(&report, channels);
                    let finding = self.twice_quiet(looking.inspect.attempt, finding, time);
                    answer(looking.inspect, finding);
                }
                Step::Fence(_) | Step::Asked(_) => self.inspecting.push(looking),
            }
        }
    }

    /// Nothing of it lives when two looks apart found it quiet, and no other one between them.
    fn twice_quiet(&mut self, attempt: AttemptId, finding: Finding, time: UnixMs) -> Finding {
        if finding != Finding::Quiet {
            self.quiet.remove(&attempt);
            return finding;
        }
        let first = *self.quiet.entry(attempt).or_insert(time);
        if time.since(first) < LOOKS_APART_MS { Finding::Quiet } else { Finding::Nothing }
    }

    /// The node is gone.
    pub(crate) fn inspect_no_more(&mut self) {
        for looking in std::mem::take(&mut self.inspecting) {
            answer(looking.inspect, Finding::Unreachable);
        }
    }
}

fn answer(inspect: Inspect, finding: Finding) {
    tracing::info!(payment = %inspect.attempt.payment, ?finding, "looked for, to be resolved");
    // Who asked may be gone.
    let _ = inspect.reply.send(finding);
}
