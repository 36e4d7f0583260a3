//! A wire between a client and the engine that is cut after so many bytes.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    task::JoinHandle,
};

/// After how many bytes a wire is cut, whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes from the client to the engine.
    pub up: u64,
    /// Bytes from the engine to the client.
    pub down: u64,
}

/// How a wire ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides get a reset, as from a middlebox that forgot the connection.
    Reset,
    /// The engine sees the client close, as when the client's process is gone.
    Closed,
    /// Nothing is done: the test does something to the engine first.
    Held,
}

/// A wire for one connection.
#[derive(Debug)]
pub struct Wire {
    /// Where the client connects to.
    pub address: SocketAddr,
    /// Resolves when the wire is cut; an error when the connection ended by itself.
    pub cut: oneshot::Receiver<()>,
    counts: Arc<[AtomicU64; 2]>,
    task: JoinHandle<()>,
}

impl Wire {
    /// A wire to `engine`, for the first connection that comes.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(engine: SocketAddr, cut: Cut, end: End) -> Result<Wire> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (tell, told) = oneshot::channel();
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            // What goes wrong here is a connection that ended; the test looks at its ends.
            let _ = carry(listener, engine, (cut, end), (tell, &counted)).await;
        });
        Ok(Wire { address, cut: told, counts, task })
    }

    /// A wire that is never cut, to count the bytes of a whole conversation.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn whole(engine: SocketAddr) -> Result<Wire> {
        Wire::to(engine, Cut { up: u64::MAX, down: u64::MAX }, End::Reset).await
    }

    /// Bytes so far: to the engine, to the client.
    pub fn carried(&self) -> (u64, u64) {
        (self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    listener: TcpListener,
    engine: SocketAddr,
    (cut, end): (Cut, End),
    (tell, counts): (oneshot::Sender<()>, &[AtomicU64; 2]),
) -> std::io::Result<()> {
    let (client, _) = listener.accept().await?;
    // Nobody connects a second time.
    drop(listener);
    let engine = TcpStream::connect(engine).await?;
    for stream in [&client, &engine] {
        stream.set_nodelay(true)?;
    }
    let (client_reads, client_writes) = client.into_split();
    let (engine_reads, engine_writes) = engine.into_split();
    let (mut up, mut down) = ((client_reads, engine_writes), (engine_reads, client_writes));
    let ended = tokio::select! {
        ended = copy(&mut up, cut.up, &counts[0]) => ended,
        ended = copy(&mut down, cut.down, &counts[1]) => ended,
    };
    if ended.is_err() {
        // One side ended by itself, and so does the other when both halves are dropped.
        return Ok(());
    }
    // Nobody may wait for it.
    let _ = tell.send(());
    match end {
        End::Held => std::future::pending().await,
        End::Reset => {
            up.0.as_ref().set_zero_linger()?;
            up.1.as_ref().set_zero_linger()?;
        }
        End::Closed => up.1.shutdown().await?,
    }
    Ok(())
}

/// Copies up to `most` bytes. `Err` when the connection ended before.
async fn copy(
    (from, to): &mut (OwnedReadHalf, OwnedWriteHalf),
    most: u64,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut left = most;
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = from.read(&mut buffer[..room]).await?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&buffer[..read]).await?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        count.fetch_add(read, Ordering::Relaxed);
        left -= read;
    }
    Ok(())
}
