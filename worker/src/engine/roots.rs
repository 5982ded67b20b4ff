//! Trusted certificates, and the client's own.
//!
//! Must not verify a certificate: rustls does.

use std::fs;

use protocol::{Identity, Trust};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::SetupError;

/// Trusted certificates.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) roots: RootCertStore,
    /// Certificates from the user. A server may also present one of them as its own.
    pub(super) given: Vec<CertificateDer<'static>>,
}

/// Returns the certificates that `trust` refers to.
pub(super) fn roots(trust: &Trust) -> Result<Trusted, SetupError> {
    let certificates = match trust {
        Trust::WebRoots => {
            let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
            return Ok(Trusted {
                roots: RootCertStore { roots },
                given: Vec::new(),
            });
        }
        Trust::System => system()?,
        Trust::File(path) => {
            let file = path.to_string_lossy().into_owned();
            match fs::read(path) {
                Ok(pem) => certificates(&pem, &file)?,
                Err(cause) => return Err(SetupError::TrustFile { file, cause }),
            }
        }
        Trust::Pem(pem) => certificates(pem.as_bytes(), "the given text")?,
    };
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be roots are left out.
    roots.add_parsable_certificates(certificates.iter().cloned());
    let given = match trust {
        Trust::File(_) | Trust::Pem(_) => certificates,
        Trust::WebRoots | Trust::System => Vec::new(),
    };
    Ok(Trusted { roots, given })
}

/// Returns the certificates that the operating system trusts. Unreadable files are ignored as long
/// as other certificates can be read.
fn system() -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let cause = loaded
            .errors
            .first()
            .map_or_else(|| "there is none".to_owned(), ToString::to_string);
        return Err(SetupError::Certificates {
            place: "the system's store".to_owned(),
            cause,
        });
    }
    Ok(loaded.certs)
}

fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let refused = |cause: String| SetupError::Certificates {
        place: place.to_owned(),
        cause,
    };
    // A bundle may also contain other items.
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| refused(error.to_string()))?;
    if found.is_empty() {
        return Err(refused(
            "nothing between BEGIN and END CERTIFICATE".to_owned(),
        ));
    }
    Ok(found)
}

/// Returns the certificates and the key that a client presents.
pub(super) fn identity(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SetupError> {
    let certificates = certificates(identity.certificates.as_bytes(), "--cert")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
    let key = key.map_err(|error| SetupError::Certificates {
        place: "--key".to_owned(),
        cause: error.to_string(),
    })?;
    Ok((certificates, key))
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
            let refused = roots(&Trust::Pem(pem.to_owned()));
            assert!(
                matches!(refused, Err(SetupError::Certificates { .. })),
                "{pem:?}"
            );
        }
        let missing = roots(&Trust::File("/nonexistent/ca.pem".into()));
        assert!(matches!(missing, Err(SetupError::TrustFile { .. })));
    }
}
