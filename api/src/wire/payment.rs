//! Payments as messages.

use fulgurite_core::{
    event::{Contradiction, Failure, NeverSent},
    order::Sealed,
    payment::{Attempt, AttemptEnd, Payment, State},
    port::FailureReason,
    time::UnixMs,
};
use fulgurite_proto::fulgurite::v1;

use super::{large, time};

/// How much of a payment is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Everything but preimage and attempts.
    Basic,
    /// Everything.
    Full,
}

impl View {
    /// The view of a request; `None` when it is unknown.
    pub fn from_proto(view: i32) -> Option<View> {
        match v1::View::try_from(view) {
            Ok(v1::View::Unspecified | v1::View::Basic) => Some(View::Basic),
            Ok(v1::View::Full) => Some(View::Full),
            Err(_) => None,
        }
    }
}

/// The payment as a message.
pub fn to_proto(payment: &Payment, view: View) -> v1::Payment {
    let order = &payment.order;
    let last = payment.attempts.last();
    let attempts = payment.attempts.iter().map(|attempt| attempt_to_proto(payment, attempt));
    v1::Payment {
        payment_id: payment.id.to_string(),
        batch_id: payment.id.batch().to_string(),
        row: super::count(payment.id.row()),
        reference: order.reference.as_ref().and_then(Sealed::text).unwrap_or_default().into(),
        state: state(&payment.state).into(),
        destination: Some(v1::payment::Destination::Bolt11(order.invoice.to_string())),
        payment_hash: order.payment_hash.to_string(),
        amount_msat: large(order.amount.get()),
        fee_limit_msat: large(order.fee_limit.get()),
        fee_msat: fee_msat(payment),
        preimage: match (&payment.state, view) {
            (State::Succeeded { preimage, .. }, View::Full) => hex::encode(preimage.0),
            _ => String::new(),
        },
        failure: failure(payment),
        node: last.map(|attempt| attempt.node.to_string()).unwrap_or_default(),
        attempt_count: i32::try_from(payment.attempts.len()).unwrap_or(i32::MAX),
        attempts: if view == View::Full { attempts.collect() } else { Vec::new() },
        create_time: Some(time::to_proto(payment.created)),
        first_attempt_time: payment.attempts.first().map(|first| time::to_proto(first.started)),
        finish_time: payment.finished().map(time::to_proto),
        update_time: Some(time::to_proto(payment.updated)),
        deadline: order.deadline.map(time::to_proto),
        outcome_unknown_since: unknown_since(payment).map(time::to_proto),
        htlc_expiry_height: 0,
        version: large(payment.version),
    }
}

/// The state as the contract has it.
pub fn state(state: &State) -> v1::payment::State {
    match state {
        State::Queued { .. } => v1::payment::State::Queued,
        State::InFlight(_) => v1::payment::State::InFlight,
        State::Stuck(_) | State::Unresolved { .. } => v1::payment::State::Unresolved,
        State::Succeeded { .. } => v1::payment::State::Succeeded,
        State::Failed(_) => v1::payment::State::Failed,
        State::Cancelled => v1::payment::State::Cancelled,
    }
}

/// Since when nobody can say how it ends.
fn unknown_since(payment: &Payment) -> Option<UnixMs> {
    let unresolved = matches!(payment.state, State::Stuck(_) | State::Unresolved { .. });
    unresolved.then_some(payment.updated)
}

fn fee_msat(payment: &Payment) -> i64 {
    match &payment.state {
        State::Succeeded { fee_paid, .. } => large(fee_paid.get()),
        State::Queued { .. }
        | State::InFlight(_)
        | State::Stuck(_)
        | State::Unresolved { .. }
        | State::Failed(_)
        | State::Cancelled => 0,
    }
}

fn attempt_to_proto(payment: &Payment, attempt: &Attempt) -> v1::Attempt {
    v1::Attempt {
        number: i32::from(attempt.number),
        node: attempt.node.to_string(),
        start_time: Some(time::to_proto(attempt.started)),
        end_time: attempt.ended.map(time::to_proto),
        node_code: match (&payment.state, attempt.end) {
            (State::Stuck(_), AttemptEnd::Open | AttemptEnd::Confirmed) => "IN_FLIGHT_WITHOUT_HTLC",
            (_, end) => node_code(end),
        }
        .into(),
        fee_msat: if attempt.end == AttemptEnd::Settled { fee_msat(payment) } else { 0 },
    }
}

fn failure(payment: &Payment) -> Option<v1::Failure> {
    let State::Failed(failure) = payment.state else {
        return None;
    };
    let (message, same_invoice_may_succeed) = failure_text(failure);
    let last = payment.attempts.last();
    Some(v1::Failure {
        // The numbers are the contract's own.
        reason: failure as i32,
        message: message.into(),
        node_code: last.map(|attempt| node_code(attempt.end)).unwrap_or_default().into(),
        same_invoice_may_succeed,
    })
}

/// What the failure means, and whether a new order for the same invoice may succeed.
fn failure_text(failure: Failure) -> (&'static str, bool) {
    match failure {
        Failure::NoRoute => ("no route to the payee within the fee limit", true),
        Failure::InsufficientLiquidity => ("our channels could not carry the amount", true),
        Failure::RecipientRefused => ("the payee refused this invoice", false),
        Failure::InvoiceExpired => ("the invoice expired before it could be paid", false),
        Failure::DeadlinePassed => ("the deadline passed before it could be paid", true),
        Failure::AttemptsExhausted => ("every allowed attempt failed", true),
        Failure::NodeRefused => ("the node refused the payment as it is", false),
        Failure::CancelRequested => ("it was cancelled while an attempt was under way", true),
        Failure::OperatorDecision => ("a person decided that it is not paid", false),
    }
}

/// How an attempt ended, as a stable word.
fn node_code(end: AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::Open | AttemptEnd::Confirmed | AttemptEnd::Settled => "",
        AttemptEnd::Suspended { .. } => "NODE_QUARANTINED",
        AttemptEnd::Failed(reason) => failure_reason(reason),
        AttemptEnd::NeverSent(NeverSent::InvoiceExpired) => "NEVER_SENT_INVOICE_EXPIRED",
        AttemptEnd::NeverSent(NeverSent::SelfPayment) => "NEVER_SENT_SELF_PAYMENT",
        AttemptEnd::NeverSent(NeverSent::Invalid) => "NEVER_SENT_INVALID",
        AttemptEnd::NeverSent(NeverSent::Withdrawn) => "NEVER_SENT_WITHDRAWN",
        AttemptEnd::NeverSent(NeverSent::NotDelivered) => "NEVER_SENT_NOT_DELIVERED",
        AttemptEnd::Resolved => "RESOLVED_BY_OPERATOR",
        AttemptEnd::Contradicted(Contradiction::WrongPreimage) => "WRONG_PREIMAGE",
        AttemptEnd::Contradicted(Contradiction::PaidTooMuch) => "PAID_TOO_MUCH",
        AttemptEnd::Contradicted(Contradiction::SucceededAfterFinal) => "SUCCEEDED_AFTER_FINAL",
        AttemptEnd::Contradicted(Contradiction::PaidBefore) => "PAID_BEFORE",
        AttemptEnd::Contradicted(Contradiction::Forgotten) => "FORGOTTEN",
    }
}

fn failure_reason(reason: FailureReason) -> &'static str {
    match reason {
        FailureReason::Unknown => "FAILURE_REASON_UNKNOWN",
        FailureReason::Timeout => "FAILURE_REASON_TIMEOUT",
        FailureReason::NoRoute => "FAILURE_REASON_NO_ROUTE",
        FailureReason::Error => "FAILURE_REASON_ERROR",
        FailureReason::IncorrectPaymentDetails => "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS",
        FailureReason::InsufficientBalance => "FAILURE_REASON_INSUFFICIENT_BALANCE",
        FailureReason::Canceled => "FAILURE_REASON_CANCELED",
    }
}
