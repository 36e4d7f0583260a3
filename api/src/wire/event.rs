//! What happened to a payment, as a message.

use fulgurite_core::payment::{Payment, State};
use fulgurite_proto::fulgurite::v1;

use super::{
    payment::{self, View},
    time,
};

/// The last change of a payment. Its id is the same at every repetition.
pub fn of_payment(changed: &Payment, view: View) -> v1::Event {
    v1::Event {
        event_id: format!("evt_{:032x}_{}", changed.id.as_u128(), changed.version),
        time: Some(time::to_proto(changed.updated)),
        r#type: kind(&changed.state).into(),
        object: Some(v1::event::Object::Payment(payment::to_proto(changed, view))),
    }
}

fn kind(state: &State) -> &'static str {
    match state {
        State::Queued { .. } => "payment.queued",
        State::InFlight(_) => "payment.in_flight",
        State::Stuck(_) | State::Unresolved { .. } => "payment.unresolved",
        State::Succeeded { .. } => "payment.succeeded",
        State::Failed(_) => "payment.failed",
        State::Cancelled => "payment.cancelled",
    }
}
