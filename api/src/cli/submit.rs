//! Uploads a batch: as often as it takes, with one key, accepted once.

use std::collections::HashMap;

use fulgurite_proto::fulgurite::v1 as proto;
use prost::Message;
use proto::{upload_batch_request as request, upload_batch_response as response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    client::{self, Client, Reconnect, Stake},
    exit::Fault,
};

/// A chunk has at most so many orders: the engine takes 1,000.
const CHUNK_ORDERS_MAX: usize = 500;
/// A chunk has at most so many bytes: the engine takes 1 MiB.
const CHUNK_BYTES_MAX: usize = 512 << 10;

/// What is uploaded.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The orders: row 1 comes first.
    pub orders: Vec<proto::PaymentOrder>,
    /// The idempotency key.
    pub key: String,
    /// The digest of the file; empty without one.
    pub digest: String,
    /// The options.
    pub options: proto::BatchOptions,
    /// The client's text.
    pub description: String,
    /// The client's pairs.
    pub metadata: HashMap<String, String>,
    /// Checks everything and writes nothing.
    pub validate_only: bool,
}

/// How an upload ended.
#[derive(Clone, Debug)]
pub enum Uploaded {
    /// The batch is durable, or would be.
    Accepted {
        /// The batch.
        batch: Box<proto::Batch>,
        /// It was accepted before, with the same key and content.
        replayed: bool,
        /// The rows that were left out.
        refused: Vec<proto::RefusedRow>,
    },
    /// Rows are bad and nothing was accepted.
    Refused(Vec<proto::RefusedRow>),
}

/// What happens while a batch is uploaded and watched.
#[derive(Clone, Debug)]
pub enum Note {
    /// So many rows are about to be sent.
    Sending(usize),
    /// The engine went away, and why; the next call follows by itself.
    Away(String),
    /// What the batch is now.
    Batch(Box<proto::Batch>),
}

/// Uploads until the engine answers: over restarts of the engine, with the same key.
///
/// # Errors
/// What the engine refuses other than rows, or that it was not reached.
pub async fn submit(
    client: &Client,
    upload: &Upload,
    note: &mut dyn FnMut(Note),
) -> Result<Uploaded, Fault> {
    let stake = if upload.validate_only { Stake::Nothing } else { Stake::NotSent };
    let mut reconnect = client.reconnect(stake);
    loop {
        let status = match once(client, upload, note, &mut reconnect).await {
            Ok(uploaded) => return Ok(uploaded),
            Err(status) => status,
        };
        if client::is_worth_repeating(&status) {
            note(Note::Away(client::text(&status)));
        }
        reconnect.wait(&status).await?;
    }
}

async fn once(
    client: &Client,
    upload: &Upload,
    note: &mut dyn FnMut(Note),
    reconnect: &mut Reconnect,
) -> Result<Uploaded, Status> {
    // An upload is answered at its end alone: without this question, one that was cut would look
    // like one that never met an engine.
    client.engine().get_engine(proto::GetEngineRequest {}).await?;
    reconnect.reached();
    if !upload.validate_only {
        reconnect.sends();
    }
    // Two messages wait at most: what the note says was sent is nearly what has left.
    let (messages, outgoing) = mpsc::channel(2);
    let mut batches = client.batches();
    let call = batches.upload_batch(ReceiverStream::new(outgoing));
    let (answer, ()) = tokio::join!(call, feed(upload, messages, note));
    let mut answer = answer?.into_inner();
    let mut refused = Vec::new();
    let mut accepted = None;
    loop {
        match answer.message().await {
            Ok(Some(message)) => match message.content {
                Some(response::Content::Refused(rows)) => refused.extend(rows.rows),
                Some(response::Content::Accepted(answer)) => accepted = Some(answer),
                // Content of a later version.
                None => {}
            },
            Ok(None) => break,
            Err(status) if client::reason(&status) == "ROWS_REFUSED" => {
                return Ok(Uploaded::Refused(refused));
            }
            Err(status) => return Err(status),
        }
    }
    let accepted = accepted.ok_or_else(|| Status::unavailable("the answer was cut off"))?;
    let batch = Box::new(accepted.batch.unwrap_or_default());
    Ok(Uploaded::Accepted { batch, replayed: accepted.replayed, refused })
}

/// Sends header, orders and commit. Ends early when the call has ended.
async fn feed(
    upload: &Upload,
    messages: mpsc::Sender<proto::UploadBatchRequest>,
    note: &mut dyn FnMut(Note),
) {
    let send = async |content| {
        messages.send(proto::UploadBatchRequest { content: Some(content) }).await.is_ok()
    };
    let order_count = i32::try_from(upload.orders.len()).expect("a batch has at most 100,000 rows");
    let header = request::Header {
        idempotency_key: upload.key.clone(),
        options: Some(upload.options),
        description: upload.description.clone(),
        metadata: upload.metadata.clone(),
        validate_only: upload.validate_only,
        order_count,
        content_digest: upload.digest.clone(),
    };
    if !send(request::Content::Header(header)).await {
        return;
    }
    let mut first = 0;
    while first < upload.orders.len() {
        let orders = chunk(&upload.orders[first..]);
        note(Note::Sending(first + orders.len()));
        let first_row = i32::try_from(first + 1).expect("a batch has at most 100,000 rows");
        first += orders.len();
        let orders = request::Orders { first_row, orders: orders.to_vec() };
        if !send(request::Content::Orders(orders)).await {
            return;
        }
    }
    send(request::Content::Commit(request::Commit { order_count })).await;
}

/// The orders that go in the next message, at least one.
fn chunk(orders: &[proto::PaymentOrder]) -> &[proto::PaymentOrder] {
    let mut bytes = 0;
    let fits = orders.iter().take(CHUNK_ORDERS_MAX).take_while(|order| {
        bytes += order.encoded_len() + 8;
        bytes <= CHUNK_BYTES_MAX
    });
    let count = fits.count().max(1);
    &orders[..count]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(count: usize, length: usize) -> Vec<proto::PaymentOrder> {
        let order = proto::PaymentOrder { reference: "r".repeat(length), ..Default::default() };
        vec![order; count]
    }

    #[test]
    fn chunks_are_small_enough_for_the_engine() {
        assert_eq!(chunk(&orders(3, 300)).len(), 3);
        assert_eq!(chunk(&orders(10_000, 300)).len(), CHUNK_ORDERS_MAX);
        let long = orders(500, 7_089);
        let bytes: usize = chunk(&long).iter().map(Message::encoded_len).sum();
        assert!((CHUNK_BYTES_MAX / 2..=CHUNK_BYTES_MAX).contains(&bytes));
        assert_eq!(chunk(&orders(1, CHUNK_BYTES_MAX)).len(), 1);
    }
}
