//! The look at an unresolved payment before a person may call it not paid (rule E20): the fence,
//! then the node's word, then its channels.

use std::sync::Arc;

use fulgurite_core::{
    AttemptId, Lsn, PaymentId, UnixMs,
    event::{Resolution, Verdict},
    order::Sealed,
    payment::{AttemptEnd, Input},
    port::{ChannelReport, ChannelsCall, Command, TrackCall, TrackReport},
    resolve::{Finding, Wanted},
};

use crate::{coverage::Kind, engine::Engine, engine_node::SEND_BOUNDS};

/// One look on its way.
pub struct Looking {
    attempt: AttemptId,
    wanted: Wanted,
    /// The payment as it was when the person asked.
    version: Lsn,
    step: Step,
}

enum Step {
    /// The fence must reach this time of the node's clock.
    Fence(UnixMs),
    /// The call with this number was made behind the fence.
    Asked(u64),
    /// This was the answer; the channels are read.
    Reading(TrackReport),
}

/// A person's word.
pub fn resolve(verdict: Verdict) -> Input {
    let (by, reason) = (Sealed::plain("operator"), Sealed::plain("looked"));
    Input::Resolve(Arc::new(Resolution { verdict, by, reason }))
}

impl Engine {
    /// A person wants to call an unresolved payment not paid.
    pub fn look_for(&mut self, id: PaymentId, now: UnixMs) {
        let payment = self.payment(id);
        let Some(last) = payment.attempts.last() else {
            return;
        };
        let at = last.node.len() - 1;
        let attempt = AttemptId { payment: id, number: last.number };
        let open = payment.state.open_attempt();
        let reserved = open.map(|open| open.channels.iter().map(|part| part.0).collect());
        let wanted = Wanted {
            payment_hash: payment.order.payment_hash,
            reserved: reserved.unwrap_or_default(),
            // One that its node's quarantine made unresolved was not looked for.
            stuck: open.is_some() && !matches!(last.end, AttemptEnd::Suspended { .. }),
        };
        let (version, sent_until) = (payment.version, payment.updated);
        let node = &self.nodes[at];
        if node.reborn_at.is_some() || !node.node.is_connected() || !node.standing.is_believed() {
            return;
        }
        // The node's clock against the one that the payment's times are of.
        let offset = node.offset.unwrap_or(0) - now.since(self.steady(now));
        let expiry = sent_until.plus_ms(SEND_BOUNDS.expiry_ms + offset);
        self.want_fence(at, expiry, now);
        let step = Step::Fence(expiry);
        self.nodes[at].looks.push(Looking { attempt, wanted, version, step });
    }

    /// Asks for what the fence has reached.
    pub fn look_behind_fence(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let up_to = node.fence.up_to();
        for looking in &mut node.looks {
            if !matches!(looking.step, Step::Fence(expiry) if expiry <= up_to) {
                continue;
            }
            node.number += 1;
            looking.step = Step::Asked(node.number);
            let (attempt, payment_hash) = (looking.attempt, looking.wanted.payment_hash);
            let number = node.number;
            let call = TrackCall { attempt, number, payment_hash, follow: false };
            self.out.push((at, Command::Track(call)));
        }
    }

    /// Takes the answer to a call of a look; false when it is none.
    pub fn looked(&mut self, at: usize, call: TrackCall, report: &TrackReport) -> bool {
        let asked = |step: &Step| matches!(step, Step::Asked(number) if *number == call.number);
        let mut looks = self.nodes[at].looks.iter_mut();
        let Some(looking) = looks.find(|looking| asked(&looking.step)) else {
            return false;
        };
        looking.step = Step::Reading(report.clone());
        self.out.push((at, Command::ListChannels(ChannelsCall::default())));
        true
    }

    /// The channels were read: what may be said, is said.
    pub fn look_at_channels(&mut self, at: usize, channels: &ChannelReport, now: UnixMs) {
        for looking in std::mem::take(&mut self.nodes[at].looks) {
            let Step::Reading(report) = &looking.step else {
                self.nodes[at].looks.push(looking);
                continue;
            };
            let id = looking.attempt.payment;
            let finding = looking.wanted.finding(report, channels);
            let same = self.payment(id).version == looking.version;
            let alive = self.batches[&id.batch()].reborn_at.is_none();
            if finding != Finding::Nothing {
                self.seen.push((Kind::Moment, "a person's word was not taken"));
            } else if same && alive {
                // Refused only when it has ended by itself, which the version tells.
                let said = self.decide(id, &resolve(Verdict::NotPaid), now);
                said.expect("what is unresolved can be resolved");
            }
        }
    }
}
