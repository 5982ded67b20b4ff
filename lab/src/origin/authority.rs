//! The certificate authority of one origin: real TLS for every name, trusted only for this origin.
//!
//! The key of the CA is created at the start and never leaves the process, neither to disk nor to
//! the coordinator; clients receive only the certificate. This module must not know what is served.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::recent::Recent;

/// Number of names in one generation of kept certificates; two generations are kept. To sign
/// another costs some 30 microseconds.
const CERTIFICATES: usize = 4096;

/// Time before now from which a certificate is valid: a clock may be a day wrong.
const BEFORE: Duration = Duration::from_secs(24 * 60 * 60);

/// Time after now until which it is valid: longer than any run.
const AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A CA and the certificates that it has signed.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    config: Arc<ServerConfig>,
}

/// Reason why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key or certificate cannot be created.
    #[error("cannot make a certificate for the simulated network")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library does not accept the key or certificate.
    #[error("cannot set up TLS for the simulated network")]
    Tls(#[from] rustls::Error),
    /// The system clock is wrong.
    #[error("cannot date a certificate: set the system clock, which is before 1970")]
    Clock(#[from] std::time::SystemTimeError),
}

impl Authority {
    /// Creates a CA and its key, valid from a day ago for about a week.
    ///
    /// A client that names no host, because its URL contains an address instead (RFC 6066, section
    /// 3), gets a certificate for `addresses`.
    ///
    /// # Errors
    ///
    /// Fails if a key or certificate cannot be created.
    pub fn new(addresses: &[IpAddr]) -> Result<Self, AuthorityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let names = Names::new(addresses, &provider)?;
        let pem = names.issuer.pem();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(names));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            pem,
            config: Arc::new(config),
        })
    }

    /// Returns the certificate of the CA, as PEM text.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the configuration of a TLS server: HTTP/1.1 only, with a certificate for any name.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// A certificate for one server, from a CA of its own, all as PEM text.
#[derive(Debug)]
pub struct ServerCertificate {
    /// The CA's certificate, for clients.
    pub ca_pem: String,
    /// The server's certificate.
    pub pem: String,
    /// The server's private key.
    pub key_pem: String,
}

impl ServerCertificate {
    /// Makes a certificate for these addresses, valid as long as those of an [`Authority`].
    ///
    /// # Errors
    ///
    /// Fails if keys or certificates cannot be made.
    pub fn new(addresses: &[IpAddr]) -> Result<Self, AuthorityError> {
        let (issuer, key) = (issuer()?, KeyPair::generate()?);
        let names = addresses.iter().copied().map(SanType::IpAddress).collect();
        let certificate = server_params(names, 1)?.signed_by(&key, &issuer)?;
        Ok(Self {
            ca_pem: issuer.pem(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// Signs a certificate when a name is first requested.
#[derive(Debug)]
struct Names {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// One key for all names. Only the signature costs time, and all belong to one server.
    key: KeyPair,
    signing: Arc<dyn rustls::sign::SigningKey>,
    nameless: Arc<CertifiedKey>,
    signed: Mutex<Signed>,
}

#[derive(Debug)]
struct Signed {
    certificates: Recent<String, Arc<CertifiedKey>>,
    /// The next serial number, unique within one CA (RFC 5280, section 4.1.2.2).
    serial: u64,
}

impl Names {
    fn new(addresses: &[IpAddr], provider: &CryptoProvider) -> Result<Self, AuthorityError> {
        let (issuer, key) = (issuer()?, KeyPair::generate()?);
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = provider.key_provider.load_private_key(private)?;
        let names = addresses.iter().copied().map(SanType::IpAddress).collect();
        let nameless = sign(&issuer, &key, &signing, names, 1)?;
        Ok(Self {
            issuer,
            key,
            signing,
            nameless,
            signed: Mutex::new(Signed {
                certificates: Recent::new(CERTIFICATES),
                serial: 2,
            }),
        })
    }

    fn certificate(&self, name: &str) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(certificate) = signed.certificates.get_mut(name) {
            return Ok(Arc::clone(certificate));
        }
        let names = vec![SanType::DnsName(name.try_into()?)];
        let certificate = sign(&self.issuer, &self.key, &self.signing, names, signed.serial)?;
        signed.serial += 1;
        signed
            .certificates
            .insert(name.to_owned(), Arc::clone(&certificate));
        Ok(certificate)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = hello.server_name() else {
            return Some(Arc::clone(&self.nameless));
        };
        self.certificate(name)
            .inspect_err(|error| {
                tracing::warn!(
                    name,
                    error = error as &dyn std::error::Error,
                    "no certificate"
                );
            })
            .ok()
    }
}

fn sign(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    key: &KeyPair,
    signing: &Arc<dyn rustls::sign::SigningKey>,
    names: Vec<SanType>,
    serial: u64,
) -> Result<Arc<CertifiedKey>, AuthorityError> {
    let certificate = server_params(names, serial)?.signed_by(key, issuer)?;
    Ok(Arc::new(CertifiedKey::new(
        vec![certificate.into()],
        Arc::clone(signing),
    )))
}

fn issuer() -> Result<CertifiedIssuer<'static, KeyPair>, AuthorityError> {
    let mut params = params("coordinator simulated network")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn server_params(names: Vec<SanType>, serial: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = params("coordinator simulated server")?;
    params.subject_alt_names = names;
    params.serial_number = Some(SerialNumber::from(serial));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(common_name: &str) -> Result<CertificateParams, AuthorityError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = epoch + now.saturating_sub(BEFORE);
    params.not_after = epoch + now + AFTER;
    Ok(params)
}
