//! Schema 1: the events. Frozen: see the module above.

use std::sync::Arc;

use bincode::{BorrowDecode, Encode};
use fulgurite_core::{
    Event, PaymentHash, Preimage, UnixMs,
    event::{AttemptStarted, PaymentChange, Resolution, SendBounds, Verdict},
};

use super::{
    DecodeError,
    batch_v1::AcceptedV1,
    node_v1::NodeChangeV1,
    numbers_v1::{
        NextV1, batch, contradiction, failure, failure_reason, failure_reason_number, never_sent,
        pause_reason, payment,
    },
    order_v1::{OrderV1, SealedV1, msat, rows_from_wire, rows_to_wire},
};

#[derive(Encode, BorrowDecode)]
pub(super) enum EventV1<'a> {
    EngineStarted { epoch: u32, time: i64, version: &'a str },
    OrdersAdded { batch: u128, orders: Vec<(u32, OrderV1<'a>)> },
    BatchAccepted(AcceptedV1<'a>),
    UploadDropped { batch: u128 },
    BatchPaused { batch: u128, reason: u8, time: i64 },
    BatchResumed { batch: u128, time: i64 },
    BatchCancelRequested { batch: u128, time: i64 },
    BatchFinished { batch: u128, time: i64 },
    Payment { payment: u128, time: i64, change: ChangeV1<'a> },
    PaymentsCancelled { batch: u128, rows: Vec<u32>, time: i64 },
    Barrier,
    SendBounds { expiry_ms: i64, deadline_ms: i64 },
    Node { node: &'a str, time: i64, change: NodeChangeV1<'a> },
    Installed { installation: u32 },
    NodeCompared { node: &'a str, until: i64, live: bool },
    PaidElsewhere { node: &'a str, hashes: Vec<[u8; 32]>, time: i64 },
    NotAlone { node: &'a str, epoch: u32, time: i64 },
    TakenOver { time: i64 },
}

#[derive(Encode, BorrowDecode)]
pub(super) enum ChangeV1<'a> {
    AttemptStarted(AttemptStartedV1<'a>),
    AttemptSettled { attempt: u16, preimage: [u8; 32], fee_paid_msat: u64 },
    AttemptFailed { attempt: u16, reason: u8, next: NextV1 },
    AttemptNeverSent { attempt: u16, cause: u8, next: NextV1 },
    Failed(u8),
    Cancelled,
    Contradicted { attempt: u16, contradiction: u8 },
    AttemptStuck { attempt: u16 },
    Resolved { preimage: Option<[u8; 32]>, by: SealedV1<'a>, reason: SealedV1<'a> },
    AttemptConfirmed { attempt: u16 },
    AttemptSuspended { attempt: u16 },
}

#[derive(Encode, BorrowDecode)]
pub(super) struct AttemptStartedV1<'a> {
    attempt: u16,
    node: &'a str,
    epoch: u32,
    amount_msat: u64,
    fee_limit_msat: u64,
    channels: Vec<(u64, u64)>,
    cltv_limit: u32,
    timeout_seconds: u32,
    send_until: i64,
}

impl<'a> From<&'a Event> for EventV1<'a> {
    fn from(event: &'a Event) -> EventV1<'a> {
        match event {
            Event::EngineStarted { epoch, time, version } => {
                EventV1::EngineStarted { epoch: *epoch, time: time.0, version }
            }
            Event::OrdersAdded { batch, orders } => {
                EventV1::OrdersAdded { batch: batch.as_u128(), orders: rows_to_wire(orders) }
            }
            Event::BatchAccepted(accepted) => EventV1::BatchAccepted((&**accepted).into()),
            Event::UploadDropped { batch } => EventV1::UploadDropped { batch: batch.as_u128() },
            Event::BatchPaused { batch, reason, time } => {
                EventV1::BatchPaused { batch: batch.as_u128(), reason: *reason as u8, time: time.0 }
            }
            Event::BatchResumed { batch, time } => {
                EventV1::BatchResumed { batch: batch.as_u128(), time: time.0 }
            }
            Event::BatchCancelRequested { batch, time } => {
                EventV1::BatchCancelRequested { batch: batch.as_u128(), time: time.0 }
            }
            Event::BatchFinished { batch, time } => {
                EventV1::BatchFinished { batch: batch.as_u128(), time: time.0 }
            }
            Event::Payment { payment, time, change } => {
                EventV1::Payment { payment: payment.as_u128(), time: time.0, change: change.into() }
            }
            Event::PaymentsCancelled { batch, rows, time } => EventV1::PaymentsCancelled {
                batch: batch.as_u128(),
                rows: rows.to_vec(),
                time: time.0,
            },
            Event::Barrier => EventV1::Barrier,
            Event::SendBounds(SendBounds { expiry_ms, deadline_ms }) => {
                EventV1::SendBounds { expiry_ms: *expiry_ms, deadline_ms: *deadline_ms }
            }
            Event::Node { node, time, change } => {
                EventV1::Node { node, time: time.0, change: change.into() }
            }
            Event::Installed { installation } => EventV1::Installed { installation: *installation },
            Event::NodeCompared { node, until, live } => {
                EventV1::NodeCompared { node, until: until.0, live: *live }
            }
            Event::PaidElsewhere { node, hashes, time } => {
                let hashes = hashes.iter().map(|hash| hash.0).collect();
                EventV1::PaidElsewhere { node, hashes, time: time.0 }
            }
            Event::NotAlone { node, epoch, time } => {
                EventV1::NotAlone { node, epoch: *epoch, time: time.0 }
            }
            Event::TakenOver { time } => EventV1::TakenOver { time: time.0 },
        }
    }
}

impl TryFrom<EventV1<'_>> for Event {
    type Error = DecodeError;

    fn try_from(event: EventV1<'_>) -> Result<Event, DecodeError> {
        Ok(match event {
            EventV1::EngineStarted { epoch, time, version } => {
                Event::EngineStarted { epoch, time: UnixMs(time), version: version.into() }
            }
            EventV1::OrdersAdded { batch: id, orders } => {
                Event::OrdersAdded { batch: batch(id)?, orders: Arc::new(rows_from_wire(orders)?) }
            }
            EventV1::BatchAccepted(accepted) => {
                Event::BatchAccepted(Arc::new(accepted.try_into()?))
            }
            EventV1::UploadDropped { batch: id } => Event::UploadDropped { batch: batch(id)? },
            EventV1::BatchPaused { batch: id, reason, time } => Event::BatchPaused {
                batch: batch(id)?,
                reason: pause_reason(reason)?,
                time: UnixMs(time),
            },
            EventV1::BatchResumed { batch: id, time } => {
                Event::BatchResumed { batch: batch(id)?, time: UnixMs(time) }
            }
            EventV1::BatchCancelRequested { batch: id, time } => {
                Event::BatchCancelRequested { batch: batch(id)?, time: UnixMs(time) }
            }
            EventV1::BatchFinished { batch: id, time } => {
                Event::BatchFinished { batch: batch(id)?, time: UnixMs(time) }
            }
            EventV1::Payment { payment: id, time, change } => Event::Payment {
                payment: payment(id)?,
                time: UnixMs(time),
                change: change.try_into()?,
            },
            EventV1::PaymentsCancelled { batch: id, rows, time } => Event::PaymentsCancelled {
                batch: batch(id)?,
                rows: Arc::new(rows),
                time: UnixMs(time),
            },
            EventV1::Barrier => Event::Barrier,
            EventV1::SendBounds { expiry_ms, deadline_ms } => {
                Event::SendBounds(SendBounds { expiry_ms, deadline_ms })
            }
            EventV1::Node { node, time, change } => {
                Event::Node { node: node.into(), time: UnixMs(time), change: change.try_into()? }
            }
            EventV1::Installed { installation } => Event::Installed { installation },
            EventV1::NodeCompared { node, until, live } => {
                Event::NodeCompared { node: node.into(), until: UnixMs(until), live }
            }
            EventV1::PaidElsewhere { node, hashes, time } => Event::PaidElsewhere {
                node: node.into(),
                hashes: Arc::new(hashes.into_iter().map(PaymentHash).collect()),
                time: UnixMs(time),
            },
            EventV1::NotAlone { node, epoch, time } => {
                Event::NotAlone { node: node.into(), epoch, time: UnixMs(time) }
            }
            EventV1::TakenOver { time } => Event::TakenOver { time: UnixMs(time) },
        })
    }
}

impl<'a> From<&'a PaymentChange> for ChangeV1<'a> {
    fn from(change: &'a PaymentChange) -> ChangeV1<'a> {
        match change {
            PaymentChange::AttemptStarted(attempt) => ChangeV1::AttemptStarted((&**attempt).into()),
            PaymentChange::AttemptSettled { attempt, preimage, fee_paid } => {
                ChangeV1::AttemptSettled {
                    attempt: *attempt,
                    preimage: preimage.0,
                    fee_paid_msat: fee_paid.get(),
                }
            }
            PaymentChange::AttemptFailed { attempt, reason, next } => ChangeV1::AttemptFailed {
                attempt: *attempt,
                reason: failure_reason_number(*reason),
                next: (*next).into(),
            },
            PaymentChange::AttemptNeverSent { attempt, cause, next } => {
                let (attempt, cause) = (*attempt, *cause as u8);
                ChangeV1::AttemptNeverSent { attempt, cause, next: (*next).into() }
            }
            PaymentChange::Failed(failure) => ChangeV1::Failed(*failure as u8),
            PaymentChange::Cancelled => ChangeV1::Cancelled,
            PaymentChange::AttemptStuck { attempt } => ChangeV1::AttemptStuck { attempt: *attempt },
            PaymentChange::Contradicted { attempt, contradiction } => {
                ChangeV1::Contradicted { attempt: *attempt, contradiction: *contradiction as u8 }
            }
            PaymentChange::AttemptConfirmed { attempt } => {
                ChangeV1::AttemptConfirmed { attempt: *attempt }
            }
            PaymentChange::AttemptSuspended { attempt } => {
                ChangeV1::AttemptSuspended { attempt: *attempt }
            }
            PaymentChange::Resolved(resolution) => {
                let Resolution { verdict, by, reason } = &**resolution;
                let preimage = match verdict {
                    Verdict::Paid(preimage) => Some(preimage.0),
                    Verdict::NotPaid => None,
                };
                ChangeV1::Resolved { preimage, by: by.into(), reason: reason.into() }
            }
        }
    }
}

impl TryFrom<ChangeV1<'_>> for PaymentChange {
    type Error = DecodeError;

    fn try_from(change: ChangeV1<'_>) -> Result<PaymentChange, DecodeError> {
        Ok(match change {
            ChangeV1::AttemptStarted(attempt) => {
                PaymentChange::AttemptStarted(Arc::new(attempt.try_into()?))
            }
            ChangeV1::AttemptSettled { attempt, preimage, fee_paid_msat } => {
                let (preimage, fee_paid) = (Preimage(preimage), msat(fee_paid_msat)?);
                PaymentChange::AttemptSettled { attempt, preimage, fee_paid }
            }
            ChangeV1::AttemptFailed { attempt, reason, next } => PaymentChange::AttemptFailed {
                attempt,
                reason: failure_reason(reason)?,
                next: next.try_into()?,
            },
            ChangeV1::AttemptNeverSent { attempt, cause, next } => {
                PaymentChange::AttemptNeverSent {
                    attempt,
                    cause: never_sent(cause)?,
                    next: next.try_into()?,
                }
            }
            ChangeV1::Failed(reason) => PaymentChange::Failed(failure(reason)?),
            ChangeV1::Cancelled => PaymentChange::Cancelled,
            ChangeV1::AttemptStuck { attempt } => PaymentChange::AttemptStuck { attempt },
            ChangeV1::Contradicted { attempt, contradiction: number } => {
                PaymentChange::Contradicted { attempt, contradiction: contradiction(number)? }
            }
            ChangeV1::AttemptConfirmed { attempt } => PaymentChange::AttemptConfirmed { attempt },
            ChangeV1::AttemptSuspended { attempt } => PaymentChange::AttemptSuspended { attempt },
            ChangeV1::Resolved { preimage, by, reason } => {
                let paid = |preimage| Verdict::Paid(Preimage(preimage));
                let verdict = preimage.map_or(Verdict::NotPaid, paid);
                let (by, reason) = (by.into(), reason.into());
                PaymentChange::Resolved(Arc::new(Resolution { verdict, by, reason }))
            }
        })
    }
}

impl<'a> From<&'a AttemptStarted> for AttemptStartedV1<'a> {
    fn from(attempt: &'a AttemptStarted) -> AttemptStartedV1<'a> {
        let channels = attempt.channels.iter().map(|(id, amount)| (*id, amount.get()));
        AttemptStartedV1 {
            attempt: attempt.attempt,
            node: &attempt.node,
            epoch: attempt.epoch,
            amount_msat: attempt.amount.get(),
            fee_limit_msat: attempt.fee_limit.get(),
            channels: channels.collect(),
            cltv_limit: attempt.cltv_limit,
            timeout_seconds: attempt.timeout_seconds,
            send_until: attempt.send_until.0,
        }
    }
}

impl TryFrom<AttemptStartedV1<'_>> for AttemptStarted {
    type Error = DecodeError;

    fn try_from(attempt: AttemptStartedV1<'_>) -> Result<AttemptStarted, DecodeError> {
        let channels = attempt.channels.into_iter().map(|(id, amount)| Ok((id, msat(amount)?)));
        Ok(AttemptStarted {
            attempt: attempt.attempt,
            node: attempt.node.into(),
            epoch: attempt.epoch,
            amount: msat(attempt.amount_msat)?,
            fee_limit: msat(attempt.fee_limit_msat)?,
            channels: channels.collect::<Result<_, DecodeError>>()?,
            cltv_limit: attempt.cltv_limit,
            timeout_seconds: attempt.timeout_seconds,
            send_until: UnixMs(attempt.send_until),
        })
    }
}
