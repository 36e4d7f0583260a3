//! A scenario: the load, the nodes and the engine that it meets, what happens to them, and the
//! limits that it must keep. A TOML file of `loadtest/scenarios/`, or one of the user's own.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fulgurite_sim::Knobs;
use serde::{Deserialize, Serialize};

use super::schedule::{Spacing, Stage};

/// A scenario. Unknown keys are errors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scenario {
    pub name: String,
    pub description: String,
    pub load: Load,
    pub engine: EngineSettings,
    pub fleet: FleetSettings,
    #[serde(rename = "fault")]
    pub faults: Vec<Fault>,
    pub slo: Slo,
}

/// What is offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Load {
    pub target: Target,
    pub spacing: Spacing,
    pub seed: u64,
    pub stages: Vec<Stage>,
    /// How long after its planned time a payment is given up.
    pub timeout_s: f64,
    /// Payments of one upload; the other targets have one each.
    pub batch_size: u32,
    /// Connections to the engine, or to each node.
    pub connections: u32,
    /// Threads that send, each with its share of the connections and of the arrivals. The target
    /// `bare` has one: that is what a bare client is.
    pub threads: u32,
    /// The most requests that this client has open at once; more wait, and that counts. 0: no
    /// limit. Uploads for the target `batches`, payments for the others.
    pub in_flight_max: u32,
    /// A new connection for each HTTP payment.
    pub new_connections: bool,
    /// Connections that are open and say nothing: half of them gRPC, half HTTP.
    pub idle_connections: u32,
    /// Weights of the priorities low, normal and high.
    pub priorities: Option<[f64; 3]>,
    /// How much the engine and the nodes that the run starts give way to the generator, in steps of
    /// `nice`, 0 to 19. On a machine that is full it waits for a processor for milliseconds, and
    /// that is lag; but whoever gives way is woken for less each time, and takes more for it.
    pub nice: u8,
    /// The run counts as one of saturation: its own lag may be 20 ms at P99 and not 1 ms.
    pub saturation: bool,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            target: Target::Batches,
            spacing: Spacing::default(),
            seed: 1,
            stages: vec![Stage { rate: 1_000.0, to: None, seconds: 20.0 }],
            timeout_s: 10.0,
            batch_size: 100,
            connections: 2,
            threads: 1,
            in_flight_max: 0,
            new_connections: false,
            idle_connections: 0,
            priorities: None,
            nice: 0,
            saturation: false,
        }
    }
}

impl Load {
    /// The threads of its target.
    pub fn threads(&self) -> u32 {
        if self.target == Target::Bare { 1 } else { self.threads }
    }
}

/// Through which door payments are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    /// gRPC: an upload with a watch for each batch.
    #[default]
    Batches,
    /// gRPC: one call, and one watch, for each payment.
    Grpc,
    /// HTTP: one POST for each payment, and one long poll for its outcome.
    Http,
    /// No engine: `SendPaymentV2` to the nodes, nothing kept. The yardstick.
    Bare,
}

impl Target {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Target::Batches => "batches",
            Target::Grpc => "grpc",
            Target::Http => "http",
            Target::Bare => "bare",
        }
    }
}

/// The engine that is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EngineSettings {
    /// `door` or `node`, as in the engine's configuration.
    pub verify_signatures: String,
    /// Payments that were paid before the clock starts.
    pub history: u32,
    /// Any of the engine's own configuration.
    pub config: toml::Table,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        EngineSettings { verify_signatures: "door".into(), history: 0, config: toml::Table::new() }
    }
}

impl EngineSettings {
    /// As configuration of the engine.
    ///
    /// # Errors
    /// When `config` says otherwise than the settings.
    pub fn toml(&self) -> Result<toml::Table> {
        let mut table = self.config.clone();
        let check = table.entry("check").or_insert_with(|| toml::Table::new().into());
        let check = check.as_table_mut().context("engine.config.check is not a table")?;
        let known = check.insert("verify_signatures".into(), self.verify_signatures.clone().into());
        anyhow::ensure!(known.is_none(), "engine.verify_signatures, not engine.config.check");
        Ok(table)
    }
}

/// The simulated nodes that are started.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FleetSettings {
    pub nodes: u32,
    pub channels: u32,
    pub channel_capacity_sat: u64,
    /// As in a fleet's `knobs.toml`.
    pub knobs: Knobs,
}

impl Default for FleetSettings {
    fn default() -> FleetSettings {
        FleetSettings {
            nodes: 4,
            channels: 10,
            channel_capacity_sat: 1_000_000_000,
            knobs: Knobs::default(),
        }
    }
}

/// Something that happens to the nodes while the clock runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// When, from the beginning.
    pub at_s: f64,
    /// How long it lasts.
    pub for_s: f64,
    pub kind: FaultKind,
    /// Which node, from 0; unset: all. A freeze is always of all.
    pub node: Option<u32>,
    /// The knobs that differ meanwhile.
    #[serde(default)]
    pub knobs: toml::Table,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FaultKind {
    /// Every node stops, with its connections open, and goes on.
    Freeze,
    /// The node is killed, and started again.
    Kill,
    /// Knobs are turned, and turned back.
    Knobs,
}

/// The limits. What is unset is not checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Slo {
    pub outcome_ms: Limits,
    pub ack_ms: Limits,
    pub refusal_ms: Limits,
    /// Final states within the time that payments were due, of the payments offered until a second
    /// before its end (half of it, when that is less).
    pub achieved_share_min: Option<f64>,
    /// Of the payments offered.
    pub succeeded_share_min: Option<f64>,
    pub refused_share_max: Option<f64>,
    pub lost_share_max: Option<f64>,
    /// After the last fault or the highest rate, until three seconds in a row have a P99 of at most
    /// twice that of the seconds before the trouble, and nothing is refused in them.
    pub recovers_within_s: Option<f64>,
    pub engine_rss_mib_max: Option<f64>,
}

/// Limits of a distribution, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
}

/// The scenarios that come with the program.
const BUILT_IN: &[(&str, &str)] = &[
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("ramp", include_str!("../../scenarios/ramp.toml")),
    ("burst", include_str!("../../scenarios/burst.toml")),
    ("overload", include_str!("../../scenarios/overload.toml")),
    ("slow-node", include_str!("../../scenarios/slow-node.toml")),
    ("node-lost", include_str!("../../scenarios/node-lost.toml")),
    ("full-channels", include_str!("../../scenarios/full-channels.toml")),
    ("mixed-priorities", include_str!("../../scenarios/mixed-priorities.toml")),
    ("connections-10k", include_str!("../../scenarios/connections-10k.toml")),
    ("large-history", include_str!("../../scenarios/large-history.toml")),
    ("stall", include_str!("../../scenarios/stall.toml")),
    ("yardstick", include_str!("../../scenarios/yardstick.toml")),
];

impl Scenario {
    /// One that comes with the program, by its name, or a file.
    ///
    /// # Errors
    /// When there is no such file, or it is not a scenario; says where.
    pub fn load(name: &str) -> Result<Scenario> {
        let known = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match known {
            Some((_, text)) => (*text).to_owned(),
            None if Path::new(name).exists() => {
                let why = || format!("scenario {name}: it cannot be read as text");
                std::fs::read_to_string(name).with_context(why)?
            }
            None => bail!(
                "there is no scenario {name:?} and no such file; the scenarios: {}",
                Scenario::names()
            ),
        };
        Scenario::parse(&text).with_context(|| format!("scenario {name}"))
    }

    /// The names of those that come with the program.
    pub fn names() -> String {
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// A line for each of those that come with the program, for the end of `--help`.
    pub fn help() -> String {
        let mut help = String::from("Scenarios (docs/loadtest.md says how to write one):");
        for (name, text) in BUILT_IN {
            let words = Scenario::parse(text).map(|scenario| scenario.description);
            help += &format!("\n  {name:<17} {}", words.unwrap_or_default());
        }
        help
    }

    /// Reads and checks one.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn parse(text: &str) -> Result<Scenario> {
        let says: toml::Table = toml::from_str(text)?;
        anyhow::ensure!(!says.is_empty(), "it is empty: [load] with stages is the least");
        let scenario: Scenario = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Payments of one arrival.
    pub fn each(&self) -> u32 {
        if self.load.target == Target::Batches { self.load.batch_size } else { 1 }
    }
}

impl Fault {
    /// `base` with the knobs of the fault.
    ///
    /// # Errors
    /// For a knob that does not exist.
    pub fn turned(&self, base: &Knobs) -> Result<Knobs> {
        let mut merged = toml::Table::try_from(base)?;
        for (key, value) in &self.knobs {
            // `latency_ms = 5` is as good as 5.0.
            let value = match (merged.get(key), value) {
                (Some(toml::Value::Float(_)), toml::Value::Integer(number)) => {
                    toml::Value::Float(*number as f64)
                }
                _ => value.clone(),
            };
            merged.insert(key.clone(), value);
        }
        Ok(merged.try_into()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_that_comes_along_can_be_run_and_has_limits() {
        for (name, _) in BUILT_IN {
            let scenario = Scenario::load(name).unwrap();
            assert_eq!(scenario.name, *name);
            assert!(!scenario.description.is_empty(), "{name}");
            let slo = toml::to_string(&scenario.slo).unwrap();
            assert!(slo.contains(" = "), "{name} has no limit: {slo}");
        }
    }

    #[test]
    fn a_file_that_is_no_scenario_is_named() {
        let error = format!("{:#}", Scenario::parse("nmae = \"x\"").unwrap_err());
        assert!(error.contains("nmae"), "{error}");
        let error = format!("{:#}", Scenario::load("stedy").unwrap_err());
        assert!(error.contains("steady"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_string_lossy();
        let error = format!("{:#}", Scenario::load(&folder).unwrap_err());
        assert!(error.contains(&*folder), "{error}");
    }
}
