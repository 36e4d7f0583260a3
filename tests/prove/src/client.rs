//! A client of both doors that orders payments and remembers what it was told.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use fulgurite_proto::fulgurite::v1::{
    self as proto, batch_service_client::BatchServiceClient,
    payment_service_client::PaymentServiceClient,
};
use fulgurite_sim::{InvoiceOrder, make_invoices};
use fulgurite_tests::{
    doors::{http, messages},
    upload::upload_over,
};
use futures::stream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// Only a call whose engine was killed takes so long.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Where an engine's doors are.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    /// The gRPC door.
    pub grpc: SocketAddr,
    /// The HTTP door.
    pub http: SocketAddr,
}

/// Over which door a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One payment over gRPC: key and invoice.
    Grpc(String, String),
    /// One payment over HTTP: key and invoice.
    Http(String, String),
    /// A batch: key and invoices.
    Batch(String, Vec<String>),
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The payment's id; the batch's for a batch.
    pub id: String,
    /// How many rows of the batch were refused.
    pub refused: usize,
    /// It was accepted before.
    pub replayed: bool,
}

impl Request {
    /// The client's key.
    pub fn key(&self) -> &str {
        match self {
            Request::Grpc(key, _) | Request::Http(key, _) | Request::Batch(key, _) => key,
        }
    }

    /// Sends it over a connection of its own.
    ///
    /// # Errors
    /// When it is refused or not answered: the outcome may be unknown.
    pub async fn send(&self, doors: Doors) -> Result<Accepted> {
        match self {
            Request::Grpc(key, invoice) => single(doors, key, invoice).await,
            Request::Http(key, invoice) => over_http(doors, key, invoice).await,
            Request::Batch(key, invoices) => batch(doors, key, invoices).await,
        }
    }
}

/// Invoices that a fleet can pay, each once.
#[derive(Clone, Debug)]
pub struct Invoices {
    seed: u64,
    next: u64,
}

impl Invoices {
    /// Those of the fleet with this seed.
    pub fn new(seed: u64) -> Invoices {
        Invoices { seed, next: 0 }
    }

    /// The next ones.
    ///
    /// # Errors
    /// When there are none left.
    pub fn take(&mut self, count: usize) -> Result<Vec<String>> {
        let amount_msat = 1_000_000..=5_000_000;
        let (seed, first_index) = (self.seed, self.next);
        self.next += count as u64;
        let order = InvoiceOrder { seed, first_index, count, amount_msat, ..Default::default() };
        Ok(make_invoices(&order)?.into_iter().map(|invoice| invoice.bolt11).collect())
    }
}

fn order(invoice: &str) -> proto::PaymentOrder {
    let destination = proto::payment_order::Destination::Bolt11(invoice.to_owned());
    proto::PaymentOrder { destination: Some(destination), ..Default::default() }
}

/// A connection of its own, opened when it is used.
///
/// # Errors
/// When the address is none.
pub fn channel(grpc: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{grpc}"))?.timeout(CALL_MAX).connect_lazy())
}

async fn single(doors: Doors, key: &str, invoice: &str) -> Result<Accepted> {
    let request = proto::CreatePaymentRequest {
        idempotency_key: key.to_owned(),
        order: Some(order(invoice)),
        ..Default::default()
    };
    let mut client = PaymentServiceClient::new(channel(doors.grpc)?);
    let answer = client.create_payment(request).await?.into_inner();
    let id = answer.payment.unwrap_or_default().payment_id;
    Ok(Accepted { id, refused: 0, replayed: answer.replayed })
}

async fn over_http(doors: Doors, key: &str, invoice: &str) -> Result<Accepted> {
    let host = format!("Host: localhost:{}", doors.http.port());
    let key = format!("Idempotency-Key: {key}");
    let headers = [host.as_str(), key.as_str(), "Content-Type: application/json"];
    let body = serde_json::json!({ "bolt11": invoice }).to_string();
    let answer = http(doors.http, "POST /v1/payments", &headers, &body).await?;
    ensure!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.body);
    let id = answer.body["payment_id"].as_str().unwrap_or_default().to_owned();
    ensure!(!id.is_empty(), "no id in {}", answer.body);
    Ok(Accepted { id, refused: 0, replayed: answer.head.contains("idempotent-replayed: true") })
}

async fn batch(doors: Doors, key: &str, invoices: &[String]) -> Result<Accepted> {
    let orders: Vec<_> = invoices.iter().map(|invoice| order(invoice)).collect();
    let options = proto::BatchOptions { accept_valid: Some(true), ..Default::default() };
    let contents = messages(key, &orders, options);
    let uploaded = upload_over(channel(doors.grpc)?, stream::iter(contents)).await?;
    let id = uploaded.batch.batch_id.clone();
    ensure!(!id.is_empty(), "an upload ended without an answer");
    Ok(Accepted { id, refused: uploaded.refused.len(), replayed: uploaded.replayed })
}

/// Every payment of a batch or of a single payment's own batch, with what proves it.
///
/// # Errors
/// The status that the engine answers.
pub async fn payments_of(channel: &Channel, batch_id: &str) -> Result<Vec<proto::Payment>, Status> {
    let mut client = PaymentServiceClient::new(channel.clone());
    let mut request = proto::ListPaymentsRequest {
        batch_id: batch_id.to_owned(),
        page_size: 1_000,
        view: proto::View::Full.into(),
        ..Default::default()
    };
    let mut payments = Vec::new();
    loop {
        let page = client.list_payments(request.clone()).await?.into_inner();
        payments.extend(page.payments);
        if page.next_page_token.is_empty() {
            return Ok(payments);
        }
        request.page_token = page.next_page_token;
    }
}

/// One payment with what proves it.
///
/// # Errors
/// The status that the engine answers.
pub async fn payment(channel: &Channel, payment_id: &str) -> Result<proto::Payment, Status> {
    let payment_id = payment_id.to_owned();
    let request = proto::GetPaymentRequest { payment_id, view: proto::View::Full.into() };
    let answer = PaymentServiceClient::new(channel.clone()).get_payment(request).await?;
    Ok(answer.into_inner().payment.unwrap_or_default())
}

/// A batch.
///
/// # Errors
/// The status that the engine answers.
pub async fn batch_of(channel: &Channel, key: &str) -> Result<proto::Batch, Status> {
    let key = Some(proto::get_batch_request::Key::IdempotencyKey(key.to_owned()));
    let mut client = BatchServiceClient::new(channel.clone());
    let answer = client.get_batch(proto::GetBatchRequest { key }).await?;
    Ok(answer.into_inner().batch.unwrap_or_default())
}
