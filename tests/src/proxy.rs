//! A TCP proxy in front of a node: it takes as many connections as come, and does to them what
//! networks do.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use crate::{engine::NodeEntry, fault_clock::FaultClock};

/// What becomes of connections that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are closed.
    Closed,
    /// They are reset, as by a middlebox that forgot them.
    Reset,
    /// They stay open, and nothing comes through any more, in either direction: half open.
    Silent,
}

/// What the proxy does now.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// By how much each piece is delayed, in each direction.
    delay: Duration,
    /// How many connections have met a fate: those with lower numbers.
    fated: u64,
    fate: Option<Fate>,
}

/// The proxy. Dropping it cuts all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    came: watch::Receiver<u64>,
    _task: JoinSet<io::Result<()>>,
}

impl Proxy {
    /// Listens in front of the node at `node`, and lets everything through.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn before(node: &str) -> Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (weather, seen) = watch::channel(Weather::default());
        let (counter, came) = watch::channel(0);
        let (node, mut task) = (node.to_owned(), JoinSet::new());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (client, _) = listener.accept().await?;
                counter.send_replace(number + 1);
                // How it ends is seen at its ends.
                connections.spawn(carry(client, node.clone(), number, seen.clone()));
            }
            Ok(())
        });
        Ok(Proxy { address, weather, came, _task: task })
    }

    /// The node, reached through the proxy.
    pub fn entry(&self, node: NodeEntry) -> NodeEntry {
        NodeEntry { address: self.address.to_string(), ..node }
    }

    /// Delays each piece from now on, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Ends the connections that there are; those that come later pass.
    pub fn end(&self, fate: Fate) {
        let fated = *self.came.borrow();
        self.weather.send_modify(|weather| (weather.fated, weather.fate) = (fated, Some(fate)));
    }

    /// Waits until somebody has connected since the last [`Proxy::end`].
    ///
    /// # Errors
    /// When the proxy does not listen any more.
    pub async fn wait_reconnected(&self) -> Result<()> {
        let fated = self.weather.borrow().fated;
        self.came.clone().wait_for(|came| *came > fated).await?;
        Ok(())
    }
}

async fn carry(
    client: TcpStream,
    node: String,
    number: u64,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let node = TcpStream::connect(node).await?;
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    let (mut from_client, to_client) = client.into_split();
    let (mut from_node, to_node) = node.into_split();
    let up = pass(&mut from_client, to_node, Delay(weather.clone()));
    let down = pass(&mut from_node, to_client, Delay(weather.clone()));
    let fated = weather.wait_for(|now| number < now.fated);
    let fate = tokio::select! {
        fated = fated => fated.map_err(io::Error::other)?.fate,
        ended = up => return ended,
        ended = down => return ended,
    };
    match fate {
        // Both sides stay connected, to nobody.
        Some(Fate::Silent) => std::future::pending().await,
        Some(Fate::Reset) => {
            from_client.as_ref().set_zero_linger()?;
            from_node.as_ref().set_zero_linger()
        }
        Some(Fate::Closed) | None => Ok(()),
    }
}

/// What a piece has to pass on its way.
pub(crate) trait Gate {
    /// Returns when a piece of this length may go on.
    fn let_through(&mut self, length: usize) -> impl Future<Output = io::Result<()>> + Send;
}

/// Delays each piece, as the weather is when it comes.
struct Delay(watch::Receiver<Weather>);

impl Gate for Delay {
    async fn let_through(&mut self, _length: usize) -> io::Result<()> {
        let delay = self.0.borrow().delay;
        if !delay.is_zero() {
            FaultClock::start().at(delay).await;
        }
        Ok(())
    }
}

/// Passes on what comes, piece by piece, each when the gate has let it through; until the end of
/// what comes.
pub(crate) async fn pass(
    from: &mut OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut gate: impl Gate,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        gate.let_through(read).await?;
        to.write_all(&bytes[..read]).await?;
    }
}
