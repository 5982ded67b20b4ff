//! The journal of the origin: a line of JSON for each request, in the order of their ends.
//!
//! It is evidence for the test of a client. So it records what the server did, never what a client
//! claims to have received. This module must not decide what is answered.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// One request: a line of the journal. The keys are in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When it was read, in microseconds since 1970.
    pub at_us: u64,
    /// The same moment on the monotonic clock (clock_gettime(2), `CLOCK_MONOTONIC`), in
    /// nanoseconds, for comparison with other such times on this machine.
    pub begun_ns: u64,
    /// When its answer was handed over, cut off, or abandoned by the client, on the same clock.
    pub ended_ns: u64,
    /// The method.
    pub method: String,
    /// The identity of the URL: see [`body::identity`](super::body::identity).
    pub url: String,
    /// Its `Range` field, if it has one.
    pub range: Option<String>,
    /// The fault of its answer, by its name in a spec.
    pub fault: Option<String>,
    /// The status that was sent; none if the connection ended before.
    pub status: Option<u16>,
    /// The first byte of the URL's body that was sent: 0 except for a part (206).
    pub from: u64,
    /// Bytes of the body, from there on, that were handed to the connection. The client may have
    /// read fewer.
    pub bytes: u64,
    /// Whether everything that the answer announced was handed over.
    pub complete: bool,
}

/// The file that the lines are written to.
#[derive(Debug)]
pub(super) struct Journal {
    file: Mutex<File>,
    failed: AtomicBool,
}

impl Journal {
    /// Opens `path` for appending, and creates it if necessary.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be opened.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file: Mutex::new(file),
            failed: AtomicBool::new(false),
        })
    }

    /// Writes each line with one write(2). So a concurrent reader sees whole lines, and an origin
    /// that is killed leaves all its observations.
    fn write(&self, seen: &Seen) {
        let written = serde_json::to_vec(seen)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(&line)
            });
        if let Err(error) = written
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "cannot write the journal; requests are missing from it");
        }
    }
}

/// A request that is being answered. Its line is written when this is dropped, so that none is
/// missing, however the request ends.
#[derive(Debug)]
pub(super) struct Entry {
    journal: Arc<Journal>,
    /// The known values so far.
    pub(super) seen: Seen,
}

impl Entry {
    /// Creates the entry of a request that was just read.
    pub(super) fn new(
        journal: &Arc<Journal>,
        method: &str,
        url: &str,
        range: Option<&[u8]>,
    ) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at_us = since_epoch.map_or(0, |since| since.as_micros());
        Self {
            journal: Arc::clone(journal),
            seen: Seen {
                at_us: u64::try_from(at_us).unwrap_or(u64::MAX),
                begun_ns: monotonic_ns(),
                method: method.to_owned(),
                url: url.to_owned(),
                range: range.map(|range| String::from_utf8_lossy(range).into_owned()),
                ..Seen::default()
            },
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.seen.ended_ns = monotonic_ns();
        self.journal.write(&self.seen);
    }
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Neither is ever negative.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
