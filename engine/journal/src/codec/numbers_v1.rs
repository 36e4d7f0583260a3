//! Schema 1: ids, the numbers of reasons, what follows an attempt. Frozen: see the module above.

use bincode::{BorrowDecode, Encode};
use fulgurite_core::{
    BatchId, PaymentId, UnixMs,
    event::{Contradiction, Failure, NeverSent, Next, PauseReason},
    port::FailureReason,
};

use super::DecodeError;

#[derive(Encode, BorrowDecode)]
pub(super) enum NextV1 {
    Retry { not_before: i64 },
    Failed(u8),
    Cancelled,
}

impl From<Next> for NextV1 {
    fn from(next: Next) -> NextV1 {
        match next {
            Next::Retry { not_before } => NextV1::Retry { not_before: not_before.0 },
            Next::Failed(failure) => NextV1::Failed(failure as u8),
            Next::Cancelled => NextV1::Cancelled,
        }
    }
}

impl TryFrom<NextV1> for Next {
    type Error = DecodeError;

    fn try_from(next: NextV1) -> Result<Next, DecodeError> {
        Ok(match next {
            NextV1::Retry { not_before } => Next::Retry { not_before: UnixMs(not_before) },
            NextV1::Failed(reason) => Next::Failed(failure(reason)?),
            NextV1::Cancelled => Next::Cancelled,
        })
    }
}

pub(super) fn batch(id: u128) -> Result<BatchId, DecodeError> {
    let batch = BatchId::from_uuid(id);
    if batch.as_u128() == id { Ok(batch) } else { Err(DecodeError::UnknownValue("batch")) }
}

pub(super) fn payment(id: u128) -> Result<PaymentId, DecodeError> {
    PaymentId::from_uuid(id).ok_or(DecodeError::UnknownValue("payment"))
}

pub(super) fn pause_reason(number: u8) -> Result<PauseReason, DecodeError> {
    match number {
        1 => Ok(PauseReason::Requested),
        2 => Ok(PauseReason::StartPaused),
        3 => Ok(PauseReason::FailureThreshold),
        _ => Err(DecodeError::UnknownValue("pause_reason")),
    }
}

pub(super) fn failure(number: u8) -> Result<Failure, DecodeError> {
    Failure::from_number(number).ok_or(DecodeError::UnknownValue("failure"))
}

pub(super) fn never_sent(number: u8) -> Result<NeverSent, DecodeError> {
    match number {
        1 => Ok(NeverSent::InvoiceExpired),
        2 => Ok(NeverSent::SelfPayment),
        3 => Ok(NeverSent::Invalid),
        4 => Ok(NeverSent::Withdrawn),
        5 => Ok(NeverSent::NotDelivered),
        _ => Err(DecodeError::UnknownValue("never_sent")),
    }
}

pub(super) fn contradiction(number: u8) -> Result<Contradiction, DecodeError> {
    match number {
        1 => Ok(Contradiction::WrongPreimage),
        2 => Ok(Contradiction::PaidTooMuch),
        3 => Ok(Contradiction::SucceededAfterFinal),
        4 => Ok(Contradiction::PaidBefore),
        5 => Ok(Contradiction::Forgotten),
        _ => Err(DecodeError::UnknownValue("contradiction")),
    }
}

/// Core gives these no numbers: the journal's are here, frozen with the schema.
pub(super) fn failure_reason_number(reason: FailureReason) -> u8 {
    match reason {
        FailureReason::Unknown => 0,
        FailureReason::Timeout => 1,
        FailureReason::NoRoute => 2,
        FailureReason::Error => 3,
        FailureReason::IncorrectPaymentDetails => 4,
        FailureReason::InsufficientBalance => 5,
        FailureReason::Canceled => 6,
    }
}

pub(super) fn failure_reason(number: u8) -> Result<FailureReason, DecodeError> {
    match number {
        0 => Ok(FailureReason::Unknown),
        1 => Ok(FailureReason::Timeout),
        2 => Ok(FailureReason::NoRoute),
        3 => Ok(FailureReason::Error),
        4 => Ok(FailureReason::IncorrectPaymentDetails),
        5 => Ok(FailureReason::InsufficientBalance),
        6 => Ok(FailureReason::Canceled),
        _ => Err(DecodeError::UnknownValue("failure_reason")),
    }
}
