//! Real lnd on a private chain: two payers, and two receivers of which one is two hops away.
//!
//! ```text
//!   alice ══╗
//!           ╠══ bob ═══ carol
//!   dave  ══╝
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::payment::State;
use fulgurite_proto::lnrpc::{Payment, invoice::InvoiceState, payment::PaymentStatus};
use fulgurite_sim::{BookEntry, FailureReason, Status};
use fulgurite_tests::{
    engine::NodeEntry,
    regtest::{Link, Network, Node, Options},
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    books::{Books, hash_of},
    ledger::Ledger,
};

/// The nodes that the engine pays over, and those that are paid.
const PAYERS: [&str; 2] = ["alice", "dave"];
const RECEIVERS: [&str; 2] = ["bob", "carol"];
/// Every invoice's amount: 50,000 of them drain no channel.
const AMOUNT_MSAT: u64 = 1_000_000;
/// An lnd that was told of a dead peer's channel avoids it for an hour, and says NO_ROUTE.
const FORGETS_FAILURES: &str = "--routerrpc.apriori.penaltyhalflife=1s";
/// What rounding to a satoshi can come to, over the payers' channels: far below one payment.
const TOLERANCE_MSAT: i64 = 20_000;
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
    /// What the payers owned at the beginning.
    owned_msat: i64,
}

/// What a comparison with payers' money and receivers' books found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Whatever must not be.
    pub wrong: Vec<String>,
    /// Payments under way whose HTLC is on a payer's channel: a killed node further on never
    /// answers for it, and it ends on chain.
    pub on_channels: u64,
    /// Invoices that a receiver calls settled and no payer's money paid.
    pub settled_alone: u64,
    /// Payments that succeeded, with their preimage, and that the payers still own the money of: a
    /// killed receiver refused after its restart what it had settled before.
    pub given_back: u64,
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
        let (given_out, killed) = (BTreeMap::new(), Vec::new());
        let mut regtest = Regtest { network, given_out, killed, owned_msat: 0 };
        regtest.owned_msat = regtest.owned().await?.0;
        Ok(regtest)
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

    /// Compares all payments with what the payers' channels lost and the receivers' books say.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn compare(&self, ledger: &Ledger) -> Result<Compared> {
        let (balance_msat, outgoing) = self.owned().await?;
        let settled = self.settled().await?.into_iter().collect();
        let (wrong, alone) = Books::compare_receivers(&settled, ledger.finals());
        let settled_alone = alone as u64;
        let mut compared = Compared { wrong, settled_alone, ..Compared::default() };
        for payment in ledger.under_way() {
            if hash_of(payment).is_some_and(|hash| outgoing.contains_key(&hash)) {
                compared.on_channels += 1;
            } else {
                compared.wrong.push(format!("{} does not end", payment.payment_id));
            }
        }
        let (mut paid_msat, mut paid) = (0, HashSet::new());
        for payment in ledger.finals().filter(|payment| payment.state() == State::Succeeded) {
            paid_msat += payment.amount_msat + payment.fee_msat;
            paid.extend(hash_of(payment));
        }
        // An HTLC is the payer's until its preimage is known, whenever it leaves the channel.
        let open = outgoing.iter().filter(|(hash, _)| !paid.contains(*hash));
        let owned_msat = balance_msat + open.map(|(_, amount_msat)| amount_msat).sum::<i64>();
        let spent_msat = self.owned_msat - owned_msat;
        if spent_msat > paid_msat + TOLERANCE_MSAT {
            let line = format!("LOST: the payers spent {spent_msat} msat, {paid_msat} succeeded");
            compared.wrong.push(line);
        }
        let given_back = u64::try_from(paid_msat - spent_msat + TOLERANCE_MSAT).unwrap_or(0);
        compared.given_back = given_back / AMOUNT_MSAT;
        Ok(compared)
    }

    /// What the payers own in their channels, and what is on its way out by payment hash; channels
    /// count in whole satoshi.
    async fn owned(&self) -> Result<(i64, HashMap<[u8; 32], i64>)> {
        let (mut sum_sat, mut outgoing) = (0, HashMap::new());
        for name in PAYERS {
            for channel in self.network.node(name).channels().await? {
                // What the commitment costs comes back to who opened the channel.
                sum_sat += channel.local_balance + channel.commit_fee;
                for htlc in channel.pending_htlcs.iter().filter(|htlc| !htlc.incoming) {
                    let hash: [u8; 32] = htlc.hash_lock.as_slice().try_into()?;
                    *outgoing.entry(hash).or_default() += htlc.amount * 1_000;
                }
            }
        }
        Ok((sum_sat * 1_000, outgoing))
    }

    /// The payment hashes that the receivers' own books call settled.
    async fn settled(&self) -> Result<Vec<[u8; 32]>> {
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
