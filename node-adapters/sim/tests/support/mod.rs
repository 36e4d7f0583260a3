//! What the tests share: a client that pins the node's certificate, and a fleet in a scratch
//! directory.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fulgurite_proto::lnrpc;
use fulgurite_proto::lnrpc::lightning_client::LightningClient;
use fulgurite_proto::lnrpc::payment::PaymentStatus;
use fulgurite_proto::routerrpc::router_client::RouterClient;
use fulgurite_proto::routerrpc::{SendPaymentRequest, TrackPaymentRequest};
use fulgurite_sim::{Fleet, FleetConfig, Invoice, InvoiceOrder, Knobs, NodeInfo, make_invoices};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

pub type Router = RouterClient<InterceptedService<Channel, Macaroon>>;
pub type Lightning = LightningClient<InterceptedService<Channel, Macaroon>>;

/// Adds the macaroon header.
#[derive(Clone)]
pub struct Macaroon(pub AsciiMetadataValue);

impl Macaroon {
    pub fn new(binary: &[u8]) -> Macaroon {
        Macaroon(hex::encode(binary).parse().unwrap())
    }
}

impl tonic::service::Interceptor for Macaroon {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("macaroon", self.0.clone());
        Ok(request)
    }
}

/// Accepts one certificate, byte by byte: lnd's is a CA, which webpki refuses.
#[derive(Debug)]
struct Pinned(CertificateDer<'static>, Arc<CryptoProvider>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        assert_eq!(cert, &self.0);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.1.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.1.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS connection to the node.
pub async fn dial(info: &NodeInfo) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let cert = CertificateDer::from_pem_file(&info.tls_cert).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(cert, provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(&info.address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub async fn channel(info: &NodeInfo) -> Channel {
    let info = info.clone();
    let connector = tower::service_fn(move |_| {
        let info = info.clone();
        async move { dial(&info).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
}

pub fn admin(info: &NodeInfo) -> Macaroon {
    Macaroon::new(&std::fs::read(&info.macaroon).unwrap())
}

pub async fn router(info: &NodeInfo) -> Router {
    RouterClient::with_interceptor(channel(info).await, admin(info))
}

pub async fn lightning(info: &NodeInfo) -> Lightning {
    LightningClient::with_interceptor(channel(info).await, admin(info))
}

/// A fleet in a directory that goes with it.
pub struct Scratch {
    pub fleet: Fleet,
    pub dir: tempfile::TempDir,
}

pub fn config(dir: &std::path::Path, knobs: Knobs) -> FleetConfig {
    FleetConfig {
        nodes: 2,
        channels: 2,
        channel_capacity_sat: 10_000_000,
        seed: 5,
        dir: dir.to_owned(),
        knobs,
        ..FleetConfig::default()
    }
}

pub async fn fleet(knobs: Knobs) -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(config(dir.path(), knobs)).await.unwrap();
    Scratch { fleet, dir }
}

/// Asks again and again until the answer is yes; only a failing test waits for long.
pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !ask().await {
        assert!(Instant::now() < patience, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Invoices of the factory of 1,000 sat each.
pub fn invoices(count: usize) -> Vec<Invoice> {
    make_invoices(&InvoiceOrder { seed: 5, count, ..InvoiceOrder::default() }).unwrap()
}

pub fn send_request(bolt11: &str) -> SendPaymentRequest {
    SendPaymentRequest {
        payment_request: bolt11.to_owned(),
        timeout_seconds: 30,
        fee_limit_msat: 1_000_000,
        max_parts: 1,
        ..SendPaymentRequest::default()
    }
}

/// Sends and collects all messages as `STATUS` or `STATUS/REASON`, and the error at the end.
pub async fn send(
    router: &mut Router,
    request: impl tonic::IntoRequest<SendPaymentRequest>,
) -> String {
    match router.send_payment_v2(request).await {
        Ok(response) => collect(response.into_inner()).await,
        Err(status) => ending(&status),
    }
}

pub async fn pay(router: &mut Router, invoice: &Invoice) -> String {
    send(router, send_request(&invoice.bolt11)).await
}

pub async fn track(router: &mut Router, payment_hash: [u8; 32]) -> String {
    let request = TrackPaymentRequest {
        payment_hash: payment_hash.to_vec(),
        ..TrackPaymentRequest::default()
    };
    match router.track_payment_v2(request).await {
        Ok(response) => collect(response.into_inner()).await,
        Err(status) => ending(&status),
    }
}

/// The first message of Track alone.
pub async fn track_now(router: &mut Router, payment_hash: [u8; 32]) -> String {
    let request = TrackPaymentRequest {
        payment_hash: payment_hash.to_vec(),
        ..TrackPaymentRequest::default()
    };
    match router.track_payment_v2(request).await {
        Ok(response) => text(&response.into_inner().message().await.unwrap().unwrap()),
        Err(status) => ending(&status),
    }
}

/// All messages that are left, and the error at the end.
pub async fn collect(mut stream: tonic::Streaming<lnrpc::Payment>) -> String {
    let mut texts: Vec<String> = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(payment)) => texts.push(text(&payment)),
            Ok(None) => return texts.join(" "),
            Err(status) => {
                texts.push(ending(&status));
                return texts.join(" ");
            }
        }
    }
}

pub fn text(payment: &lnrpc::Payment) -> String {
    match payment.status() {
        PaymentStatus::Failed => format!("FAILED/{}", payment.failure_reason().as_str_name()),
        other => other.as_str_name().to_owned(),
    }
}

pub fn ending(status: &Status) -> String {
    match status.code() {
        // However a cut stream is reported, it says nothing about the payment.
        Code::Internal | Code::Cancelled | Code::Unavailable => "CUT".into(),
        Code::Unknown if status.message().contains("h2") => "CUT".into(),
        code => format!("{code:?}: {}", status.message()),
    }
}
