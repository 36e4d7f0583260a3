//! Watchdog: an attempt of which the node says nothing for long is asked for.
//!
//! lnd sends an update when something changes. One whose work on a payment ended by an error of its
//! own database tells nobody, and a middlebox may lose what it said: silence is no answer.

use super::{Action, Context, Phase, Tracker};
use crate::time::UnixMs;

/// When the node was asked for an attempt, and when it said something.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    /// The node's last word on it; its start, before there was one.
    pub(super) heard: UnixMs,
    /// When it was asked last; the attempt's start, before that.
    pub(super) asked: UnixMs,
}

impl Tracker {
    /// When the node last said something of it; its start, when it never did.
    pub fn heard(&self) -> UnixMs {
        self.news.heard
    }

    /// Since when the node has said nothing of it, when that is for longer than `limit_ms` and it
    /// was asked in vain.
    pub fn silent_since(&self, now: UnixMs, limit_ms: i64) -> Option<UnixMs> {
        let asked = matches!(self.phase, Phase::Asking(_));
        let News { heard, .. } = self.news;
        (asked && now.since(heard).abs() > limit_ms).then_some(heard)
    }

    /// Asks for an attempt that is waited for and was neither heard of nor asked for since.
    pub(super) fn on_silence(
        &mut self,
        limit_ms: i64,
        context: &mut Context<'_>,
    ) -> Option<Action> {
        let News { heard, asked } = self.news;
        // A clock that was set back says nothing about how long it was: ask.
        let is_silent = context.now.since(heard.max(asked)).abs() >= limit_ms;
        match self.phase {
            Phase::Asking(_) | Phase::Watching(_) if is_silent => self.ask(context),
            // A send's stream ends by its deadline, and what it waits for here has a time.
            Phase::Asking(_)
            | Phase::Watching(_)
            | Phase::Sending
            | Phase::Waiting { .. }
            | Phase::Permission
            | Phase::Fencing { .. }
            | Phase::Over => None,
        }
    }
}
