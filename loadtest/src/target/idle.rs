//! Connections that are open and say nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::run::rig::Reach;

/// The engine closes a silent HTTP connection after 30 s: each asks for something so often.
const ASK_PERIOD: Duration = Duration::from_secs(15);
/// The client's preface of HTTP/2 and empty SETTINGS (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Open connections. Dropping them closes them.
pub(crate) struct Idle {
    tasks: JoinSet<()>,
}

impl Idle {
    /// Opens `count`, half of them gRPC, half HTTP.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub async fn open(reach: &Reach, count: u32) -> Result<Idle> {
        let mut tasks = JoinSet::new();
        if count == 0 {
            return Ok(Idle { tasks });
        }
        let (grpc, http) = (reach.grpc, reach.http);
        let (grpc, http) = grpc.zip(http).context("idle connections need gRPC and HTTP")?;
        let started = Instant::now();
        for number in 0..count {
            let is_grpc = number % 2 == 0;
            let connected = TcpStream::connect(if is_grpc { grpc } else { http }).await;
            let stream = connected.with_context(|| format!("connection {number} of {count}"))?;
            if is_grpc {
                tasks.spawn(keep_http2(stream));
            } else {
                tasks.spawn(keep_http(stream, http.to_string()));
            }
            tokio::task::yield_now().await;
        }
        eprintln!("{count} idle connections, opened in {:.1} s", started.elapsed().as_secs_f64());
        Ok(Idle { tasks })
    }

    /// How many of them the engine has closed.
    pub fn closed(&mut self) -> u64 {
        let mut closed = 0;
        while self.tasks.try_join_next().is_some() {
            closed += 1;
        }
        closed
    }
}

/// Speaks just enough HTTP/2 to stay: a SETTINGS or PING of the server is acknowledged.
async fn keep_http2(mut stream: TcpStream) {
    if stream.write_all(HTTP2_PREFACE).await.is_err() {
        return;
    }
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length.min(1 << 16)];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let (kind, is_ack) = (head[3], head[4] & 1 == 1);
        let answer = match kind {
            4 if !is_ack => vec![0, 0, 0, 4, 1, 0, 0, 0, 0],
            6 if !is_ack => [&[0, 0, 8, 6, 1, 0, 0, 0, 0], payload.as_slice()].concat(),
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Asks for the engine's limits now and then.
async fn keep_http(mut stream: TcpStream, host: String) {
    let request = format!("GET /v1/engine HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut answer = vec![0; 1 << 16];
    loop {
        if stream.write_all(request.as_bytes()).await.is_err() {
            return;
        }
        // One read has all of the small answer, or the next one has the rest.
        if !matches!(stream.read(&mut answer).await, Ok(1..)) {
            return;
        }
        tokio::time::sleep(ASK_PERIOD).await;
    }
}
