//! TLS for all engines: one configuration, created with the first connection that needs it.
//!
//! Must not connect. rustls verifies certificates, with two exceptions: if any certificate is to be
//! accepted, and if a server presents a certificate that the user has given.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use protocol::HttpOptions;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ALL_VERSIONS, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error,
    PeerIncompatible, RootCertStore, SignatureScheme,
};

use super::SetupError;
use super::roots::{Trusted, identity, roots};
use crate::login::Logins;
use crate::route::bare;
use crate::transfer::{Transfer, TransportError};

/// Protocols offered to a server over TLS (RFC 7301), best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Offer {
    /// HTTP/1.1, without offering any protocol.
    Http1,
    /// HTTP/2 or HTTP/1.1.
    Http2,
}

/// Trusted certificates, and the configurations that resume sessions.
pub(crate) struct Tls {
    roots: Arc<RootCertStore>,
    given: Vec<CertificateDer<'static>>,
    insecure: bool,
    identity: Option<Shown>,
    configs: [OnceLock<Arc<ClientConfig>>; 4],
    /// Configurations with the certificate of one host.
    of_hosts: Mutex<HashMap<(String, Offer), Arc<ClientConfig>>>,
}

/// Certificates, and the key of the first.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Whether the server of a connection may receive the user's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// A server that the user's certificate is for. It is presented if the server requests it.
    Meant,
    /// Any other server.
    Others,
}

impl Audience {
    /// Returns the audience of the next request.
    pub(super) fn of(transfer: &Transfer<'_>) -> Self {
        match transfer.shows_identity() {
            true => Self::Meant,
            false => Self::Others,
        }
    }
}

impl Tls {
    /// Reads the certificates that the options name.
    pub(super) fn new(options: &HttpOptions) -> Result<Self, SetupError> {
        let Trusted { roots, given } = roots(&options.trust)?;
        Ok(Self {
            roots: Arc::new(roots),
            given,
            insecure: options.insecure,
            identity: options.login.identity.as_ref().map(identity).transpose()?,
            configs: Default::default(),
            of_hosts: Mutex::default(),
        })
    }

    /// Returns the configuration for an offer and an audience.
    pub(super) fn config(
        &self,
        offer: Offer,
        audience: Audience,
    ) -> Result<Arc<ClientConfig>, TransportError> {
        let identity = self.identity.as_ref();
        let identity = identity.filter(|_| audience == Audience::Meant);
        let place = match (offer, identity) {
            (Offer::Http1, None) => &self.configs[0],
            (Offer::Http2, None) => &self.configs[1],
            (Offer::Http1, Some(_)) => &self.configs[2],
            (Offer::Http2, Some(_)) => &self.configs[3],
        };
        if let Some(config) = place.get() {
            return Ok(Arc::clone(config));
        }
        let config = self.make(offer, identity)?;
        Ok(Arc::clone(place.get_or_init(|| config)))
    }

    /// Returns the configuration for `host`. Its own certificate has priority over that of the run.
    pub(super) fn config_of(
        &self,
        host: &str,
        logins: &Logins,
        offer: Offer,
        audience: Audience,
    ) -> Result<Arc<ClientConfig>, TransportError> {
        let login = logins.of(host);
        let Some(given) = login.as_ref().and_then(|login| login.identity.as_ref()) else {
            return self.config(offer, audience);
        };
        let mut known = self.of_hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (host.to_owned(), offer);
        if let Some(config) = known.get(&place) {
            return Ok(Arc::clone(config));
        }
        let shown = identity(given).map_err(|error| TransportError::Tls(error.to_string()))?;
        let config = self.make(offer, Some(&shown))?;
        known.insert(place, Arc::clone(&config));
        Ok(config)
    }

    fn make(
        &self,
        offer: Offer,
        identity: Option<&Shown>,
    ) -> Result<Arc<ClientConfig>, TransportError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(ALL_VERSIONS)
            .map_err(|error| TransportError::Internal(error.to_string()))?;
        let roots = Arc::clone(&self.roots);
        let usual = match self.insecure {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| TransportError::Tls(error.to_string()))?,
            ),
        };
        let verifier = Arc::new(Verifier {
            usual,
            given: self.given.clone(),
        });
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => builder
                .with_client_auth_cert(certificates.clone(), key.clone_key())
                .map_err(|error| TransportError::Tls(format!("client certificate: {error}")))?,
        };
        if offer == Offer::Http2 {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

/// Returns the name that a certificate must contain, for `host` as written in URLs.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TransportError> {
    ServerName::try_from(bare(host).to_owned())
        .map_err(|error| TransportError::Tls(error.to_string()))
}

/// Converts a handshake error. If nothing could be agreed upon, names what was offered.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "rustls's enum of errors is open, and may grow with any release"
)]
pub(super) fn explain(error: &Error) -> String {
    let offered = match error {
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server speaks neither TLS 1.2 nor TLS 1.3",
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon,
        ) => {
            "the server takes none of what is offered: TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM or \
             ChaCha20, with keys that are RSA, P-256, P-384 or Ed25519; older suites (CBC, RSA key \
             exchange) and P-521 are not"
        }
        _ => return error.to_string(),
    };
    format!("{offered} ({error})")
}

/// Accepts a certificate that the roots vouch for, and one that the user has given as a root and
/// the server presents as its own: `openssl req -x509` creates such certificates (RFC 5280 section
/// 4.2.1.9 forbids them).
#[derive(Debug)]
struct Verifier {
    /// None accepts any certificate, readable or not (`--insecure`). Anybody can then pretend to be
    /// the server, so a check that the peer owns the certificate would be useless.
    usual: Option<Arc<WebPkiServerVerifier>>,
    given: Vec<CertificateDer<'static>>,
}

/// Signature schemes offered to a server whose certificate is not verified: all of them.
const ANY_SCHEME: [SignatureScheme; 13] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::ED448,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::ECDSA_SHA1_Legacy,
    SignatureScheme::RSA_PKCS1_SHA1,
];

/// Returns whether the only error is that a root is used as a server certificate. Its dates are
/// valid in that case.
fn is_root_as_server(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(cause)) = error else {
        return false;
    };
    let cause = cause.0.downcast_ref();
    matches!(cause, Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(usual) = &self.usual else {
            return Ok(ServerCertVerified::assertion());
        };
        match usual.verify_server_cert(shown, others, name, ocsp, now) {
            Err(error) if is_root_as_server(&error) && self.given.contains(shown) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.usual {
            Some(usual) => usual.verify_tls12_signature(message, certificate, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.usual {
            Some(usual) => usual.verify_tls13_signature(message, certificate, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.usual {
            Some(usual) => usual.supported_verify_schemes(),
            None => ANY_SCHEME.to_vec(),
        }
    }
}
