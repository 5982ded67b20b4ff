//! Engines: what drives a [`Transfer`](crate::Transfer) over real sockets and files.
//!
//! An engine must not decide what a response means: that is the transfer's.

mod blocking;
mod connector;
mod error;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol::{Assignment, Failure, Setup, Stored, Timestamp, Trust};
use ureq::tls::{PemItem, RootCerts, parse_pem};
use ureq::unversioned::transport::RustlsConnector;

pub use crate::activity::Activity;
use crate::resolver::Resolver;
use crate::store::Store;
pub use blocking::BlockingEngine;

/// Downloads one task at a time. Each slot has its own.
pub trait Engine {
    /// Downloads the task, and says in `activity` how it goes.
    ///
    /// # Errors
    ///
    /// The nack.
    fn download(
        &mut self,
        assignment: &Assignment,
        activity: &Activity,
    ) -> Result<Box<Stored>, Box<Failure>>;
}

/// What all engines of a worker have in common.
#[derive(Debug)]
pub struct Shared {
    pub(crate) options: protocol::HttpOptions,
    pub(crate) spans: bool,
    pub(crate) cpu_per_task: Duration,
    pub(crate) store: Arc<Store>,
    pub(crate) resolver: Resolver,
    pub(crate) roots: RootCerts,
    /// Builds its TLS configuration with the first connection that needs one, and keeps what
    /// resumes sessions.
    pub(crate) tls: RustlsConnector,
}

/// Why a worker cannot work as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The folders of the setup are not usable.
    #[error("cannot store anything: {0}")]
    Store(#[source] std::io::Error),
    /// The file with certificates cannot be read.
    #[error("cannot read certificates from {file}: {cause}")]
    TrustFile {
        /// The file.
        file: String,
        /// Why.
        cause: std::io::Error,
    },
    /// What should be certificates is not.
    #[error("{place} holds no usable certificate: {cause}")]
    Certificates {
        /// Where they come from.
        place: String,
        /// Why.
        cause: String,
    },
}

impl Shared {
    /// Opens the folders and reads the certificates that `setup` names.
    ///
    /// # Errors
    ///
    /// If one of them is not usable.
    pub fn new(setup: &Setup) -> Result<Self, SetupError> {
        let store = Store::new(Path::new(&setup.output), Path::new(&setup.partial))
            .map_err(SetupError::Store)?;
        Ok(Self {
            options: setup.http.clone(),
            spans: setup.spans,
            cpu_per_task: setup.cpu_per_task,
            store: Arc::new(store),
            resolver: Resolver::new(&setup.http),
            roots: roots(&setup.http.trust)?,
            tls: RustlsConnector::default(),
        })
    }
}

fn roots(trust: &Trust) -> Result<RootCerts, SetupError> {
    match trust {
        Trust::WebRoots => Ok(RootCerts::WebPki),
        Trust::File(path) => {
            let file = path.to_string_lossy().into_owned();
            match fs::read(path) {
                Ok(pem) => certificates(&pem, &file),
                Err(cause) => Err(SetupError::TrustFile { file, cause }),
            }
        }
        Trust::Pem(pem) => certificates(pem.as_bytes(), "the given text"),
    }
}

fn certificates(pem: &[u8], place: &str) -> Result<RootCerts, SetupError> {
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
    Ok(RootCerts::Specific(Arc::new(found)))
}

/// The time of day. Before 1970 is not a time that a computer with a network has.
pub(crate) fn timestamp(now: SystemTime) -> Timestamp {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
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
