//! TLS to an lnd: its own certificate is pinned, byte for byte; one that an operator's authority
//! issued is verified the usual way.
//!
//! lnd's own certificate calls itself an authority, which rustls refuses from a server. Being the
//! pinned one is a stronger proof than any chain, so names and dates are not looked at then; that
//! the server holds the key is still verified.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// The certificate file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// There is no certificate in it.
    #[error("no certificate in the file")]
    Missing,
    /// It is damaged.
    #[error("the certificate file cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// rustls refuses it.
    #[error("the certificate cannot be used")]
    Tls(#[source] rustls::Error),
}

/// What a client needs to speak HTTP/2 over TLS with the node whose certificate file (`tls.cert`,
/// PEM) this is. Further certificates in the file, and the first one too, count as authorities.
pub fn client_config(tls_cert_pem: &[u8]) -> Result<Arc<ClientConfig>, CertificateFault> {
    let certificates = CertificateDer::pem_slice_iter(tls_cert_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(CertificateFault::Pem)?;
    let pinned = certificates.first().cloned().ok_or(CertificateFault::Missing)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(certificates);
    let issued =
        WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
            .build()
            .ok();
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CertificateFault::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { pinned, issued, algorithms }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Verifier {
    pinned: CertificateDer<'static>,
    /// `None` when no certificate of the file can be an authority.
    issued: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.pinned {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.issued {
            Some(issued) => {
                issued.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::{
        ClientConnection, ConnectionCommon, ServerConfig, ServerConnection,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    };

    /// A certificate as lnd makes it, an authority and a server in one, and its key.
    fn lnds_own() -> (CertificateParams, rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (params, certificate, key)
    }

    /// Whether a client that was given `pem` shakes hands with a server at `name`.
    fn shakes_hands(pem: &str, name: &str, server: &rcgen::Certificate, key: &KeyPair) -> bool {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], key)
            .unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client =
            ClientConnection::new(client_config(pem.as_bytes()).unwrap(), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            if !(moved(&mut client, &mut server) && moved(&mut server, &mut client)) {
                return false;
            }
        }
        true
    }

    /// Moves what `from` has to say to `to`; false when `to` does not like it.
    fn moved<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) -> bool {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            to.read_tls(&mut rest).unwrap();
            if to.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn lnds_own_certificate_is_pinned_whatever_the_name() {
        let (_, certificate, key) = lnds_own();
        assert!(shakes_hands(&certificate.pem(), "localhost", &certificate, &key));
        assert!(shakes_hands(&certificate.pem(), "10.0.0.7", &certificate, &key));
        let (_, another, anothers_key) = lnds_own();
        assert!(!shakes_hands(&certificate.pem(), "localhost", &another, &anothers_key));
    }

    #[test]
    fn an_issued_certificate_is_verified() {
        let (authority, authority_certificate, authority_key) = lnds_own();
        let issuer = Issuer::new(authority, authority_key);
        let params = CertificateParams::new(vec!["node.example".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let issued = params.signed_by(&key, &issuer).unwrap();
        let pem = authority_certificate.pem();
        assert!(shakes_hands(&pem, "node.example", &issued, &key));
        assert!(!shakes_hands(&pem, "other.example", &issued, &key));
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        assert!(matches!(client_config(b""), Err(CertificateFault::Missing)));
        let damaged = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert!(matches!(client_config(damaged), Err(CertificateFault::Pem(_))));
    }
}
