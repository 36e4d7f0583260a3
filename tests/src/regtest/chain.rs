//! btcd on a private regtest chain, with the miner at our command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::binaries::{Binaries, call};
use super::process::{Daemon, free_port};
use super::wait::until;

/// Pays to nobody (an all-zero key hash): mined to until there is a wallet.
const NOBODY: &str = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202";

const USER: &str = "fulgurite";
const START_MAX: Duration = Duration::from_secs(60);

/// The private chain.
#[derive(Debug)]
pub struct Chain {
    daemon: Daemon,
    binaries: Binaries,
    home: PathBuf,
    peer_port: u16,
    rpc_port: u16,
}

impl Chain {
    /// Starts btcd in `folder` with one block, so that lnd sees a fresh tip.
    pub(super) async fn start(binaries: &Binaries, folder: &Path) -> Result<Self> {
        let home = folder.join("btcd");
        std::fs::create_dir_all(&home)?;
        // Without the file btcd writes a default configuration with random passwords.
        std::fs::write(home.join("btcd.conf"), "")?;
        let (peer_port, rpc_port) = (free_port()?, free_port()?);
        let daemon = Daemon::new(&binaries.program("btcd"), Vec::new(), &home);
        let mut chain = Self { daemon, binaries: binaries.clone(), home, peer_port, rpc_port };
        chain.run(NOBODY).await?;
        chain.generate(1).await?;
        Ok(chain)
    }

    /// Restarts btcd: from now on the miner's reward goes to `address`. No lnd may run meanwhile.
    pub(super) async fn mine_to(&mut self, address: &str) -> Result<()> {
        self.btcctl(&["stop"]).await?;
        self.daemon.wait_stopped().await?;
        self.run(address).await
    }

    /// Mines `blocks` blocks.
    ///
    /// # Errors
    ///
    /// If btcd refuses or does not run.
    pub async fn generate(&self, blocks: u32) -> Result<()> {
        self.btcctl(&["generate", &blocks.to_string()]).await.map(drop)
    }

    /// Calls btcd's RPC through btcctl and returns what it printed.
    ///
    /// # Errors
    ///
    /// With btcctl's text.
    pub async fn btcctl(&self, command: &[&str]) -> Result<String> {
        let mut arguments = vec![
            "--regtest".to_owned(),
            format!("--rpcserver=127.0.0.1:{}", self.rpc_port),
            format!("--rpcuser={USER}"),
            format!("--rpcpass={USER}"),
            format!("--rpccert={}", self.certificate().display()),
        ];
        arguments.extend(command.iter().map(|&word| word.to_owned()));
        call(&self.binaries.program("btcctl"), &self.home, &arguments).await
    }

    /// The options with which an lnd uses this chain.
    pub(super) fn lnd_options(&self) -> Vec<String> {
        vec![
            "--bitcoin.regtest".to_owned(),
            "--bitcoin.node=btcd".to_owned(),
            format!("--btcd.rpchost=127.0.0.1:{}", self.rpc_port),
            format!("--btcd.rpcuser={USER}"),
            format!("--btcd.rpcpass={USER}"),
            format!("--btcd.rpccert={}", self.certificate().display()),
        ]
    }

    async fn run(&mut self, mining_address: &str) -> Result<()> {
        self.daemon =
            Daemon::new(&self.binaries.program("btcd"), self.options(mining_address), &self.home);
        self.daemon.start()?;
        until("btcd to answer", START_MAX, async || {
            self.btcctl(&["getblockcount"]).await.map(Some)
        })
        .await
        .with_context(|| self.daemon.tail(20))?;
        Ok(())
    }

    fn options(&self, mining_address: &str) -> Vec<String> {
        let home = self.home.display();
        vec![
            "--regtest".to_owned(),
            format!("--configfile={home}/btcd.conf"),
            format!("--datadir={home}/data"),
            format!("--logdir={home}/log"),
            format!("--listen=127.0.0.1:{}", self.peer_port),
            format!("--rpclisten=127.0.0.1:{}", self.rpc_port),
            format!("--rpcuser={USER}"),
            format!("--rpcpass={USER}"),
            format!("--rpccert={home}/rpc.cert"),
            format!("--rpckey={home}/rpc.key"),
            "--txindex".to_owned(),
            "--nobanning".to_owned(),
            "--nostalldetect".to_owned(),
            "--rejectnonstd".to_owned(),
            "--trickleinterval=100ms".to_owned(),
            "--rpcmaxwebsockets=200".to_owned(),
            "--rpcmaxclients=200".to_owned(),
            format!("--miningaddr={mining_address}"),
        ]
    }

    fn certificate(&self) -> PathBuf {
        self.home.join("rpc.cert")
    }
}
