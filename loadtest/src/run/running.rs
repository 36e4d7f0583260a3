//! An engine and nodes that run already: how they are named, and whether they answer.

use std::{
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use fulgurite_sim::{FleetFile, NodeInfo};

/// How long somebody may take to let a connection in: in one data centre it is milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// An engine that runs already, and its nodes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Running {
    /// The gRPC address of an engine that runs already; nothing is started then.
    #[arg(long, value_name = "IP:PORT")]
    pub engine: Option<SocketAddr>,
    /// Its HTTP address, for the target http.
    #[arg(long, value_name = "IP:PORT", requires = "engine")]
    pub engine_http: Option<SocketAddr>,
    /// Its admin address: its own histograms are read there.
    #[arg(long, value_name = "IP:PORT", requires = "engine")]
    pub engine_admin: Option<SocketAddr>,
    /// Its process on this machine: its processor time is read.
    #[arg(long, value_name = "PID", requires = "engine")]
    pub engine_pid: Option<u32>,
    /// The folder of simulated nodes that run already (`fulgurite sim --dir`).
    #[arg(long, value_name = "DIR")]
    pub fleet: Option<PathBuf>,
    /// Their seed: without it they do not know the invoices. Default 1.
    #[arg(long, value_name = "N")]
    pub fleet_seed: Option<u64>,
    /// Their process.
    #[arg(long, value_name = "PID", requires = "fleet")]
    pub fleet_pid: Option<u32>,
    /// A node for the target bare, real lnd too: its gRPC address, tls.cert and macaroon.
    #[arg(long, value_name = "IP:PORT,CERT,MACAROON")]
    pub node: Vec<String>,
    /// What is paid when the nodes are real: a text file with BOLT 11 invoices, one use each.
    #[arg(long, value_name = "FILE")]
    pub invoices: Option<PathBuf>,
    /// Real lnd nodes of the run's own, on a private chain: alice pays bob over five channels.
    /// Their programs come from `scripts/setup --with-go`.
    #[arg(long, conflicts_with_all = ["engine", "fleet", "node", "invoices"])]
    pub lnd: bool,
    /// How many of them earlier runs have used.
    #[arg(skip)]
    pub used: Arc<AtomicUsize>,
}

impl Running {
    /// Whether anything runs already.
    pub fn is_any(&self) -> bool {
        self.engine.is_some() || self.fleet.is_some() || !self.node.is_empty()
    }

    /// The nodes that are named.
    ///
    /// # Errors
    /// When the fleet cannot be read, or one is named in another way.
    pub fn nodes(&self) -> Result<Vec<NodeInfo>> {
        let mut nodes = match &self.fleet {
            Some(dir) => FleetFile::read(dir).with_context(|| dir.display().to_string())?.nodes,
            None => Vec::new(),
        };
        for node in &self.node {
            nodes.push(named_node(node)?);
        }
        Ok(nodes)
    }

    /// Checks that somebody listens at each address: now, and not when thousands of invoices are
    /// signed.
    ///
    /// # Errors
    /// Which option, its address, and what the operating system says.
    pub fn answers(&self) -> Result<()> {
        let doors = [
            ("--engine", self.engine),
            ("--engine-http", self.engine_http),
            ("--engine-admin", self.engine_admin),
        ];
        for (option, address) in doors {
            address.map_or(Ok(()), |address| listens(option, &address.to_string()))?;
        }
        self.nodes()?.iter().try_for_each(|node| listens("node", &node.address))
    }
}

fn listens(what: &str, address: &str) -> Result<()> {
    let nobody = || format!("{what} {address}: nobody answers there; does it run?");
    let mut refused = None;
    for address in address.to_socket_addrs().with_context(nobody)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    let error = refused.map_or_else(|| anyhow!("it has no address"), anyhow::Error::from);
    Err(error).with_context(nobody)
}

/// `IP:PORT,CERT,MACAROON`.
fn named_node(text: &str) -> Result<NodeInfo> {
    let parts: Vec<&str> = text.split(',').collect();
    let [address, tls_cert, macaroon] = parts[..] else {
        anyhow::bail!("--node {text}: the address, tls.cert and macaroon, with commas");
    };
    Ok(NodeInfo {
        name: address.to_owned(),
        address: address.to_owned(),
        tls_cert: tls_cert.into(),
        macaroon: macaroon.into(),
        pubkey: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_node_is_named_by_three_parts() {
        let node = named_node("127.0.0.1:10009,tls.cert,pay.macaroon").unwrap();
        assert_eq!(node.address, "127.0.0.1:10009");
        assert!(named_node("127.0.0.1:10009,tls.cert").is_err());
    }

    #[test]
    fn an_address_where_nobody_listens_is_named_with_its_option() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let running = |engine, engine_http| Running { engine, engine_http, ..Running::default() };
        assert!(running(Some(open), None).answers().is_ok());
        assert!(Running::default().answers().is_ok());
        // Nobody can listen at port 0.
        let closed: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let error = running(Some(open), Some(closed)).answers().unwrap_err();
        let error = format!("{error:#}");
        assert!(error.starts_with("--engine-http 127.0.0.1:0: nobody answers there"), "{error}");
    }
}
