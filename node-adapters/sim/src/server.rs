//! A node's tasks on its thread: the listener, the connections, the clockwork, the knobs.

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::{KNOBS_FILE, Knobs};
use crate::fault::SimFault;
use crate::network::Notice;
use crate::node::{Node, NodeCell};
use crate::rpc;

/// How often the knobs' files are looked at.
const KNOBS_EVERY: Duration = Duration::from_millis(200);

/// lnd's keepalive: a ping after 60 s of silence, the end after 20 s more.
const PING_AFTER: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A node that is up.
pub(crate) struct Running {
    cell: NodeCell,
    // Dropping it stops listener, connections and clockwork.
    tasks: JoinSet<()>,
}

impl Running {
    /// Serves `node` on `listener` until it is dropped. `restart` is called when the knobs ask
    /// for one, with how long the node is to be down.
    ///
    /// # Errors
    /// [`SimFault::Port`] if tokio cannot take the listener.
    pub fn start(
        node: Node,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        restart: impl Fn(Duration) + 'static,
    ) -> Result<Running, SimFault> {
        let port = listener.local_addr().map_or(0, |address| address.port());
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| SimFault::Port { port, source })?;
        let (mailbox, letters) = unbounded_channel();
        node.network.connect(node.identity.index, mailbox);
        let cell = Rc::new(RefCell::new(node));
        let mut tasks = JoinSet::new();
        tasks.spawn_local(listen(Rc::clone(&cell), listener, TlsAcceptor::from(tls)));
        tasks.spawn_local(clockwork(Rc::clone(&cell), letters));
        tasks.spawn_local(watch_knobs(Rc::clone(&cell), restart));
        Ok(Running { cell, tasks })
    }

    /// Kills the node and returns once its port is free.
    pub async fn stop(mut self) {
        self.cell.borrow_mut().alive = false;
        self.tasks.shutdown().await;
    }
}

impl Drop for Running {
    /// As kill -9: connections are reset, what was not written is lost.
    fn drop(&mut self) {
        self.cell.borrow_mut().alive = false;
    }
}

async fn listen(cell: NodeCell, listener: tokio::net::TcpListener, tls: TlsAcceptor) {
    // Owned by this task: they end with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(connection(Rc::clone(&cell), stream, tls.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a simulated node cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(cell: NodeCell, stream: TcpStream, tls: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    // A killed node's connections end with RST, not with an orderly close.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let io = TokioIo::new(BookFirst { stream, cell: Rc::clone(&cell) });
    let service = service_fn(move |request| rpc::serve(Rc::clone(&cell), request));
    let served = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(None)
        .max_pending_accept_reset_streams(Some(100_000))
        .max_local_error_reset_streams(None)
        .initial_stream_window_size(Some(1 << 20))
        .initial_connection_window_size(Some(1 << 26))
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Some(PING_AFTER))
        .keep_alive_timeout(PING_TIMEOUT)
        .auto_date_header(false)
        .serve_connection(io, service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to a simulated node has ended");
    }
}

/// Runs a connection's streams on the connection's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

/// Writes the node's book before anything goes out: one write for all payments that answer in
/// one go, and no answer that a kill could make untrue.
struct BookFirst<S> {
    stream: S,
    cell: NodeCell,
}

impl<S> BookFirst<S> {
    fn write_book(&self) -> io::Result<()> {
        self.cell.borrow_mut().flush().map_err(io::Error::other)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BookFirst<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BookFirst<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write_book()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_book()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Rings the node's timers and brings it what the network has for it.
async fn clockwork(cell: NodeCell, mut letters: UnboundedReceiver<Notice>) {
    let bell = Rc::clone(&cell.borrow().bell);
    loop {
        let next = cell.borrow_mut().ring(Instant::now());
        if let Err(error) = cell.borrow_mut().flush() {
            tracing::error!(%error, "a simulated node cannot write its book");
        }
        let sleep = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = bell.notified() => {}
            Some(notice) = letters.recv() => cell.borrow_mut().hear(notice),
        }
    }
}

/// Reads the knobs again when their files change.
async fn watch_knobs(cell: NodeCell, restart: impl Fn(Duration)) {
    let (base, fleet_dir, node_dir) = {
        let node = cell.borrow();
        (node.config.knobs.clone(), node.config.dir.clone(), node.dir())
    };
    let files = [fleet_dir.join(KNOBS_FILE), node_dir.join(KNOBS_FILE)];
    let mut seen = files.each_ref().map(changed_at);
    // What the start has read may be older than what was just seen.
    let mut is_new = true;
    loop {
        if is_new {
            match Knobs::load(&base, &fleet_dir, &node_dir) {
                Ok(knobs) => {
                    let down = Duration::from_millis(knobs.down_ms);
                    let restarts = knobs.restarts != cell.borrow().knobs.restarts;
                    cell.borrow_mut().turn(knobs);
                    if restarts {
                        restart(down);
                    }
                }
                Err(error) => tracing::warn!(%error, "the knobs stay as they are"),
            }
        }
        tokio::time::sleep(KNOBS_EVERY).await;
        let now = files.each_ref().map(changed_at);
        is_new = now != seen;
        seen = now;
    }
}

fn changed_at(file: &PathBuf) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
