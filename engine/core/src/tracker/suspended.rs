//! Rule E19: attempts at a node that is not believed. Only a proof of payment counts; whatever else
//! it says may come from a database that never knew the attempt.

use super::{Account, Action, Context, Input, Outcome, Phase, Tracker};
use crate::{
    event::Contradiction,
    port::{PaymentReport, PaymentStatus, SendReport, TrackReport},
    standing::Quarantine,
};

/// How often a node that is not believed is asked for a proof, in milliseconds.
pub(super) const ASK_AGAIN_MS: i64 = 10_000;

impl Tracker {
    /// The node is not believed any more. `false` when that was known.
    pub fn suspend(&mut self, why: Quarantine, context: &Context<'_>) -> bool {
        if self.suspended.is_some() || self.phase == Phase::Over {
            return false;
        }
        self.suspended = Some(why);
        if !matches!(self.phase, Phase::Sending | Phase::Watching(_)) {
            self.wait(context);
        }
        true
    }

    /// A person trusts the node, which may never have known the attempt: only a proof counts, for
    /// ever. Without one a person decides (rule E20).
    pub fn believe_proofs_alone(&mut self, context: &Context<'_>) {
        if self.phase != Phase::Over {
            self.suspend(Quarantine::IdentityChanged, context);
            self.trusted = true;
            self.liveness.is_stuck = true;
            // Not even that it was forgotten is news of such a node.
            self.suspended = Some(Quarantine::IdentityChanged);
        }
    }

    /// A person trusts the node again, which is the one that it was: what it says counts, and
    /// nothing is sent for the attempt.
    pub fn trust(&mut self, context: &Context<'_>) {
        if self.suspended.take().is_some() && self.phase != Phase::Over {
            self.trusted = true;
            self.liveness.is_stuck = true;
            self.wait(context);
        }
    }

    /// The node is not believed.
    pub fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// It was suspended, and a person trusts the node again: that it forgot this one is no news.
    pub fn was_trusted(&self) -> bool {
        self.trusted
    }

    /// The node had shown it to an earlier engine or actor.
    pub fn shown(mut self) -> Tracker {
        self.confirmed = Some(0);
        self
    }

    pub(super) fn step_suspended(
        &mut self,
        input: Input,
        why: Quarantine,
        context: &mut Context<'_>,
    ) -> Option<Action> {
        match input {
            Input::Send(_, SendReport::Payment(report))
            | Input::Track(_, TrackReport::Payment(report))
                if matches!(report.status, PaymentStatus::Succeeded { .. }) =>
            {
                self.proved(&report)
            }
            Input::Send(number, report) => {
                self.account(number, &report);
                if let (SendReport::Ended(_), Phase::Sending) = (&report, self.phase) {
                    self.wait(context);
                }
                None
            }
            Input::Track(number, TrackReport::Payment(report))
                if report.status == PaymentStatus::InFlight =>
            {
                self.liveness.reported(&report);
                self.phase = Phase::Watching(number);
                None
            }
            // Another node never knew it.
            Input::Track(number, TrackReport::NotFound)
                if why != Quarantine::IdentityChanged
                    && self.confirmed.is_some_and(|confirmed| confirmed < number) =>
            {
                Some(self.done(Outcome::Contradicted(Contradiction::Forgotten)))
            }
            Input::Track(..) => {
                self.phase = Phase::Waiting { until: context.now.plus_ms(ASK_AGAIN_MS) };
                None
            }
            Input::Tick => self.on_tick(context),
            Input::Silence(limit_ms) => self.on_silence(limit_ms, context),
            Input::Start | Input::Permission(_) | Input::Fence(_) | Input::Look { .. } => None,
        }
    }

    fn proved(&mut self, report: &PaymentReport) -> Option<Action> {
        let PaymentStatus::Succeeded { preimage, fee_paid } = report.status else {
            return None;
        };
        // A proof is a proof, whoever shows it; anything else is one more reason for a person.
        if preimage.payment_hash() != self.payment_hash {
            return None;
        }
        let amount = report.amount;
        Some(self.done(Outcome::Settled { preimage, amount, fee_paid }))
    }

    fn account(&mut self, number: u64, report: &SendReport) {
        let Some(send) = self.sends.iter_mut().find(|send| send.number == number) else {
            return;
        };
        match report {
            SendReport::Payment(_) => send.account = Account::Accounted,
            SendReport::Ended(end) if send.account == Account::Open => {
                send.account = Account::after(end);
            }
            SendReport::Ended(_) => {}
        }
    }
}
