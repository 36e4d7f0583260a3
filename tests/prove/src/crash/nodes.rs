//! The nodes that a crash proof pays over: simulated ones, or real lnd on a private chain.

use std::path::PathBuf;

use anyhow::Result;
use fulgurite_sim::{FailMix, Knobs};
use fulgurite_tests::engine::NodeEntry;

use super::{books::Books, fleet::Fleet, regtest::Regtest};
use crate::client::Invoices;

/// The books of real lnd are read after every so-many-th cycle, and at the end.
const LND_BOOKS_EVERY: u32 = 10;
/// How many simulated nodes there are.
const SIMULATED: usize = 3;

/// Nodes, each a process of its own that can be killed.
#[derive(Debug)]
pub enum Nodes {
    /// Simulated nodes, which pay any invoice of their seed.
    Simulated(Box<Fleet>, Invoices),
    /// Two payers and two receivers on a private chain.
    Lnd(Box<Regtest>),
}

fn knobs() -> Knobs {
    Knobs {
        latency_ms: 60.0,
        latency_sigma: 0.6,
        fail_share: 0.05,
        // Some of them for good.
        fail_mix: FailMix { incorrect_payment_details: 1.0, ..FailMix::default() },
        drop_share: 0.01,
        cut_silent_share: 0.01,
        cut_first_share: 0.01,
        cut_last_share: 0.01,
        fee_base_msat: 1_000,
        fee_ppm: 100,
        ..Knobs::default()
    }
}

impl Nodes {
    /// Starts simulated nodes of `program` in a new folder.
    ///
    /// # Errors
    /// When one does not start.
    pub fn simulated(program: PathBuf, dir: PathBuf, seed: u64) -> Result<Nodes> {
        let fleet = Fleet::start(program, dir, (SIMULATED, seed), &knobs())?;
        Ok(Nodes::Simulated(Box::new(fleet), Invoices::new(seed)))
    }

    /// Starts the real network.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn lnd() -> Result<Nodes> {
        Ok(Nodes::Lnd(Box::new(Regtest::start().await?)))
    }

    /// What the engine's configuration says besides; goes on in the section of the sends.
    pub fn settings(&self) -> &'static str {
        // Snapshots as often as an engine may take them.
        match self {
            Nodes::Simulated(..) => "[journal]\ndisk_floor_mb = 0\nsnapshot_every_events = 1000\n",
            // What a killed lnd shows in flight for ever is soon looked for in its channels.
            Nodes::Lnd(_) => {
                "payment_timeout_s = 5\nstuck_after_s = 1\n[batch]\nattempts_max = 6\n\
                 [journal]\ndisk_floor_mb = 0\nsnapshot_every_events = 1000\n"
            }
        }
    }

    /// How the engine reaches those that it pays over.
    pub fn entries(&self) -> Vec<NodeEntry> {
        match self {
            Nodes::Simulated(fleet, _) => fleet.entries(),
            Nodes::Lnd(regtest) => regtest.payers(),
        }
    }

    /// How many there are to be killed.
    pub fn len(&self) -> usize {
        match self {
            Nodes::Simulated(fleet, _) => fleet.len(),
            Nodes::Lnd(regtest) => regtest.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kills a node as `kill -9` does.
    pub fn kill(&mut self, node: usize) {
        match self {
            Nodes::Simulated(fleet, _) => fleet.kill(node),
            Nodes::Lnd(regtest) => regtest.kill(node),
        }
    }

    /// Starts a node that was killed. It keeps its port and its books.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(&mut self, node: usize) -> Result<()> {
        match self {
            Nodes::Simulated(fleet, _) => fleet.spawn(node),
            Nodes::Lnd(regtest) => regtest.spawn(node),
        }
    }

    /// Waits until nodes that were killed pay and are paid again.
    ///
    /// # Errors
    /// When they do not.
    pub async fn wait_usable(&mut self) -> Result<()> {
        match self {
            // It answers as soon as it listens.
            Nodes::Simulated(..) => Ok(()),
            Nodes::Lnd(regtest) => regtest.wait_usable().await,
        }
    }

    /// New invoices that they can pay.
    ///
    /// # Errors
    /// When there are none left, or a receiver refuses.
    pub async fn invoices(&mut self, count: usize) -> Result<Vec<String>> {
        match self {
            Nodes::Simulated(_, invoices) => invoices.take(count),
            Nodes::Lnd(regtest) => regtest.invoices(count).await,
        }
    }

    /// Whether their books are read after this cycle. Real lnd lists everything that it ever paid:
    /// each time would make a long run take its square.
    pub fn books_are_due(&self, cycle: u32) -> bool {
        matches!(self, Nodes::Simulated(..)) || cycle % LND_BOOKS_EVERY == LND_BOOKS_EVERY - 1
    }

    /// Their own books.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn books(&mut self) -> Result<&Books> {
        match self {
            Nodes::Simulated(fleet, _) => fleet.books(),
            Nodes::Lnd(regtest) => regtest.books().await,
        }
    }

    /// How many payments, or HTLCs of theirs, are in flight at those that answer.
    ///
    /// # Errors
    /// When a book cannot be read.
    pub async fn in_flight(&mut self) -> Result<u64> {
        match self {
            Nodes::Simulated(fleet, _) => Ok(fleet.books()?.in_flight()),
            Nodes::Lnd(regtest) => Ok(regtest.in_flight().await),
        }
    }
}
