//! Schema 1: what was accepted, and batches as rows. Frozen: see the module above.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use bincode::{BorrowDecode, Encode};
use fulgurite_core::{
    FeePolicy, UnixMs,
    batch::{Counts, State, Summary},
    order::{Accepted, BatchOptions, Priority, RefusedRow, RowReason},
};

use super::{
    DecodeError,
    numbers_v1::{batch, pause_reason, payment},
    order_v1::{SealedV1, msat},
};

#[derive(Encode, BorrowDecode)]
pub(super) struct AcceptedV1<'a> {
    batch: u128,
    account: &'a str,
    idempotency_key: &'a str,
    fingerprint: [u8; 32],
    content_digest: &'a str,
    single: bool,
    options: OptionsV1,
    description: Option<SealedV1<'a>>,
    metadata: Vec<(SealedV1<'a>, SealedV1<'a>)>,
    order_count: u32,
    refused: Vec<RefusedRowV1<'a>>,
    amount_msat: u64,
    fee_limit_msat: u64,
    time: i64,
}

#[derive(Encode, BorrowDecode)]
struct OptionsV1 {
    start_paused: bool,
    accept_valid: bool,
    priority: u8,
    in_flight_max: u32,
    payments_per_second_max: u32,
    per_destination_in_flight_max: u32,
    failed_count_max: u32,
    failed_percent_max: u32,
    fee_base_msat: u64,
    fee_proportional_ppm: u32,
    deadline: Option<i64>,
    attempts_max: u16,
    cltv_limit_blocks: u32,
}

#[derive(Encode, BorrowDecode)]
struct RefusedRowV1<'a> {
    row: u32,
    reference: Option<SealedV1<'a>>,
    reason: u8,
    message: &'a str,
    field: &'a str,
    payment: Option<u128>,
    other_row: Option<u32>,
}

#[derive(Encode, BorrowDecode)]
pub(super) struct SummaryV1<'a> {
    version: u64,
    accepted: AcceptedV1<'a>,
    state: StateV1,
    counts: [u32; 7],
    counts_resumed: [u32; 7],
    amount_succeeded_msat: u64,
    fee_paid_msat: u64,
    cancel_requested: Option<i64>,
    updated: i64,
    finished: Option<i64>,
}

#[derive(Encode, BorrowDecode)]
enum StateV1 {
    Running,
    Paused(u8),
    Cancelling,
    Finished,
}

impl<'a> From<&'a Accepted> for AcceptedV1<'a> {
    fn from(accepted: &'a Accepted) -> AcceptedV1<'a> {
        let metadata = accepted.metadata.iter().map(|(key, value)| (key.into(), value.into()));
        AcceptedV1 {
            batch: accepted.batch.as_u128(),
            account: &accepted.account,
            idempotency_key: &accepted.idempotency_key,
            fingerprint: accepted.fingerprint,
            content_digest: &accepted.content_digest,
            single: accepted.single,
            options: (&accepted.options).into(),
            description: accepted.description.as_ref().map(SealedV1::from),
            metadata: metadata.collect(),
            order_count: accepted.order_count,
            refused: accepted.refused.iter().map(RefusedRowV1::from).collect(),
            amount_msat: accepted.amount.get(),
            fee_limit_msat: accepted.fee_limit.get(),
            time: accepted.time.0,
        }
    }
}

impl TryFrom<AcceptedV1<'_>> for Accepted {
    type Error = DecodeError;

    fn try_from(accepted: AcceptedV1<'_>) -> Result<Accepted, DecodeError> {
        let refused = accepted.refused.into_iter().map(RefusedRow::try_from);
        let metadata = accepted.metadata.into_iter().map(|(key, value)| (key.into(), value.into()));
        Ok(Accepted {
            batch: batch(accepted.batch)?,
            account: accepted.account.into(),
            idempotency_key: accepted.idempotency_key.into(),
            fingerprint: accepted.fingerprint,
            content_digest: accepted.content_digest.into(),
            single: accepted.single,
            options: accepted.options.try_into()?,
            description: accepted.description.map(Into::into),
            metadata: metadata.collect(),
            order_count: accepted.order_count,
            refused: refused.collect::<Result<_, DecodeError>>()?,
            amount: msat(accepted.amount_msat)?,
            fee_limit: msat(accepted.fee_limit_msat)?,
            time: UnixMs(accepted.time),
        })
    }
}

impl From<&BatchOptions> for OptionsV1 {
    fn from(options: &BatchOptions) -> OptionsV1 {
        OptionsV1 {
            start_paused: options.start_paused,
            accept_valid: options.accept_valid,
            priority: match options.priority {
                Priority::Low => 1,
                Priority::Normal => 2,
                Priority::High => 3,
            },
            in_flight_max: options.in_flight_max,
            payments_per_second_max: options.payments_per_second_max,
            per_destination_in_flight_max: options.per_destination_in_flight_max,
            failed_count_max: options.failed_count_max,
            failed_percent_max: options.failed_percent_max,
            fee_base_msat: options.fee_policy.base.get(),
            fee_proportional_ppm: options.fee_policy.proportional_ppm,
            deadline: options.deadline.map(|time| time.0),
            attempts_max: options.attempts_max,
            cltv_limit_blocks: options.cltv_limit_blocks,
        }
    }
}

impl TryFrom<OptionsV1> for BatchOptions {
    type Error = DecodeError;

    fn try_from(options: OptionsV1) -> Result<BatchOptions, DecodeError> {
        Ok(BatchOptions {
            start_paused: options.start_paused,
            accept_valid: options.accept_valid,
            priority: match options.priority {
                1 => Priority::Low,
                2 => Priority::Normal,
                3 => Priority::High,
                _ => return Err(DecodeError::UnknownValue("priority")),
            },
            in_flight_max: options.in_flight_max,
            payments_per_second_max: options.payments_per_second_max,
            per_destination_in_flight_max: options.per_destination_in_flight_max,
            failed_count_max: options.failed_count_max,
            failed_percent_max: options.failed_percent_max,
            fee_policy: FeePolicy {
                base: msat(options.fee_base_msat)?,
                proportional_ppm: options.fee_proportional_ppm,
            },
            deadline: options.deadline.map(UnixMs),
            attempts_max: options.attempts_max,
            cltv_limit_blocks: options.cltv_limit_blocks,
        })
    }
}

impl<'a> From<&'a RefusedRow> for RefusedRowV1<'a> {
    fn from(refused: &'a RefusedRow) -> RefusedRowV1<'a> {
        RefusedRowV1 {
            row: refused.row,
            reference: refused.reference.as_ref().map(SealedV1::from),
            reason: refused.reason as u8,
            message: &refused.message,
            field: refused.field,
            payment: refused.payment.map(|payment| payment.as_u128()),
            other_row: refused.other_row,
        }
    }
}

impl TryFrom<RefusedRowV1<'_>> for RefusedRow {
    type Error = DecodeError;

    fn try_from(refused: RefusedRowV1<'_>) -> Result<RefusedRow, DecodeError> {
        let reason = RowReason::from_number(refused.reason);
        Ok(RefusedRow {
            row: refused.row,
            reference: refused.reference.map(Into::into),
            reason: reason.ok_or(DecodeError::UnknownValue("row_reason"))?,
            message: refused.message.into(),
            field: field_name(refused.field)?,
            payment: refused.payment.map(payment).transpose()?,
            other_row: refused.other_row,
        })
    }
}

impl<'a> From<&'a Summary> for SummaryV1<'a> {
    fn from(summary: &'a Summary) -> SummaryV1<'a> {
        SummaryV1 {
            version: summary.version,
            accepted: (&*summary.accepted).into(),
            state: match summary.state {
                State::Running => StateV1::Running,
                State::Paused(reason) => StateV1::Paused(reason as u8),
                State::Cancelling => StateV1::Cancelling,
                State::Finished => StateV1::Finished,
            },
            counts: counts_to_wire(&summary.counts),
            counts_resumed: counts_to_wire(&summary.counts_resumed),
            amount_succeeded_msat: summary.amount_succeeded.get(),
            fee_paid_msat: summary.fee_paid.get(),
            cancel_requested: summary.cancel_requested.map(|time| time.0),
            updated: summary.updated.0,
            finished: summary.finished.map(|time| time.0),
        }
    }
}

impl TryFrom<SummaryV1<'_>> for Summary {
    type Error = DecodeError;

    fn try_from(row: SummaryV1<'_>) -> Result<Summary, DecodeError> {
        Ok(Summary {
            accepted: Arc::new(row.accepted.try_into()?),
            state: match row.state {
                StateV1::Running => State::Running,
                StateV1::Paused(reason) => State::Paused(pause_reason(reason)?),
                StateV1::Cancelling => State::Cancelling,
                StateV1::Finished => State::Finished,
            },
            counts: counts_from_wire(row.counts),
            counts_resumed: counts_from_wire(row.counts_resumed),
            amount_succeeded: msat(row.amount_succeeded_msat)?,
            fee_paid: msat(row.fee_paid_msat)?,
            cancel_requested: row.cancel_requested.map(UnixMs),
            updated: UnixMs(row.updated),
            finished: row.finished.map(UnixMs),
            version: row.version,
        })
    }
}

fn counts_to_wire(counts: &Counts) -> [u32; 7] {
    let Counts { refused, queued, in_flight, unresolved, succeeded, failed, cancelled } = *counts;
    [refused, queued, in_flight, unresolved, succeeded, failed, cancelled]
}

fn counts_from_wire(counts: [u32; 7]) -> Counts {
    let [refused, queued, in_flight, unresolved, succeeded, failed, cancelled] = counts;
    Counts { refused, queued, in_flight, unresolved, succeeded, failed, cancelled }
}

/// The name of a field as the constant that core wants. Each name lives once, for ever; there are
/// as many as a `PaymentOrder` has fields, so a journal with hundreds is not ours.
fn field_name(name: &str) -> Result<&'static str, DecodeError> {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return Ok(known);
    }
    if names.len() >= 256 {
        return Err(DecodeError::UnknownValue("field"));
    }
    let name: &'static str = Box::leak(name.into());
    names.insert(name);
    Ok(name)
}
