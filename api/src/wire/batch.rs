//! Batches and refused rows as messages.

use fulgurite_core::{
    batch::{Counts, State, Summary},
    event::PauseReason,
    order::{RefusedRow, Sealed},
};
use fulgurite_proto::fulgurite::v1;

use super::{count, large, options, time};

/// The most refused rows of one message.
pub const REFUSED_ROWS_MAX: usize = 1_000;

/// The batch as a message.
pub fn to_proto(summary: &Summary) -> v1::Batch {
    let accepted = &summary.accepted;
    let (state, pause_reason) = state(summary.state);
    let text = |sealed: &Sealed| sealed.text().unwrap_or_default().to_owned();
    v1::Batch {
        batch_id: accepted.batch.to_string(),
        idempotency_key: accepted.idempotency_key.to_string(),
        state: state.into(),
        pause_reason: pause_reason.into(),
        options: Some(options::to_proto(&accepted.options)),
        description: accepted.description.as_ref().map(text).unwrap_or_default(),
        metadata: accepted.metadata.iter().map(|(key, value)| (text(key), text(value))).collect(),
        counts: Some(counts(&summary.counts)),
        amount_msat: large(accepted.amount.get()),
        fee_limit_msat: large(accepted.fee_limit.get()),
        amount_succeeded_msat: large(summary.amount_succeeded.get()),
        fee_msat: large(summary.fee_paid.get()),
        create_time: Some(time::to_proto(accepted.time)),
        update_time: Some(time::to_proto(summary.updated)),
        finish_time: summary.finished.map(time::to_proto),
        cancel_request_time: summary.cancel_requested.map(time::to_proto),
        fingerprint: hex::encode(accepted.fingerprint),
        version: large(summary.version),
        single: accepted.single,
    }
}

fn state(state: State) -> (v1::batch::State, v1::batch::PauseReason) {
    let none = v1::batch::PauseReason::Unspecified;
    match state {
        State::Running => (v1::batch::State::Running, none),
        State::Paused(reason) => {
            let reason = match reason {
                PauseReason::Requested => v1::batch::PauseReason::Requested,
                PauseReason::StartPaused => v1::batch::PauseReason::StartPaused,
                PauseReason::FailureThreshold => v1::batch::PauseReason::FailureThreshold,
            };
            (v1::batch::State::Paused, reason)
        }
        State::Cancelling => (v1::batch::State::Cancelling, none),
        State::Finished => (v1::batch::State::Finished, none),
    }
}

/// The state alone.
pub fn state_to_proto(of: State) -> v1::batch::State {
    state(of).0
}

fn counts(counts: &Counts) -> v1::Counts {
    v1::Counts {
        order_count: count(counts.total()),
        refused_count: count(counts.refused),
        queued_count: count(counts.queued),
        in_flight_count: count(counts.in_flight),
        unresolved_count: count(counts.unresolved),
        succeeded_count: count(counts.succeeded),
        failed_count: count(counts.failed),
        cancelled_count: count(counts.cancelled),
    }
}

/// A refused row as a message.
pub fn refused_to_proto(row: &RefusedRow) -> v1::RefusedRow {
    v1::RefusedRow {
        row: count(row.row),
        reference: row.reference.as_ref().and_then(Sealed::text).unwrap_or_default().into(),
        // The numbers are the contract's own.
        reason: row.reason as i32,
        message: row.message.to_string(),
        field: row.field.into(),
        payment_id: row.payment.map(|payment| payment.to_string()).unwrap_or_default(),
        other_row: row.other_row.map(count).unwrap_or_default(),
    }
}

/// The name of a row's reason, such as `DUPLICATE_HASH`.
pub fn reason_name(row: &RefusedRow) -> &'static str {
    let reason = v1::refused_row::Reason::try_from(row.reason as i32).unwrap_or_default();
    reason.as_str_name().trim_start_matches("REASON_")
}

#[cfg(test)]
mod tests {
    use fulgurite_core::order::RowReason;

    use super::*;

    #[test]
    fn every_row_reason_has_its_name_on_the_wire() {
        for reason in RowReason::ALL {
            let row = RefusedRow {
                row: 1,
                reference: None,
                reason,
                message: "".into(),
                field: "",
                payment: None,
                other_row: None,
            };
            let name = reason_name(&row).replace('_', "").to_lowercase();
            assert_eq!(name, format!("{reason:?}").to_lowercase());
        }
    }
}
