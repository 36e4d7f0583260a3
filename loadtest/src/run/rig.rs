//! What a run meets: nodes and an engine that it starts, or an engine that runs already.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_sim::{FleetFile, NodeInfo};

use super::scenario::{Scenario, Target};
use crate::{
    client::{self, Client},
    process::{self, Process},
    scene::{self, Engine, Fleet, FleetShape, Folder},
};

/// Payments of one batch of history.
const HISTORY_BATCH: u32 = 50_000;

/// An engine that runs already, and its nodes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Running {
    /// The gRPC address of an engine that runs already; nothing is started then.
    #[arg(long, value_name = "IP:PORT")]
    engine: Option<SocketAddr>,
    /// Its HTTP address, for the target http.
    #[arg(long, value_name = "IP:PORT", requires = "engine")]
    engine_http: Option<SocketAddr>,
    /// Its admin address: its own histograms are read there.
    #[arg(long, value_name = "IP:PORT", requires = "engine")]
    engine_admin: Option<SocketAddr>,
    /// Its process on this machine: its processor time is read.
    #[arg(long, value_name = "PID", requires = "engine")]
    engine_pid: Option<u32>,
    /// The folder of simulated nodes that run already (`fulgurite sim --dir`).
    #[arg(long, value_name = "DIR")]
    fleet: Option<PathBuf>,
    /// Their seed: without it they do not know the invoices.
    #[arg(long, default_value_t = 1, value_name = "N")]
    fleet_seed: u64,
    /// Their process.
    #[arg(long, value_name = "PID", requires = "fleet")]
    fleet_pid: Option<u32>,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub grpc: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub nodes: Vec<NodeInfo>,
    /// The number of the first invoice that nobody has paid.
    pub first_invoice: u64,
    /// The seed of the invoices.
    pub seed: u64,
}

impl Reach {
    /// So many connections to the engine; they connect at their first call.
    ///
    /// # Errors
    /// When there is no engine.
    pub fn clients(&self, count: u32) -> Result<Vec<Client>> {
        let grpc = self.grpc.context("this target needs an engine")?;
        (0..count).map(|_| Client::new(grpc)).collect()
    }
}

/// What was started; dropping it ends it.
pub(crate) struct Rig {
    pub reach: Reach,
    pub engine: Option<Engine>,
    pub fleet: Option<Fleet>,
    engine_pid: Option<u32>,
    fleet_pid: Option<u32>,
    // The last, because the others live in it.
    _folder: Option<Folder>,
}

/// The processor time of everybody, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTimes {
    pub engine: Option<Duration>,
    pub nodes: Option<Duration>,
    pub own: Duration,
}

impl Rig {
    /// Starts what `target` needs, or finds what runs.
    ///
    /// # Errors
    /// When something does not start, or the scenario asks for what a running engine cannot give.
    pub async fn start(scenario: &Scenario, target: Target, running: &Running) -> Result<Rig> {
        if running.engine.is_some() || running.fleet.is_some() {
            return Rig::of_running(scenario, target, running);
        }
        let folder = Folder::new()?;
        let settings = &scenario.fleet;
        let shape = FleetShape {
            nodes: settings.nodes as usize,
            channels: settings.channels as usize,
            channel_capacity_sat: settings.channel_capacity_sat,
        };
        let fleet = Fleet::start_shaped(&folder.path, shape, &settings.knobs).await?;
        let nodes = fleet.nodes.clone();
        let mut reach = Reach {
            grpc: None,
            http: None,
            admin: None,
            nodes,
            first_invoice: 0,
            seed: scene::SEED,
        };
        let mut engine = None;
        if target != Target::Bare {
            let started =
                Engine::start_configured(&folder.path, &fleet.nodes, scenario.engine.toml()?);
            let started = started.await?;
            (reach.grpc, reach.http) = (Some(started.grpc), Some(started.http));
            reach.admin = Some(started.admin);
            let history = scenario.engine.history;
            pay_history(&started.client, history).await?;
            reach.first_invoice = u64::from(history);
            engine = Some(started);
        }
        let folder = Some(folder);
        Ok(Rig {
            reach,
            engine,
            fleet: Some(fleet),
            engine_pid: None,
            fleet_pid: None,
            _folder: folder,
        })
    }

    fn of_running(scenario: &Scenario, target: Target, running: &Running) -> Result<Rig> {
        ensure!(
            scenario.faults.is_empty() && scenario.engine.history == 0,
            "scenario {}: faults and history need nodes and an engine that the run starts itself",
            scenario.name
        );
        ensure!(target == Target::Bare || running.engine.is_some(), "--engine is needed");
        let nodes = match &running.fleet {
            Some(dir) => FleetFile::read(dir).with_context(|| dir.display().to_string())?.nodes,
            None => Vec::new(),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let reach = Reach {
            grpc: running.engine,
            http: running.engine_http,
            admin: running.engine_admin,
            nodes,
            // Below 2^48 for centuries, and never the numbers of an earlier run.
            first_invoice: now.as_secs() << 16,
            seed: running.fleet_seed,
        };
        Ok(Rig {
            reach,
            engine: None,
            fleet: None,
            engine_pid: running.engine_pid,
            fleet_pid: running.fleet_pid,
            _folder: None,
        })
    }

    /// What everybody used of the processors so far.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn cpu(&self) -> Result<CpuTimes> {
        let engine = self.engine.as_ref().map(|engine| &engine.process);
        let nodes = self.fleet.as_ref().map(|fleet| &fleet.process);
        Ok(CpuTimes {
            engine: cpu(engine, self.engine_pid)?,
            nodes: cpu(nodes, self.fleet_pid)?,
            own: process::own_cpu()?,
        })
    }

    /// The most memory that the engine had resident so far, in MiB.
    pub fn engine_rss_mib(&self) -> Option<f64> {
        let bytes = self.engine.as_ref()?.process.rss_bytes_max().ok()?;
        Some(crate::report::mib(bytes))
    }

    /// Adds what a process said last to an error that came of its end.
    ///
    /// # Errors
    /// Those of `done`.
    pub fn explain<T>(&mut self, done: Result<T>) -> Result<T> {
        match &mut self.engine {
            Some(engine) => engine.explain(done),
            None => done,
        }
    }
}

fn cpu(process: Option<&Process>, pid: Option<u32>) -> Result<Option<Duration>> {
    match (process, pid) {
        (Some(process), _) => process.cpu().map(Some),
        (None, Some(pid)) => {
            process::cpu_of(&pid.to_string()).map(Some).with_context(|| format!("process {pid}"))
        }
        (None, None) => Ok(None),
    }
}

/// Pays `count` payments, so that they are behind the engine.
async fn pay_history(client: &Client, count: u32) -> Result<()> {
    let mut paid = 0;
    while paid < count {
        let rows = (count - paid).min(HISTORY_BATCH);
        let orders = client::destinations(&scene::invoices(u64::from(paid), rows as usize)?);
        let accepted = client.upload(&format!("history-{paid}"), orders).await?;
        client.watch(&accepted.batch_id, rows as usize).await?.all_succeeded()?;
        paid += rows;
        eprintln!("history: {paid} of {count} payments");
    }
    Ok(())
}
