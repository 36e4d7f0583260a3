//! An operator, who pauses, resumes and cancels, and ends what is unresolved.

use fulgurite_core::{BatchId, Preimage, batch, event::Verdict, payment::State, standing::Input};

use crate::{
    engine_inspect::resolve, engine_standing::text, fault::Fault, plan::Plan, rule::rule,
    world::World,
};

impl World {
    /// Pauses, resumes or cancels some batch, cancels a payment, or resolves one.
    pub fn operator_acts(&mut self) {
        let now = self.now();
        let accepted: Vec<BatchId> = self.client.plans.iter().filter_map(Plan::batch).collect();
        if accepted.is_empty() || self.engine.is_none() {
            return;
        }
        self.operator_resolves();
        self.operator_steers();
        let batch = accepted[self.random.index(accepted.len())];
        let input = if self.strikes(Fault::Cancelled) {
            batch::Input::Cancel
        } else if self.strikes(Fault::Paused) {
            batch::Input::Pause
        } else {
            batch::Input::Resume
        };
        let one = self.strikes(Fault::PaymentCancelled);
        let pick = self.random.draw();
        let Some(engine) = &mut self.engine else {
            return;
        };
        if one {
            engine.cancel_payment(batch, pick, now);
        } else {
            engine.request(batch, input, now);
        }
    }

    /// A person drains a node, uses it again, or has checked one that was not believed.
    fn operator_steers(&mut self) {
        let now = self.now();
        let node = self.random.index(self.nodes.len());
        let (drains, trusts) = (self.strikes(Fault::Drained), self.strikes(Fault::Trusted));
        let Some(engine) = &mut self.engine else {
            return;
        };
        if engine.nodes[node].reborn_at.is_some() {
            return;
        }
        if trusts {
            let trust = Input::Trust { identity_pubkey: None, by: text(), checked: text() };
            engine.stand(node, &trust, now);
        }
        let input = if drains { Input::Drain(text()) } else { Input::Undrain(text()) };
        engine.stand(node, &input, now);
    }

    /// A person ends what is unresolved: paid, with the payee's proof, or not paid.
    fn operator_resolves(&mut self) {
        let now = self.now();
        let unresolved =
            |state: &State| matches!(state, State::Stuck(_) | State::Unresolved { .. });
        let found = self.payments().find(|payment| unresolved(&payment.state));
        let Some((id, hash)) = found.map(|found| (found.id, found.order.payment_hash)) else {
            return;
        };
        if !self.strikes(Fault::Resolved) {
            return;
        }
        // Who was paid has the proof to show.
        let proof = self.client.invoice(hash).preimage;
        let proof = self.paid.contains_key(&hash).then_some(proof);
        let Some(engine) = &mut self.engine else {
            return;
        };
        let work = &engine.batches[&id.batch()];
        let is_so = work.batch.payment(id).is_some_and(|payment| unresolved(&payment.state));
        if work.reborn_at.is_some() || !is_so {
            return;
        }
        let wrong = engine.decide(id, &resolve(Verdict::Paid(Preimage([0xdd; 32]))), now);
        rule!(wrong.is_err(), "{id}: a wrong preimage was taken for a proof");
        match proof {
            Some(proof) => {
                let said = engine.decide(id, &resolve(Verdict::Paid(proof)), now);
                said.expect("a proof ends what is unresolved");
            }
            None => engine.look_for(id, now),
        }
    }
}
