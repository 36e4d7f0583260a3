//! One connected time with a node: its macaroon, its connections, and what goes over them.

use std::{
    cell::{Cell, RefCell},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fulgurite_core::{port::ProbeAnswer, time::UnixMs};
use fulgurite_proto::lnrpc;
use http::HeaderValue;
use prost::Message;
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};

use crate::{
    config::LndConfig,
    connect::{ConnectFault, chain},
    grpc::{Call, CallFault, Connection, Head, NotHandedOver, timeout_header},
    macaroon::{Macaroon, NotAMacaroon},
    meaning,
    tls::{self, CertificateFault},
};

pub(crate) const GET_INFO: &str = "/lnrpc.Lightning/GetInfo";

/// The files that say how to reach a node.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    tls_cert: Vec<u8>,
    macaroon: Vec<u8>,
}

/// Why a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("cannot read {0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0}: {1}")]
    Macaroon(PathBuf, NotAMacaroon),
    #[error("{0}")]
    Certificate(PathBuf, #[source] CertificateFault),
    #[error("{0}")]
    Connect(#[from] ConnectFault),
    #[error("{0}: {1}")]
    Call(&'static str, CallFault),
    #[error("{0}")]
    NotReady(&'static str),
    #[error("{reason}")]
    Fenced { epoch: u32, reason: String },
    #[error("the connection was lost")]
    ConnectionLost,
    #[error("the certificate or the macaroon was replaced")]
    NewCredentials,
}

impl Credentials {
    /// Reads both files anew.
    pub(crate) async fn read(config: &LndConfig) -> Result<Credentials, Fault> {
        let tls_cert = read_file(&config.tls_cert_path).await?;
        let macaroon = read_file(&config.macaroon_path).await?;
        Ok(Credentials { tls_cert, macaroon })
    }

    /// Both are what they should be: what is read while the node is used may be half of a copy.
    pub(crate) fn check(&self, config: &LndConfig) -> Result<(Macaroon, Arc<ClientConfig>), Fault> {
        let macaroon = Macaroon::parse(&self.macaroon)
            .map_err(|fault| Fault::Macaroon(config.macaroon_path.clone(), fault))?;
        let tls = tls::client_config(&self.tls_cert)
            .map_err(|fault| Fault::Certificate(config.tls_cert_path.clone(), fault))?;
        Ok((macaroon, tls))
    }
}

/// Looks whether a node's files can be read and are a certificate and a macaroon.
///
/// # Errors
/// What is wrong, with the file's path.
pub async fn check_files(config: &LndConfig) -> Result<(), String> {
    let checked = Credentials::read(config).await.and_then(|read| read.check(config));
    checked.map(drop).map_err(|fault| chain(&fault))
}

pub(crate) async fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    tokio::fs::read(path).await.map_err(|error| Fault::File(path.to_owned(), error))
}

/// How a connection of this session is made.
pub(crate) struct Dialer {
    pub(crate) address: String,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) kill: watch::Receiver<()>,
}

impl Dialer {
    pub(crate) async fn dial(&self) -> Result<Rc<Connection>, ConnectFault> {
        let tls = Arc::clone(&self.tls);
        Connection::open(&self.address, tls, self.kill.clone()).await.map(Rc::new)
    }
}

/// What is needed while a node can be used.
pub(crate) struct Session {
    pub(crate) dialer: Dialer,
    /// Carries everything but payments.
    pub(crate) reads: Rc<Connection>,
    /// Carry payments; `None` while one is made anew.
    pub(crate) payments: Vec<RefCell<Option<Rc<Connection>>>>,
    /// lnd has no key for the macaroon any more: the session is over.
    pub(crate) key_gone: Notify,
    /// Root keys of older engines with this journal (rule E18).
    pub(crate) older: RefCell<Vec<u64>>,
    pub(crate) call_timeout: Duration,
    macaroon: Macaroon,
    plain: HeaderValue,
    last_send: RefCell<SendHeaders>,
    next: Cell<usize>,
}

/// The headers of the last send: one macaroon serves seconds of sends, and HTTP/2 sends a header
/// that does not change as one byte.
struct SendHeaders {
    expiry: UnixMs,
    macaroon: HeaderValue,
    deadline: Duration,
    timeout: HeaderValue,
}

impl Session {
    /// Connects for reads; payments are connected by [`Session::dial_payments`].
    pub(crate) async fn open(
        config: &LndConfig,
        credentials: &Credentials,
        kill: watch::Receiver<()>,
    ) -> Result<Session, Fault> {
        let (macaroon, tls) = credentials.check(config)?;
        let dialer = Dialer { address: config.address.clone(), tls, kill };
        let reads = dialer.dial().await?;
        let plain = header(&macaroon);
        let last_send = SendHeaders {
            expiry: UnixMs::default(),
            macaroon: header(&macaroon.expiring_at(UnixMs::default())),
            deadline: Duration::ZERO,
            timeout: timeout_header(Duration::ZERO),
        };
        Ok(Session {
            dialer,
            reads,
            payments: (0..config.payment_connections.max(1)).map(|_| RefCell::default()).collect(),
            key_gone: Notify::new(),
            older: RefCell::default(),
            call_timeout: config.call_timeout(),
            macaroon,
            plain,
            last_send: RefCell::new(last_send),
            next: Cell::new(0),
        })
    }

    /// Everything from here on is done with this macaroon.
    pub(crate) fn use_macaroon(&mut self, macaroon: Macaroon) {
        self.plain = header(&macaroon);
        self.last_send.get_mut().expiry = UnixMs::default();
        self.last_send.get_mut().macaroon = header(&macaroon.expiring_at(UnixMs::default()));
        self.macaroon = macaroon;
    }

    /// Connects every payment connection.
    pub(crate) async fn dial_payments(&self) -> Result<(), ConnectFault> {
        for slot in &self.payments {
            let connection = self.dialer.dial().await?;
            slot.replace(Some(connection));
        }
        Ok(())
    }

    /// Hands a send over on the next payment connection that lives.
    pub(crate) fn start_send(
        &self,
        path: &'static str,
        message: &impl Message,
        expiry: UnixMs,
        deadline: Duration,
    ) -> Result<Call, NotHandedOver> {
        let mut last = self.last_send.borrow_mut();
        if last.expiry != expiry {
            last.expiry = expiry;
            last.macaroon = header(&self.macaroon.expiring_at(expiry));
        }
        if last.deadline != deadline {
            last.deadline = deadline;
            last.timeout = timeout_header(deadline);
        }
        let head = Head { path, macaroon: Some(&last.macaroon), timeout: Some(&last.timeout) };
        self.start(head, message)
    }

    /// Hands a call without a deadline over on the next payment connection that lives.
    pub(crate) fn start_track(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<Call, NotHandedOver> {
        self.start(Head { path, macaroon: Some(&self.plain), timeout: None }, message)
    }

    fn start(&self, head: Head<'_>, message: &impl Message) -> Result<Call, NotHandedOver> {
        let first = self.next.get();
        let count = self.payments.len();
        self.next.set((first + 1) % count);
        for slot in (first..first + count).map(|index| &self.payments[index % count]) {
            // Trying the next connection is safe: this one proved that it did not take it.
            if let Some(connection) = slot.borrow().as_deref()
                && let Ok(call) = connection.start(head, message)
            {
                return Ok(call);
            }
        }
        Err(NotHandedOver)
    }

    /// Starts a call without an end on the connection for reads.
    pub(crate) fn subscribe(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<Call, Fault> {
        let head = Head { path, macaroon: Some(&self.plain), timeout: None };
        self.reads.start(head, message).map_err(|NotHandedOver| Fault::ConnectionLost)
    }

    /// Reads something.
    pub(crate) async fn read<M: Message + Default>(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<M, Fault> {
        let answer = self.reads.unary(path, Some(&self.plain), message, self.call_timeout).await;
        answer.map_err(|fault| Fault::Call(path, fault))
    }

    /// Asks whether a macaroon that expires at `expiry` is still taken (rule E13 (1)).
    pub(crate) async fn probe(&self, expiry: UnixMs) -> ProbeAnswer {
        let answer = self.probe_once(&header(&self.macaroon.expiring_at(expiry))).await;
        // The macaroon itself may have an end of its own, which says nothing about `expiry`.
        let plain_is_taken = match answer {
            ProbeAnswer::NotYet | ProbeAnswer::Unreachable => true,
            ProbeAnswer::Expired => self.probe_once(&self.plain).await == ProbeAnswer::NotYet,
        };
        if plain_is_taken { answer } else { ProbeAnswer::Unreachable }
    }

    async fn probe_once(&self, macaroon: &HeaderValue) -> ProbeAnswer {
        let request = lnrpc::GetInfoRequest {};
        let answer = self
            .reads
            .unary::<lnrpc::GetInfoResponse>(GET_INFO, Some(macaroon), &request, self.call_timeout)
            .await;
        meaning::probe_answer(&answer)
    }

    /// How far the node's clock is ahead of ours, in milliseconds.
    pub(crate) async fn clock_offset_ms(&self) -> Result<i64, Fault> {
        crate::clock::offset(async |ahead_ms| {
            match self
                .probe_once(&header(&self.macaroon.expiring_at(now().plus_ms(ahead_ms))))
                .await
            {
                ProbeAnswer::NotYet => Ok(true),
                ProbeAnswer::Expired => Ok(false),
                ProbeAnswer::Unreachable => Err(Fault::NotReady(
                    "the node did not say whether a macaroon has expired, so its clock is not known",
                )),
            }
        })
        .await
    }
}

/// A macaroon as a header. Not marked sensitive: HTTP/2 would then spell it out in every call.
pub(crate) fn header(macaroon: &Macaroon) -> HeaderValue {
    HeaderValue::try_from(macaroon.to_hex()).expect("hex is a header value")
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
