//! The nodes as witnesses (rule E18): what a node paid and this journal knows nothing of.
//!
//! A node's payments are read backwards to the time up to which this journal has seen them, and
//! from then on forwards. What is found there was started here, or by somebody else. When it is of
//! an order of ours, this journal is an old copy, or a second engine pays from another one.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    id::PaymentId,
    payment::{Attempt, AttemptEnd, Payment, State},
    port::{ListCall, ListedPayment, ListedState},
    time::UnixMs,
};

/// How exactly a time of a node is known by our clock, in milliseconds: the offset of its clock is
/// found to a second, and looked at each minute.
const INEXACT_MS: i64 = 5_000;
/// How many payments are asked for at once.
const PAGE: u32 = 500;

/// How far a node's payments have been compared with the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Everything that the node made up to then, by the engine's clock.
    pub until: UnixMs,
    /// It is read on: it will have been compared up to the last event of this epoch.
    pub live: bool,
}

/// Reads a node's payments: back to a time, then forward for ever.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The highest index that was read; `None` before the first answer.
    newest: Option<u64>,
    /// How far back, by the node's clock.
    back_to: UnixMs,
    /// The index before which the next page back ends; `None` when nothing is left there.
    back_from: Option<u64>,
    /// The number of the call that is to be answered.
    asked: Option<u64>,
    /// What the node listed since then makes the reading level with it.
    level: Level,
}

/// Whether what the node has made until a moment was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// Nobody asked.
    Unasked,
    /// Calls up to the one with this number were made before.
    After(u64),
    /// A forward page that was asked for since came short.
    Reached,
}

impl Reading {
    /// Nothing has been read yet, and `back_to` is the time that is to be reached.
    pub fn back_to(back_to: UnixMs) -> Reading {
        let level = Level::Unasked;
        Reading { newest: None, back_to, back_from: Some(0), asked: None, level }
    }

    /// The next call, with a number of the caller's.
    pub fn ask(&mut self, number: u64) -> ListCall {
        self.asked = Some(number);
        let reversed = self.back_from.is_some();
        let index_offset = self.back_from.unwrap_or(self.newest.unwrap_or(0));
        ListCall { number, index_offset, reversed, max: PAGE }
    }

    /// From now on a forward page that is asked for anew, and comes short, shows all that the node
    /// has made until now. `number` is the last one that a call has.
    pub fn level_from(&mut self, number: u64) {
        self.level = Level::After(number);
    }

    /// Such a page has come.
    pub fn is_level(&self) -> bool {
        self.level == Level::Reached
    }

    /// True while an answer is waited for.
    pub fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// The call with this number will not be answered, or could not be.
    pub fn lost(&mut self, number: u64) -> bool {
        let ours = self.asked == Some(number);
        if ours {
            self.asked = None;
        }
        ours
    }

    /// Takes the page that answers `call`: what of it is to be looked at, and whether there is
    /// more. `None` when this is not the answer that is waited for.
    ///
    /// # Errors
    /// When the page is not of where it was asked for: whoever read on would read it for ever.
    pub fn page(
        &mut self,
        call: ListCall,
        page: &[ListedPayment],
    ) -> Option<Result<(Vec<ListedPayment>, bool), Misplaced>> {
        if !self.lost(call.number) {
            return None;
        }
        if let Some(listed) = page.iter().find(|listed| !call.covers(listed.index)) {
            return Some(Err(Misplaced { call, index: listed.index }));
        }
        let newest = page.iter().map(|listed| listed.index).max();
        self.newest = Some(self.newest.unwrap_or(0).max(newest.unwrap_or(0)));
        if !call.reversed {
            let more = page.len() >= PAGE as usize;
            if let Level::After(number) = self.level
                && call.number > number
                && !more
            {
                self.level = Level::Reached;
            }
            return Some(Ok((alive(page, UnixMs(i64::MIN)), more)));
        }
        // The order is by index: a clock that was set back made later payments look older. A page
        // on which all are older ends the reading.
        let is_reached = page.iter().all(|listed| listed.created < self.back_to);
        let first = page.iter().map(|listed| listed.index).min();
        // Index 1 is the first payment of all, and 0 would mean the newest.
        self.back_from = first.filter(|first| !is_reached && *first > 1);
        Some(Ok((alive(page, self.back_to), self.back_from.is_some())))
    }
}

/// A page of payments that does not lie where it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// How it was asked for.
    pub call: ListCall,
    /// The index of a payment on it that does not belong there.
    pub index: u64,
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.call.reversed { "before" } else { "after" };
        let Misplaced { call, index } = self;
        write!(f, "asked for payments {side} index {}, it lists {index}", call.index_offset)
    }
}

/// What may have been paid since `from`.
fn alive(page: &[ListedPayment], from: UnixMs) -> Vec<ListedPayment> {
    let wanted =
        |listed: &&ListedPayment| listed.state != ListedState::Failed && listed.created >= from;
    page.iter().filter(wanted).copied().collect()
}

/// When an engine started, and how its clock was set since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    at: UnixMs,
    back_ms: i64,
    forward_ms: i64,
}

impl From<UnixMs> for Started {
    /// By a clock that was not set since.
    fn from(at: UnixMs) -> Started {
        Started { at, back_ms: 0, forward_ms: 0 }
    }
}

impl Started {
    /// The clock is so many milliseconds ahead of one that nobody has set since the start.
    pub fn clock_is_ahead(&mut self, ms: i64) {
        self.back_ms = self.back_ms.max(-ms);
        self.forward_ms = self.forward_ms.max(ms);
    }

    /// By how many milliseconds the clock was set back since the start, at most: so much later a
    /// time of before looks by the clock as it is.
    pub fn set_back_ms(&self) -> i64 {
        self.back_ms
    }

    /// An attempt that ended at `ended` may have been alive when this engine asked its node, and
    /// be what the node created at `created`.
    fn may_have_asked(&self, ended: UnixMs, created: UnixMs) -> bool {
        let set_ms = self.back_ms + self.forward_ms;
        ended >= self.at.plus_ms(-self.back_ms) && created <= ended.plus_ms(INEXACT_MS + set_ms)
    }
}

/// Who made a payment that a node shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An attempt of this journal.
    Ours,
    /// Somebody else, and no order of ours is for it.
    Elsewhere,
    /// An attempt of this journal that was over, or somebody else: the payment ended otherwise here
    /// (rule E14).
    AfterAll(PaymentId),
    /// Somebody else, before it was ordered here: the journal is not the reason.
    PaidBefore(PaymentId),
    /// Somebody else, after it was ordered here: this journal does not know what became of its own
    /// order. It is an old copy, or a second engine pays from another one.
    OtherJournal(PaymentId),
}

/// Who made the payment that a node created at `created` (by the engine's clock), given all
/// payments of the journal with its hash. `is_here` is true for every name under which the journal
/// knows that node: it may have been renamed, or have two. `started` is when this engine started.
///
/// An attempt that ended before this engine started cannot show as alive any more: the node said
/// FAILED of it, and has one payment for each hash. One that ended since may have been alive when
/// the node was asked.
pub fn origin(
    is_here: impl Fn(&str) -> bool,
    created: UnixMs,
    ours: &[Payment],
    started: impl Into<Started>,
) -> Origin {
    let started = started.into();
    let mut origin = Origin::Elsewhere;
    for payment in ours {
        let tried_here = payment.attempts.iter().any(|attempt| is_here(&attempt.node));
        let mut here = payment.attempts.iter().filter(|attempt| is_here(&attempt.node));
        let makes = |attempt: &Attempt| match (attempt.end, attempt.ended) {
            (AttemptEnd::Failed(_) | AttemptEnd::NeverSent(_), Some(ended)) => {
                started.may_have_asked(ended, created)
            }
            _ => true,
        };
        if here.any(makes) || payment.is_known_paid_before() {
            return Origin::Ours;
        }
        let next = match payment.state {
            State::Queued { .. } | State::InFlight(_) => {
                later_than_ours(payment, created, Origin::OtherJournal(payment.id))
            }
            // A person looks at it already.
            State::Unresolved { .. } if tried_here => return Origin::Ours,
            _ if tried_here => Origin::AfterAll(payment.id),
            _ if payment.claims_hash() => {
                later_than_ours(payment, created, Origin::OtherJournal(payment.id))
            }
            _ => later_than_ours(payment, created, Origin::Elsewhere),
        };
        if weight(next) > weight(origin) {
            origin = next;
        }
    }
    origin
}

/// `then`, unless the node's payment is older than the order.
fn later_than_ours(payment: &Payment, created: UnixMs, then: Origin) -> Origin {
    let is_older = created < payment.created.plus_ms(-INEXACT_MS);
    if is_older { Origin::PaidBefore(payment.id) } else { then }
}

/// Which of two payments with one hash says more.
fn weight(origin: Origin) -> u8 {
    match origin {
        Origin::Elsewhere | Origin::Ours => 0,
        Origin::AfterAll(_) => 1,
        Origin::PaidBefore(_) => 2,
        Origin::OtherJournal(_) => 3,
    }
}
