//! Whose certificates are trusted.
//!
//! It must not judge a certificate: that is rustls's.

use std::fs;
use std::sync::Arc;

use protocol::Trust;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use super::SetupError;

/// The certificates that are trusted, the same for every engine: these, or else the compiled-in
/// ones of Mozilla's programme.
#[derive(Clone, Debug)]
pub(crate) struct Roots(Option<Arc<Vec<Certificate<'static>>>>);

impl Roots {
    /// What `trust` says.
    pub(super) fn new(trust: &Trust) -> Result<Self, SetupError> {
        let given = match trust {
            Trust::WebRoots => None,
            Trust::File(path) => {
                let file = path.to_string_lossy().into_owned();
                match fs::read(path) {
                    Ok(pem) => Some(certificates(&pem, &file)?),
                    Err(cause) => return Err(SetupError::TrustFile { file, cause }),
                }
            }
            Trust::Pem(pem) => Some(certificates(pem.as_bytes(), "the given text")?),
        };
        Ok(Self(given.map(Arc::new)))
    }

    /// In the form that ureq takes.
    pub(super) fn for_ureq(&self) -> RootCerts {
        match &self.0 {
            Some(certificates) => RootCerts::Specific(Arc::clone(certificates)),
            None => RootCerts::WebPki,
        }
    }

    /// In the form that rustls takes; the same certificates as ureq makes of the other form.
    pub(super) fn for_rustls(&self) -> RootCertStore {
        let Some(certificates) = &self.0 else {
            return RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            };
        };
        let mut store = RootCertStore::empty();
        let certificates = certificates.iter();
        // Like ureq: what cannot be a root after all is left out.
        store.add_parsable_certificates(
            certificates.map(|certificate| CertificateDer::from(certificate.der())),
        );
        store
    }
}

fn certificates(pem: &[u8], place: &str) -> Result<Vec<Certificate<'static>>, SetupError> {
    let refused = |cause: String| SetupError::Certificates {
        place: place.to_owned(),
        cause,
    };
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            // A bundle may hold other things as well.
            Ok(_) => {}
            Err(error) => return Err(refused(error.to_string())),
        }
    }
    if found.is_empty() {
        return Err(refused(
            "nothing between BEGIN and END CERTIFICATE".to_owned(),
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_are_none_are_refused_before_any_task() {
        for pem in [
            "",
            "no pem at all",
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
        ] {
            let refused = Roots::new(&Trust::Pem(pem.to_owned()));
            assert!(
                matches!(refused, Err(SetupError::Certificates { .. })),
                "{pem:?}"
            );
        }
        let missing = Roots::new(&Trust::File("/nonexistent/ca.pem".into()));
        assert!(matches!(missing, Err(SetupError::TrustFile { .. })));
    }
}
