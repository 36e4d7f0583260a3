//! gRPC connections to a node, apart from the adapter under test: what watches a payment must not
//! share the faults of what made it.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tower::service_fn;

use super::node::Node;

/// What lnd itself allows; tonic's own limit of 4 MiB is too small.
pub(super) const MESSAGE_MAX: usize = 200 << 20;

const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection that shows a macaroon with every call.
pub type Connection = InterceptedService<Channel, Macaroon>;

/// Adds a macaroon to every call.
#[derive(Clone, Debug)]
pub struct Macaroon(MetadataValue<Ascii>);

impl Macaroon {
    /// The macaroon in a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self> {
        let macaroon = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(Self(hex::encode(macaroon).parse()?))
    }
}

impl Interceptor for Macaroon {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("macaroon", self.0.clone());
        Ok(request)
    }
}

impl Node {
    /// A connection with all rights. All callers share one, which connects when it is first used
    /// and again when it is broken.
    ///
    /// # Errors
    ///
    /// If the node has never been ready: its certificate and macaroon are missing.
    pub fn grpc(&self) -> Result<Connection> {
        let mut shared = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = shared.as_ref() {
            return Ok(connection.clone());
        }
        let macaroon = Macaroon::from_file(&self.admin_macaroon())?;
        let channel = channel(&self.grpc_address(), &self.tls_cert())?;
        let connection = InterceptedService::new(channel, macaroon);
        Ok(shared.insert(connection).clone())
    }
}

/// Reconnects by itself. Trusts the certificate in `tls_cert` and nothing else.
fn channel(address: &str, tls_cert: &Path) -> Result<Channel> {
    let connector = TlsConnector::from(Arc::new(tls_config(tls_cert)?));
    // The scheme says only that tonic must not add its own TLS.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(CONNECT_MAX);
    let address = address.to_owned();
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    })))
}

fn tls_config(tls_cert: &Path) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = CertificateDer::from_pem_file(tls_cert).map_err(io::Error::other)?;
    let verifier = Pinned { certificate: pinned, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// lnd's certificate is its own authority (`IsCA`), which rustls refuses in a server: so it is
/// compared with the file, and only the handshake's signature is checked by rustls.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
