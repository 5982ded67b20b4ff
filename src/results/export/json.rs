//! Exports everything as one JSON document: the figures, then `records`, each as in the run log.

use std::io::{self, Write};

use super::Out;
use crate::results::ResultsError;
use crate::results::summary::Summary;
use crate::run::log::Record;

/// Writes records as JSON.
#[derive(Debug)]
pub struct Json {
    out: Out,
    records: u64,
}

impl Json {
    /// Creates an export that has not written anything yet.
    #[must_use]
    pub const fn new(out: Out) -> Self {
        Self { out, records: 0 }
    }

    pub(super) fn begin(&mut self, summary: &Summary) -> Result<(), ResultsError> {
        let mut write = || -> io::Result<()> {
            let figures = serde_json::to_string_pretty(summary)?;
            // The document consists of the figures and one more key.
            let open = figures.trim_end().trim_end_matches('}').trim_end();
            write!(self.out, "{open},\n  \"records\": [")
        };
        write().map_err(|error| self.out.failed(error))
    }

    pub(super) fn add(&mut self, record: &Record) -> Result<(), ResultsError> {
        let mut write = || -> io::Result<()> {
            let comma = if self.records > 0 { "," } else { "" };
            write!(self.out, "{comma}\n    ")?;
            Ok(serde_json::to_writer(&mut self.out, record)?)
        };
        write().map_err(|error| self.out.failed(error))?;
        self.records += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), ResultsError> {
        if let Err(error) = writeln!(self.out, "\n  ]\n}}") {
            return Err(self.out.failed(error));
        }
        self.out.finish()
    }
}
