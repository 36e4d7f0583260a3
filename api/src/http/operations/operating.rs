//! What a person decides.

use axum::routing::post;

use super::{super::operate, *};

/// The operations, in the order of their documentation.
pub const OPERATIONS: &[Operation] = &[Operation {
    id: "resolvePayment",
    method: "POST",
    path: "/v1/payments/{payment_id}/resolve",
    tag: PAYMENTS,
    summary: "End an unresolved payment as a person says",
    description: "With `preimage`: it was paid, and this proves it. With `not_paid`: the node is \
        asked first, behind the fence, which takes up to a minute; without `confirm` the answer \
        is CONFIRMATION_REQUIRED with what was checked. The decision is for ever: the payment \
        hash is never paid again, by any order. Asked twice, it is answered as it is.",
    parameters: &[PAYMENT_ID],
    body: Some(Body { schema: RESOLUTION, example: "payment_resolution" }),
    answers: &[json(200, "It is resolved, now or before.", "Payment", "payment_resolved")],
    codes: &[
        Code::PaymentNotFound,
        Code::PaymentFinished,
        Code::PaymentNotUnresolved,
        Code::PreimageWrong,
        Code::PaymentMayLive,
        Code::PaidAtNode,
        Code::NodeAway,
        Code::NodeAnswers,
        Code::ConfirmationRequired,
        Code::MediaTypeUnsupported,
        Code::Starting,
        Code::Stopping,
        Code::DiskLow,
        Code::UnknownOutcome,
    ],
    route: || post(operate::resolve),
}];
