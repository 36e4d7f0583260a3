//! What a run happens in: a folder, simulated nodes and an engine, all new.

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fulgurite_sim::{FleetFile, Invoice, InvoiceOrder, Knobs, NodeInfo};

use crate::{admin, client::Client, process::Process};

/// How many simulated nodes pay.
pub const NODES: usize = 4;
/// How many channels each has.
const CHANNELS: usize = 10;
/// The seed of nodes and invoices.
pub(crate) const SEED: u64 = 1;
/// How many invoices are signed at one go: a few hundredths of a second.
const SIGNED_TOGETHER: usize = 2_000;
/// How long a process may take until it can be used.
const START_MAX: Duration = Duration::from_secs(120);

/// Signs `count` invoices that the simulated nodes can pay, from number `first_index` on.
///
/// # Errors
/// When there are too many.
pub async fn invoices(first_index: u64, count: usize) -> Result<Vec<Invoice>> {
    seeded_invoices(SEED, first_index, count).await
}

/// The same for nodes with a seed of their own. Between any two [`SIGNED_TOGETHER`] others have
/// their turn: signing many takes minutes, and Ctrl-C ends it.
///
/// # Errors
/// When there are too many.
pub(crate) async fn seeded_invoices(
    seed: u64,
    first_index: u64,
    count: usize,
) -> Result<Vec<Invoice>> {
    let mut invoices = Vec::with_capacity(count);
    while invoices.len() < count {
        let order = InvoiceOrder {
            seed,
            first_index: first_index + invoices.len() as u64,
            count: (count - invoices.len()).min(SIGNED_TOGETHER),
            // Above every dust limit, and all channels together can carry millions of them.
            amount_msat: 5_000_000..=20_000_000,
            ..InvoiceOrder::default()
        };
        invoices.extend(fulgurite_sim::make_invoices(&order)?);
        tokio::task::yield_now().await;
    }
    Ok(invoices)
}

/// A new folder for its owner alone, removed at the end.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
}

impl Folder {
    /// Makes one in the system's temporary folder.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new() -> Result<Folder> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fulgurite-loadtest-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it; the system empties its temporary folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Simulated nodes that run, all in one process. Dropping them ends them.
#[derive(Debug)]
pub struct Fleet {
    /// Their process.
    pub process: Process,
    /// How to talk to them.
    pub nodes: Vec<NodeInfo>,
    dir: PathBuf,
}

/// What simulated nodes are made of.
#[derive(Clone, Copy, Debug)]
pub struct FleetShape {
    /// How many.
    pub nodes: usize,
    /// How many channels each has.
    pub channels: usize,
    /// The capacity of each channel, all of it on the node's side.
    pub channel_capacity_sat: u64,
}

impl Default for FleetShape {
    fn default() -> FleetShape {
        FleetShape { nodes: NODES, channels: CHANNELS, channel_capacity_sat: 1_000_000_000 }
    }
}

impl Fleet {
    /// Starts them in `folder`.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn start(folder: &Path, knobs: &Knobs) -> Result<Fleet> {
        Fleet::start_shaped(folder, FleetShape::default(), knobs).await
    }

    /// Starts others than usual.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn start_shaped(folder: &Path, shape: FleetShape, knobs: &Knobs) -> Result<Fleet> {
        let dir = folder.join("sim");
        fs::create_dir(&dir)?;
        knobs.store(&dir)?;
        let (nodes, channels) = (shape.nodes.to_string(), shape.channels.to_string());
        let (capacity, seed) = (shape.channel_capacity_sat.to_string(), SEED.to_string());
        let flags = [
            ["sim", "--nodes"],
            [&nodes, "--channels"],
            [&channels, "--channel-capacity-sat"],
            [&capacity, "--seed"],
            [&seed, "--dir"],
        ];
        let flags = flags.into_iter().flatten();
        let arguments = flags.map(OsString::from).chain([dir.clone().into()]);
        let log = folder.join("sim.log");
        let mut process = Process::start("the simulated nodes", log, arguments.collect())?;
        let started = Instant::now();
        loop {
            // The file is written when the last of them can be used.
            if let Ok(file) = FleetFile::read(&dir)
                && file.nodes.len() == shape.nodes
            {
                return Ok(Fleet { process, nodes: file.nodes, dir });
            }
            process.still_runs()?;
            if started.elapsed() > START_MAX {
                bail!("the simulated nodes do not start:\n{}", process.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Turns the knobs for what begins from now on, and waits until the nodes have noticed.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn turn(&self, knobs: &Knobs) -> Result<()> {
        knobs.store(&self.dir)?;
        tokio::time::sleep(Duration::from_millis(400)).await;
        Ok(())
    }

    /// The folder of their books.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Who checks an invoice's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// The node that pays.
    Node,
    /// The engine, before it accepts.
    Door,
}

/// How the engine differs from its defaults.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Who checks signatures.
    pub signatures: Signatures,
    /// How many payments are in flight at each node from the start on; `None` leaves the
    /// defaults.
    pub window: Option<u32>,
}

impl Settings {
    /// As configuration of the engine.
    ///
    /// # Errors
    /// Never.
    fn toml(self, nodes: usize) -> Result<toml::Table> {
        let signatures = match self.signatures {
            Signatures::Node => "node",
            Signatures::Door => "door",
        };
        let mut text = format!("[check]\nverify_signatures = \"{signatures}\"\n");
        if let Some(window) = self.window {
            let all = window as usize * nodes;
            text += &format!(
                "[window]\nin_flight_start = {window}\nin_flight_max = {window}\n\
                 [batch]\nin_flight_max = {all}\n"
            );
        }
        Ok(text.parse()?)
    }
}

/// An engine that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Engine {
    /// Its process.
    pub process: Process,
    /// Its public API.
    pub client: Client,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Engine {
    /// Starts one in `folder` and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(folder: &Path, nodes: &[NodeInfo], settings: Settings) -> Result<Engine> {
        Engine::start_configured(folder, nodes, settings.toml(nodes.len())?).await
    }

    /// Starts one with `config` over what every engine here has.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start_configured(
        folder: &Path,
        nodes: &[NodeInfo],
        config: toml::Table,
    ) -> Result<Engine> {
        let addresses = free_ports()?;
        let [grpc, http, admin] = addresses;
        let file = folder.join("fulgurite.toml");
        fs::write(&file, engine_toml(addresses, nodes, config)?)?;
        let arguments = vec!["serve".into(), "--config".into(), file.into_os_string()];
        let process = Process::start("the engine", folder.join("engine.log"), arguments)?;
        let client = Client::new(grpc)?;
        let mut engine = Engine { process, client, grpc, http, admin };
        engine.ready().await?;
        Ok(engine)
    }

    /// Waits until it is ready; the time from now on.
    ///
    /// # Errors
    /// When it ends, or does not get ready.
    pub async fn ready(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let admin = self.admin;
        while !tokio::task::spawn_blocking(move || admin::is_ready(admin)).await? {
            self.process.still_runs()?;
            if started.elapsed() > START_MAX {
                bail!("the engine does not get ready:\n{}", self.process.last_words());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(started.elapsed())
    }

    /// Adds what the engine said last when it is the engine that ended.
    ///
    /// # Errors
    /// Those of `done`.
    pub fn explain<T>(&mut self, done: Result<T>) -> Result<T> {
        done.or_else(|error| match self.process.still_runs() {
            Ok(()) => Err(error),
            Err(ended) => Err(ended).context(format!("{error:#}")),
        })
    }
}

/// Ports that are free now, below those that the kernel takes for outgoing connections: an engine
/// that is killed and started again finds them free.
fn free_ports() -> Result<[SocketAddr; 3]> {
    let first = 20_000 + std::process::id() % 1_000 * 11;
    let free = (first..first + 1_000).filter_map(|port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    let free: Vec<SocketAddr> = free.take(3).collect();
    free.try_into().map_err(|_| anyhow::anyhow!("three free ports were not found"))
}

/// What every engine here has, its nodes, and `more`, which goes before the rest.
fn engine_toml(
    [grpc, http, admin]: [SocketAddr; 3],
    nodes: &[NodeInfo],
    more: toml::Table,
) -> Result<String> {
    let base = format!(
        "[engine]\ndata_dir = \"journal\"\n[journal]\ndisk_floor_mb = 0\n\
         [grpc]\nlisten = \"{grpc}\"\n[http]\nlisten = \"{http}\"\n[admin]\nlisten = \"{admin}\"\n"
    );
    let mut table: toml::Table = base.parse()?;
    merge(&mut table, more);
    let mut text = toml::to_string(&table)?;
    for node in nodes {
        // A path in Rust's quotes is one in TOML's.
        text += &format!(
            "[[node]]\nname = \"{}\"\naddress = \"{}\"\ntls_cert_path = {:?}\n\
             macaroon_path = {:?}\n",
            node.name, node.address, node.tls_cert, node.macaroon
        );
    }
    Ok(text)
}

/// Puts `from` over `into`, tables inside tables too.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(more)) => merge(inner, more),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_simulated_nodes_know_their_invoices_by_number() {
        let (all, tail) = (invoices(0, 3).await.unwrap(), invoices(2, 1).await.unwrap());
        assert_eq!(all[2].payment_hash, tail[0].payment_hash);
    }

    #[test]
    fn a_folder_goes_with_its_owner() {
        let folder = Folder::new().unwrap();
        let path = folder.path.clone();
        fs::write(path.join("file"), "").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
