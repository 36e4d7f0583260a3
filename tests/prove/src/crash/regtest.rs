//! Real lnd on a private chain: two payers, and two receivers of which one is two hops away.
//!
//! ```text
//!   alice ══╗
//!           ╠══ bob ═══ carol
//!   dave  ══╝
//! ```

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use fulgurite_proto::lnrpc::{Payment, invoice::InvoiceState, payment::PaymentStatus};
use fulgurite_sim::{BookEntry, FailureReason, Status};
use fulgurite_tests::{
    engine::NodeEntry,
    regtest::{Link, Network, Node, Options},
};
use futures::{StreamExt, TryStreamExt, stream};

use super::books::Books;

/// The nodes that the engine pays over, and those that are paid.
const PAYERS: [&str; 2] = ["alice", "dave"];
const RECEIVERS: [&str; 2] = ["bob", "carol"];
/// Every invoice's amount: 50,000 of them drain no channel.
const AMOUNT_MSAT: u64 = 1_000_000;
/// An lnd that was told of a dead peer's channel avoids it for an hour, and says NO_ROUTE.
const FORGETS_FAILURES: &str = "--routerrpc.apriori.penaltyhalflife=1s";
/// How many invoices are looked up at once: more is not faster.
const LOOKED_UP_AT_ONCE: usize = 64;

/// The network, and what its receivers gave out.
#[derive(Debug)]
pub struct Regtest {
    network: Network,
    /// Which receiver's, by payment hash.
    given_out: BTreeMap<[u8; 32], &'static str>,
    /// Nodes that were killed since the network was last usable.
    killed: Vec<usize>,
}

fn link(from: &str, to: &str) -> Link {
    Link {
        from: from.to_owned(),
        to: to.to_owned(),
        channels: 3,
        capacity_sat: 16_000_000,
        push_sat: 2_000_000,
    }
}

impl Regtest {
    /// Starts the network, which takes about half a minute.
    ///
    /// # Errors
    /// When the programs are missing, or it does not come up.
    pub async fn start() -> Result<Regtest> {
        let names = [PAYERS, RECEIVERS].concat().iter().map(|name| (*name).to_owned()).collect();
        let links = vec![link("alice", "bob"), link("dave", "bob"), link("bob", "carol")];
        let lnd_options = vec![FORGETS_FAILURES.to_owned()];
        let options = Options { names, links, lnd_options, ..Options::default() };
        let network = Network::start(&options).await?;
        Ok(Regtest { network, given_out: BTreeMap::new(), killed: Vec::new() })
    }

    /// How the engine reaches the payers.
    pub fn payers(&self) -> Vec<NodeEntry> {
        let entry = |name: &&str| {
            let node = self.network.node(name);
            NodeEntry {
                name: node.name().to_owned(),
                address: node.grpc_address(),
                tls_cert: node.tls_cert(),
                macaroon: node.admin_macaroon(),
            }
        };
        PAYERS.iter().map(entry).collect()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.network.nodes().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kills a node.
    pub fn kill(&mut self, node: usize) {
        self.network.nodes()[node].kill9();
        self.killed.push(node);
    }

    /// Starts a node that was killed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(&mut self, node: usize) -> Result<()> {
        self.network.nodes()[node].start()
    }

    /// Waits until nodes that were killed have all their channels again.
    ///
    /// # Errors
    /// When they do not.
    pub async fn wait_usable(&mut self) -> Result<()> {
        if self.killed.is_empty() {
            return Ok(());
        }
        for node in std::mem::take(&mut self.killed) {
            self.network.nodes()[node].wait_ready().await?;
        }
        self.network.wait_usable().await
    }

    /// New invoices, of both receivers in turn.
    ///
    /// # Errors
    /// When a receiver refuses one.
    pub async fn invoices(&mut self, count: usize) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (share, name) in [(count.div_ceil(2), RECEIVERS[0]), (count / 2, RECEIVERS[1])] {
            for invoice in self.network.node(name).add_invoices(share, AMOUNT_MSAT).await? {
                self.given_out.insert(invoice.payment_hash, name);
                all.push(invoice.payment_request);
            }
        }
        Ok(all)
    }

    /// The payers' books.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn books(&self) -> Result<Books> {
        let mut entries = Vec::new();
        for name in PAYERS {
            for payment in self.network.node(name).list_payments().await? {
                entries.push(entry(name, &payment)?);
            }
        }
        Ok(Books::of(entries))
    }

    /// How many payments are in flight at the payers that answer.
    pub async fn in_flight(&self) -> u64 {
        let mut sum = 0;
        for name in PAYERS {
            // One that was killed as well says nothing.
            let payments = self.network.node(name).list_payments().await.unwrap_or_default();
            let open = |payment: &&Payment| {
                let status = payment.status();
                matches!(status, PaymentStatus::InFlight | PaymentStatus::Initiated)
            };
            sum += payments.iter().filter(open).count() as u64;
        }
        sum
    }

    /// The payment hashes that the receivers' own books call settled.
    ///
    /// # Errors
    /// When a receiver does not answer, or got another amount than it asked for.
    pub async fn settled(&self) -> Result<Vec<[u8; 32]>> {
        let look = |(hash, name): (&[u8; 32], &&'static str)| {
            let (hash, node): ([u8; 32], &Node) = (*hash, self.network.node(name));
            async move {
                let invoice = node.lookup(hash).await?;
                let is_settled = invoice.state() == InvoiceState::Settled;
                ensure!(
                    !is_settled || u64::try_from(invoice.amt_paid_msat)? == AMOUNT_MSAT,
                    "{} received {} msat for {}",
                    node.name(),
                    invoice.amt_paid_msat,
                    hex::encode(hash)
                );
                Ok((hash, is_settled))
            }
        };
        let looks = stream::iter(self.given_out.iter().map(look));
        let all: Vec<_> = looks.buffer_unordered(LOOKED_UP_AT_ONCE).try_collect().await?;
        Ok(all.into_iter().filter_map(|(hash, settled)| settled.then_some(hash)).collect())
    }
}

fn entry(node: &str, payment: &Payment) -> Result<BookEntry> {
    let mut payment_hash = [0; 32];
    hex::decode_to_slice(&payment.payment_hash, &mut payment_hash).context("a payment hash")?;
    let status = match payment.status() {
        PaymentStatus::Succeeded => Status::Succeeded,
        PaymentStatus::Failed => Status::Failed,
        PaymentStatus::InFlight => Status::InFlight,
        _ => Status::Initiated,
    };
    Ok(BookEntry {
        node: node.to_owned(),
        payment_hash,
        status,
        // Nobody compares it.
        reason: FailureReason::None,
        amount_msat: u64::try_from(payment.value_msat)?,
        fee_msat: u64::try_from(payment.fee_msat)?,
        payment_index: payment.payment_index,
        created_ns: payment.creation_time_ns,
    })
}
