//! TLS for every engine: one configuration, made with the first connection that needs it.
//!
//! It must not connect, and judges a certificate only when it is told to take any.

use std::fmt;
use std::sync::{Arc, OnceLock};

use protocol::HttpOptions;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ALL_VERSIONS, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::SetupError;
use super::roots::roots;
use crate::route::bare;
use crate::transfer::TransportError;

/// What a server is offered to speak over TLS (RFC 7301), best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/1.1, and no word about it.
    Http1,
    /// HTTP/2 or HTTP/1.1.
    Http2,
}

/// Trust, and what resumes sessions.
pub(crate) struct Tls {
    roots: Arc<RootCertStore>,
    insecure: bool,
    http1: OnceLock<Arc<ClientConfig>>,
    http2: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// Reads the certificates that the options name.
    pub(super) fn new(options: &HttpOptions) -> Result<Self, SetupError> {
        Ok(Self {
            roots: Arc::new(roots(&options.trust)?),
            insecure: options.insecure,
            http1: OnceLock::new(),
            http2: OnceLock::new(),
        })
    }

    /// The configuration for what is offered.
    pub(super) fn config(&self, offer: Offer) -> Result<Arc<ClientConfig>, TransportError> {
        let place = match offer {
            Offer::Http1 => &self.http1,
            Offer::Http2 => &self.http2,
        };
        if let Some(config) = place.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(ALL_VERSIONS)
            .map_err(|error| TransportError::Internal(error.to_string()))?;
        let builder = if self.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            builder.with_root_certificates(Arc::clone(&self.roots))
        };
        let mut config = builder.with_no_client_auth();
        if offer == Offer::Http2 {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Arc::clone(place.get_or_init(|| Arc::new(config))))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

/// Whom a certificate must name: `host` as URLs write it.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TransportError> {
    ServerName::try_from(bare(host).to_owned())
        .map_err(|error| TransportError::Tls(error.to_string()))
}

/// Takes any certificate (`--insecure`). That its owner talks to us is still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
