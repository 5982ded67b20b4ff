//! The run log, read as anybody could: lines of JSON.
//!
//! On purpose it shares nothing with the reader that the runs themselves use.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::Deserialize;

use super::Unreadable;

/// What a line says, as far as it matters.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    pub(super) url: String,
    pub(super) outcome: String,
    pub(super) path: Option<String>,
    bytes: Option<u64>,
    sha256: Option<String>,
    error: Option<Problem>,
}

#[derive(Clone, Debug, Deserialize)]
struct Problem {
    kind: String,
    message: String,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Of each URL, in their order.
    pub(super) lines: BTreeMap<String, Vec<Line>>,
    /// Those that say nothing, in words.
    pub(super) problems: Vec<String>,
}

impl Line {
    pub(super) fn is_stored(&self) -> bool {
        self.outcome == "stored"
    }

    /// Whether nothing may follow: one that failed is tried again by the next run.
    pub(super) fn is_final(&self) -> bool {
        self.is_stored() || self.outcome == "quarantined"
    }

    /// Whether it records these bytes.
    pub(super) fn agrees(&self, bytes: u64, sha256: &[u8; 32]) -> bool {
        self.bytes == Some(bytes) && self.sha256.as_ref() == Some(&HEXLOWER.encode(sha256))
    }

    /// What it says of a failure.
    pub(super) fn problem(&self) -> String {
        self.error.as_ref().map_or_else(
            || "no reason given".to_owned(),
            |error| format!("{}: {}", error.kind, error.message),
        )
    }
}

/// Reads a run log; one that does not exist is empty.
pub(super) fn read(path: &Path) -> Result<Records, Unreadable> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Records::default()),
        Err(source) => {
            let path = path.display().to_string();
            return Err(Unreadable { path, source });
        }
    };
    let mut records = Records::default();
    for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        if !line.ends_with(b"\n") {
            // A run that ends by itself leaves none.
            let problem = format!("line {number} of the run log is torn");
            records.problems.push(problem);
            continue;
        }
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => records
                .lines
                .entry(line.url.clone())
                .or_default()
                .push(line),
            Err(error) => {
                let problem = format!("line {number} of the run log: {error}");
                records.problems.push(problem);
            }
        }
    }
    Ok(records)
}
