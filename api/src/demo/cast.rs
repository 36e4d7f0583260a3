//! The cast: simulated nodes, the engine, and the folder that they live in.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fulgurite_sim::{Knobs, NodeInfo};

use super::{
    child::Process,
    scrape::{self, Series},
};
use crate::cli::{exit::Fault, sim::files::node_tables};

/// How many nodes pay.
pub const NODES: usize = 4;
/// How long a process may take until it can be used.
const START_MAX: Duration = Duration::from_secs(30);

/// What the nodes do wrong. Shares are of all payments.
pub fn knobs() -> Knobs {
    Knobs {
        latency_ms: 60.0,
        latency_sigma: 0.6,
        fail_share: 0.05,
        // Lost twice at one node, a send ends behind the fence, as never sent.
        drop_share: 0.02,
        cut_silent_share: 0.005,
        cut_first_share: 0.005,
        cut_last_share: 0.005,
        fee_base_msat: 1_000,
        fee_ppm: 100,
        ..Knobs::default()
    }
}

/// A folder that is removed at the end.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes a new folder for its owner alone.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(keep: bool) -> io::Result<Folder> {
        let name = format!("fulgurite-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path.display());
        } else {
            // Nothing depends on it; the system empties its temporary folder.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Everything that runs. Dropping it ends all of it.
#[derive(Debug)]
pub struct Cast {
    /// The engine.
    pub engine: Process,
    /// The nodes, by number.
    pub nodes: Vec<Process>,
    /// How to talk to the nodes.
    pub infos: Vec<NodeInfo>,
    /// The engine's gRPC address.
    pub endpoint: String,
    admin: SocketAddr,
    counted: Series,
}

impl Cast {
    /// Starts nodes and engine in `folder`, and waits until the engine is ready.
    ///
    /// # Errors
    /// Which process did not start, and its last words.
    pub async fn start(folder: &Path, seed: u64) -> Result<Cast, Fault> {
        let sim = folder.join("sim");
        fs::create_dir(&sim).map_err(failed)?;
        knobs().store(&sim).map_err(|fault| Fault::Failed(fault.to_string()))?;
        let mut nodes = Vec::new();
        for number in 0..NODES {
            nodes.push(start_node(folder, number, seed).map_err(failed)?);
        }
        let mut infos = Vec::new();
        for (number, node) in nodes.iter_mut().enumerate() {
            infos.push(node_info(&sim, number, node).await?);
        }
        let [grpc, http, admin] = free_ports().map_err(failed)?;
        let config = folder.join("fulgurite.toml");
        fs::write(&config, engine_toml([grpc, http, admin], &infos)).map_err(failed)?;
        let arguments = ["serve".into(), "--config".into(), config.into_os_string()];
        let engine = Process::start("engine", folder.join("engine.log"), arguments);
        let mut cast = Cast {
            engine: engine.map_err(failed)?,
            nodes,
            infos,
            endpoint: format!("http://{grpc}"),
            admin,
            counted: Series::default(),
        };
        cast.wait_ready().await?;
        Ok(cast)
    }

    async fn wait_ready(&mut self) -> Result<(), Fault> {
        let started = Instant::now();
        while scrape::get(self.admin, "/readyz").is_err() {
            still_runs(&mut self.engine, started)?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills the engine with SIGKILL and starts it again at once. Notes before what it counted.
    ///
    /// # Errors
    /// When it cannot be started again.
    pub fn kill_engine(&mut self) -> Result<(), Fault> {
        // An engine that does not answer has counted nothing that could be added.
        if let Ok(series) = Series::scrape(self.admin) {
            self.counted.add(&series);
        }
        self.engine.kill();
        self.engine.spawn().map_err(failed)
    }

    /// What all engines have counted so far.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn counted(&self) -> Result<Series, Fault> {
        let mut all = self.counted.clone();
        all.add(&Series::scrape(self.admin).map_err(failed)?);
        Ok(all)
    }
}

/// Errors out when the process has ended, or takes too long.
fn still_runs(process: &mut Process, started: Instant) -> Result<(), Fault> {
    let why = match process.ended() {
        Some(status) => format!("ended ({status})"),
        None if started.elapsed() > START_MAX => {
            format!("is not ready after {} s", START_MAX.as_secs())
        }
        None => return Ok(()),
    };
    Err(Fault::Failed(format!("{} {why}:\n    {}", process.name, process.last_words())))
}

fn start_node(folder: &Path, number: usize, seed: u64) -> io::Result<Process> {
    let name = fulgurite_sim::node_name(number);
    let (nodes, seed) = (NODES.to_string(), seed.to_string());
    let sim = folder.join("sim").into_os_string();
    let flags = ["sim", "--nodes", &nodes, "--only", &name, "--seed", &seed, "--dir"];
    let arguments = flags.into_iter().map(Into::into).chain([sim]);
    Process::start(&name, folder.join(format!("{name}.log")), arguments)
}

/// Waits for the line that the node says when it can be used.
async fn node_info(sim: &Path, number: usize, node: &mut Process) -> Result<NodeInfo, Fault> {
    let started = Instant::now();
    let name = fulgurite_sim::node_name(number);
    let path = sim.join(&name).join("node.json");
    loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if let Ok(info) = serde_json::from_str(&text) {
            return Ok(info);
        }
        still_runs(node, started)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ports that are free now, below those that the kernel takes for outgoing connections: an engine
/// that is killed and started again finds them free.
fn free_ports() -> io::Result<[SocketAddr; 3]> {
    let first = 20_000 + std::process::id() % 1_000 * 11;
    let free = (first..first + 1_000).filter_map(|port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    let free: Vec<SocketAddr> = free.take(3).collect();
    free.try_into().map_err(|_| io::Error::other("three free ports were not found"))
}

/// The engine's configuration: defaults, but the waits behind a lost send are short.
fn engine_toml([grpc, http, admin]: [SocketAddr; 3], nodes: &[NodeInfo]) -> String {
    format!(
        "[engine]\ndata_dir = \"journal\"\n[grpc]\nlisten = \"{grpc}\"\n[http]\n\
         listen = \"{http}\"\n[admin]\nlisten = \"{admin}\"\n[journal]\ndisk_floor_mb = 0\n\
         [sends]\nexpiry_s = {SHORT_EXPIRY_S}\ndeadline_ms = {SHORT_DEADLINE_MS}\n\
         fence_margin_ms = {SHORT_MARGIN_MS}\n{}",
        node_tables(nodes, Path::new(""))
    )
}

/// The waits of the demo, in place of 10 s, 10 s and 10 s.
pub const SHORT_EXPIRY_S: u32 = 2;
/// See [`SHORT_EXPIRY_S`].
pub const SHORT_DEADLINE_MS: u32 = 2_000;
/// See [`SHORT_EXPIRY_S`].
pub const SHORT_MARGIN_MS: u32 = 500;

fn failed(error: io::Error) -> Fault {
    Fault::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_configuration_can_be_read() {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let node = NodeInfo {
            name: "node-0".into(),
            address: "127.0.0.1:9".into(),
            tls_cert: "/a b/tls.cert".into(),
            macaroon: "/a/admin.macaroon".into(),
            pubkey: String::new(),
        };
        let text = engine_toml([address(1), address(2), address(3)], &[node]);
        let config = fulgurite_config::Config::parse(&text, "demo").unwrap();
        assert_eq!(config.nodes[0].tls_cert_path, Path::new("/a b/tls.cert"));
        assert_eq!(config.sends.expiry_s, SHORT_EXPIRY_S);
    }
}
