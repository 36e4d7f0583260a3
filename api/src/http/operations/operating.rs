//! What a person decides.

use axum::{
    extract::State,
    routing::{MethodRouter, post},
};

use super::{
    super::{
        operate,
        params::{Id, Params, Whole},
    },
    *,
};
use crate::operate::Steering;

/// The operations, in the order of their documentation.
pub const OPERATIONS: &[Operation] = &[
    Operation {
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
        ],
        route: || post(operate::resolve),
    },
    Operation {
        id: "drainNode",
        path: "/v1/nodes/{name}/drain",
        summary: "Drain a node",
        description: "No new attempt starts there: what has none moves to other nodes, what is in \
            flight ends. Holds over restarts of the engine. Asked twice, it is answered as it is.",
        answers: &[json(200, "It drains.", "Node", "node_draining")],
        route: || steer(false, |_| Steering::Drain),
        ..STEER
    },
    Operation {
        id: "undrainNode",
        path: "/v1/nodes/{name}/undrain",
        summary: "Use a drained node again",
        description: "Asked twice, it is answered as it is.",
        answers: &[json(200, "It is in use.", "Node", "node")],
        route: || steer(false, |_| Steering::Undrain),
        ..STEER
    },
    Operation {
        id: "trustNode",
        path: "/v1/nodes/{name}/trust",
        summary: "Believe a quarantined node again",
        description: "Payments are sent there again, and the identity that it has now is its own. \
            Of a node that was replaced, forgot a payment or was lost, only a preimage counts for \
            what was sent before, for ever: those payments stay unresolved until they are \
            resolved. Of one that has its old identity back, all that it says counts. Asked \
            twice, it is answered as it is.",
        body: Some(Body { schema: TRUST, example: "node_trust" }),
        answers: &[json(200, "It is believed.", "Node", "node")],
        route: || steer(true, Steering::Trust),
        ..STEER
    },
    Operation {
        id: "resolveNode",
        path: "/v1/nodes/{name}/resolve",
        summary: "End the payments of a lost node",
        description: "Every payment that is open or unresolved at a node that is lost for ever is \
            ended as not paid, on a person's word alone; the node is quarantined. Refused while \
            the node answers. Without `confirm` the answer is CONFIRMATION_REQUIRED with how many \
            payments it would end. Asked again, it ends what is left.",
        body: Some(Body { schema: NODE_RESOLUTION, example: "node_resolution" }),
        answers: &[json(200, "They are ended.", "ResolveNodeResponse", "node_resolved")],
        codes: &[Code::NodeNotFound, Code::NodeAnswers, Code::ConfirmationRequired],
        route: || post(operate::resolve_node),
        ..STEER
    },
];

/// What steering a node has in common.
const STEER: Operation = Operation {
    id: "",
    method: "POST",
    path: "",
    tag: ENGINE,
    summary: "",
    description: "",
    parameters: &[NODE_NAME],
    body: Some(Body { schema: STEERING, example: "node_steering" }),
    answers: &[],
    codes: &[Code::NodeNotFound],
    route: MethodRouter::new,
};

fn steer(trust: bool, steering: fn(String) -> Steering) -> MethodRouter<Doors> {
    let handler = move |State(doors): State<Doors>, id: Id, params: Params, body: Whole| {
        operate::steer(doors, id, params, body, (trust, steering))
    };
    post(handler)
}

const NODE_NAME: Parameter = Parameter {
    name: "name",
    place: "path",
    required: true,
    holds: Holds::Text("^[a-z0-9_-]{1,32}$"),
    about: "The node's name in the configuration.",
    example: "first",
};
