//! The network: its nodes, its folder, and how it comes up.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tempfile::TempDir;

use super::binaries::Binaries;
use super::chain::Chain;
use super::channels::{Link, fund, open, wait_usable};
use super::node::Node;

/// Segwit and taproot are active on btcd's regtest after 432 blocks.
const FIRST_BLOCKS: u32 = 450;

/// In memory: fsync on a disk would be most of what is measured.
const MEMORY: &str = "/dev/shm";

const FOLDER: &str = "fulgurite-regtest-";

/// What the network looks like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes' names. The first one owns the miner's reward.
    pub names: Vec<String>,
    /// The channels.
    pub links: Vec<Link>,
    /// The HTLCs each side of a channel may have in flight. 1 to 483, the protocol's maximum.
    pub htlcs_max: u16,
    /// Further options for every lnd, such as `--channel-commit-interval=10ms`.
    pub lnd_options: Vec<String>,
}

impl Default for Options {
    /// alice, bob and carol in a row, with 5 channels of 16,000,000 sat each, of which 6,000,000
    /// are on the far side.
    fn default() -> Self {
        let link = |from: &str, to: &str| Link {
            from: from.to_owned(),
            to: to.to_owned(),
            channels: 5,
            capacity_sat: 16_000_000,
            push_sat: 6_000_000,
        };
        Self {
            names: ["alice", "bob", "carol"].map(str::to_owned).to_vec(),
            links: vec![link("alice", "bob"), link("bob", "carol")],
            htlcs_max: 483,
            lnd_options: Vec::new(),
        }
    }
}

/// A running network. Dropping it ends every process and removes every file.
#[derive(Debug)]
pub struct Network {
    // In this order: the nodes are killed before the chain, and the folder goes last.
    nodes: Vec<Node>,
    links: Vec<Link>,
    chain: Chain,
    binaries: Binaries,
    folder: TempDir,
}

impl Network {
    /// Starts the network and returns when every channel can be used.
    ///
    /// # Errors
    ///
    /// If the programs are missing, or something does not come up in time.
    pub async fn start(options: &Options) -> Result<Self> {
        let binaries = Binaries::find()?;
        let folder = fresh_folder()?;
        let mut chain = Chain::start(&binaries, folder.path()).await?;

        let mut extra = options.lnd_options.clone();
        extra.push(format!("--default-remote-max-htlcs={}", options.htlcs_max));
        let nodes = options
            .names
            .iter()
            .map(|name| Node::new(name, &chain, &binaries, folder.path(), &extra))
            .collect::<Result<Vec<_>>>()?;

        let miner = nodes.first().context("a network without nodes")?;
        miner.start()?;
        let address = miner.first_address().await?;
        // An lnd that is up while btcd restarts may never see the chain again.
        miner.kill9();
        chain.mine_to(&address).await?;
        chain.generate(FIRST_BLOCKS).await?;
        try_join_all(nodes.iter().map(Node::restart)).await?;

        let links = options.links.clone();
        let network = Self { nodes, links, chain, binaries, folder };
        fund(&network, &network.links).await?;
        open(&network, &network.links).await?;
        network.wait_usable().await?;
        Ok(network)
    }

    /// Waits until every channel of the options is active at both ends and every node can route
    /// through all of them; for after a restart.
    ///
    /// # Errors
    ///
    /// If that takes longer than two minutes, or channels were closed or added meanwhile.
    pub async fn wait_usable(&self) -> Result<()> {
        wait_usable(self, &self.links).await
    }

    /// The node of that name.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.expect("the options name every node a test asks for")
    }

    /// The node that pays.
    #[must_use]
    pub fn alice(&self) -> &Node {
        self.node("alice")
    }

    /// The node in the middle.
    #[must_use]
    pub fn bob(&self) -> &Node {
        self.node("bob")
    }

    /// The node at the far end.
    #[must_use]
    pub fn carol(&self) -> &Node {
        self.node("carol")
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The programs it runs.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// A folder for the test's own files, in memory, removed with the network.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join("scratch").join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

fn fresh_folder() -> Result<TempDir> {
    let memory = Path::new(MEMORY);
    let root = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    remove_leftovers(&root);
    let prefix = format!("{FOLDER}{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(root)?)
}

/// A test that was killed could not remove its folder, and memory is scarce.
fn remove_leftovers(root: &Path) {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(FOLDER) else {
            continue;
        };
        let process = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            // Another test may be removing it too.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}
