//! Real lnd on a private chain: two payers, and two receivers of which one is two hops away.
//!
//! ```text
//!   alice ══╗
//!           ╠══ bob ═══ carol
//!   dave  ══╝
//! ```

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    time::Duration,
};

use anyhow::{Context, Result};
use fulgurite_proto::lnrpc::{Payment, invoice::InvoiceState, payment::PaymentStatus};
use fulgurite_sim::{BookEntry, FailureReason, Status};
use fulgurite_tests::{
    engine::NodeEntry,
    regtest::{Link, Network, Options, until},
};
use futures::{StreamExt, stream};

use super::{
    books::Books,
    htlcs::{self, Judged, Owned, Received, judge},
    kills::Kills,
    ledger::Ledger,
    open::{self, Open},
};
use crate::report::Counts;

/// The nodes that the engine pays over, and those that are paid.
const PAYERS: [&str; 2] = ["alice", "dave"];
const RECEIVERS: [&str; 2] = ["bob", "carol"];
/// Every invoice's amount: 50,000 of them drain no channel.
const AMOUNT_MSAT: u64 = 1_000_000;
/// An lnd that was told of a dead peer's channel avoids it for an hour, and says NO_ROUTE.
const FORGETS_FAILURES: &str = "--routerrpc.apriori.penaltyhalflife=1s";
/// Channels that have not decided about an HTLC after this do not.
const DECIDED_MAX: Duration = Duration::from_secs(30);
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
    /// Every kill of the run.
    kills: Kills,
    /// What the payers owned at the beginning, by name and channel.
    owned: BTreeMap<&'static str, BTreeMap<u64, Owned>>,
    /// The payers' books as they were read last.
    books: Books,
}

/// What a comparison with payers' money and receivers' books found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Whatever must not be.
    pub wrong: Vec<String>,
    /// Payments under way whose HTLC is on a payer's channel: a killed node further on never
    /// answers for it, and it ends on chain.
    pub on_channels: u64,
    /// Unresolved payments, by reason.
    pub unresolved: Counts,
    /// The hashes of payments that did not succeed, and of which a killed receiver calls the
    /// invoice settled and gave the HTLC back.
    pub settled_alone: Vec<String>,
    /// The hashes of payments that succeeded, with their preimage, and of which a killed receiver
    /// gave the HTLC back.
    pub given_back: Vec<String>,
    /// The hashes of payments that did not succeed, and whose receiver was paid by a killed node in
    /// between from its own pocket.
    pub paid_between: Vec<String>,
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
        let mut owned = BTreeMap::new();
        for name in PAYERS {
            owned.insert(name, htlcs::owned(&network.node(name).channels().await?)?);
        }
        let (given_out, killed, kills) = (BTreeMap::new(), Vec::new(), Kills::default());
        let books = Books::default();
        Ok(Regtest { network, given_out, killed, kills, owned, books })
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
        let killed = &self.network.nodes()[node];
        killed.kill9();
        self.kills.note(killed.name());
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
    pub async fn books(&mut self) -> Result<&Books> {
        let mut entries = Vec::new();
        for name in PAYERS {
            for payment in self.network.node(name).list_payments().await? {
                entries.push(entry(name, &payment)?);
            }
        }
        self.books = Books::of(entries);
        Ok(&self.books)
    }

    /// How many HTLCs are on the channels of the payers that answer.
    pub async fn in_flight(&self) -> u64 {
        let mut sum = 0;
        for name in PAYERS {
            // One that was killed as well says nothing.
            let channels = self.network.node(name).channels().await.unwrap_or_default();
            sum += channels.iter().map(|channel| channel.pending_htlcs.len() as u64).sum::<u64>();
        }
        sum
    }

    /// Compares all payments, HTLC by HTLC, with what the receivers got and the payers' channels
    /// lost; those without an end with the payers' books as they were read last.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn compare(&self, ledger: &Ledger) -> Result<Compared> {
        let received = self.received().await?;
        let all = ledger.finals().chain(ledger.unresolved()).chain(ledger.under_way());
        let judged = judge(&received, &self.kills, all);
        let Judged { wrong, given_back, settled_alone, paid_between } = judged;
        let mut compared = Compared { wrong, ..Compared::default() };
        compared.given_back = given_back.iter().map(hex::encode).collect();
        compared.settled_alone = settled_alone.iter().map(hex::encode).collect();
        compared.paid_between = paid_between.iter().map(hex::encode).collect();
        let mut outgoing = HashSet::new();
        for (name, before) in &self.owned {
            let node = self.network.node(name);
            let after = htlcs::owned(&node.channels().await?)?;
            let spent = htlcs::spent(&node.list_payments().await?, &given_back)?;
            let lines = htlcs::compare_channels(name, (before, &after), &spent);
            compared.wrong.extend(lines);
            outgoing.extend(after.into_values().flat_map(|owned| owned.outgoing.into_keys()));
        }
        let open = open::judge(ledger.unresolved(), ledger.under_way(), &self.books, &outgoing);
        let Open { wrong, unresolved, on_channels } = open;
        compared.wrong.extend(wrong);
        (compared.unresolved, compared.on_channels) = (unresolved, on_channels);
        Ok(compared)
    }

    /// What the receivers' own lnd say of each invoice that they gave out, when their channels have
    /// decided about each HTLC of those that are settled.
    async fn received(&self) -> Result<BTreeMap<[u8; 32], Received>> {
        let mut all = BTreeMap::new();
        let mut left: Vec<[u8; 32]> = self.given_out.keys().copied().collect();
        let decided = until("the channels to decide", DECIDED_MAX, async || {
            let looks = stream::iter(mem::take(&mut left))
                .map(async |hash| (hash, self.receipt(hash).await))
                .buffer_unordered(LOOKED_UP_AT_ONCE);
            let mut failed = None;
            for (hash, receipt) in looks.collect::<Vec<_>>().await {
                match receipt {
                    Ok(receipt) => {
                        if receipt.is_open() {
                            left.push(hash);
                        }
                        all.insert(hash, receipt);
                    }
                    Err(error) => {
                        left.push(hash);
                        failed = Some(error);
                    }
                }
            }
            failed.map_or(Ok(left.is_empty().then_some(())), Err)
        });
        let decided = decided.await;
        // What was answered is judged as it is, open or not; the rest cannot be.
        if all.len() < self.given_out.len() {
            decided.context("a receiver does not say what it received")?;
        }
        Ok(all)
    }

    async fn receipt(&self, hash: [u8; 32]) -> Result<Received> {
        let receiver = self.given_out.get(&hash).copied().context("an invoice of ours")?;
        let node = self.network.node(receiver);
        let invoice = node.lookup(hash).await?;
        let is_settled = invoice.state() == InvoiceState::Settled;
        let is_other = u64::try_from(invoice.amt_paid_msat) != Ok(AMOUNT_MSAT);
        let other_msat = (is_settled && is_other).then_some(invoice.amt_paid_msat);
        let mut htlcs = Vec::new();
        for htlc in &invoice.htlcs {
            htlcs.push(node.htlc_resolution(htlc.chan_id, htlc.htlc_index).await?);
        }
        let forwarder = (receiver == RECEIVERS[1]).then_some(RECEIVERS[0]);
        Ok(Received { receiver, forwarder, is_settled, other_msat, htlcs })
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
