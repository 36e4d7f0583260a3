//! Connections to an lnd: TCP and TLS, and a tonic channel for those who are not the engine.

use std::{io, sync::Arc, time::Duration};

use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Status,
    service::Interceptor,
    transport::{Channel, Endpoint},
};

use crate::tls::{self, CertificateFault};

/// How long the network may leave our bytes unacknowledged before the connection is given up.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long TCP and TLS together may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The flow control window of one stream: a big list of channels comes in few round trips.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// The flow control window of a connection, never adaptive: splitting updates into small frames
/// makes h2 end the connection (ENHANCE_YOUR_CALM).
pub(crate) const CONNECTION_WINDOW: u32 = 64 << 20;
/// The largest message that lnd sends.
pub(crate) const MESSAGE_MAX: usize = 200 << 20;

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    /// The address is not `host:port`.
    #[error("the address {0:?} is not host:port")]
    Address(String),
    /// The certificate file is of no use.
    #[error("{0}")]
    Certificate(#[from] CertificateFault),
    /// Nobody answers there, or not with the expected certificate.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// It took more than 5 s.
    #[error("connecting took too long")]
    Timeout,
    /// It is not HTTP/2.
    #[error("cannot speak HTTP/2: {0}")]
    Http(String),
}

/// Opens TCP and TLS to `address` (`host:port`). The socket notices a dead peer within about
/// 25 s when idle and 10 s when busy, and closes hard: what was not sent is never sent later.
pub(crate) async fn open_tls(
    address: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ConnectFault> {
    let wrong = || ConnectFault::Address(address.to_owned());
    let (host, _) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|_| wrong())?;
    let open = async {
        let tcp = TcpStream::connect(address).await?;
        set_options(&tcp)?;
        TlsConnector::from(config).connect(name, tcp).await
    };
    Ok(tokio::time::timeout(CONNECT_TIMEOUT, open).await.map_err(|_| ConnectFault::Timeout)??)
}

fn set_options(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    // Every close is a hard one: no request may linger in a send buffer after we gave it up.
    socket.set_linger(Some(Duration::ZERO))
}

/// Adds a macaroon to every call.
#[derive(Clone)]
pub struct MacaroonInterceptor {
    value: HeaderValue,
}

impl Interceptor for MacaroonInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let text = self.value.to_str().map_err(|_| Status::internal("macaroon is not hex"))?;
        let value = text.parse().map_err(|_| Status::internal("macaroon is not hex"))?;
        request.metadata_mut().insert("macaroon", value);
        Ok(request)
    }
}

/// Connects to the node at `address` (`host:port`) whose `tls.cert` is given, for tests and load
/// generators: clients of tonic's generated code are made with `with_interceptor`. The channel
/// connects once; when its connection dies it answers `Unavailable` for ever (rule E7).
pub async fn connect(
    address: &str,
    tls_cert_pem: &[u8],
    macaroon: &[u8],
) -> Result<(Channel, MacaroonInterceptor), ConnectFault> {
    let config = tls::client_config(tls_cert_pem)?;
    let origin = format!("https://{address}")
        .parse::<Uri>()
        .map_err(|_| ConnectFault::Address(address.to_owned()))?;
    let mut once = Some(open_tls(address, config).await?);
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.take().map(TokioIo::new);
        async { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| ConnectFault::Address(address.to_owned()))?
        .origin(origin)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connector)
        .await
        .map_err(|error| ConnectFault::Http(chain(&error)))?;
    let value = HeaderValue::try_from(hex::encode(macaroon)).expect("hex is a header value");
    Ok((channel, MacaroonInterceptor { value }))
}

/// An error with everything below it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = source.source();
    }
    text
}
