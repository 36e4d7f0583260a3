//! What is known of a payment in flight beyond the journal. It changes no state: it is looked up
//! for whoever asks for the payment.

use fulgurite_core::{
    AttemptId, UnixMs,
    payment::{Payment, State},
};

use crate::engine::Engine;

/// How a payment in flight can be followed right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Since when its node cannot be asked, or was asked in vain; `None` while it answers, or when
    /// nothing is in flight.
    pub lost_since: Option<UnixMs>,
    /// The block height by which what is in flight comes back at the latest; 0 when unknown.
    pub htlc_expiry_height: u32,
}

impl Engine {
    /// What is known of this payment's attempt right now.
    pub fn contact(&self, payment: &Payment) -> Contact {
        let (State::InFlight(started) | State::Stuck(started)) = &payment.state else {
            return Contact::default();
        };
        let Some(node) = self.shared.nodes.find(&started.node) else {
            // It is not configured any more.
            return Contact { lost_since: Some(payment.updated), htlc_expiry_height: 0 };
        };
        let attempt = AttemptId { payment: payment.id, number: started.attempt };
        let disconnected_since = node.status.lock().disconnected_since;
        let followed = node.followed.lock().get(&attempt).copied().unwrap_or_default();
        let lost_since = disconnected_since.or(followed.silent_since);
        Contact { lost_since, htlc_expiry_height: followed.htlc_expiry_height }
    }
}
