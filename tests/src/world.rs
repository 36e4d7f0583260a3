//! A payer and two receivers, real or simulated: the scenarios run on both.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_lnd::MacaroonInterceptor;
use fulgurite_proto::{
    invoicesrpc::{
        AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg, invoices_client::InvoicesClient,
    },
    lnrpc::{self, Payment, PaymentHash, invoice::InvoiceState, lightning_client::LightningClient},
    routerrpc::{TrackPaymentRequest, router_client::RouterClient},
};
use fulgurite_sim::{Fleet, FleetConfig, Knobs};
use futures::{StreamExt, TryStreamExt, stream};
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};

use crate::{
    engine::NodeEntry,
    regtest::{self, Invoice, Network},
};

type Connection = InterceptedService<Channel, MacaroonInterceptor>;

/// Where a scenario runs.
pub enum World {
    /// lnd on a private chain.
    Real(Box<Network>),
    /// Simulated nodes.
    Simulated(Box<Fleet>),
}

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The payer's peer.
    Near,
    /// Two hops away (one, in the simulation, which has no hops).
    Far,
}

/// A node that receives, reached over its own gRPC.
#[derive(Clone)]
pub struct Peer {
    connection: Connection,
}

impl World {
    /// The real network, with these channels.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn real(options: &regtest::Options) -> Result<World> {
        Ok(World::Real(Box::new(Network::start(options).await?)))
    }

    /// Three simulated nodes.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn simulated(folder: &Path, channels: usize, knobs: Knobs) -> Result<World> {
        let dir = folder.join("sim");
        fs::create_dir_all(&dir)?;
        let channel_capacity_sat = 16_000_000;
        let config =
            FleetConfig { channels, channel_capacity_sat, dir, knobs, ..FleetConfig::default() };
        Ok(World::Simulated(Box::new(Fleet::start(config).await?)))
    }

    /// The three nodes: payer, near, far.
    pub fn entries(&self) -> Vec<NodeEntry> {
        match self {
            World::Real(network) => network
                .nodes()
                .iter()
                .map(|node| NodeEntry {
                    name: node.name().to_owned(),
                    address: node.grpc_address(),
                    tls_cert: node.tls_cert(),
                    macaroon: node.admin_macaroon(),
                })
                .collect(),
            World::Simulated(fleet) => fleet
                .nodes()
                .iter()
                .map(|node| NodeEntry {
                    name: node.name.clone(),
                    address: node.address.clone(),
                    tls_cert: node.tls_cert.clone(),
                    macaroon: node.macaroon.clone(),
                })
                .collect(),
        }
    }

    /// The node that the engine pays over.
    pub fn payer(&self) -> NodeEntry {
        self.entries().swap_remove(0)
    }

    /// A connection to a receiver.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn receiver(&self, receiver: Receiver) -> Result<Peer> {
        let at = match receiver {
            Receiver::Near => 1,
            Receiver::Far => 2,
        };
        Peer::connect(&self.entries()[at]).await
    }

    /// Kills the payer and starts it again.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart_payer(&self) -> Result<()> {
        match self {
            World::Real(network) => {
                network.alice().kill9();
                network.alice().restart().await?;
                network.wait_usable().await
            }
            World::Simulated(fleet) => {
                fleet.restart(0, Duration::from_millis(300)).await?;
                Ok(())
            }
        }
    }
}

impl Peer {
    /// Connects to a node.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(node: &NodeEntry) -> Result<Peer> {
        let (cert, macaroon) = (fs::read(&node.tls_cert)?, fs::read(&node.macaroon)?);
        let (channel, interceptor) =
            fulgurite_lnd::connect(&node.address, &cert, &macaroon).await?;
        Ok(Peer { connection: InterceptedService::new(channel, interceptor) })
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
    /// When none arrives within 30 s.
    pub async fn wait_held(&self, payment_hash: [u8; 32]) -> Result<()> {
        for _ in 0..600 {
            if self.state(payment_hash).await? == InvoiceState::Accepted {
                return Ok(());
            }
            tokio::task::spawn_blocking(|| {
                std::thread::park_timeout(Duration::from_millis(50));
            })
            .await?;
        }
        ensure!(false, "no payment was held within 30 s");
        Ok(())
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
}
