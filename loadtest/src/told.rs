//! What the engine tells of a finished batch: it must be the same before and after a restart.

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1 as proto;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::client::Client;

/// Payments of one page: the most that the engine gives.
const PAGE_PAYMENTS: i32 = 1_000;

/// A finished batch, told in full. A million payments fit: of each only the digest is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// As `GetBatch` and the last message of its watch tell it.
    batch: proto::Batch,
    listed: [u8; 32],
    watched: [u8; 32],
}

/// Asks for a finished batch of `count` payments in every way there is.
///
/// # Errors
/// When a payment is missing, or the ways contradict each other.
pub async fn told(client: &Client, batch_id: &str, count: u32) -> Result<Told> {
    let batch = client.batch(batch_id).await?;
    let listed = list(client, batch_id, count).await?;
    let (watched, last) = watch(client, batch_id, count).await?;
    ensure!(last == batch, "{batch_id}: its watch and GetBatch tell different batches");
    Ok(Told { batch, listed, watched })
}

/// All payments, page by page.
async fn list(client: &Client, batch_id: &str, count: u32) -> Result<[u8; 32]> {
    let (mut digest, mut listed) = (Sha256::new(), 0);
    let mut page_token = String::new();
    loop {
        let request = proto::ListPaymentsRequest {
            page_size: PAGE_PAYMENTS,
            page_token,
            batch_id: batch_id.to_owned(),
            view: proto::View::Full.into(),
            ..proto::ListPaymentsRequest::default()
        };
        let page = client.list(request).await?;
        for payment in &page.payments {
            digest.update(payment.encode_length_delimited_to_vec());
        }
        listed += page.payments.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(listed == count as usize, "{batch_id} lists {listed} of {count} payments");
    Ok(digest.finalize().into())
}

/// All events from the batch's beginning to its end, and the batch as it is told last.
async fn watch(client: &Client, batch_id: &str, count: u32) -> Result<([u8; 32], proto::Batch)> {
    let request = proto::WatchBatchRequest {
        batch_id: batch_id.to_owned(),
        cursor: String::new(),
        view: proto::View::Full.into(),
        outcomes_only: false,
    };
    let (mut digest, mut watched, mut last) = (Sha256::new(), 0, None);
    let mut stream = client.open_watch(request).await?;
    while let Some(message) = stream.message().await.context("watch")? {
        for event in &message.events {
            digest.update(event.encode_length_delimited_to_vec());
        }
        watched += message.events.len();
        last = message.batch.or(last);
    }
    ensure!(watched == count as usize, "{batch_id} watches {watched} of {count} payments");
    Ok((digest.finalize().into(), last.context("a watch without its batch")?))
}
