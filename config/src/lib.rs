//! Typed configuration: one struct per concern, every field with default, unit and range.
//!
//! The manual of every key is [`DEFAULT_TOML`] (`config/default.toml`); a test compares it with
//! [`Config::default`]. Unknown keys and values out of range are errors that name the file, the
//! line and the key, and say what is allowed. Nothing starts before [`Config::load`] is content.

mod bounds;
mod doors;
mod fault;
mod locate;
mod log;
mod manual;
mod node;
mod sending;
mod storage;
mod witness;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use doors::{Access, Admin, Check, Grpc, Http, Limits, Signatures};
pub use fault::{ConfigFault, Problem};
pub use log::{Log, LogFormat, LogLevel};
pub use manual::{Entry, manual};
pub use node::Node;
pub use sending::{Batch, Breaker, Channels, FeePolicy, Priority, Retry, Sends, Window};
pub use storage::{Engine, Journal, Network};
pub use witness::Witness;

use bounds::Bounds;

/// Every key with its comment and its default: the manual.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// The configuration of one engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The engine itself.
    pub engine: Engine,
    /// The journal.
    pub journal: Journal,
    /// Who may come in.
    pub access: Access,
    /// The gRPC door.
    pub grpc: Grpc,
    /// The HTTP door.
    pub http: Http,
    /// The admin listener.
    pub admin: Admin,
    /// What an order must be like.
    pub check: Check,
    /// How much waits and lives at once.
    pub limits: Limits,
    /// What a batch gets that does not say otherwise.
    pub batch: Batch,
    /// What follows a failed attempt.
    pub retry: Retry,
    /// One `SendPaymentV2` call.
    pub sends: Sends,
    /// How many payments are in flight at one node.
    pub window: Window,
    /// When a node gets nothing for a while.
    pub breaker: Breaker,
    /// What is kept free in each channel.
    pub channels: Channels,
    /// The nodes' own books against the journal.
    pub witness: Witness,
    /// The nodes that pay.
    #[serde(rename = "node")]
    pub nodes: Vec<Node>,
    /// What is logged, and how.
    pub log: Log,
}

impl Config {
    /// Reads and checks the file at `path`. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigFault::Read`] without a readable file, else every problem in it.
    pub fn load(path: &Path) -> Result<Config, ConfigFault> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigFault::Read { path: path.to_owned(), source })?;
        let mut config = Config::parse(&text, &path.display().to_string())?;
        config.anchor(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Reads and checks `text`; problems name `file`.
    ///
    /// # Errors
    /// [`ConfigFault::Problems`] with all that is wrong: everything that is out of range at once,
    /// but syntax, unknown keys and wrong types one at a time.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigFault> {
        let problems = |problems| ConfigFault::Problems { file: file.to_owned(), problems };
        let config: Config =
            toml::from_str(text).map_err(|error| problems(vec![locate::problem(text, &error)]))?;
        let mut bounds = Bounds::default();
        config.check(&mut bounds);
        if bounds.found.is_empty() {
            return Ok(config);
        }
        let found = bounds.found.into_iter();
        Err(problems(found.map(|(key, message)| locate::named(text, key, message)).collect()))
    }

    /// The sections other than the nodes that differ in `other`, by their names in the file.
    pub fn changed_sections(&self, other: &Config) -> Vec<String> {
        let sections = |config: &Config| toml::Table::try_from(config).unwrap_or_default();
        let (ours, theirs) = (sections(self), sections(other));
        let differs = |key: &&String| *key != "node" && ours.get(*key) != theirs.get(*key);
        ours.keys().filter(differs).cloned().collect()
    }

    fn check(&self, bounds: &mut Bounds) {
        self.engine.check(bounds);
        self.journal.check(bounds);
        doors::check_listeners(self, bounds);
        self.grpc.check(bounds);
        self.http.check(bounds);
        self.check.check(bounds);
        self.limits.check(bounds);
        self.batch.check(bounds);
        self.retry.check(bounds);
        self.sends.check(bounds);
        self.window.check(bounds);
        self.breaker.check(bounds);
        self.channels.check(bounds);
        self.witness.check(bounds);
        node::check_all(&self.nodes, bounds);
    }

    /// Makes the paths relative to `folder`; absolute ones stay.
    fn anchor(&mut self, folder: &Path) {
        self.engine.data_dir = folder.join(&self.engine.data_dir);
        for node in &mut self.nodes {
            node.tls_cert_path = folder.join(&node.tls_cert_path);
            node.macaroon_path = folder.join(&node.macaroon_path);
            if node.guard_macaroon_path != Path::new("") {
                node.guard_macaroon_path = folder.join(&node.guard_macaroon_path);
            }
        }
    }
}

#[cfg(test)]
mod tests;
