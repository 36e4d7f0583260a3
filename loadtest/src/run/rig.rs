//! What a run meets: nodes and an engine that it starts, or an engine that runs already.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use fulgurite_sim::{Invoice, NodeInfo};
use fulgurite_tests::regtest::Network;
use lightning_invoice::Bolt11Invoice;

use super::{
    running::Running,
    scenario::{Scenario, Target},
    schedule::Schedule,
};
use crate::{
    client::Client,
    history::make,
    process::{self, Process},
    regtest,
    scene::{self, Engine, Fleet, FleetShape, Folder},
};

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub grpc: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub nodes: Vec<NodeInfo>,
    pub invoices: Invoices,
}

/// What is paid.
#[derive(Clone, Debug)]
pub(crate) enum Invoices {
    /// Those of the simulated network of `seed`, from number `first` on, which nobody has paid.
    Simulated { seed: u64, first: u64 },
    /// Those of a file.
    File { path: PathBuf, used: Arc<AtomicUsize> },
    /// Just those that are needed.
    Made(Vec<Invoice>),
}

impl Invoices {
    /// `count` of them, signed or read.
    ///
    /// # Errors
    /// When there are not so many.
    pub async fn take(&self, count: usize) -> Result<Vec<Invoice>> {
        let (path, used) = match self {
            Invoices::Simulated { seed, first } => {
                eprintln!("signing {count} invoices");
                return scene::seeded_invoices(*seed, *first, count).await;
            }
            Invoices::File { path, used } => (path, used),
            Invoices::Made(made) => {
                ensure!(made.len() == count, "{} invoices are made, {count} needed", made.len());
                return Ok(made.clone());
            }
        };
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let words = text.split(|c: char| c.is_whitespace() || [',', '"'].contains(&c));
        let all: Vec<&str> = words.filter(|word| word.to_lowercase().starts_with("ln")).collect();
        let first = used.fetch_add(count, Ordering::Relaxed);
        let wanted = all.get(first..first + count).with_context(|| {
            let left = all.len().saturating_sub(first);
            format!("{}: {count} invoices are needed and {left} are left", path.display())
        })?;
        wanted.iter().map(|text| read(text)).collect()
    }
}

/// What a bare client needs of an invoice.
fn read(text: &str) -> Result<Invoice> {
    let parsed: Bolt11Invoice = text.parse().map_err(|error| anyhow::anyhow!("{text}: {error}"))?;
    let amount_msat = parsed.amount_milli_satoshis();
    Ok(Invoice {
        bolt11: text.to_owned(),
        payment_hash: *parsed.payment_hash().as_ref(),
        amount_msat: amount_msat.with_context(|| format!("{text}: an invoice without amount"))?,
    })
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
    /// Real nodes.
    _network: Option<Network>,
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
        if running.is_any() {
            return Rig::of_running(running);
        }
        if running.lnd {
            return Rig::real(scenario, target).await;
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
            invoices: Invoices::Simulated { seed: scene::SEED, first: 0 },
        };
        let mut engine = None;
        if target != Target::Bare {
            let history = scenario.engine.history;
            if history > 0 {
                eprintln!("making a journal of {history} finished payments");
                make::make(&folder.path.join("journal"), history).await?;
            }
            let started =
                Engine::start_configured(&folder.path, &fleet.nodes, scenario.engine.toml()?);
            let started = started.await?;
            (reach.grpc, reach.http) = (Some(started.grpc), Some(started.http));
            reach.admin = Some(started.admin);
            engine = Some(started);
        }
        let folder = Some(folder);
        Ok(Rig {
            reach,
            engine,
            fleet: Some(fleet),
            engine_pid: None,
            fleet_pid: None,
            _network: None,
            _folder: folder,
        })
    }

    /// Real lnd nodes, and an engine in front of alice.
    async fn real(scenario: &Scenario, target: Target) -> Result<Rig> {
        let load = &scenario.load;
        let schedule = Schedule::new(&load.stages, load.spacing, load.seed, scenario.each())?;
        let count = schedule.arrivals().count() * scenario.each() as usize;
        let (network, made) = regtest::start(count).await?;
        let nodes = vec![regtest::node_info(network.alice())];
        let invoices = Invoices::Made(made);
        let mut reach = Reach { grpc: None, http: None, admin: None, nodes, invoices };
        let (folder, mut engine) = (Folder::new()?, None);
        if target != Target::Bare {
            let mut config = scenario.engine.toml()?;
            let table = config.entry("engine").or_insert_with(|| toml::Table::new().into());
            let table = table.as_table_mut().context("engine.config.engine is not a table")?;
            table.insert("network".into(), "regtest".into());
            let started = Engine::start_configured(&folder.path, &reach.nodes, config).await?;
            (reach.grpc, reach.http) = (Some(started.grpc), Some(started.http));
            reach.admin = Some(started.admin);
            engine = Some(started);
        }
        Ok(Rig {
            reach,
            engine,
            fleet: None,
            engine_pid: None,
            fleet_pid: None,
            _network: Some(network),
            _folder: Some(folder),
        })
    }

    /// What was started gives way to the generator from now on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn give_way(&self, nice: u8) -> Result<()> {
        if nice == 0 {
            return Ok(());
        }
        let engine = self.engine.as_ref().map(|engine| &engine.process);
        let nodes = self.fleet.as_ref().map(|fleet| &fleet.process);
        engine.into_iter().chain(nodes).try_for_each(|process| process.give_way(nice))
    }

    fn of_running(running: &Running) -> Result<Rig> {
        let nodes = running.nodes()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let invoices = match &running.invoices {
            Some(path) => Invoices::File { path: path.clone(), used: Arc::clone(&running.used) },
            // Below 2^48 for centuries, and never the numbers of an earlier run.
            None => Invoices::Simulated {
                seed: running.fleet_seed.unwrap_or(1),
                first: now.as_secs() << 16,
            },
        };
        let reach = Reach {
            grpc: running.engine,
            http: running.engine_http,
            admin: running.engine_admin,
            nodes,
            invoices,
        };
        Ok(Rig {
            reach,
            engine: None,
            fleet: None,
            engine_pid: running.engine_pid,
            fleet_pid: running.fleet_pid,
            _network: None,
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

    /// The same when the run is over: of a process that ended meanwhile nothing is known.
    pub fn cpu_after(&self) -> CpuTimes {
        let engine = self.engine.as_ref().map(|engine| &engine.process);
        let nodes = self.fleet.as_ref().map(|fleet| &fleet.process);
        CpuTimes {
            engine: cpu(engine, self.engine_pid).ok().flatten(),
            nodes: cpu(nodes, self.fleet_pid).ok().flatten(),
            own: process::own_cpu().unwrap_or_default(),
        }
    }

    /// The engine's process, if it is known.
    ///
    /// # Errors
    /// When it is gone.
    pub fn engine_pid(&self) -> Result<Option<u32>> {
        match &self.engine {
            Some(engine) => engine.process.pid().map(Some),
            None => Ok(self.engine_pid),
        }
    }

    /// The most memory that the engine had resident so far, in MiB.
    pub fn engine_rss_mib(&self) -> Option<f64> {
        let bytes = process::rss_bytes_max(self.engine_pid().ok()??).ok()?;
        Some(crate::report::mib(bytes))
    }

    /// The memory that the engine has resident now, in MiB.
    pub fn engine_rss_now_mib(&self) -> Option<f64> {
        let bytes = process::rss_bytes(self.engine_pid().ok()??).ok()?;
        Some(crate::report::mib(bytes))
    }

    /// Fails when the engine that the run started has ended by itself.
    ///
    /// # Errors
    /// How, and what it said last.
    pub fn engine_still_runs(&mut self) -> Result<()> {
        self.engine.as_mut().map_or(Ok(()), |engine| engine.process.still_runs())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn invoices_of_a_file_are_used_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("invoices.csv");
        let made = scene::invoices(0, 3).await.unwrap();
        let rows: Vec<String> =
            made.iter().map(|made| format!("{},\"a, b\"\n", made.bolt11)).collect();
        fs::write(&path, format!("destination,reference\n{}", rows.concat())).unwrap();
        let invoices = Invoices::File { path, used: Arc::default() };
        let first = invoices.take(2).await.unwrap();
        assert_eq!(first, made[..2]);
        let error = invoices.clone().take(2).await.unwrap_err().to_string();
        assert!(error.contains("2 invoices are needed and 1 are left"), "{error}");
    }
}
