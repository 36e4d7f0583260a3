//! The sends of an attempt, and what accounts for each.

use crate::{port::SendEnd, time::UnixMs};

/// One send of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Send {
    pub(super) number: u64,
    pub(super) expiry: UnixMs,
    pub(super) account: Account,
}

/// Whether a send may still start a payment (rule E11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Its stream is open and has shown nothing.
    Open,
    /// It cannot start any more, or it did.
    Accounted,
    /// It may still start.
    Unaccounted,
}

impl Account {
    /// What the end of a stream that has shown no payment says about its send.
    pub(super) fn after(end: &SendEnd) -> Account {
        match end {
            SendEnd::NotHandedOver | SendEnd::Refused(_) => Account::Accounted,
            // In order, but without the message that would prove that it started.
            SendEnd::Completed | SendEnd::Lost(_) => Account::Unaccounted,
        }
    }
}
