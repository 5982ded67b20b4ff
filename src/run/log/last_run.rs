//! How the last run in a folder ended: `run.json`, written when a run begins and when it ends.
//!
//! It is for people. No run depends on it, and values that cannot be read count as unknown.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{Layout, Moment, now};
use crate::folder::{OwnFolder, StateError};

/// Its name in the folder of the run log.
pub(in crate::run) const RUN: &str = "run.json";

/// Version of the format, increased when a key changes its meaning.
const VERSION: u32 = 1;

/// Maximum number of bytes that are read.
const MOST: u64 = 4096;

/// The last run in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    v: u32,
    /// The process id of the run.
    pid: u32,
    /// When it began.
    started: Moment,
    /// When it ended, if it did.
    ended: Option<Moment>,
    /// How it ended.
    ending: Option<LastEnding>,
    /// Number of URLs left; `None` if it did not read its lists to the end.
    left: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastEnding {
    /// It finished all tasks.
    Completed,
    /// A signal ended it.
    Interrupted,
    /// It stopped because it could not continue.
    GivenUp,
}

impl LastRun {
    /// Creates the entry for a run of this process that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            v: VERSION,
            pid: std::process::id(),
            started: now(),
            ended: None,
            ending: None,
            left: None,
        }
    }

    /// Returns the same entry with its end, which is now.
    #[must_use]
    pub fn end(self, ending: LastEnding, left: Option<u64>) -> Self {
        Self {
            ended: Some(now()),
            ending: Some(ending),
            left,
            ..self
        }
    }

    /// Writes it over the one before.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn write(&self, own: &OwnFolder) -> Result<(), StateError> {
        let mut file = own.open(RUN, OFlags::empty())?;
        let write = || {
            let mut line = serde_json::to_string(self)?;
            line.push('\n');
            file.set_len(0)?;
            file.write_all(line.as_bytes())
        };
        let mut write = write;
        write().map_err(|source| StateError::System {
            doing: "write",
            path: own.as_folder().path().join(RUN),
            source,
        })
    }

    /// Reads it. Returns `None` if it does not exist or cannot be read.
    #[must_use]
    pub fn read(layout: &Layout) -> Option<Self> {
        let mut file = layout.open_private(RUN).ok().flatten()?;
        file.seek(SeekFrom::Start(0)).ok()?;
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text).ok()?;
        let read: Self = serde_json::from_str(&text).ok()?;
        (read.v == VERSION).then_some(read)
    }

    /// Returns a line that says how it ended and what is left.
    #[must_use]
    pub fn describe(&self) -> String {
        let left = match self.left {
            Some(0) => String::new(),
            Some(1) => "; 1 URL is left, and the same command continues".to_owned(),
            Some(left) => format!("; {left} URLs are left, and the same command continues"),
            None => {
                "; the lists were not read to their end, and the same command continues".to_owned()
            }
        };
        match self.ending {
            Some(LastEnding::Completed) => "the last run finished".to_owned(),
            Some(LastEnding::Interrupted) => format!("the last run was interrupted{left}"),
            Some(LastEnding::GivenUp) => format!("the last run gave up{left}"),
            None if self.is_going_on() => "a run is in progress".to_owned(),
            None => {
                "the last run was cut short (killed, or a power cut); the same command continues"
                    .to_owned()
            }
        }
    }

    /// Returns whether its process still runs: a process with this id and the name of this program.
    fn is_going_on(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .is_ok_and(|name| name.trim_end() == env!("CARGO_PKG_NAME"))
    }
}
