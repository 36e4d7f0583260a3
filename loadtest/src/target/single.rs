//! One `CreatePayment` and one watch for each payment.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use fulgurite_proto::fulgurite::v1 as proto;
use tokio::sync::Semaphore;

use super::{Refusal, Slot, batches::watch, end_of, place};
use crate::{
    client::Client,
    run::{rig::Reach, scenario::Load},
};

/// Connections that take turns.
pub(crate) struct Single {
    clients: Vec<Client>,
    next: AtomicUsize,
    calls: Arc<Semaphore>,
}

impl Single {
    /// Connects at the first call.
    ///
    /// # Errors
    /// When there is no engine.
    pub fn open(reach: &Reach, load: &Load, calls: Arc<Semaphore>) -> Result<Single> {
        Ok(Single { clients: reach.clients(load.connections)?, next: AtomicUsize::new(0), calls })
    }

    /// Orders one payment and watches it.
    ///
    /// # Errors
    /// Why there is no outcome.
    pub async fn send(&self, slot: &mut Slot) -> Result<(), Refusal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let client = &self.clients[number % self.clients.len()];
        let _place = place(&self.calls).await?;
        slot.start();
        let destination = proto::payment_order::Destination::Bolt11(slot.invoice().bolt11.clone());
        let order = proto::PaymentOrder {
            destination: Some(destination),
            ..proto::PaymentOrder::default()
        };
        let request = proto::CreatePaymentRequest {
            idempotency_key: slot.key(),
            order: Some(order),
            options: slot.options(),
            validate_only: false,
        };
        let payment = client.create(request).await?;
        slot.acked();
        match end_of(&payment) {
            Some((end, code)) => slot.ended(std::time::Instant::now(), end, code),
            None => watch(client, payment.batch_id, slot).await?,
        }
        Ok(())
    }
}
