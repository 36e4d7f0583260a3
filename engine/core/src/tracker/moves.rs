//! What a tracker does by itself: send, ask, wait, and take the fence for an answer.

use super::{Account, Action, Context, Outcome, Phase, Send, Tracker};
use crate::{id::SendId, port::TrackCall, time::UnixMs};

/// No tracker waits for longer than this by choice, in milliseconds.
pub const WAIT_MS_MAX: i64 = super::suspended::ASK_AGAIN_MS;

impl Tracker {
    pub(super) fn on_fence(&mut self, up_to: UnixMs, context: &mut Context<'_>) -> Option<Action> {
        for send in &mut self.sends {
            if send.account == Account::Unaccounted && send.expiry <= up_to {
                send.account = Account::Accounted;
                self.fenced = *context.number;
            }
        }
        if self.earlier.is_some_and(|expiry| expiry <= up_to) {
            self.earlier = None;
            self.fenced = *context.number;
        }
        match self.phase {
            Phase::Fencing { expiry } if expiry <= up_to => self.ask(context),
            Phase::Fencing { .. }
            | Phase::Sending
            | Phase::Asking(_)
            | Phase::Watching(_)
            | Phase::Waiting { .. }
            | Phase::Permission
            | Phase::Over => None,
        }
    }

    pub(super) fn on_tick(&mut self, context: &mut Context<'_>) -> Option<Action> {
        match self.phase {
            Phase::Waiting { until }
                if until.has_come(context.now, WAIT_MS_MAX) && context.connected =>
            {
                self.ask(context)
            }
            Phase::Waiting { .. }
            | Phase::Sending
            | Phase::Asking(_)
            | Phase::Watching(_)
            | Phase::Permission
            | Phase::Fencing { .. }
            | Phase::Over => None,
        }
    }

    pub(super) fn send(&mut self, context: &mut Context<'_>) -> Action {
        *context.number += 1;
        let number = *context.number;
        self.sends.push(Send { number, expiry: context.expiry, account: Account::Open });
        self.phase = Phase::Sending;
        Action::Send(SendId { attempt: self.id, number }, context.expiry)
    }

    pub(super) fn ask(&mut self, context: &mut Context<'_>) -> Option<Action> {
        if !context.connected {
            self.wait(context);
            return None;
        }
        *context.number += 1;
        let number = *context.number;
        self.phase = Phase::Asking(number);
        self.news.asked = context.now;
        let (attempt, payment_hash) = (self.id, self.payment_hash);
        Some(Action::Track(TrackCall { attempt, number, payment_hash, follow: true }))
    }

    pub(super) fn wait(&mut self, context: &Context<'_>) {
        self.phase = Phase::Waiting { until: context.now };
    }

    pub(super) fn done(&mut self, outcome: Outcome) -> Action {
        self.phase = Phase::Over;
        Action::Done(outcome)
    }

    /// The latest expiry of a send that may still start a payment.
    pub(super) fn unaccounted(&self) -> Option<UnixMs> {
        let open = self.sends.iter().filter(|send| send.account != Account::Accounted);
        open.map(|send| send.expiry).chain(self.earlier).max()
    }
}
