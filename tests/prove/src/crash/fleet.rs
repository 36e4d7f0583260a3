//! Simulated nodes, each a process of its own that can be killed.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fulgurite_sim::{BookReader, Knobs, NodeInfo, node_name};
use fulgurite_tests::engine::NodeEntry;

use super::books::Books;

/// A node that is not there after this does not come.
const START_MAX: Duration = Duration::from_secs(30);

/// The nodes. Dropping them kills the processes.
#[derive(Debug)]
pub struct Fleet {
    program: PathBuf,
    dir: PathBuf,
    seed: u64,
    nodes: Vec<Option<Child>>,
    infos: Vec<NodeInfo>,
    reader: BookReader,
    books: Books,
}

impl Fleet {
    /// Starts `count` nodes of `program` in a new folder.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(
        program: PathBuf,
        dir: PathBuf,
        (count, seed): (usize, u64),
        knobs: &Knobs,
    ) -> Result<Fleet> {
        fs::create_dir(&dir)?;
        knobs.store(&dir)?;
        let (reader, books) = (BookReader::new(&dir), Books::default());
        let (nodes, infos) = (Vec::new(), Vec::new());
        let mut fleet = Fleet { program, dir, seed, nodes, infos, reader, books };
        fleet.nodes.resize_with(count, || None);
        for node in 0..count {
            fleet.spawn(node)?;
        }
        for node in 0..count {
            let info = fleet.wait(node)?;
            fleet.infos.push(info);
        }
        Ok(fleet)
    }

    /// The nodes' books. Only what they have written since the last call is read: a long run must
    /// not take its square.
    ///
    /// # Errors
    /// When a book cannot be read.
    pub fn books(&mut self) -> Result<&Books> {
        self.books.update(self.reader.read()?);
        Ok(&self.books)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How the engine reaches them.
    pub fn entries(&self) -> Vec<NodeEntry> {
        let entry = |info: &NodeInfo| NodeEntry {
            name: info.name.clone(),
            address: info.address.clone(),
            tls_cert: info.tls_cert.clone(),
            macaroon: info.macaroon.clone(),
        };
        self.infos.iter().map(entry).collect()
    }

    /// Kills a node as `kill -9` does.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            // It may have ended by itself; then there is nothing to kill.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Starts a node that was killed. It keeps its port and its books.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(&mut self, node: usize) -> Result<()> {
        let name = node_name(node);
        let log = self.dir.join(format!("{name}.log"));
        let log = fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.program);
        command.args(["sim", "--nodes", &self.nodes.len().to_string(), "--only", &name]);
        command.args(["--seed", &self.seed.to_string(), "--dir"]).arg(&self.dir);
        command.args(["--parent", &std::process::id().to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C is for the prover, which then ends the node.
        command.process_group(0);
        self.nodes[node] = Some(command.spawn().context("starting a node")?);
        Ok(())
    }

    /// Waits until a node says that it can be used.
    fn wait(&mut self, node: usize) -> Result<NodeInfo> {
        let started = Instant::now();
        let path = self.dir.join(node_name(node)).join("node.json");
        loop {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if let Ok(info) = serde_json::from_str(&text) {
                return Ok(info);
            }
            let child = self.nodes[node].as_mut().context("the node was not started")?;
            if let Some(status) = child.try_wait()? {
                bail!("{} ended: {status}", node_name(node));
            }
            ensure!(started.elapsed() < START_MAX, "{} does not start", node_name(node));
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.kill(node));
    }
}
