//! One upload and one watch for each arrival.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use fulgurite_proto::fulgurite::v1 as proto;
use tokio::sync::Semaphore;
use tonic::Code;

use super::{Refusal, Slot, end_of, place};
use crate::{
    client::{self, Client},
    run::{rig::Reach, scenario::Load},
};

/// Connections that take turns.
pub(crate) struct Batches {
    clients: Vec<Client>,
    next: AtomicUsize,
    uploads: Arc<Semaphore>,
}

impl Batches {
    /// Connects at the first call.
    ///
    /// # Errors
    /// When there is no engine.
    pub fn open(reach: &Reach, load: &Load, uploads: Arc<Semaphore>) -> Result<Batches> {
        let clients = reach.clients(load.connections)?;
        Ok(Batches { clients, next: AtomicUsize::new(0), uploads })
    }

    /// Uploads, then watches to the last outcome.
    ///
    /// # Errors
    /// Why there are no more outcomes.
    pub async fn send(&self, slot: &mut Slot) -> Result<(), Refusal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let client = &self.clients[number % self.clients.len()];
        let batch_id = {
            let _place = place(&self.uploads).await?;
            slot.start();
            let orders = client::destinations(slot.invoices());
            client.upload_with(&slot.key(), orders, slot.options()).await?.batch_id
        };
        slot.acked();
        watch(client, batch_id, slot).await
    }
}

/// Watches a batch to its end. A watch that the engine ends early is opened again where it was.
///
/// # Errors
/// When it cannot be opened.
pub(crate) async fn watch(
    client: &Client,
    batch_id: String,
    slot: &mut Slot,
) -> Result<(), Refusal> {
    let mut seen = vec![false; slot.invoices().len()];
    let mut request = proto::WatchBatchRequest {
        batch_id,
        cursor: String::new(),
        view: proto::View::Basic.into(),
        outcomes_only: true,
    };
    loop {
        let mut stream = client.open_watch(request.clone()).await?;
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(status) if status.code() == Code::Unavailable => break,
                Err(status) => return Err(status.into()),
            };
            let now = Instant::now();
            for event in &message.events {
                let Some(proto::event::Object::Payment(payment)) = &event.object else { continue };
                let row = usize::try_from(payment.row).ok().and_then(|row| row.checked_sub(1));
                let Some(seen) = row.and_then(|row| seen.get_mut(row)) else {
                    return Err(Refusal::broken("an outcome of a row that was not ordered"));
                };
                // At least once is promised: the second time is dropped.
                if let Some((end, code)) = end_of(payment)
                    && !std::mem::replace(seen, true)
                {
                    slot.ended(now, end, code);
                }
            }
            if seen.iter().all(|seen| *seen) {
                return Ok(());
            }
            if !message.cursor.is_empty() {
                request.cursor = message.cursor;
            }
        }
        slot.reopened();
    }
}
