//! `[engine]` and `[journal]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bounds::Bounds;

/// The engine itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// The network that orders are for; others are refused. Default `regtest`.
    pub network: Network,
    /// The folder of the journal, made when it is missing. Relative to the file that names it,
    /// without a file to the working directory. Default `data`.
    pub data_dir: PathBuf,
}

impl Default for Engine {
    fn default() -> Engine {
        Engine { network: Network::Regtest, data_dir: "data".into() }
    }
}

impl Engine {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        if self.data_dir.as_os_str().is_empty() {
            bounds.refuse("engine.data_dir", "an empty path is not allowed: a folder".into());
        }
    }
}

/// The network of the invoices, by its BOLT 11 prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// `lnbc`: real money.
    Mainnet,
    /// `lntb`.
    Testnet,
    /// `lntbs`.
    Signet,
    /// `lnbcrt`.
    #[default]
    Regtest,
}

impl Network {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Network::Mainnet => "mainnet",
            Network::Testnet => "testnet",
            Network::Signet => "signet",
            Network::Regtest => "regtest",
        }
    }
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// A snapshot of what is open after so many events: fewer means a faster start and more
    /// writing. 1,000 to 100,000,000. Default 200,000.
    pub snapshot_every_events: u64,
    /// The records of events are removed so many days after them, 0 to 36,500; 0 keeps them for
    /// ever. Payments, batches, idempotency keys and claims are kept either way. Default 0.
    pub keep_days: u32,
    /// New orders are refused when the disk has less left, in MiB; 0 to 1,073,741,824.
    /// Default 512.
    pub disk_floor_mb: u64,
    /// The number of this engine among the shards, 0 to 65,535; a journal keeps the one that it
    /// was made with. Default 0.
    pub shard: u16,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { snapshot_every_events: 200_000, keep_days: 0, disk_floor_mb: 512, shard: 0 }
    }
}

impl Journal {
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        let events = self.snapshot_every_events;
        bounds.within("journal.snapshot_every_events", events, 1_000..=100_000_000);
        bounds.within("journal.keep_days", self.keep_days, 0..=36_500);
        bounds.within("journal.disk_floor_mb", self.disk_floor_mb, 0..=1_073_741_824);
    }
}
