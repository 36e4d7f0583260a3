//! A fleet of nodes in one process: a few threads, each with a share of the nodes.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::config::{FleetConfig, Knobs, node_name};
use crate::fault::SimFault;
use crate::network::Network;
use crate::node::Node;
use crate::server::Running;
use crate::tls;

/// The list of the nodes in the fleet's directory.
pub const FLEET_FILE: &str = "fleet.json";
const NODE_FILE: &str = "node.json";

/// Where a node is and what a client needs to talk to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// `node-2`.
    pub name: String,
    /// Host and port.
    pub address: String,
    /// The certificate to pin, PEM.
    pub tls_cert: PathBuf,
    /// The admin macaroon, binary.
    pub macaroon: PathBuf,
    /// The node's public key, hex.
    pub pubkey: String,
}

/// The content of [`FLEET_FILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetFile {
    /// The seed that [`crate::make_invoices`] needs for invoices that the fleet settles.
    pub seed: u64,
    /// All nodes that have been started so far.
    pub nodes: Vec<NodeInfo>,
}

impl FleetFile {
    /// Reads the list in `dir`.
    ///
    /// # Errors
    /// [`SimFault::Io`] if there is none, [`SimFault::Config`] if it is damaged.
    pub fn read(dir: &Path) -> Result<FleetFile, SimFault> {
        read_json(&dir.join(FLEET_FILE))
    }
}

/// A running fleet. Dropping it kills all its nodes.
pub struct Fleet {
    config: Arc<FleetConfig>,
    nodes: Vec<NodeInfo>,
    threads: Vec<Thread>,
}

struct Thread {
    commands: UnboundedSender<Command>,
    handle: Option<JoinHandle<()>>,
}

enum Command {
    Start(usize, oneshot::Sender<Result<NodeInfo, SimFault>>),
    Kill(usize, oneshot::Sender<()>),
    /// Kill, wait, start.
    Restart(usize, Duration),
    Stop,
}

/// Serves a fleet until `shutdown` is ready, then kills it.
///
/// # Errors
/// [`SimFault`] if a node cannot be started.
pub async fn run(config: FleetConfig, shutdown: impl Future<Output = ()>) -> Result<(), SimFault> {
    let _fleet = Fleet::start(config).await?;
    shutdown.await;
    Ok(())
}

impl Fleet {
    /// Starts the nodes of `config` from their directories and writes [`FLEET_FILE`].
    ///
    /// # Errors
    /// [`SimFault`] for the first node that cannot be started.
    pub async fn start(config: FleetConfig) -> Result<Fleet, SimFault> {
        let served = config.served()?;
        let network = Arc::new(Network::default());
        let config = Arc::new(config);
        let mut threads = Vec::new();
        for number in 0..config.threads.min(served.len()) {
            threads.push(Thread::start(number, &config, &network)?);
        }
        let mut fleet = Fleet { config, nodes: Vec::new(), threads };
        for index in served {
            let info = fleet.start_node(index).await?;
            fleet.nodes.push(info);
        }
        write_fleet_file(&fleet.config)?;
        Ok(fleet)
    }

    /// The nodes that this process serves.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// The fleet's configuration.
    pub fn config(&self) -> &FleetConfig {
        &self.config
    }

    /// Kills node `index` as kill -9 does: connections are reset, memory is lost, the book stays.
    ///
    /// # Errors
    /// [`SimFault::Stopped`] if its thread is gone.
    pub async fn kill(&self, index: usize) -> Result<(), SimFault> {
        let (reply, done) = oneshot::channel();
        self.command(index, Command::Kill(index, reply))?;
        done.await.map_err(|_| SimFault::Stopped)
    }

    /// Starts node `index` from its book; one that is up is killed first.
    ///
    /// # Errors
    /// [`SimFault`] if it cannot be started.
    pub async fn start_node(&self, index: usize) -> Result<NodeInfo, SimFault> {
        let (reply, started) = oneshot::channel();
        self.command(index, Command::Start(index, reply))?;
        started.await.map_err(|_| SimFault::Stopped)?
    }

    /// Kills node `index` and starts it again after `down`.
    ///
    /// # Errors
    /// [`SimFault`] if it cannot be started.
    pub async fn restart(&self, index: usize, down: Duration) -> Result<NodeInfo, SimFault> {
        self.kill(index).await?;
        tokio::time::sleep(down).await;
        self.start_node(index).await
    }

    /// Turns the knobs of node `index`, or of all nodes that have none of their own; they notice
    /// within 200 ms.
    ///
    /// # Errors
    /// [`SimFault::Io`] if the file cannot be written.
    pub fn turn(&self, index: Option<usize>, knobs: &Knobs) -> Result<(), SimFault> {
        match index {
            Some(index) => knobs.store(&self.config.node_dir(index)),
            None => knobs.store(&self.config.dir),
        }
    }

    fn command(&self, index: usize, command: Command) -> Result<(), SimFault> {
        let thread = &self.threads[index % self.threads.len()];
        thread.commands.send(command).map_err(|_| SimFault::Stopped)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for thread in &self.threads {
            // It may have stopped already.
            let _ = thread.commands.send(Command::Stop);
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take()
                && handle.join().is_err()
            {
                tracing::error!("a thread of the simulation has panicked");
            }
        }
    }
}

impl Thread {
    fn start(
        number: usize,
        config: &Arc<FleetConfig>,
        network: &Arc<Network>,
    ) -> Result<Thread, SimFault> {
        let (commands, inbox) = unbounded_channel();
        let shared = Shared {
            config: Arc::clone(config),
            network: Arc::clone(network),
            commands: commands.clone(),
        };
        let run = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => LocalSet::new().block_on(&runtime, serve(shared, inbox)),
            Err(error) => tracing::error!(%error, "no runtime for the simulation"),
        };
        let handle = std::thread::Builder::new().name(format!("sim-{number}")).spawn(run);
        let handle = handle.map_err(|error| SimFault::Config(format!("no thread: {error}")))?;
        Ok(Thread { commands, handle: Some(handle) })
    }
}

/// What a thread needs to start its nodes.
struct Shared {
    config: Arc<FleetConfig>,
    network: Arc<Network>,
    commands: UnboundedSender<Command>,
}

async fn serve(shared: Shared, mut inbox: UnboundedReceiver<Command>) {
    let mut running: HashMap<usize, Running> = HashMap::new();
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Start(index, reply) => {
                stop(&mut running, index).await;
                let started = start(&shared, index).map(|(node, info)| {
                    running.insert(index, node);
                    info
                });
                // Who asked may be gone.
                let _ = reply.send(started);
            }
            Command::Kill(index, reply) => {
                stop(&mut running, index).await;
                let _ = reply.send(());
            }
            Command::Restart(index, down) => {
                stop(&mut running, index).await;
                let commands = shared.commands.clone();
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(down).await;
                    let (reply, started) = oneshot::channel();
                    let _ = commands.send(Command::Start(index, reply));
                    if let Ok(Err(error)) = started.await {
                        tracing::error!(%error, node = index, "a simulated node does not come back");
                    }
                });
            }
            Command::Stop => return,
        }
    }
}

async fn stop(running: &mut HashMap<usize, Running>, index: usize) {
    if let Some(node) = running.remove(&index) {
        node.stop().await;
    }
}

fn start(shared: &Shared, index: usize) -> Result<(Running, NodeInfo), SimFault> {
    let node = Node::open(Arc::clone(&shared.config), Arc::clone(&shared.network), index)?;
    let (dir, name) = (node.dir(), node.identity.name.clone());
    let tls = tls::server_config(&dir, &name)?;
    let macaroon = dir.join("data/chain/bitcoin/regtest/admin.macaroon");
    let folder = macaroon.parent().unwrap_or(&dir);
    std::fs::create_dir_all(folder).map_err(|error| SimFault::io(folder, error))?;
    let binary = node.admin_macaroon();
    std::fs::write(&macaroon, binary).map_err(|error| SimFault::io(&macaroon, error))?;
    let listener = bind(&shared.config, index)?;
    let address = listener.local_addr().map_err(|source| SimFault::Port { port: 0, source })?;
    let info = NodeInfo {
        name,
        address: address.to_string(),
        tls_cert: dir.join(tls::CERT_FILE),
        macaroon,
        pubkey: node.identity.pubkey_hex.clone(),
    };
    write_json(&dir.join(NODE_FILE), &info)?;
    let commands = shared.commands.clone();
    let restart = move |down| drop(commands.send(Command::Restart(index, down)));
    Ok((Running::start(node, listener, tls, restart)?, info))
}

/// Opens the node's port: the one it had, or the configured one, or any free one.
fn bind(config: &FleetConfig, index: usize) -> Result<TcpListener, SimFault> {
    let known: Option<NodeInfo> = read_json(&config.node_dir(index).join(NODE_FILE)).ok();
    let known = known.and_then(|info| info.address.rsplit_once(':')?.1.parse().ok());
    let configured = match config.base_port {
        0 => None,
        base => base.checked_add(u16::try_from(index).unwrap_or(u16::MAX)),
    };
    let port = configured.or(known).unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|source| SimFault::Port { port, source })
}

/// Lists all nodes that have a file of their own, those of other processes too.
fn write_fleet_file(config: &FleetConfig) -> Result<(), SimFault> {
    let mut nodes = Vec::new();
    for index in 0..config.nodes {
        match read_json(&config.dir.join(node_name(index)).join(NODE_FILE)) {
            Ok(info) => nodes.push(info),
            Err(SimFault::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
        }
    }
    write_json(&config.dir.join(FLEET_FILE), &FleetFile { seed: config.seed, nodes })
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, SimFault> {
    let text = std::fs::read(path).map_err(|error| SimFault::io(path, error))?;
    let bad = |error| SimFault::Config(format!("{}: {error}", path.display()));
    serde_json::from_slice(&text).map_err(bad)
}

/// Replaces the file at once: a reader sees the old or the new one.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SimFault> {
    let bad = |error| SimFault::Config(format!("{}: {error}", path.display()));
    let text = serde_json::to_vec_pretty(value).map_err(bad)?;
    let scratch = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&scratch, text).map_err(|error| SimFault::io(&scratch, error))?;
    std::fs::rename(&scratch, path).map_err(|error| SimFault::io(path, error))
}
