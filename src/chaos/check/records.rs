//! Reads the run log as any other program could: as lines of JSON.
//!
//! It deliberately shares no code with the reader that the runs use.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::Deserialize;

use super::Unreadable;

/// A line; only the fields that are needed.
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
    /// By URL, in the order of the log.
    pub(super) lines: BTreeMap<String, Vec<Line>>,
    /// Descriptions of the lines that are not records.
    pub(super) problems: Vec<String>,
}

impl Line {
    pub(super) fn is_stored(&self) -> bool {
        self.outcome == "stored"
    }

    /// Returns whether no other line may follow. The next run retries a URL that failed.
    pub(super) fn is_final(&self) -> bool {
        self.is_stored() || self.outcome == "quarantined"
    }

    /// Returns whether the line records these bytes.
    pub(super) fn agrees(&self, bytes: u64, sha256: &[u8; 32]) -> bool {
        self.bytes == Some(bytes) && self.sha256.as_ref() == Some(&HEXLOWER.encode(sha256))
    }

    /// Returns the recorded failure.
    pub(super) fn problem(&self) -> String {
        self.error.as_ref().map_or_else(
            || "no reason given".to_owned(),
            |error| format!("{}: {}", error.kind, error.message),
        )
    }
}

/// Reads a run log. One that does not exist is empty.
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
            // A run that exits normally leaves no torn line.
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
