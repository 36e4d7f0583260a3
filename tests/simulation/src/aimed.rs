//! Faults that are aimed: coincidences that a rule is there for and that chance alone brings about
//! in one of a thousand worlds.

use fulgurite_core::{batch, standing::Input};

use crate::{
    engine_standing::text,
    fault::Fault,
    lnd::DATABASE_MS_MAX,
    network::DEADLINE_MS,
    sim_node::Request,
    world::{Happening, World},
};

/// How close an invoice's end must be.
const NEAR_MS: i64 = 12_000;
/// So long after it an answer is old: a fence that rises is up by then.
const OLD_MS: (i64, i64) = (15_000, 45_000);

impl World {
    /// When a send that would reach its node in `ms` reaches it, if the moment is a bad one.
    pub fn aim(&mut self, request: &mut Request, ms: i64) -> i64 {
        let node_now = self.now + self.nodes[request.node].offset_ms;
        let to_end = request.expiry.0.saturating_sub(node_now);
        if (1..60_000).contains(&to_end) && self.strikes(Fault::MessageAtTheEnd) {
            // lnd ends at the deadline what is held longer.
            request.hold_ms = self.faults.size(Fault::MessageAtTheEnd, 5_000, DEADLINE_MS - 1);
            return (to_end - self.faults.size(Fault::MessageAtTheEnd, 1, 500)).max(0);
        }
        let to_expiry = request.invoice_expiry.0.saturating_sub(node_now);
        if (1..NEAR_MS).contains(&to_expiry) && self.strikes(Fault::InvoiceAtTheEnd) {
            request.database_ms = self.faults.size(Fault::InvoiceAtTheEnd, 3_000, DATABASE_MS_MAX);
            // What is sent again after this comes too late for the invoice.
            let cut_ms = to_expiry + self.faults.size(Fault::InvoiceAtTheEnd, 1, 500);
            self.after(cut_ms, Happening::StreamCut { node: request.node, send: request.send });
            return (to_expiry - self.faults.size(Fault::InvoiceAtTheEnd, 10, 300)).max(0);
        }
        ms
    }

    /// What allows a repeated send is decided at the moment at which it is asked for.
    pub fn aim_resend(&mut self) {
        let now = self.now();
        for at in 0..self.nodes.len() {
            let Some(engine) = &self.engine else {
                return;
            };
            let node = &engine.nodes[at];
            let asking = node.asking.first().filter(|_| node.reborn_at.is_none());
            let Some(batch) = asking.map(|attempt| attempt.payment.batch()) else {
                continue;
            };
            let state = engine.batches[&batch].batch.summary.state;
            let paused = matches!(state, batch::State::Paused(_));
            let undrains = node.standing.draining && self.strikes(Fault::UndrainedAtResend);
            let resumes = paused && self.strikes(Fault::ResumedAtResend);
            if let Some(engine) = &mut self.engine {
                if undrains {
                    engine.stand(at, &Input::Undrain(text()), now);
                }
                if resumes {
                    engine.request(batch, batch::Input::Resume, now);
                }
            }
        }
    }

    /// When an answer to a Track call that would come in `ms` comes, if a fence rises.
    pub fn aim_answer(&mut self, at: usize, ms: i64) -> i64 {
        let rises = |engine: &crate::engine::Engine| engine.nodes[at].fence.is_rising();
        if self.engine.as_ref().is_some_and(rises) && self.strikes(Fault::AnswerAtTheFence) {
            return ms.max(self.faults.size(Fault::AnswerAtTheFence, OLD_MS.0, OLD_MS.1));
        }
        ms
    }
}
