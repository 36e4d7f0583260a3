//! Schema 1: payments as rows of views and snapshots. Frozen: see the module above.

use std::sync::Arc;

use bincode::{BorrowDecode, Encode};
use fulgurite_core::{
    Preimage, UnixMs,
    payment::{Attempt, AttemptEnd, Payment, State},
};

use super::{
    DecodeError,
    event_v1::AttemptStartedV1,
    numbers_v1::{
        contradiction, failure, failure_reason, failure_reason_number, never_sent, payment,
    },
    order_v1::{OrderV1, msat},
};

#[derive(Encode, BorrowDecode)]
pub(super) struct PaymentV1<'a> {
    // First, so that a row's version can be read without the rest.
    version: u64,
    id: u128,
    state: StateV1<'a>,
    order: OrderV1<'a>,
    attempts: Vec<AttemptV1<'a>>,
    created: i64,
    updated: i64,
}

#[derive(Encode, BorrowDecode)]
enum StateV1<'a> {
    Queued { not_before: i64 },
    InFlight(AttemptStartedV1<'a>),
    Unresolved { attempt: u16, contradiction: u8 },
    Succeeded { preimage: [u8; 32], fee_paid_msat: u64 },
    Failed(u8),
    Cancelled,
    Stuck(AttemptStartedV1<'a>),
}

#[derive(Encode, BorrowDecode)]
struct AttemptV1<'a> {
    number: u16,
    node: &'a str,
    started: i64,
    ended: Option<i64>,
    end: AttemptEndV1,
}

#[derive(Encode, BorrowDecode)]
enum AttemptEndV1 {
    Open,
    Settled,
    Failed(u8),
    NeverSent(u8),
    Contradicted(u8),
    Resolved,
    Confirmed,
    Suspended { confirmed: bool },
}

impl<'a> From<&'a Payment> for PaymentV1<'a> {
    fn from(payment: &'a Payment) -> PaymentV1<'a> {
        PaymentV1 {
            version: payment.version,
            id: payment.id.as_u128(),
            state: (&payment.state).into(),
            order: (&*payment.order).into(),
            attempts: payment.attempts.iter().map(AttemptV1::from).collect(),
            created: payment.created.0,
            updated: payment.updated.0,
        }
    }
}

impl TryFrom<PaymentV1<'_>> for Payment {
    type Error = DecodeError;

    fn try_from(row: PaymentV1<'_>) -> Result<Payment, DecodeError> {
        let attempts = row.attempts.into_iter().map(Attempt::try_from);
        Ok(Payment {
            id: payment(row.id)?,
            order: Arc::new(row.order.try_into()?),
            state: row.state.try_into()?,
            attempts: attempts.collect::<Result<_, DecodeError>>()?,
            created: UnixMs(row.created),
            updated: UnixMs(row.updated),
            version: row.version,
        })
    }
}

impl<'a> From<&'a State> for StateV1<'a> {
    fn from(state: &'a State) -> StateV1<'a> {
        match state {
            State::Queued { not_before } => StateV1::Queued { not_before: not_before.0 },
            State::InFlight(attempt) => StateV1::InFlight((&**attempt).into()),
            State::Stuck(attempt) => StateV1::Stuck((&**attempt).into()),
            State::Unresolved { attempt, contradiction } => {
                StateV1::Unresolved { attempt: *attempt, contradiction: *contradiction as u8 }
            }
            State::Succeeded { preimage, fee_paid } => {
                StateV1::Succeeded { preimage: preimage.0, fee_paid_msat: fee_paid.get() }
            }
            State::Failed(failure) => StateV1::Failed(*failure as u8),
            State::Cancelled => StateV1::Cancelled,
        }
    }
}

impl TryFrom<StateV1<'_>> for State {
    type Error = DecodeError;

    fn try_from(state: StateV1<'_>) -> Result<State, DecodeError> {
        Ok(match state {
            StateV1::Queued { not_before } => State::Queued { not_before: UnixMs(not_before) },
            StateV1::InFlight(attempt) => State::InFlight(Arc::new(attempt.try_into()?)),
            StateV1::Stuck(attempt) => State::Stuck(Arc::new(attempt.try_into()?)),
            StateV1::Unresolved { attempt, contradiction: number } => {
                State::Unresolved { attempt, contradiction: contradiction(number)? }
            }
            StateV1::Succeeded { preimage, fee_paid_msat } => {
                State::Succeeded { preimage: Preimage(preimage), fee_paid: msat(fee_paid_msat)? }
            }
            StateV1::Failed(reason) => State::Failed(failure(reason)?),
            StateV1::Cancelled => State::Cancelled,
        })
    }
}

impl<'a> From<&'a Attempt> for AttemptV1<'a> {
    fn from(attempt: &'a Attempt) -> AttemptV1<'a> {
        let end = match attempt.end {
            AttemptEnd::Open => AttemptEndV1::Open,
            AttemptEnd::Settled => AttemptEndV1::Settled,
            AttemptEnd::Failed(reason) => AttemptEndV1::Failed(failure_reason_number(reason)),
            AttemptEnd::NeverSent(cause) => AttemptEndV1::NeverSent(cause as u8),
            AttemptEnd::Contradicted(number) => AttemptEndV1::Contradicted(number as u8),
            AttemptEnd::Resolved => AttemptEndV1::Resolved,
            AttemptEnd::Confirmed => AttemptEndV1::Confirmed,
            AttemptEnd::Suspended { confirmed } => AttemptEndV1::Suspended { confirmed },
        };
        AttemptV1 {
            number: attempt.number,
            node: &attempt.node,
            started: attempt.started.0,
            ended: attempt.ended.map(|time| time.0),
            end,
        }
    }
}

impl TryFrom<AttemptV1<'_>> for Attempt {
    type Error = DecodeError;

    fn try_from(attempt: AttemptV1<'_>) -> Result<Attempt, DecodeError> {
        let end = match attempt.end {
            AttemptEndV1::Open => AttemptEnd::Open,
            AttemptEndV1::Settled => AttemptEnd::Settled,
            AttemptEndV1::Failed(reason) => AttemptEnd::Failed(failure_reason(reason)?),
            AttemptEndV1::NeverSent(cause) => AttemptEnd::NeverSent(never_sent(cause)?),
            AttemptEndV1::Contradicted(what) => AttemptEnd::Contradicted(contradiction(what)?),
            AttemptEndV1::Resolved => AttemptEnd::Resolved,
            AttemptEndV1::Confirmed => AttemptEnd::Confirmed,
            AttemptEndV1::Suspended { confirmed } => AttemptEnd::Suspended { confirmed },
        };
        Ok(Attempt {
            number: attempt.number,
            node: attempt.node.into(),
            started: UnixMs(attempt.started),
            ended: attempt.ended.map(UnixMs),
            end,
        })
    }
}
