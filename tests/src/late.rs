//! Requests that are held on their way: a middlebox in front of a node, and a client that hands
//! HEADERS and DATA over one by one.

use std::{fs, future::poll_fn, io};

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use fulgurite_lnd::{macaroon::Macaroon, tls};
use fulgurite_proto::lnrpc::{self, Payment};
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::Request;
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;
use tonic::Status;

use crate::{
    engine::NodeEntry,
    peer::{ending, text},
    proxy::{Gate, pass},
};

const SEND_PAYMENT: &str = "https://localhost/routerrpc.Router/SendPaymentV2";
const GET_INFO: &str = "https://localhost/lnrpc.Lightning/GetInfo";

/// A TCP proxy for one connection to a node. It can hold what the client sends; what the node
/// answers always passes.
pub struct Middlebox {
    address: String,
    gate: watch::Sender<bool>,
    held: watch::Receiver<usize>,
    // Dropping it cuts the connection.
    _tasks: JoinSet<io::Result<()>>,
}

impl Middlebox {
    /// Listens in front of the node at `node`, and lets everything through.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn before(node: &str) -> Result<Middlebox> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let (gate, is_open) = watch::channel(true);
        let (counter, held) = watch::channel(0);
        let node = node.to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut from_client, mut to_client) = listener.accept().await?.0.into_split();
            let (mut from_node, to_node) = TcpStream::connect(node).await?.into_split();
            let answers = tokio::io::copy(&mut from_node, &mut to_client);
            let requests = pass(&mut from_client, to_node, Hold { is_open, held: counter });
            tokio::try_join!(requests, answers).map(drop)
        });
        Ok(Middlebox { address, gate, held, _tasks: tasks })
    }

    /// Holds all that the client sends from now on.
    pub fn hold(&self) {
        self.gate.send_replace(false);
    }

    /// Waits until something is held.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn wait_held(&mut self) -> Result<()> {
        let held = self.held.wait_for(|bytes| *bytes > 0).await;
        held.map(drop).context("the connection through the middlebox has ended")
    }

    /// Lets what is held through, and all that follows.
    pub fn let_through(&self) {
        self.gate.send_replace(true);
    }
}

/// Holds what comes while the middlebox does, and counts it.
struct Hold {
    is_open: watch::Receiver<bool>,
    held: watch::Sender<usize>,
}

impl Gate for Hold {
    async fn let_through(&mut self, length: usize) -> io::Result<()> {
        if !*self.is_open.borrow_and_update() {
            self.held.send_modify(|count| *count += length);
            self.is_open.wait_for(|is_open| *is_open).await.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// A client of a node behind a middlebox, with one connection.
pub struct Client {
    requests: SendRequest<Bytes>,
    macaroon: Macaroon,
    // Dropping it ends the connection.
    _driver: JoinSet<Result<(), h2::Error>>,
}

impl Client {
    /// Connects to `node` through `middlebox`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn connect(node: &NodeEntry, middlebox: &Middlebox) -> Result<Client> {
        let config = tls::client_config(&fs::read(&node.tls_cert)?)?;
        let macaroon = Macaroon::parse(&fs::read(&node.macaroon)?)?;
        let stream = TcpStream::connect(&middlebox.address).await?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (requests, connection) = h2::client::handshake(stream).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut client = Client { requests, macaroon, _driver: driver };
        // Both sides have said hello: what is held from now on is a request.
        client.wait_read().await?;
        Ok(client)
    }

    /// Hands the HEADERS of a `SendPaymentV2` over. Its `grpc-timeout` is `timeout`.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn start(&mut self, macaroon: &Macaroon, timeout: Option<&str>) -> Result<Started> {
        self.call(SEND_PAYMENT, macaroon, timeout)
    }

    /// Waits until the node has read all that was handed over before: it reads in order, and this
    /// is another call. (Of pings, lnd takes a few in a row amiss.)
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn wait_read(&mut self) -> Result<()> {
        let macaroon = self.macaroon.clone();
        let mut call = self.call(GET_INFO, &macaroon, None)?;
        call.send(&lnrpc::GetInfoRequest {})?;
        let (_, end) = call.whole_answer().await?;
        ensure!(end == "OK", "GetInfo: {end}");
        Ok(())
    }

    fn call(&mut self, uri: &str, macaroon: &Macaroon, timeout: Option<&str>) -> Result<Started> {
        let mut request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("macaroon", macaroon.to_hex());
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let (response, body) = self.requests.send_request(request.body(())?, false)?;
        Ok(Started { response, body })
    }
}

/// A request whose HEADERS were handed over.
pub struct Started {
    response: ResponseFuture,
    body: SendStream<Bytes>,
}

impl Started {
    /// Hands the message over, as one DATA frame.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn send(&mut self, message: &impl Message) -> Result<()> {
        let message = message.encode_to_vec();
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len())?);
        frame.put_slice(&message);
        Ok(self.body.send_data(frame.freeze(), true)?)
    }

    /// Waits for the end of the stream: the last payment that was shown, if any, and the status.
    ///
    /// # Errors
    /// When the answer is not gRPC.
    pub async fn answer(&mut self) -> Result<String> {
        let (mut messages, end) = self.whole_answer().await?;
        let mut last = None;
        while let Some((prefix, rest)) = messages.split_first_chunk::<5>() {
            let [_, length @ ..] = *prefix;
            let length = u32::from_be_bytes(length) as usize;
            last = Some(Payment::decode(&rest[..length])?);
            messages.advance(5 + length);
        }
        Ok(match last {
            Some(payment) => format!("{} {end}", text(&payment)),
            None => end,
        })
    }

    /// All messages, and how the stream ended.
    async fn whole_answer(&mut self) -> Result<(BytesMut, String)> {
        let mut messages = BytesMut::new();
        let response = match (&mut self.response).await {
            Ok(response) => response,
            Err(error) => return Ok((messages, reset(&error)?)),
        };
        // An answer without messages has its status here.
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Ok((messages, ending(&status)));
        }
        let mut body = response.into_body();
        while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
            match data {
                Ok(data) => {
                    body.flow_control().release_capacity(data.len())?;
                    messages.extend_from_slice(&data);
                }
                Err(error) => return Ok((messages, reset(&error)?)),
            }
        }
        let trailers = poll_fn(|cx| body.poll_trailers(cx)).await?;
        let status = trailers.as_ref().and_then(Status::from_header_map);
        Ok((messages, ending(&status.context("the stream has no status")?)))
    }
}

fn reset(error: &h2::Error) -> Result<String> {
    let reason = error.reason().with_context(|| error.to_string())?;
    Ok(format!("reset: {reason:?}"))
}
