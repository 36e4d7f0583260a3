//! The calls of a test's hot path, over gRPC: invoices and payments.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fulgurite_proto::invoicesrpc::invoices_client::InvoicesClient;
use fulgurite_proto::invoicesrpc::{
    AddHoldInvoiceRequest, CancelInvoiceMsg, LookupInvoiceMsg, SettleInvoiceMsg,
    lookup_invoice_msg::InvoiceRef,
};
use fulgurite_proto::lnrpc::lightning_client::LightningClient;
use fulgurite_proto::lnrpc::payment::PaymentStatus;
use fulgurite_proto::lnrpc::{
    self, Channel, GetInfoRequest, GetInfoResponse, ListChannelsRequest, ListPaymentsRequest,
    Payment,
};
use fulgurite_proto::routerrpc::router_client::RouterClient;
use fulgurite_proto::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use futures::{StreamExt, TryStreamExt, stream};
use http::uri::PathAndQuery;
use sha2::{Digest, Sha256};
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::connection::{Connection, MESSAGE_MAX};
use super::node::Node;

/// How many invoices are added at once: more is not faster.
const ADDED_AT_ONCE: usize = 64;

/// Payments per page of a list.
const PAGE: u64 = 10_000;

const EXPIRY: Duration = Duration::from_secs(3_600);

const LOOKUP_HTLC_RESOLUTION: &str = "/lnrpc.Lightning/LookupHtlcResolution";

/// lnrpc.LookupHtlcResolutionRequest: the engine asks no node for it.
#[derive(Clone, PartialEq, prost::Message)]
struct LookupHtlcResolutionRequest {
    #[prost(uint64, tag = "1")]
    chan_id: u64,
    #[prost(uint64, tag = "2")]
    htlc_index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LookupHtlcResolutionResponse {
    #[prost(bool, tag = "1")]
    settled: bool,
}

/// An invoice a node has given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// The BOLT 11 text.
    pub payment_request: String,
    /// Its payment hash.
    pub payment_hash: [u8; 32],
    /// Its amount in millisatoshi.
    pub amount_msat: u64,
}

/// The payment hash of a preimage.
#[must_use]
pub fn payment_hash(preimage: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(preimage).into()
}

/// What pays `invoice` the way a plain client does: 60 s, one part, a fee of at most 1 %, at least
/// 10 sat.
#[must_use]
pub fn plain_payment(invoice: &Invoice) -> SendPaymentRequest {
    SendPaymentRequest {
        payment_request: invoice.payment_request.clone(),
        timeout_seconds: 60,
        fee_limit_msat: i64::try_from((invoice.amount_msat / 100).max(10_000)).unwrap_or(i64::MAX),
        max_parts: 1,
        ..Default::default()
    }
}

/// Whether lnd will change nothing any more about this payment.
#[must_use]
pub fn is_final(payment: &Payment) -> bool {
    matches!(payment.status(), PaymentStatus::Succeeded | PaymentStatus::Failed)
}

impl Node {
    /// A client of lnd's main service, with all rights.
    ///
    /// # Errors
    ///
    /// If the node has never been ready.
    pub fn lightning(&self) -> Result<LightningClient<Connection>> {
        Ok(LightningClient::new(self.grpc()?).max_decoding_message_size(MESSAGE_MAX))
    }

    /// A client of lnd's payment service, with all rights.
    ///
    /// # Errors
    ///
    /// If the node has never been ready.
    pub fn router(&self) -> Result<RouterClient<Connection>> {
        Ok(RouterClient::new(self.grpc()?).max_decoding_message_size(MESSAGE_MAX))
    }

    /// A client of lnd's invoice service, with all rights.
    ///
    /// # Errors
    ///
    /// If the node has never been ready.
    pub fn invoices(&self) -> Result<InvoicesClient<Connection>> {
        Ok(InvoicesClient::new(self.grpc()?).max_decoding_message_size(MESSAGE_MAX))
    }

    /// Who it is and how it is.
    ///
    /// # Errors
    ///
    /// If lnd does not answer.
    pub async fn info(&self) -> Result<GetInfoResponse> {
        Ok(self.lightning()?.get_info(GetInfoRequest {}).await?.into_inner())
    }

    /// Its open channels.
    ///
    /// # Errors
    ///
    /// If lnd does not answer.
    pub async fn channels(&self) -> Result<Vec<Channel>> {
        let request = ListChannelsRequest::default();
        Ok(self.lightning()?.list_channels(request).await?.into_inner().channels)
    }

    /// All payments it has ever started, finished or not, oldest first.
    ///
    /// # Errors
    ///
    /// If lnd does not answer.
    pub async fn list_payments(&self) -> Result<Vec<Payment>> {
        let mut client = self.lightning()?;
        let mut payments = Vec::new();
        let mut request = ListPaymentsRequest {
            include_incomplete: true,
            max_payments: PAGE,
            ..Default::default()
        };
        loop {
            let page = client.list_payments(request).await?.into_inner();
            if page.payments.is_empty() {
                return Ok(payments);
            }
            request.index_offset = page.last_index_offset;
            payments.extend(page.payments);
        }
    }

    /// Gives out an invoice that can be paid for `expiry` (whole seconds).
    ///
    /// # Errors
    ///
    /// If lnd refuses.
    pub async fn add_invoice(&self, amount_msat: u64, expiry: Duration) -> Result<Invoice> {
        let request = lnrpc::Invoice {
            value_msat: i64::try_from(amount_msat)?,
            expiry: i64::try_from(expiry.as_secs())?,
            ..Default::default()
        };
        let added = self.lightning()?.add_invoice(request).await?.into_inner();
        let payment_hash = added.r_hash.as_slice().try_into().context("a payment hash")?;
        Ok(Invoice { payment_request: added.payment_request, payment_hash, amount_msat })
    }

    /// Gives out `count` invoices of the same amount that can be paid for an hour.
    ///
    /// # Errors
    ///
    /// If lnd refuses one.
    pub async fn add_invoices(&self, count: usize, amount_msat: u64) -> Result<Vec<Invoice>> {
        stream::iter(0..count)
            .map(|_| self.add_invoice(amount_msat, EXPIRY))
            .buffer_unordered(ADDED_AT_ONCE)
            .try_collect()
            .await
    }

    /// Gives out an invoice whose payment is held until [`Node::settle`] or [`Node::cancel`], and
    /// that can be paid for an hour.
    ///
    /// # Errors
    ///
    /// If lnd refuses.
    pub async fn add_hold_invoice(
        &self,
        payment_hash: [u8; 32],
        amount_msat: u64,
    ) -> Result<Invoice> {
        let request = AddHoldInvoiceRequest {
            hash: payment_hash.to_vec(),
            value_msat: i64::try_from(amount_msat)?,
            expiry: i64::try_from(EXPIRY.as_secs())?,
            ..Default::default()
        };
        let added = self.invoices()?.add_hold_invoice(request).await?.into_inner();
        Ok(Invoice { payment_request: added.payment_request, payment_hash, amount_msat })
    }

    /// Takes the money of a held payment.
    ///
    /// # Errors
    ///
    /// If lnd refuses, as it does while no payment is held.
    pub async fn settle(&self, preimage: [u8; 32]) -> Result<()> {
        let request = SettleInvoiceMsg { preimage: preimage.to_vec() };
        self.invoices()?.settle_invoice(request).await?;
        Ok(())
    }

    /// Gives the money of a held payment back, or withdraws an invoice.
    ///
    /// # Errors
    ///
    /// If lnd refuses, as it does when the invoice is settled.
    pub async fn cancel(&self, payment_hash: [u8; 32]) -> Result<()> {
        let request = CancelInvoiceMsg { payment_hash: payment_hash.to_vec() };
        self.invoices()?.cancel_invoice(request).await?;
        Ok(())
    }

    /// What this node, the receiver, knows of an invoice.
    ///
    /// # Errors
    ///
    /// `NotFound` if it has given out none with that hash.
    pub async fn lookup(&self, payment_hash: [u8; 32]) -> Result<lnrpc::Invoice, Status> {
        let request =
            LookupInvoiceMsg { invoice_ref: Some(InvoiceRef::PaymentHash(payment_hash.to_vec())) };
        let mut client = self.invoices().map_err(unavailable)?;
        Ok(client.lookup_invoice_v2(request).await?.into_inner())
    }

    /// Whether this node, the receiver, got the money of an HTLC of its channel (`true`) or gave it
    /// back (`false`), for good; `None` while the channel has not decided. lnd keeps it from the
    /// moment that both sides have signed, with `--store-final-htlc-resolutions`.
    ///
    /// # Errors
    ///
    /// If lnd does not answer.
    pub async fn htlc_resolution(&self, chan_id: u64, index: u64) -> Result<Option<bool>> {
        let mut client = Grpc::new(self.grpc()?);
        client.ready().await.map_err(anyhow::Error::from)?;
        let request = LookupHtlcResolutionRequest { chan_id, htlc_index: index };
        let path = PathAndQuery::from_static(LOOKUP_HTLC_RESOLUTION);
        let codec = ProstCodec::<_, LookupHtlcResolutionResponse>::default();
        match client.unary(Request::new(request), path, codec).await {
            Ok(answer) => Ok(Some(answer.into_inner().settled)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// Starts a payment and returns lnd's messages about it.
    ///
    /// # Errors
    ///
    /// If lnd refuses; some refusals come as the stream's first message instead.
    pub async fn start_payment(
        &self,
        request: SendPaymentRequest,
    ) -> Result<Streaming<Payment>, Status> {
        let mut client = self.router().map_err(unavailable)?;
        Ok(client.send_payment_v2(request).await?.into_inner())
    }

    /// Pays and waits until the payment has succeeded or failed for good.
    ///
    /// # Errors
    ///
    /// If lnd refuses, or the connection breaks: then the payment may be on its way.
    pub async fn pay(&self, request: SendPaymentRequest) -> Result<Payment, Status> {
        last_message(self.start_payment(request).await?).await
    }

    /// The present state of a payment this node, the payer, has started.
    ///
    /// # Errors
    ///
    /// `NotFound` if it has never started one with that hash.
    pub async fn track(&self, payment_hash: [u8; 32]) -> Result<Payment, Status> {
        let mut messages = self.track_payment(payment_hash).await?;
        messages.message().await?.ok_or_else(ended)
    }

    /// Waits until a payment this node has started has succeeded or failed for good.
    ///
    /// # Errors
    ///
    /// `NotFound` if it has never started one with that hash.
    pub async fn track_to_end(&self, payment_hash: [u8; 32]) -> Result<Payment, Status> {
        last_message(self.track_payment(payment_hash).await?).await
    }

    /// The sum this node has received for all of `invoices`, in millisatoshi.
    ///
    /// # Errors
    ///
    /// If one of them has received something else than nothing or exactly its amount.
    pub async fn received_msat(&self, invoices: &[Invoice]) -> Result<u64> {
        let lookups = stream::iter(invoices)
            .map(|invoice| self.lookup(invoice.payment_hash))
            .buffered(ADDED_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        let mut sum_msat = 0;
        for (invoice, seen) in invoices.iter().zip(lookups) {
            let paid_msat = u64::try_from(seen.amt_paid_msat)?;
            ensure!(
                paid_msat == 0 || paid_msat == invoice.amount_msat,
                "{} received {paid_msat} msat for {}",
                self.name(),
                invoice.payment_request
            );
            sum_msat += paid_msat;
        }
        Ok(sum_msat)
    }

    async fn track_payment(&self, payment_hash: [u8; 32]) -> Result<Streaming<Payment>, Status> {
        let request =
            TrackPaymentRequest { payment_hash: payment_hash.to_vec(), ..Default::default() };
        let mut client = self.router().map_err(unavailable)?;
        Ok(client.track_payment_v2(request).await?.into_inner())
    }
}

async fn last_message(mut messages: Streaming<Payment>) -> Result<Payment, Status> {
    while let Some(payment) = messages.message().await? {
        if is_final(&payment) {
            return Ok(payment);
        }
    }
    Err(ended())
}

fn ended() -> Status {
    Status::unknown("the stream ended before the payment did")
}

fn unavailable(error: anyhow::Error) -> Status {
    Status::unavailable(format!("{error:#}"))
}
