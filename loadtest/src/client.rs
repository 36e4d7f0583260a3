//! The engine as its clients see it: upload a batch, watch it to its end.

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use fulgurite_proto::fulgurite::v1 as proto;
use fulgurite_sim::Invoice;
use proto::{
    batch_service_client::BatchServiceClient, payment::State,
    payment_service_client::PaymentServiceClient, upload_batch_request as request,
    upload_batch_response as response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// Orders of one message: the engine takes 1,000 and 1 MiB.
const CHUNK_ORDERS: usize = 500;
/// A watch says something every 15 s; silence for longer is broken.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A connection to the engine. Connects at the first call, and again by itself.
#[derive(Clone, Debug)]
pub struct Client {
    batches: BatchServiceClient<Channel>,
    payments: PaymentServiceClient<Channel>,
}

/// One outcome, as the watch told it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// It was paid.
    pub succeeded: bool,
    /// When its first attempt started, by the engine.
    pub first_attempt: Option<SystemTime>,
    /// When it became final, by the engine.
    pub finished: Option<SystemTime>,
}

/// A batch that was watched to its end.
#[derive(Clone, Debug)]
pub struct Watched {
    /// When the first outcome was received.
    pub first: Instant,
    /// When the last outcome was received.
    pub last: Instant,
    /// One for each row, in the order of their arrival.
    pub outcomes: Vec<Outcome>,
}

/// The engine refused a row, and with it the batch.
#[derive(Clone, Debug)]
pub struct RowRefused {
    /// Its reason, as the contract names it.
    pub reason: String,
    /// Which row, from 1.
    pub row: i32,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for RowRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} was refused: {}", self.row, self.message)
    }
}

impl std::error::Error for RowRefused {}

/// An accepted batch.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its id.
    pub batch_id: String,
    /// When the engine's answer was received.
    pub at: Instant,
}

impl Client {
    /// The engine at `address`.
    ///
    /// # Errors
    /// Never for a socket address.
    pub fn new(address: SocketAddr) -> Result<Client> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .connect_lazy();
        // A page of outcomes with long invoices is larger than the 4 MiB of the default.
        let payments = PaymentServiceClient::new(channel.clone());
        let payments = payments.max_decoding_message_size(64 << 20);
        let batches = BatchServiceClient::new(channel).max_decoding_message_size(64 << 20);
        Ok(Client { batches, payments })
    }

    /// Uploads a batch under a key of its own.
    ///
    /// # Errors
    /// When the engine refuses a row or all of it.
    pub async fn upload(&self, key: &str, bolt11: Vec<String>) -> Result<Accepted> {
        self.upload_with(key, bolt11, None).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// When the engine refuses a row or all of it.
    pub async fn upload_with(
        &self,
        key: &str,
        bolt11: Vec<String>,
        options: Option<proto::BatchOptions>,
    ) -> Result<Accepted> {
        // Few messages wait: rows are made while others travel.
        let (messages, outgoing) = mpsc::channel(4);
        let mut batches = self.batches.clone();
        let call = batches.upload_batch(ReceiverStream::new(outgoing));
        let (answer, ()) = tokio::join!(call, feed((key, options), bolt11, messages));
        let mut answer = answer.context("upload")?.into_inner();
        while let Some(message) = answer.message().await.context("upload")? {
            match message.content {
                Some(response::Content::Accepted(accepted)) => {
                    let batch_id = accepted.batch.context("accepted without a batch")?.batch_id;
                    return Ok(Accepted { batch_id, at: Instant::now() });
                }
                Some(response::Content::Refused(rows)) => {
                    let first = rows.rows.first().context("refused without a row")?;
                    let reason = first.reason().as_str_name().to_owned();
                    bail!(RowRefused { reason, row: first.row, message: first.message.clone() });
                }
                None => {}
            }
        }
        bail!("the upload ended without an answer")
    }

    /// Receives the outcome of each of `count` rows.
    ///
    /// # Errors
    /// When the stream ends before, is silent, or tells a row twice.
    pub async fn watch(&self, batch_id: &str, count: usize) -> Result<Watched> {
        let request = proto::WatchBatchRequest {
            batch_id: batch_id.to_owned(),
            cursor: String::new(),
            view: proto::View::Basic.into(),
            outcomes_only: true,
        };
        let mut stream = self.open_watch(request).await.context("watch")?;
        let mut seen = vec![false; count];
        let mut outcomes = Vec::with_capacity(count);
        let (mut first, mut last) = (None, Instant::now());
        while outcomes.len() < count {
            let message = tokio::time::timeout(SILENCE_MAX, stream.message()).await;
            let message = message.context("the watch is silent")?.context("watch")?;
            let message = message.with_context(|| {
                format!("the watch ended after {} of {count} outcomes", outcomes.len())
            })?;
            let now = Instant::now();
            for event in &message.events {
                let Some(proto::event::Object::Payment(payment)) = &event.object else {
                    continue;
                };
                let Some(outcome) = outcome(payment)? else {
                    continue;
                };
                let row = usize::try_from(payment.row - 1)?;
                let seen = seen.get_mut(row).with_context(|| format!("there is no row {row}"))?;
                ensure!(!*seen, "row {} came out twice", payment.row);
                *seen = true;
                outcomes.push(outcome);
                last = now;
                first.get_or_insert(now);
            }
        }
        Ok(Watched { first: first.unwrap_or(last), last, outcomes })
    }

    /// Orders one payment. The status is not wrapped: under overload there are thousands of them
    /// a second, and whoever asked for backtraces would pay for one each time.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn create(
        &self,
        request: proto::CreatePaymentRequest,
    ) -> Result<proto::Payment, Status> {
        let created = self.payments.clone().create_payment(request).await?;
        created.into_inner().payment.ok_or_else(|| Status::internal("created without its payment"))
    }

    /// Opens a watch.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn open_watch(
        &self,
        request: proto::WatchBatchRequest,
    ) -> Result<Streaming<proto::WatchBatchResponse>, Status> {
        Ok(self.batches.clone().watch_batch(request).await?.into_inner())
    }

    /// A page of payments.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn list(
        &self,
        request: proto::ListPaymentsRequest,
    ) -> Result<proto::ListPaymentsResponse> {
        let page = self.payments.clone().list_payments(request).await.context("list")?;
        Ok(page.into_inner())
    }

    /// A batch without its payments.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn batch(&self, batch_id: &str) -> Result<proto::Batch> {
        let key = proto::get_batch_request::Key::BatchId(batch_id.to_owned());
        let request = proto::GetBatchRequest { key: Some(key) };
        let answer = self.batches.clone().get_batch(request).await.context("get")?;
        answer.into_inner().batch.context("an answer without its batch")
    }

    /// How many payments of a batch are in flight, and how many are final.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn in_flight(&self, batch_id: &str) -> Result<(usize, usize)> {
        let counts = self.batch(batch_id).await?.counts.context("a batch without counts")?;
        let done = counts.succeeded_count + counts.failed_count + counts.cancelled_count;
        Ok((usize::try_from(counts.in_flight_count)?, usize::try_from(done)?))
    }
}

/// What an upload needs of invoices.
pub fn destinations(invoices: &[Invoice]) -> Vec<String> {
    invoices.iter().map(|invoice| invoice.bolt11.clone()).collect()
}

/// Sends header, orders and commit. Ends early when the call has ended.
async fn feed(
    (key, options): (&str, Option<proto::BatchOptions>),
    bolt11: Vec<String>,
    messages: mpsc::Sender<proto::UploadBatchRequest>,
) {
    let send = async |content| {
        messages.send(proto::UploadBatchRequest { content: Some(content) }).await.is_ok()
    };
    let order_count = i32::try_from(bolt11.len()).unwrap_or(i32::MAX);
    let header = request::Header {
        idempotency_key: key.to_owned(),
        options,
        order_count,
        ..request::Header::default()
    };
    if !send(request::Content::Header(header)).await {
        return;
    }
    let (mut first_row, mut rest) = (1, bolt11.into_iter());
    while rest.len() > 0 {
        let orders: Vec<_> = rest.by_ref().take(CHUNK_ORDERS).map(order).collect();
        let rows = i32::try_from(orders.len()).unwrap_or(i32::MAX);
        if !send(request::Content::Orders(request::Orders { first_row, orders })).await {
            return;
        }
        first_row += rows;
    }
    send(request::Content::Commit(request::Commit { order_count })).await;
}

fn order(bolt11: String) -> proto::PaymentOrder {
    let destination = Some(proto::payment_order::Destination::Bolt11(bolt11));
    proto::PaymentOrder { destination, ..proto::PaymentOrder::default() }
}

/// `None` while it is not final.
fn outcome(payment: &proto::Payment) -> Result<Option<Outcome>> {
    ensure!(payment.state() != State::Unresolved, "row {} is unresolved", payment.row);
    let Some(finish) = &payment.finish_time else {
        return Ok(None);
    };
    let first = payment.first_attempt_time.as_ref();
    Ok(Some(Outcome {
        succeeded: payment.state() == State::Succeeded,
        first_attempt: first.and_then(|time| system_time(time.seconds, time.nanos)),
        finished: system_time(finish.seconds, finish.nanos),
    }))
}

fn system_time(seconds: i64, nanos: i32) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    Some(SystemTime::UNIX_EPOCH + since)
}

impl Watched {
    /// Fails unless every payment was paid.
    ///
    /// # Errors
    /// How many were not.
    pub fn all_succeeded(&self) -> Result<()> {
        let failed = self.outcomes.iter().filter(|outcome| !outcome.succeeded).count();
        ensure!(failed == 0, "{failed} of {} payments were not paid", self.outcomes.len());
        Ok(())
    }
}
