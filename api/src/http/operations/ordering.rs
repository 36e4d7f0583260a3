//! What changes something.

use axum::{
    extract::State,
    routing::{MethodRouter, post},
};
use fulgurite_core::batch::Input;

use super::{
    super::{
        batches,
        params::{Id, Nothing},
        payments,
    },
    *,
};

/// The operations, in the order of their documentation.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "createPayment",
        method: "POST",
        path: "/v1/payments",
        tag: PAYMENTS,
        summary: "Order one payment",
        description: "The answer means that the order is durable, not that it is paid: read the \
            payment with `wait_ms` until `finish_time` is set. Send the same key and the same body \
            again whenever the answer was lost: the same payment is answered, with \
            `Idempotent-Replayed: true`, and nothing is paid twice. Other content under a key that \
            was used is refused.",
        parameters: &[
            Parameter {
                name: "Idempotency-Key",
                place: "header",
                required: true,
                holds: Holds::Text("^[!-~]{1,255}$"),
                about: "The client's own name for this order, 1 to 255 visible ASCII characters.",
                example: "payout-2026-11-21-0017",
            },
            Parameter {
                name: "validate_only",
                place: "query",
                required: false,
                holds: Holds::Truth,
                about: "Check everything and write nothing.",
                example: "false",
            },
        ],
        body: Some(Body { schema: PAYMENT_REQUEST, example: "payment_request" }),
        answers: &[
            Answer {
                status: 201,
                about: "The order is accepted and will be paid, now or since it was sent first.",
                body: Shape::Json("Payment", "payment_queued"),
                headers: &[
                    ("Location", "Where the payment is read."),
                    ("Idempotent-Replayed", "`true` when this key was accepted before."),
                ],
            },
            json(
                200,
                "Only with `validate_only`: it would be accepted.",
                "Payment",
                "payment_validated",
            ),
        ],
        codes: &[
            Code::IdempotencyKeyMissing,
            Code::IdempotencyKeyReused,
            Code::OrderRefused,
            Code::HashClaimed,
            Code::AlreadyPaid,
            Code::TooManyOpen,
            Code::DiskLow,
        ],
        route: || post(payments::create),
    },
    Operation {
        id: "cancelPayment",
        method: "POST",
        path: "/v1/payments/{payment_id}/cancel",
        tag: PAYMENTS,
        summary: "Cancel a payment",
        description: "Cancels a payment that has no attempt under way: it is final then, and its \
            hash is free. With an attempt under way nothing is recorded. One that is cancelled is \
            answered as it is.",
        parameters: &[PAYMENT_ID],
        body: NO_BODY,
        answers: &[json(200, "It is cancelled.", "Payment", "payment_cancelled")],
        codes: &[Code::PaymentNotFound, Code::PaymentFinished, Code::PaymentInFlight],
        route: || post(payments::cancel),
    },
    Operation {
        id: "pauseBatch",
        path: "/v1/batches/{batch_id}/pause",
        summary: "Pause a batch",
        description: "No attempt starts after the answer; what is under way ends. Asked twice, it \
            is answered as it is.",
        answers: &[json(200, "It is paused.", "Batch", "batch_paused")],
        route: || change(Input::Pause),
        ..CHANGE
    },
    Operation {
        id: "resumeBatch",
        path: "/v1/batches/{batch_id}/resume",
        summary: "Resume a batch",
        description: "Its payments go on. Asked twice, it is answered as it is.",
        answers: &[json(200, "It is running.", "Batch", "batch")],
        route: || change(Input::Resume),
        ..CHANGE
    },
    Operation {
        id: "cancelBatch",
        path: "/v1/batches/{batch_id}/cancel",
        summary: "Cancel a batch",
        description: "What has no attempt under way is cancelled, the rest ends as it ends. Asked \
            twice, it is answered as it is.",
        answers: &[json(
            200,
            "It is being cancelled, or is finished.",
            "Batch",
            "batch_cancelling",
        )],
        route: || change(Input::Cancel),
        ..CHANGE
    },
];

/// What pausing, resuming and cancelling a batch have in common.
const CHANGE: Operation = Operation {
    id: "",
    method: "POST",
    path: "",
    tag: BATCHES,
    summary: "",
    description: "",
    parameters: &[BATCH_ID],
    body: NO_BODY,
    answers: &[],
    codes: &[Code::BatchNotFound, Code::BatchFinished, Code::BatchCancelling],
    route: MethodRouter::new,
};

fn change(input: Input) -> MethodRouter<Doors> {
    post(move |State(doors): State<Doors>, id: Id, _: Nothing| batches::change(doors, id, input))
}
