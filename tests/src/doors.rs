//! A client of the engine's doors that does what the contract lets a client do, and what not.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use fulgurite_proto::fulgurite::v1::{
    self as proto, batch_service_client::BatchServiceClient, get_batch_request::Key,
    payment_service_client::PaymentServiceClient, upload_batch_request::Content,
};
use fulgurite_sim::Knobs;
use futures::{Stream, stream};
use tempfile::TempDir;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::{
    engine::{Engine, Sections},
    peer::Peer,
    regtest::{Invoice, until},
    upload::{Uploaded, upload_over},
    world::{Receiver, World},
};

/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine that pays over a simulated node, and who receives.
pub struct Stage {
    /// The nodes.
    pub world: World,
    /// The engine.
    pub engine: Engine,
    /// Who receives.
    pub near: Peer,
    folder: TempDir,
}

impl Stage {
    /// Starts nodes whose payments take `latency_ms`, and an engine with `extra` in its
    /// configuration.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn set(latency_ms: f64, extra: &str) -> Result<Stage> {
        Stage::start(Knobs { latency_ms, ..Knobs::default() }, (extra, "")).await
    }

    /// The same with nodes of any kind, and with `grpc` in the section of its gRPC door.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start(knobs: Knobs, (extra, grpc): (&str, &str)) -> Result<Stage> {
        Stage::with(knobs, Sections { extra, grpc, ..Sections::default() }).await
    }

    /// The same, with lines in the sections of both doors.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn with(knobs: Knobs, sections: Sections<'_>) -> Result<Stage> {
        let folder = tempfile::tempdir()?;
        let world = World::simulated(folder.path(), 5, knobs).await?;
        let home = folder.path().join("engine");
        let engine = Engine::start_with(&home, &[world.payer()], sections)?;
        let near = world.receiver(Receiver::Near).await?;
        Ok(Stage { world, engine, near, folder })
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of its own, opened when it is used.
    ///
    /// # Errors
    /// When the endpoint is no address.
    pub fn channel(&self) -> Result<Channel, Status> {
        let endpoint = Endpoint::from_shared(self.engine.endpoint());
        Ok(endpoint.map_err(|error| Status::internal(error.to_string()))?.connect_lazy())
    }

    /// The batch service, over a connection of its own.
    ///
    /// # Errors
    /// When the endpoint is no address.
    pub fn batches(&self) -> Result<BatchServiceClient<Channel>, Status> {
        Ok(BatchServiceClient::new(self.channel()?))
    }

    /// The payment service, over a connection of its own.
    ///
    /// # Errors
    /// When the endpoint is no address.
    pub fn payments(&self) -> Result<PaymentServiceClient<Channel>, Status> {
        Ok(PaymentServiceClient::new(self.channel()?))
    }

    /// Sends these messages and ends the stream.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn upload(&self, contents: Vec<Content>) -> Result<Uploaded, Status> {
        self.upload_stream(stream::iter(contents)).await
    }

    /// Sends these messages.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn upload_stream(
        &self,
        contents: impl Stream<Item = Content> + Send + 'static,
    ) -> Result<Uploaded, Status> {
        upload_over(self.channel()?, contents).await
    }

    /// The batch with this key.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn batch(&self, key: &str) -> Result<proto::Batch, Status> {
        let key = Some(Key::IdempotencyKey(key.to_owned()));
        let answer = self.batches()?.get_batch(proto::GetBatchRequest { key }).await?;
        Ok(answer.into_inner().batch.unwrap_or_default())
    }

    /// A payment with everything that is known of it.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn payment(&self, payment_id: &str) -> Result<proto::Payment, Status> {
        let payment_id = payment_id.to_owned();
        let request = proto::GetPaymentRequest { payment_id, view: proto::View::Full.into() };
        let answer = self.payments()?.get_payment(request).await?;
        Ok(answer.into_inner().payment.unwrap_or_default())
    }

    /// The payments of a batch, by row.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn payments_of(&self, batch_id: &str) -> Result<Vec<proto::Payment>, Status> {
        let request = proto::ListPaymentsRequest {
            batch_id: batch_id.to_owned(),
            page_size: 1_000,
            ..Default::default()
        };
        Ok(self.payments()?.list_payments(request).await?.into_inner().payments)
    }

    /// Orders one payment.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn create(
        &self,
        key: &str,
        order: &proto::PaymentOrder,
        options: proto::BatchOptions,
    ) -> Result<proto::CreatePaymentResponse, Status> {
        let request = proto::CreatePaymentRequest {
            idempotency_key: key.to_owned(),
            order: Some(order.clone()),
            options: Some(options),
            validate_only: false,
        };
        Ok(self.payments()?.create_payment(request).await?.into_inner())
    }

    /// Cancels one payment.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn cancel(&self, payment_id: &str) -> Result<proto::Payment, Status> {
        let request = proto::CancelPaymentRequest { payment_id: payment_id.to_owned() };
        let answer = self.payments()?.cancel_payment(request).await?;
        Ok(answer.into_inner().payment.unwrap_or_default())
    }

    /// Watches a batch from a cursor on and keeps each row's last state. Ends with the batch, or
    /// once `enough` rows are known. Returns the last cursor and whether the batch is finished.
    ///
    /// # Errors
    /// When the stream ends before its batch.
    pub async fn watch(
        &self,
        (batch_id, cursor): (&str, String),
        seen: &mut BTreeMap<i32, proto::payment::State>,
        enough: usize,
    ) -> Result<(String, bool)> {
        let batch_id = batch_id.to_owned();
        let mut cursor = cursor;
        let request = proto::WatchBatchRequest {
            batch_id,
            cursor: cursor.clone(),
            outcomes_only: true,
            ..Default::default()
        };
        let mut stream = self.batches()?.watch_batch(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            for event in message.events {
                if let Some(proto::event::Object::Payment(payment)) = event.object {
                    seen.insert(payment.row, payment.state());
                }
            }
            cursor = message.cursor;
            let finished = message.batch.is_some_and(|batch| batch.finish_time.is_some());
            if finished || seen.len() >= enough {
                return Ok((cursor, finished));
            }
        }
        anyhow::bail!("the stream ended before its batch")
    }

    /// Waits until one of the engine's metrics has this value.
    ///
    /// # Errors
    /// When it has not within 30 s.
    pub async fn wait_for_metric(&self, name: &str, value: u64) -> Result<()> {
        until(name, PATIENCE, async || Ok((self.engine.metric(name)? == value).then_some(()))).await
    }

    /// Waits until a payment is final.
    ///
    /// # Errors
    /// When it is not within 30 s.
    pub async fn final_payment(&self, payment_id: &str) -> Result<proto::Payment> {
        until("the payment to be final", PATIENCE, async || {
            let payment = self.payment(payment_id).await?;
            Ok(payment.finish_time.is_some().then_some(payment))
        })
        .await
    }
}

/// Waits until the deadline of these options has passed.
///
/// # Errors
/// When they have none, or it is further away than 30 s.
pub async fn wait_past(options: proto::BatchOptions) -> Result<()> {
    let deadline = SystemTime::try_from(options.deadline.context("a deadline")?)?;
    until("the deadline", PATIENCE, async || Ok((SystemTime::now() > deadline).then_some(()))).await
}

/// An order for each invoice.
pub fn orders(invoices: &[Invoice]) -> Vec<proto::PaymentOrder> {
    let order = |invoice: &Invoice| proto::PaymentOrder {
        destination: Some(proto::payment_order::Destination::Bolt11(
            invoice.payment_request.clone(),
        )),
        ..Default::default()
    };
    invoices.iter().map(order).collect()
}

/// The messages of a whole upload: header, orders, commit.
pub fn messages(
    key: &str,
    orders: &[proto::PaymentOrder],
    options: proto::BatchOptions,
) -> Vec<Content> {
    let order_count = i32::try_from(orders.len()).expect("a test has few orders");
    let header = proto::upload_batch_request::Header {
        idempotency_key: key.to_owned(),
        options: Some(options),
        ..Default::default()
    };
    vec![
        Content::Header(header),
        chunk(1, orders),
        Content::Commit(proto::upload_batch_request::Commit { order_count }),
    ]
}

/// Orders whose first has this row.
pub fn chunk(first_row: i32, orders: &[proto::PaymentOrder]) -> Content {
    let orders = orders.to_vec();
    Content::Orders(proto::upload_batch_request::Orders { first_row, orders })
}

/// The reason in the `ErrorInfo` of what was refused; what it was answered with otherwise.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    match answer {
        Ok(answer) => format!("not refused: {answer:?}"),
        Err(status) => match status.get_details_error_info() {
            Some(info) => info.reason,
            None => format!("no reason: {status}"),
        },
    }
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// The body, when it is JSON.
    pub body: serde_json::Value,
}

/// One HTTP request, written as it is: `request` is its first line without the version, each of
/// `headers` a whole line.
///
/// # Errors
/// When nobody answers.
pub async fn http(
    address: SocketAddr,
    request: &str,
    headers: &[&str],
    body: &str,
) -> Result<HttpAnswer> {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let (length, close) = (body.len(), "Connection: close");
    let text =
        format!("{request} HTTP/1.1\r\n{lines}Content-Length: {length}\r\n{close}\r\n\r\n{body}");
    tokio::task::spawn_blocking(move || exchange(address, &text)).await?
}

fn exchange(address: SocketAddr, text: &str) -> Result<HttpAnswer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head and a body")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let body = serde_json::from_str(body).unwrap_or_default();
    Ok(HttpAnswer { status, head: head.to_ascii_lowercase(), body })
}
