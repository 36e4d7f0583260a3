//! A node asked over its own gRPC, and its answers as texts that scenarios compare.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use fulgurite_lnd::{MacaroonInterceptor, macaroon::Macaroon};
use fulgurite_proto::{
    invoicesrpc::{
        AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg, invoices_client::InvoicesClient,
    },
    lnrpc::{
        self, Payment, PaymentHash, invoice::InvoiceState, lightning_client::LightningClient,
        payment::PaymentStatus,
    },
    routerrpc::{SendPaymentRequest, TrackPaymentRequest, router_client::RouterClient},
};
use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Code, Status, service::interceptor::InterceptedService, transport::Channel};

use crate::{
    engine::NodeEntry,
    regtest::{self, Invoice, is_final, until},
};

/// Longer than anything takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Connection = InterceptedService<Channel, MacaroonInterceptor>;

/// A node, reached over its own gRPC.
#[derive(Clone)]
pub struct Peer {
    connection: Connection,
}

impl Peer {
    /// Connects to a node.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(node: &NodeEntry) -> Result<Peer> {
        Peer::connect_with(node, &fs::read(&node.macaroon)?).await
    }

    /// Connects to a node with another macaroon than its own.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect_with(node: &NodeEntry, macaroon: &[u8]) -> Result<Peer> {
        let cert = fs::read(&node.tls_cert)?;
        let (channel, interceptor) = fulgurite_lnd::connect(&node.address, &cert, macaroon).await?;
        Ok(Peer { connection: InterceptedService::new(channel, interceptor) })
    }

    /// The ids of the root keys that its macaroons are baked with.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn macaroon_ids(&self) -> Result<Vec<u64>> {
        let request = lnrpc::ListMacaroonIDsRequest {};
        Ok(self.lightning().list_macaroon_i_ds(request).await?.into_inner().root_key_ids)
    }

    /// Revokes all macaroons of a root key.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn delete_macaroon_id(&self, root_key_id: u64) -> Result<()> {
        let request = lnrpc::DeleteMacaroonIdRequest { root_key_id };
        self.lightning().delete_macaroon_id(request).await?;
        Ok(())
    }

    fn lightning(&self) -> LightningClient<Connection> {
        LightningClient::new(self.connection.clone())
    }

    /// One invoice.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn invoice(&self, amount_msat: u64, expiry: Duration) -> Result<Invoice> {
        let request = lnrpc::Invoice {
            value_msat: i64::try_from(amount_msat)?,
            expiry: i64::try_from(expiry.as_secs())?,
            ..Default::default()
        };
        let added = self.lightning().add_invoice(request).await?.into_inner();
        let payment_hash = added.r_hash.as_slice().try_into().context("a payment hash")?;
        Ok(Invoice { payment_request: added.payment_request, payment_hash, amount_msat })
    }

    /// Many invoices of one amount, valid for an hour.
    ///
    /// # Errors
    /// When the node refuses one.
    pub async fn invoices(&self, count: usize, amount_msat: u64) -> Result<Vec<Invoice>> {
        let hour = Duration::from_secs(3_600);
        let all = stream::iter(0..count).map(|_| self.invoice(amount_msat, hour));
        all.buffer_unordered(64).try_collect().await
    }

    /// An invoice whose payment is held.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn hold_invoice(&self, preimage: [u8; 32], amount_msat: u64) -> Result<Invoice> {
        let payment_hash = regtest::payment_hash(&preimage);
        let request = AddHoldInvoiceRequest {
            hash: payment_hash.to_vec(),
            value_msat: i64::try_from(amount_msat)?,
            expiry: 3_600,
            ..Default::default()
        };
        let mut client = InvoicesClient::new(self.connection.clone());
        let payment_request = client.add_hold_invoice(request).await?.into_inner().payment_request;
        Ok(Invoice { payment_request, payment_hash, amount_msat })
    }

    /// Settles a held payment.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn settle(&self, preimage: [u8; 32]) -> Result<()> {
        let message = SettleInvoiceMsg { preimage: preimage.to_vec() };
        InvoicesClient::new(self.connection.clone()).settle_invoice(message).await?;
        Ok(())
    }

    /// Cancels an invoice and the payment that is held for it.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn cancel(&self, payment_hash: [u8; 32]) -> Result<()> {
        let message = CancelInvoiceMsg { payment_hash: payment_hash.to_vec() };
        InvoicesClient::new(self.connection.clone()).cancel_invoice(message).await?;
        Ok(())
    }

    /// The invoice's state at the receiver.
    ///
    /// # Errors
    /// When the node does not know it.
    pub async fn state(&self, payment_hash: [u8; 32]) -> Result<InvoiceState> {
        let hash = PaymentHash { r_hash: payment_hash.to_vec() };
        Ok(self.lightning().lookup_invoice(hash).await?.into_inner().state())
    }

    /// The preimage of an invoice of this node.
    ///
    /// # Errors
    /// When the node does not know it.
    pub async fn preimage(&self, payment_hash: [u8; 32]) -> Result<Vec<u8>> {
        let hash = PaymentHash { r_hash: payment_hash.to_vec() };
        Ok(self.lightning().lookup_invoice(hash).await?.into_inner().r_preimage)
    }

    /// How many of these invoices are settled, by the receiver's own books.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn settled(&self, invoices: &[Invoice]) -> Result<usize> {
        let states = stream::iter(invoices).map(|invoice| self.state(invoice.payment_hash));
        let states: Vec<InvoiceState> = states.buffer_unordered(64).try_collect().await?;
        Ok(states.into_iter().filter(|state| *state == InvoiceState::Settled).count())
    }

    /// Waits until a payment for the hash is held.
    ///
    /// # Errors
    /// When none arrives within a minute.
    pub async fn wait_held(&self, payment_hash: [u8; 32]) -> Result<()> {
        until("a payment to be held", PATIENCE, async || {
            Ok((self.state(payment_hash).await? == InvoiceState::Accepted).then_some(()))
        })
        .await
    }

    /// The payment as the node has it now.
    ///
    /// # Errors
    /// lnd's own answer, such as `NotFound`.
    pub async fn track(&self, payment_hash: [u8; 32]) -> Result<Payment, Status> {
        let request =
            TrackPaymentRequest { payment_hash: payment_hash.to_vec(), ..Default::default() };
        let mut client = RouterClient::new(self.connection.clone());
        let mut answers = client.track_payment_v2(request).await?.into_inner();
        answers.message().await?.ok_or_else(|| Status::unknown("no answer"))
    }

    /// Pays, and waits until the payment is final or the call has ended.
    pub async fn pay(&self, request: SendPaymentRequest) -> Result<Payment, Status> {
        let mut client = RouterClient::new(self.connection.clone());
        let mut answers = client.send_payment_v2(request).await?.into_inner();
        while let Some(payment) = answers.message().await? {
            if is_final(&payment) {
                return Ok(payment);
            }
        }
        Err(Status::unknown("the stream ended before the payment did"))
    }

    /// The state of a payment as [`text`] and [`ending`] say it.
    pub async fn track_text(&self, payment_hash: [u8; 32]) -> String {
        match self.track(payment_hash).await {
            Ok(payment) => text(&payment),
            Err(status) => ending(&status),
        }
    }

    /// The node's channels.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn channels(&self) -> Result<Vec<lnrpc::Channel>> {
        let request = lnrpc::ListChannelsRequest::default();
        Ok(self.lightning().list_channels(request).await?.into_inner().channels)
    }

    /// How many of the node's channels are being closed, or wait for the chain.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn closing_channels(&self) -> Result<usize> {
        let request = lnrpc::PendingChannelsRequest {};
        let answer = self.lightning().pending_channels(request).await?.into_inner();
        let forced = answer.pending_force_closing_channels.len();
        Ok(forced + answer.waiting_close_channels.len())
    }

    /// Who the node is.
    ///
    /// # Errors
    /// lnd's own answer.
    pub async fn info(&self) -> Result<lnrpc::GetInfoResponse, Status> {
        Ok(self.lightning().get_info(lnrpc::GetInfoRequest {}).await?.into_inner())
    }
}

/// A payment's state in one word, with the reason if it failed.
pub fn text(payment: &Payment) -> String {
    match payment.status() {
        PaymentStatus::Failed => format!("FAILED/{}", payment.failure_reason().as_str_name()),
        other => other.as_str_name().to_owned(),
    }
}

/// A call's end: `OK`, or the code and the text of lnd.
pub fn ending(status: &Status) -> String {
    match status.code() {
        Code::Ok => "OK".to_owned(),
        code => format!("{code:?}: {}", status.message()),
    }
}

/// Waits until `node` itself says that `macaroon` has expired: by its own clock no request with it
/// can start any more.
///
/// # Errors
/// When it says anything else.
pub async fn wait_expired(node: &NodeEntry, macaroon: &Macaroon) -> Result<()> {
    let peer = Peer::connect_with(node, &macaroon.to_bytes()).await?;
    until("the macaroon to expire", PATIENCE, async || match peer.info().await {
        Ok(_) => Ok(None),
        Err(status) if status.message().ends_with("macaroon has expired") => Ok(Some(())),
        Err(status) => Err(status.into()),
    })
    .await
}
