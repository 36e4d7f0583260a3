//! HTTP/1.1 over the connections of a listener: for the HTTP door and the admin listener.

use std::{future::Future, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::connections::{Allowed, Connection, Incoming};

/// The largest head of a request. A key has at most 255 bytes, and a path names one thing.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What a connection above the limit is told. There is no request yet that it could answer.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// How long a peer may take, and how many peers there may be.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The most connections at once.
    pub connections_max: u32,
    /// A connection without a whole request head for this long is closed.
    pub head_time_max: Duration,
    /// A peer that reads nothing of its answer for this long is let go.
    pub write_time_max: Duration,
}

/// Serves until `stop` ends; then waits for the requests that are left.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    let incoming = Incoming::of(
        listener,
        Allowed {
            connections_max: patience.connections_max,
            // hyper bounds the time of the head, and so that of its first bytes.
            first_bytes: 0,
            first_bytes_time_max: Duration::ZERO,
            write_time_max: Some(patience.write_time_max),
            farewell: TOO_MANY,
        },
    );
    let stopping = watch::Sender::new(());
    let mut open = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let connection = tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next() => continue,
            connection = incoming.next() => connection,
        };
        open.spawn(answer(connection, router.clone(), patience, stopping.subscribe()));
    }
    drop(incoming);
    stopping.send_replace(());
    while open.join_next().await.is_some() {}
}

/// Answers the requests of one connection.
async fn answer(
    connection: Connection,
    router: Router,
    patience: Patience,
    mut stopping: watch::Receiver<()>,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head_time_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let end = tokio::select! {
        end = &mut served => end,
        _ = stopping.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(fault) = end {
        tracing::debug!(error = %fault, "an HTTP connection ended");
    }
}
