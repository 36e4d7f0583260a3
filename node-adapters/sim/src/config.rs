//! What a fleet is made of, and the knobs that can be turned while it runs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::SimFault;

/// The file with the knobs, in the fleet's directory and, for one node alone, in the node's.
pub const KNOBS_FILE: &str = "knobs.toml";

/// A fleet of simulated nodes that one process serves.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// How many nodes, 1 to 1,000.
    pub nodes: usize,
    /// How many channels each node has, 1 to 1,000.
    pub channels: usize,
    /// The capacity of each channel in satoshi; all of it is on the node's side at first.
    pub channel_capacity_sat: u64,
    /// Decides everything: keys, invoices, which payments fail. Same seed, same behaviour.
    pub seed: u64,
    /// Where the nodes keep their certificates, macaroons and books.
    pub dir: PathBuf,
    /// The first node's port, the others follow. 0 takes any free ports. A port once taken is
    /// kept in the node's directory, so that a restart uses it again.
    pub base_port: u16,
    /// Serves this node alone (`node-2`), as one of several processes. `None` serves all.
    pub only: Option<String>,
    /// How many threads serve the nodes, at least 1.
    pub threads: usize,
    /// The knobs at the start; [`KNOBS_FILE`] in the directory overrides them.
    pub knobs: Knobs,
}

impl Default for FleetConfig {
    fn default() -> FleetConfig {
        FleetConfig {
            nodes: 3,
            channels: 10,
            channel_capacity_sat: 1_000_000_000,
            seed: 1,
            dir: PathBuf::from("sim"),
            base_port: 0,
            only: None,
            threads: 1,
            knobs: Knobs::default(),
        }
    }
}

impl FleetConfig {
    /// The directory of node `index`.
    pub fn node_dir(&self, index: usize) -> PathBuf {
        self.dir.join(node_name(index))
    }

    /// The nodes that this process serves, by index.
    ///
    /// # Errors
    /// [`SimFault::Config`] if `only` names none of them or a bound is not kept.
    pub fn served(&self) -> Result<Vec<usize>, SimFault> {
        if !(1..=1_000).contains(&self.nodes) || !(1..=1_000).contains(&self.channels) {
            return Err(SimFault::Config("nodes and channels are 1 to 1000".into()));
        }
        if self.threads == 0 || self.channel_capacity_sat > 21_000_000 * 100_000_000 {
            return Err(SimFault::Config("threads is at least 1, capacity at most 21e14".into()));
        }
        let Some(only) = &self.only else {
            return Ok((0..self.nodes).collect());
        };
        match (0..self.nodes).find(|index| node_name(*index) == *only) {
            Some(index) => Ok(vec![index]),
            None => Err(SimFault::Config(format!("the fleet has no node {only}"))),
        }
    }
}

/// The name of node `index`, as in its directory: `node-0` is the first.
pub fn node_name(index: usize) -> String {
    format!("node-{index}")
}

/// What can be changed while a node runs. Shares are of all payment hashes, 0 to 1.
///
/// A knob concerns what begins after it was turned; a payment in flight keeps its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// How long a payment is in flight, in milliseconds: the median. 0 settles at once.
    pub latency_ms: f64,
    /// The sigma of a lognormal distribution around `latency_ms`. 0: always exactly that.
    pub latency_sigma: f64,
    /// How many payments a second the node starts. 0 is no limit.
    pub payments_per_second: f64,
    /// The share of payments whose first send in the fleet ends FAILED.
    pub fail_share: f64,
    /// With which reasons they fail.
    pub fail_mix: FailMix,
    /// The share of payments with an HTLC that stays in flight (`stuck_ms`), over restarts too.
    pub stuck_share: f64,
    /// How long a stuck payment is stuck before it settles, in milliseconds. 0 is for ever.
    pub stuck_ms: u64,
    /// The share of payments that stay in flight without an HTLC until the node restarts.
    pub zombie_share: f64,
    /// How long a payment waits until its HTLC is on the channel, in milliseconds (lnd's
    /// `channel-commit-interval`, 50). One that a kill finds waiting stays in flight for ever. 0 is
    /// no time at all.
    pub commit_ms: u64,
    /// The share of SendPaymentV2 calls that are lost on the way: the stream is cut, no payment
    /// starts. Decided for each send of a payment anew.
    pub drop_share: f64,
    /// The share of SendPaymentV2 streams cut before any message. The payment runs on.
    pub cut_silent_share: f64,
    /// The share of SendPaymentV2 streams cut after the first message.
    pub cut_first_share: f64,
    /// The share of SendPaymentV2 streams cut before the last message.
    pub cut_last_share: f64,
    /// How far the node's clock is ahead, in milliseconds.
    pub clock_offset_ms: i64,
    /// Every channel's peer is away: nothing can be sent, what is in flight stays there.
    pub peers_offline: bool,
    /// A payment that failed with an HTLC out is paid after all, a moment later, and its streams
    /// are told: what no lnd does, and no engine may be broken by.
    pub recants: bool,
    /// Streams that follow a payment are told nothing more than its state when they began (lnd: an
    /// error of its database ends its work on a payment without a word).
    pub is_mute: bool,
    /// ListPayments is not answered.
    pub hides_payments: bool,
    /// The first channels, so many, were closed by force: what is in flight there waits for the
    /// chain.
    pub closed_channels: u32,
    /// The first of these, so many, are resolved on chain: with the preimage an HTLC is paid, else
    /// it has timed out.
    pub resolved_channels: u32,
    /// The fee of the route, its fixed part, in millisatoshi for each part of a payment.
    pub fee_base_msat: u64,
    /// The fee of the route in parts per million of the amount.
    pub fee_ppm: u64,
    /// The node is killed and started again whenever this number changes.
    pub restarts: u32,
    /// How long the node is down between kill and start, in milliseconds.
    pub down_ms: u64,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            latency_ms: 0.0,
            latency_sigma: 0.0,
            payments_per_second: 0.0,
            fail_share: 0.0,
            fail_mix: FailMix::default(),
            stuck_share: 0.0,
            stuck_ms: 0,
            zombie_share: 0.0,
            commit_ms: 0,
            drop_share: 0.0,
            cut_silent_share: 0.0,
            cut_first_share: 0.0,
            cut_last_share: 0.0,
            clock_offset_ms: 0,
            peers_offline: false,
            recants: false,
            is_mute: false,
            hides_payments: false,
            closed_channels: 0,
            resolved_channels: 0,
            fee_base_msat: 0,
            fee_ppm: 100,
            restarts: 0,
            down_ms: 500,
        }
    }
}

/// How often which failure reason is chosen: weights, any scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailMix {
    /// FAILURE_REASON_TIMEOUT.
    pub timeout: f64,
    /// FAILURE_REASON_NO_ROUTE.
    pub no_route: f64,
    /// FAILURE_REASON_ERROR.
    pub error: f64,
    /// FAILURE_REASON_INCORRECT_PAYMENT_DETAILS: final for the invoice.
    pub incorrect_payment_details: f64,
    /// FAILURE_REASON_INSUFFICIENT_BALANCE.
    pub insufficient_balance: f64,
}

impl Default for FailMix {
    fn default() -> FailMix {
        FailMix {
            timeout: 1.0,
            no_route: 1.0,
            error: 0.0,
            incorrect_payment_details: 0.0,
            insufficient_balance: 1.0,
        }
    }
}

impl Knobs {
    /// Reads the knobs of one node: `base`, overridden by the fleet's file, overridden by the
    /// node's own. Files that do not exist override nothing.
    ///
    /// # Errors
    /// [`SimFault::Config`] for a file that is no TOML, an unknown key or a bad value.
    pub fn load(base: &Knobs, fleet_dir: &Path, node_dir: &Path) -> Result<Knobs, SimFault> {
        let bad = |error: &dyn std::fmt::Display| SimFault::Config(error.to_string());
        let mut merged = toml::Table::try_from(base).map_err(|error| bad(&error))?;
        for dir in [fleet_dir, node_dir] {
            let path = dir.join(KNOBS_FILE);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(SimFault::io(&path, error)),
            };
            let table: toml::Table = text.parse().map_err(|error| bad(&error))?;
            merge(&mut merged, table);
        }
        let knobs: Knobs = merged.try_into().map_err(|error| bad(&error))?;
        knobs.check()?;
        Ok(knobs)
    }

    /// Checks what the types do not: times and rates are 0 or more, shares 0 to 1.
    ///
    /// # Errors
    /// [`SimFault::Config`] with the knob, its value, and what is allowed.
    pub fn check(&self) -> Result<(), SimFault> {
        let mix = &self.fail_mix;
        for (name, value, most) in [
            ("latency_ms", self.latency_ms, 1e9),
            // Beyond it the median says nothing any more.
            ("latency_sigma", self.latency_sigma, 10.0),
            ("fail_share", self.fail_share, 1.0),
            ("stuck_share", self.stuck_share, 1.0),
            ("zombie_share", self.zombie_share, 1.0),
            ("drop_share", self.drop_share, 1.0),
            ("cut_silent_share", self.cut_silent_share, 1.0),
            ("cut_first_share", self.cut_first_share, 1.0),
            ("cut_last_share", self.cut_last_share, 1.0),
            ("fail_mix.timeout", mix.timeout, 1e9),
            ("fail_mix.no_route", mix.no_route, 1e9),
            ("fail_mix.error", mix.error, 1e9),
            ("fail_mix.incorrect_payment_details", mix.incorrect_payment_details, 1e9),
            ("fail_mix.insufficient_balance", mix.insufficient_balance, 1e9),
        ] {
            if !(0.0..=most).contains(&value) {
                return Err(SimFault::Config(format!("{name} is {value}: 0 to {most}")));
            }
        }
        // One payment in a quarter of an hour; slower is nothing that a clock could add up.
        let rate = self.payments_per_second;
        if rate != 0.0 && !(0.001..=1e9).contains(&rate) {
            let text = format!("payments_per_second is {rate}: 0, or 0.001 to 1000000000");
            return Err(SimFault::Config(text));
        }
        Ok(())
    }

    /// Writes the knobs as the file of the fleet or of a node, which notices within 200 ms.
    ///
    /// # Errors
    /// [`SimFault::Io`] if the file cannot be written.
    pub fn store(&self, dir: &Path) -> Result<(), SimFault> {
        let text = toml::to_string(self).map_err(|e| SimFault::Config(e.to_string()))?;
        let (path, scratch) = (dir.join(KNOBS_FILE), dir.join("knobs.toml.new"));
        std::fs::write(&scratch, text).map_err(|error| SimFault::io(&scratch, error))?;
        std::fs::rename(&scratch, &path).map_err(|error| SimFault::io(&path, error))
    }
}

/// Puts `from` over `into`, tables inside tables too.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(more)) => merge(inner, more),
            // `latency_ms = 5` is as good as 5.0.
            (Some(old @ toml::Value::Float(_)), toml::Value::Integer(number)) => {
                *old = toml::Value::Float(number as f64);
            }
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_knobs_override_the_fleets_and_those_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node-0");
        std::fs::create_dir(&node).unwrap();
        let text = "latency_ms = 5\nfee_ppm = 7\n[fail_mix]\nerror = 2.0\n";
        std::fs::write(dir.path().join(KNOBS_FILE), text).unwrap();
        std::fs::write(node.join(KNOBS_FILE), "fee_ppm = 9\n").unwrap();
        let knobs = Knobs::load(&Knobs::default(), dir.path(), &node).unwrap();
        assert_eq!((knobs.latency_ms, knobs.fee_ppm, knobs.fail_mix.error), (5.0, 9, 2.0));
        assert_eq!(knobs.fail_mix.timeout, 1.0);
        for (text, named) in [
            ("latency = 9\n", "latency"),
            ("latency_ms = -3\n", "latency_ms is -3: 0 to 1000000000"),
            ("fail_share = 7\n", "fail_share is 7: 0 to 1"),
            ("payments_per_second = 1e-20\n", "payments_per_second is 0.0"),
            ("payments_per_second = -1\n", "0, or 0.001 to"),
            ("cut_last_share = nan\n", "cut_last_share is NaN"),
            ("[fail_mix]\nerror = -1\n", "fail_mix.error is -1"),
        ] {
            std::fs::write(node.join(KNOBS_FILE), text).unwrap();
            let error = Knobs::load(&Knobs::default(), dir.path(), &node).unwrap_err();
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn stored_knobs_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let knobs = Knobs { stuck_share: 0.25, restarts: 3, ..Knobs::default() };
        knobs.store(dir.path()).unwrap();
        let read = Knobs::load(&Knobs::default(), dir.path(), Path::new("/nowhere")).unwrap();
        assert_eq!(read, knobs);
    }
}
