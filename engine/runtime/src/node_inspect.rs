//! The node actor's look at an unresolved payment, before a person may call it not paid (rule E20):
//! the fence, then lnd's word on it, then the channels.

use fulgurite_core::{
    AttemptId, UnixMs,
    map::HashMap,
    port::{ChannelReport, Command, TrackCall, TrackReport},
    resolve::Finding,
    tracker::LOOKS_APART_MS,
};

use crate::{
    clock::{now, steady},
    message::Inspect,
    node_work::NodeWork,
};

/// How long the node may take for an answer, in milliseconds.
const ANSWER_MS_MAX: i64 = 30_000;

/// One look on its way.
pub(crate) struct Inspecting {
    inspect: Inspect,
    step: Step,
    /// When the node has taken too long for this step, by the steady clock.
    until: UnixMs,
}

enum Step {
    /// The fence must reach this time of the node's clock.
    Fence(UnixMs),
    /// The call with this number was made behind the fence.
    Asked(u64),
    /// This was the answer; the channels are read, by the call with this number.
    Reading(TrackReport, u64),
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
        let (bounds, sends) = (self.shared.send_bounds, self.shared.sends);
        let fence_ms = bounds.expiry_ms + bounds.deadline_ms + sends.fence_margin_ms;
        let until = steady().plus_ms(fence_ms + ANSWER_MS_MAX);
        self.inspecting.push(Inspecting { inspect, step: Step::Fence(expiry), until });
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
            looking.until = steady().plus_ms(ANSWER_MS_MAX);
            let Inspect { attempt, wanted, .. } = &looking.inspect;
            let (attempt, payment_hash) = (*attempt, wanted.payment_hash);
            let call = TrackCall { attempt, number, payment_hash, follow: false };
            self.adapter.command(Command::Track(call));
        }
    }

    /// Takes the answer to a call of ours; false when it is not ours.
    pub(crate) fn inspected(&mut self, call: TrackCall, report: &TrackReport) -> bool {
        let ours =
            |looking: &Inspecting| matches!(looking.step, Step::Asked(n) if n == call.number);
        let Some(at) = self.inspecting.iter().position(ours) else {
            return false;
        };
        // Of what is closed, too: its HTLC is decided on chain.
        let number = self.list_channels(true);
        let looking = &mut self.inspecting[at];
        looking.step = Step::Reading(report.clone(), number);
        looking.until = steady().plus_ms(ANSWER_MS_MAX);
        true
    }

    /// The channels were read.
    pub(crate) fn inspect_channels(&mut self, channels: &ChannelReport) {
        let time = now();
        for looking in std::mem::take(&mut self.inspecting) {
            match looking.step {
                Step::Reading(report, number) if number <= channels.number => {
                    let finding = looking.inspect.wanted.finding(&report, channels);
                    let finding = self.quiet.looked(looking.inspect.attempt, finding, time);
                    answer(looking.inspect, finding);
                }
                Step::Fence(_) | Step::Asked(_) | Step::Reading(..) => {
                    self.inspecting.push(looking);
                }
            }
        }
    }

    /// Who looks is not kept waiting for ever.
    pub(crate) fn inspect_in_time(&mut self) {
        let now = steady();
        for late in self.inspecting.extract_if(.., |looking| looking.until < now) {
            answer(late.inspect, Finding::Unreachable);
        }
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

/// How long a quiet look counts as the first of two, in milliseconds: the person who looks again
/// within it, to confirm, is answered at once.
const FIRST_LOOK_MS: i64 = 3_600_000;

/// Attempts of which a look found nothing alive, with the time of the first such look. Who ends the
/// payment does not say so here: what is not looked at again is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Quiet(HashMap<AttemptId, UnixMs>);

impl Quiet {
    /// Nothing of it lives when two looks apart found it quiet, and no other one between them.
    fn looked(&mut self, attempt: AttemptId, finding: Finding, time: UnixMs) -> Finding {
        self.0.retain(|_, first| time.since(*first) < FIRST_LOOK_MS);
        if finding != Finding::Quiet {
            self.0.remove(&attempt);
            return finding;
        }
        let first = *self.0.entry(attempt).or_insert(time);
        if time.since(first) < LOOKS_APART_MS { Finding::Quiet } else { Finding::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use fulgurite_core::BatchId;

    use super::*;

    #[test]
    fn quiet_looks_are_forgotten() {
        let mut quiet = Quiet::default();
        let attempt =
            |row| AttemptId { payment: BatchId::from_uuid(1 << 80).payment(row), number: 1 };
        let mut look = |row, ms| quiet.looked(attempt(row), Finding::Quiet, UnixMs(ms));
        assert_eq!(look(1, 0), Finding::Quiet);
        assert_eq!(look(2, 1_000), Finding::Quiet);
        assert_eq!(look(1, LOOKS_APART_MS), Finding::Nothing);
        assert_eq!(look(1, LOOKS_APART_MS + 1), Finding::Nothing, "to confirm");
        // Neither was looked at again in time.
        assert_eq!(look(1, FIRST_LOOK_MS), Finding::Quiet, "the first of two again");
        assert_eq!(look(3, FIRST_LOOK_MS + 1_000), Finding::Quiet);
        assert_eq!(quiet.0.len(), 2, "rows 1 and 3");
        let lives = quiet.looked(attempt(1), Finding::MayLive, UnixMs(FIRST_LOOK_MS + 2_000));
        assert_eq!(lives, Finding::MayLive);
        assert_eq!(quiet.0.len(), 1);
    }
}
