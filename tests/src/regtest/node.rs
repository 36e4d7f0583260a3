//! One real lnd: its process, its files and what is set up with lncli.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::binaries::{Binaries, call, list, number, text};
use super::chain::Chain;
use super::connection::Connection;
use super::process::{Daemon, free_port};
use super::wait::until;

const READY_MAX: Duration = Duration::from_secs(120);
const PEER_MAX: Duration = Duration::from_secs(60);

/// A real lnd. It is killed when this is dropped.
///
/// Calls of the test's hot path (invoices, payments) go over gRPC, see [`Node::grpc`] and the
/// methods of the `rpc` module; everything else goes through lncli.
#[derive(Debug)]
pub struct Node {
    name: String,
    daemon: Daemon,
    binaries: Binaries,
    home: PathBuf,
    peer_port: u16,
    rpc_port: u16,
    public_key: Mutex<String>,
    pub(super) connection: Mutex<Option<Connection>>,
}

/// What a wallet or all channels of a node hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// On chain, confirmed, in satoshi.
    pub wallet_sat: u64,
    /// Our side of all open channels, in millisatoshi, without what is in HTLCs.
    pub channels_local_msat: u64,
    /// The peers' side of all open channels, in millisatoshi.
    pub channels_remote_msat: u64,
    /// In HTLCs that have not been resolved, both directions, in millisatoshi.
    pub unsettled_msat: u64,
}

impl Node {
    /// Describes a node; [`Node::start`] starts it. `extra` are further options of lnd.
    pub(super) fn new(
        name: &str,
        chain: &Chain,
        binaries: &Binaries,
        folder: &Path,
        extra: &[String],
    ) -> Result<Self> {
        let home = folder.join(name);
        std::fs::create_dir_all(&home)?;
        let (peer_port, rpc_port) = (free_port()?, free_port()?);
        let mut options = chain.lnd_options();
        options.extend([
            format!("--lnddir={}", home.display()),
            format!("--listen=127.0.0.1:{peer_port}"),
            format!("--externalip=127.0.0.1:{peer_port}"),
            format!("--rpclisten=127.0.0.1:{rpc_port}"),
            format!("--alias={name}"),
        ]);
        options.extend(OPTIONS.iter().map(|&option| option.to_owned()));
        options.extend_from_slice(extra);
        Ok(Self {
            name: name.to_owned(),
            daemon: Daemon::new(&binaries.program("lnd"), options, &home),
            binaries: binaries.clone(),
            home,
            peer_port,
            rpc_port,
            public_key: Mutex::default(),
            connection: Mutex::default(),
        })
    }

    /// The name: alice, bob or carol.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `127.0.0.1:port` of its gRPC interface. The same after a restart.
    #[must_use]
    pub fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.rpc_port)
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Its self-signed TLS certificate, PEM.
    #[must_use]
    pub fn tls_cert(&self) -> PathBuf {
        self.home.join("tls.cert")
    }

    /// Its macaroon with all rights, binary.
    #[must_use]
    pub fn admin_macaroon(&self) -> PathBuf {
        self.home.join("data/chain/bitcoin/regtest/admin.macaroon")
    }

    /// Its identity, 66 hex digits. Empty before it was ready for the first time.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.public_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process id of lnd while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The last `lines` lines lnd wrote.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.daemon.tail(lines)
    }

    /// Starts lnd without waiting for it.
    ///
    /// # Errors
    ///
    /// If it runs already or cannot be started.
    pub fn start(&self) -> Result<()> {
        self.daemon.start()
    }

    /// Ends lnd at once with SIGKILL, as a power failure does (the files survive).
    pub fn kill9(&self) {
        self.daemon.kill9();
    }

    /// Ends lnd in order and waits for it.
    ///
    /// # Errors
    ///
    /// If it does not answer or does not end.
    pub async fn stop(&self) -> Result<()> {
        self.lncli(&["stop"]).await?;
        self.daemon.wait_stopped().await
    }

    /// Starts lnd again after [`Node::kill9`] or [`Node::stop`] (a running one is killed first) and
    /// waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it does not become ready.
    pub async fn restart(&self) -> Result<()> {
        self.kill9();
        self.start()?;
        self.wait_ready().await
    }

    /// Waits until all of lnd's services answer and it has seen the whole chain.
    ///
    /// # Errors
    ///
    /// If that takes longer than two minutes; with the end of lnd's output.
    pub async fn wait_ready(&self) -> Result<()> {
        let info = until("lnd to be ready", READY_MAX, async || {
            if self.daemon.has_ended() {
                return Ok(Some(None));
            }
            let info = self.info().await?;
            Ok(info.synced_to_chain.then_some(Some(info)))
        })
        .await
        .and_then(|info| info.context("lnd has ended"))
        .with_context(|| format!("{}: {}", self.name, self.log_tail(20)))?;
        *self.public_key.lock().unwrap_or_else(PoisonError::into_inner) = info.identity_pubkey;
        Ok(())
    }

    /// A fresh address of the wallet. Works before the node has seen the chain.
    pub(super) async fn first_address(&self) -> Result<String> {
        until("lnd's wallet", READY_MAX, async || {
            let answer = self.lncli(&["newaddress", "p2wkh"]).await?;
            Ok(Some(text(&answer, "/address")?.to_owned()))
        })
        .await
        .with_context(|| format!("{}: {}", self.name, self.log_tail(20)))
    }

    /// Connects to `peer` and waits until both see each other; nothing if they do already.
    ///
    /// # Errors
    ///
    /// If that takes longer than a minute.
    pub async fn connect(&self, peer: &Node) -> Result<()> {
        let address = format!("{}@127.0.0.1:{}", peer.public_key(), peer.peer_port);
        until("the peers to be connected", PEER_MAX, async || {
            if self.has_peer(peer).await? && peer.has_peer(self).await? {
                return Ok(Some(()));
            }
            self.lncli(&["connect", &address]).await.map(|_| None)
        })
        .await
    }

    /// Disconnects from `peer`. One of the two may connect again by itself soon: to keep them
    /// apart, stop the peer.
    ///
    /// # Errors
    ///
    /// If lnd refuses.
    pub async fn disconnect(&self, peer: &Node) -> Result<()> {
        self.lncli(&["disconnect", &peer.public_key()]).await.map(drop)
    }

    /// Whether this node has a connection to `peer`.
    ///
    /// # Errors
    ///
    /// If lnd does not answer.
    pub async fn has_peer(&self, peer: &Node) -> Result<bool> {
        let public_key = peer.public_key();
        let answer = self.lncli(&["listpeers"]).await?;
        Ok(list(&answer, "/peers")?.iter().any(|each| each["pub_key"] == *public_key))
    }

    /// What it owns.
    ///
    /// # Errors
    ///
    /// If lnd does not answer.
    pub async fn balance(&self) -> Result<Balance> {
        let wallet = self.lncli(&["walletbalance"]).await?;
        let channels = self.lncli(&["channelbalance"]).await?;
        let unsettled = number(&channels, "/unsettled_local_balance/msat")?
            + number(&channels, "/unsettled_remote_balance/msat")?;
        Ok(Balance {
            wallet_sat: number(&wallet, "/confirmed_balance")?,
            channels_local_msat: number(&channels, "/local_balance/msat")?,
            channels_remote_msat: number(&channels, "/remote_balance/msat")?,
            unsettled_msat: unsettled,
        })
    }

    /// Calls lncli; an answer that is not JSON comes back as a string.
    ///
    /// # Errors
    ///
    /// With lncli's text.
    pub async fn lncli(&self, command: &[&str]) -> Result<Value> {
        let mut arguments = vec![
            format!("--lnddir={}", self.home.display()),
            "--network=regtest".to_owned(),
            format!("--rpcserver={}", self.grpc_address()),
        ];
        arguments.extend(command.iter().map(|&word| word.to_owned()));
        let printed = call(&self.binaries.program("lncli"), &self.home, &arguments).await?;
        Ok(serde_json::from_str(&printed).unwrap_or(Value::String(printed)))
    }
}

/// The options every node runs with: a random unencrypted wallet, no outside world, and the short
/// timers lnd's own integration tests use.
const OPTIONS: &[&str] = &[
    "--norest",
    "--noseedbackup",
    "--nobootstrap",
    "--logging.file.disable",
    "--debuglevel=info",
    "--bitcoin.defaultchanconfs=1",
    "--bitcoin.defaultremotedelay=4",
    "--maxpendingchannels=50",
    "--protocol.wumbo-channels",
    "--accept-keysend",
    "--accept-amp",
    "--trickledelay=50",
    "--gossip.sub-batch-delay=5ms",
    "--db.batch-commit-interval=10ms",
    "--caches.rpc-graph-cache-duration=100ms",
    "--routerrpc.usestatusinitiated",
    "--keep-failed-payment-attempts",
    "--store-final-htlc-resolutions",
    "--healthcheck.chainbackend.attempts=0",
    "--minbackoff=50ms",
    "--maxbackoff=1s",
];
