//! gRPC calls over one HTTP/2 connection, in plain code on h2.
//!
//! The engine does not use a reconnecting channel: which connection carried a send must be known
//! (rule E7), and whether a request was handed to the transport must be certain (rule E8). It also
//! costs half the CPU of the usual stack, which has a task, several boxes and a timer per call.

use std::{cell::Cell, future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{
    Ping, PingPong, RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use prost::Message;
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
};
use tokio_rustls::client::TlsStream;
use tonic::{Code, Status};

use crate::connect::{CONNECTION_WINDOW, ConnectFault, MESSAGE_MAX, STREAM_WINDOW, open_tls};

/// How long a connection with open calls may be silent before it is pinged, and how long it then
/// may take to answer. lnd allows a ping each 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const MACAROON: HeaderName = HeaderName::from_static("macaroon");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Ends every connection that was opened with its receivers, hard, when it is dropped.
pub struct KillSwitch(watch::Sender<()>);

impl KillSwitch {
    /// A switch that nobody listens to yet.
    pub fn new() -> KillSwitch {
        KillSwitch(watch::Sender::new(()))
    }

    /// What a connection listens to.
    pub fn receiver(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

impl Default for KillSwitch {
    fn default() -> KillSwitch {
        KillSwitch::new()
    }
}

/// One HTTP/2 connection, on the thread of its `LocalSet`. It is never opened again by itself, and
/// ends in order once it and its calls are dropped.
pub struct Connection {
    requests: SendRequest<Bytes>,
    authority: Authority,
    life: Rc<Life>,
}

/// What a connection, its calls and its driver share.
#[derive(Default)]
struct Life {
    calls: Cell<usize>,
    closed: Cell<bool>,
    changed: Notify,
}

/// What is told about a call besides its message.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// The macaroon in hex; `None` for lnd's State service.
    pub macaroon: Option<&'a HeaderValue>,
    /// The `grpc-timeout`; `None` for a call that may take for ever.
    pub timeout: Option<&'a HeaderValue>,
}

/// The request was not handed to the transport: it can never arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHandedOver;

/// How a call ended, if not well.
#[derive(Clone, Debug)]
pub enum CallFault {
    /// The server itself said so (`grpc-status`).
    Status(Code, String),
    /// Anything else: a reset, a lost connection, an answer that is not gRPC.
    Broken(String),
}

impl std::fmt::Display for CallFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallFault::Status(code, text) => write!(f, "{code:?}: {text}"),
            CallFault::Broken(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CallFault {}

impl Connection {
    /// Connects to `address` (`host:port`). Must run in a `LocalSet`.
    pub async fn open(
        address: &str,
        config: Arc<ClientConfig>,
        kill: watch::Receiver<()>,
    ) -> Result<Connection, ConnectFault> {
        let authority = address.parse().map_err(|_| ConnectFault::Address(address.to_owned()))?;
        let tls = open_tls(address, config).await?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .data_frame_budget(CONNECTION_WINDOW as usize)
            .initial_max_send_streams(usize::MAX >> 1)
            // The peer is the operator's own node: resets are not an attack.
            .max_local_error_reset_streams(None)
            .enable_push(false)
            .handshake(tls)
            .await
            .map_err(|error| ConnectFault::Http(error.to_string()))?;
        let life = Rc::new(Life::default());
        tokio::task::spawn_local(drive(connection, Rc::clone(&life), kill));
        Ok(Connection { requests, authority, life })
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.life.closed.get()
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        loop {
            let changed = self.life.changed.notified();
            if self.life.closed.get() {
                return;
            }
            changed.await;
        }
    }

    /// Hands a request over. After an error it can never arrive; after `Ok` it may.
    pub fn start(&self, head: Head<'_>, message: &impl Message) -> Result<Call, NotHandedOver> {
        let mut requests = self.requests.clone();
        // A server that limits its streams would leave the request waiting in here.
        if self.life.calls.get() >= requests.current_max_send_streams() {
            return Err(NotHandedOver);
        }
        let request = self.request(head).ok_or(NotHandedOver)?;
        let (response, mut body) =
            requests.send_request(request, false).map_err(|_| NotHandedOver)?;
        let sent = body.send_data(frame(message), true);
        self.life.calls.set(self.life.calls.get() + 1);
        let mut call = Call {
            state: Answer::Awaited(response),
            data: Bytes::new(),
            partial: BytesMut::new(),
            life: Rc::clone(&self.life),
        };
        if let Err(error) = sent {
            call.state = Answer::Broken(error.to_string());
        }
        Ok(call)
    }

    /// Makes a call with one answer, and waits for it at most `timeout`.
    pub async fn unary<M: Message + Default>(
        &self,
        path: &'static str,
        macaroon: Option<&HeaderValue>,
        message: &impl Message,
        timeout: Duration,
    ) -> Result<M, CallFault> {
        let header = timeout_header(timeout);
        let head = Head { path, macaroon, timeout: Some(&header) };
        let mut call = self
            .start(head, message)
            .map_err(|NotHandedOver| CallFault::Broken("no connection".to_owned()))?;
        let answer = async {
            let answer = call.message().await?;
            while call.message::<M>().await?.is_some() {}
            answer.ok_or_else(|| CallFault::Broken("no message in the answer".to_owned()))
        };
        tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| Err(CallFault::Broken("no answer in time".to_owned())))
    }

    fn request(&self, head: Head<'_>) -> Option<Request<()>> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(PathAndQuery::from_static(head.path));
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        let headers = request.headers_mut();
        headers.reserve(4);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Some(macaroon) = head.macaroon {
            headers.insert(MACAROON, macaroon.clone());
        }
        if let Some(timeout) = head.timeout {
            headers.insert(GRPC_TIMEOUT, timeout.clone());
        }
        Some(request)
    }
}

/// A `grpc-timeout`, in milliseconds; at most about a day.
pub fn timeout_header(timeout: Duration) -> HeaderValue {
    let ms = timeout.as_millis().clamp(1, 99_999_999);
    HeaderValue::try_from(format!("{ms}m")).expect("digits and a letter are a header value")
}

/// A message with its gRPC prefix: not compressed, the length.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a request is below 4 GiB"));
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// A call that was handed over. Dropping it resets its stream if it is still open.
pub struct Call {
    state: Answer,
    /// What came last and is not read yet: most messages come whole and are not copied.
    data: Bytes,
    /// The beginning of a message that came in several pieces, and what came with its last one.
    partial: BytesMut,
    life: Rc<Life>,
}

enum Answer {
    Awaited(ResponseFuture),
    Reading(RecvStream),
    Broken(String),
    Over,
}

impl Call {
    /// The next message; `None` when the server ended the call in order. Safe to drop while it
    /// waits: nothing is lost.
    pub async fn message<M: Message + Default>(&mut self) -> Result<Option<M>, CallFault> {
        let result = self.next().await;
        if !matches!(result, Ok(Some(_))) {
            self.state = Answer::Over;
        }
        result
    }

    async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, CallFault> {
        if let Answer::Awaited(response) = &mut self.state {
            let response = response.await.map_err(broken)?;
            if response.status() != StatusCode::OK {
                return Err(CallFault::Broken(format!("HTTP status {}", response.status())));
            }
            // An answer without messages has its status here ("trailers only").
            if let Some(end) = status(response.headers()) {
                return end;
            }
            self.state = Answer::Reading(response.into_body());
        }
        let body = match &mut self.state {
            Answer::Reading(body) => body,
            Answer::Broken(text) => return Err(CallFault::Broken(std::mem::take(text))),
            Answer::Over | Answer::Awaited(_) => return Ok(None),
        };
        loop {
            let message = match self.partial.is_empty() {
                true => decode(&mut self.data)?,
                false => decode(&mut self.partial)?,
            };
            if message.is_some() {
                // An empty slice keeps all that came beside it for as long as the call waits.
                if self.data.is_empty() {
                    self.data = Bytes::new();
                }
                if self.partial.is_empty() {
                    self.partial = BytesMut::new();
                }
                return Ok(message);
            }
            let Some(data) = poll_fn(|cx| body.poll_data(cx)).await else {
                break;
            };
            let data = data.map_err(broken)?;
            body.flow_control().release_capacity(data.len()).map_err(broken)?;
            if self.partial.is_empty() && self.data.is_empty() {
                self.data = data;
            } else {
                self.partial.extend_from_slice(&std::mem::take(&mut self.data));
                self.partial.extend_from_slice(&data);
            }
        }
        let trailers = poll_fn(|cx| body.poll_trailers(cx)).await.map_err(broken)?;
        let no_status = || Err(CallFault::Broken("the stream ended without a status".to_owned()));
        trailers.as_ref().and_then(status).unwrap_or_else(no_status)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.life.calls.set(self.life.calls.get() - 1);
    }
}

fn broken(error: h2::Error) -> CallFault {
    CallFault::Broken(error.to_string())
}

/// What `grpc-status` and `grpc-message` say; `None` when they are not there.
fn status<M>(headers: &HeaderMap) -> Option<Result<Option<M>, CallFault>> {
    let status = Status::from_header_map(headers)?;
    match status.code() {
        Code::Ok => Some(Ok(None)),
        code => Some(Err(CallFault::Status(code, status.message().to_owned()))),
    }
}

/// Takes the first whole message out of the buffer.
fn decode<M: Message + Default>(
    buffer: &mut (impl Buf + AsRef<[u8]>),
) -> Result<Option<M>, CallFault> {
    let Some((prefix, rest)) = buffer.as_ref().split_first_chunk::<5>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 || length > MESSAGE_MAX {
        return Err(CallFault::Broken("a message is compressed or too large".to_owned()));
    }
    if rest.len() < length {
        return Ok(None);
    }
    let message = M::decode(&rest[..length]);
    buffer.advance(5 + length);
    message.map(Some).map_err(|error| CallFault::Broken(format!("not a message: {error}")))
}

/// Moves a connection's bytes until it ends, is killed, or stops answering pings.
async fn drive(
    mut connection: h2::client::Connection<TlsStream<TcpStream>, Bytes>,
    life: Rc<Life>,
    mut kill: watch::Receiver<()>,
) {
    let pings = connection.ping_pong().expect("nobody else asked for the pings");
    let bytes = async {
        if let Err(error) = (&mut connection).await {
            tracing::debug!(%error, "connection to node ended");
        }
    };
    tokio::select! {
        () = bytes => {}
        () = silence(pings, &life) => tracing::debug!("node does not answer pings"),
        _ = kill.changed() => {}
    }
    // Calls look at this when their streams break, and they break when the connection is dropped.
    life.closed.set(true);
    drop(connection);
    life.changed.notify_waiters();
}

/// Ends when a ping is not answered. Pings only while calls are open: lnd takes others amiss.
async fn silence(mut pings: PingPong, life: &Life) {
    loop {
        tokio::time::sleep(PING_INTERVAL).await;
        if life.calls.get() == 0 {
            continue;
        }
        let pong = tokio::time::timeout(PING_INTERVAL, pings.ping(Ping::opaque()));
        if !matches!(pong.await, Ok(Ok(_))) {
            return;
        }
    }
}
