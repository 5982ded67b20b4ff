//! What earlier runs recorded, for the run that finishes their work.
//!
//! Resume goes by URL, and by the name that the list gives its file; never by position: the list
//! may have been sorted, cut or extended since. The run log is only read here, once, before the run
//! begins.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::ledger::{Ledger, LedgerError};
use super::log::{self, Brief, LineProblem, LogError, LogReader, Outcome, Record};
use crate::input::{Target, UrlKey};

/// What earlier runs recorded of each task: the latest record counts. Some ten bits of memory for
/// each, and a temporary file once there are many.
#[derive(Debug)]
pub struct Index {
    tasks: Ledger<{ State::BYTES }>,
    /// The key of the URL whose file a place holds, where the place does not tell by itself.
    owners: Ledger<{ UrlKey::BYTES }>,
    unreadable: u64,
    first_problem: Option<LineProblem>,
    /// The run log, if stored files are looked up in it.
    log: Option<(File, PathBuf)>,
}

/// What is kept of the record of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What tells whether the file is still in place.
    Size,
    /// Where the record is in the log, so that all of it can be read when it is asked for. That a
    /// task failed later takes nothing from it: its file stays where it is.
    Place,
}

/// How an earlier run finished a task. One that failed is not finished: it is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Its file was put in place.
    Stored {
        /// With this size.
        bytes: u64,
        /// The first eight bytes of its SHA-256.
        sha256: [u8; 8],
    },
    /// The same, as the record says that begins behind so many bytes of the run log
    /// ([`Detail::Place`]).
    Recorded {
        /// So many.
        at: u64,
    },
    /// It killed its workers.
    Quarantined,
}

/// Why an index cannot be made, or asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The run log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was read of it cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a log from anywhere cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// What was read of it cannot be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A size below 2^48 - 2, in big endian, or one of two words; and the start of the SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State([u8; Self::BYTES]);

impl State {
    const SIZE: usize = 6;
    const BYTES: usize = Self::SIZE + 8;
    const QUARANTINED: [u8; Self::SIZE] = [0xFF; Self::SIZE];
    const FAILED: [u8; Self::SIZE] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE];

    /// The record of a stored file is at this place. One that does not fit is done again.
    fn recorded(at: u64) -> Self {
        match at.to_be_bytes() {
            [0, 0, at @ ..] if at < Self::FAILED => Self::word(at),
            _ => Self::word(Self::FAILED),
        }
    }

    /// What a record says, or `None` if it says nothing of the task.
    fn of(record: &Brief<'_>) -> Option<Self> {
        match record.outcome {
            Outcome::Stored | Outcome::Unchanged => Some(Self::stored(record)),
            Outcome::Quarantined => Some(Self::word(Self::QUARANTINED)),
            Outcome::Failed => Some(Self::word(Self::FAILED)),
            // The other task of that URL has its own record.
            Outcome::Duplicate => None,
        }
    }

    /// A file without size, or of a size that no file has, was not stored by us: do it again.
    fn stored(record: &Brief<'_>) -> Self {
        let size = match record.bytes.map(u64::to_be_bytes) {
            Some([0, 0, size @ ..]) if size != Self::QUARANTINED => size,
            Some(_) | None => Self::FAILED,
        };
        let mut state = Self::word(size);
        if let Some(digest) = &record.sha256 {
            let (_, sha256) = state.0.split_at_mut(Self::SIZE);
            sha256.copy_from_slice(&digest.0[..sha256.len()]);
        }
        state
    }

    fn word(word: [u8; Self::SIZE]) -> Self {
        let mut state = [0; Self::BYTES];
        state[..Self::SIZE].copy_from_slice(&word);
        Self(state)
    }

    fn earlier(self, detail: Detail) -> Option<Earlier> {
        let [a, b, c, d, e, f, sha256 @ ..] = self.0;
        match [a, b, c, d, e, f] {
            Self::QUARANTINED => Some(Earlier::Quarantined),
            Self::FAILED => None,
            [a, b, c, d, e, f] if detail == Detail::Place => Some(Earlier::Recorded {
                at: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            }),
            [a, b, c, d, e, f] => Some(Earlier::Stored {
                bytes: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
                sha256,
            }),
        }
    }
}

impl Index {
    /// Nothing was recorded. Temporary files, if there must be any, are made in `folder`.
    #[must_use]
    pub fn empty(folder: PathBuf) -> Self {
        Self {
            tasks: Ledger::new(folder.clone()),
            owners: Ledger::new(folder),
            unreadable: 0,
            first_problem: None,
            log: None,
        }
    }

    /// Reads a run log; one that does not exist is empty. Temporary files are made beside it. `detail`
    /// is what is kept of each stored file; both take as much memory.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or not be read to its end; or there is no room for what it says. Lines
    /// that are not records are only counted.
    pub fn load(results: &Path, detail: Detail) -> Result<Self, IndexError> {
        let folder = results.parent().unwrap_or(results).to_owned();
        let reader = match LogReader::open(results) {
            Ok(reader) => reader,
            Err(LogError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::empty(folder));
            }
            Err(error) => return Err(error.into()),
        };
        let mut index = Self::empty(folder);
        if detail == Detail::Place {
            let path = results.to_owned();
            let opened = File::open(results);
            let log = opened.map_err(|source| LogError::Read { path, source })?;
            index.log = Some((log, results.to_owned()));
        }
        index.fill(reader).map_err(|error| match error {
            ReadError::Read(source) => {
                let path = results.to_owned();
                LogError::Read { path, source }.into()
            }
            ReadError::Ledger(error) => error.into(),
        })
    }

    /// Reads a run log from anywhere.
    ///
    /// # Errors
    ///
    /// It cannot be read to its end, or there is no room in `folder` for what it says.
    pub fn read<R: Read>(reader: LogReader<R>, folder: PathBuf) -> Result<Self, ReadError> {
        Self::empty(folder).fill(reader)
    }

    fn fill<R: Read>(mut self, mut reader: LogReader<R>) -> Result<Self, ReadError> {
        while let Some(record) = reader.next_brief_at() {
            match record {
                Ok((at, record)) => self.add(&record, at)?,
                Err(LineProblem::Read { source, .. }) => return Err(source.into()),
                Err(problem @ (LineProblem::NotARecord { .. } | LineProblem::TooLong { .. })) => {
                    self.unreadable += 1;
                    self.first_problem.get_or_insert(problem);
                }
            }
        }
        self.tasks.seal()?;
        self.owners.seal()?;
        Ok(self)
    }

    fn detail(&self) -> Detail {
        match self.log {
            Some(_) => Detail::Place,
            None => Detail::Size,
        }
    }

    fn add(&mut self, record: &Brief<'_>, at: u64) -> Result<(), LedgerError> {
        let Some(mut state) = State::of(record) else {
            return Ok(());
        };
        let url = UrlKey::of(&record.url);
        let key = match record.out() {
            Some(out) => UrlKey::of_named(&record.url, out),
            None => url,
        };
        if self.detail() == Detail::Place {
            match record.outcome {
                Outcome::Stored | Outcome::Unchanged => state = State::recorded(at),
                // The file of before is still there, and so is what is known of it.
                Outcome::Failed if matches!(self.state(&key)?, Some(Earlier::Recorded { .. })) => {
                    return Ok(());
                }
                Outcome::Failed | Outcome::Quarantined | Outcome::Duplicate => {}
            }
        }
        self.tasks.insert(*key.as_bytes(), state.0)?;
        // A place that holds its URL's key belongs to no other URL.
        if let Some(path) = record.path()
            && (record.out().is_some() || !path.contains(&url.to_string()))
        {
            let place = *UrlKey::of(path).as_bytes();
            self.owners.insert(place, *url.as_bytes())?;
        }
        Ok(())
    }

    /// How an earlier run finished the task with this key.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn state(&self, key: &UrlKey) -> Result<Option<Earlier>, LedgerError> {
        let state = self.tasks.get(key.as_bytes())?;
        Ok(state.and_then(|state| State(state).earlier(self.detail())))
    }

    /// The record of the target's file at this place of the run log; nothing if there is another
    /// one, or none.
    ///
    /// # Errors
    ///
    /// If the run log cannot be read.
    pub fn record(&self, at: u64, target: &Target) -> Result<Option<Record>, LogError> {
        let Some((log, path)) = &self.log else {
            return Ok(None);
        };
        let record = log::record_at(log, at).map_err(|source| LogError::Read {
            path: path.clone(),
            source,
        })?;
        Ok(record.filter(|record| {
            record.url == target.url && record.path.as_deref() == Some(&*target.path)
        }))
    }

    /// Whether the target's place holds a file that an earlier run stored for another URL.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn is_taken(&self, target: &Target, output: &Path) -> Result<bool, LedgerError> {
        let place = UrlKey::of(&target.path);
        let owner = self.owners.get(place.as_bytes())?;
        Ok(
            owner.is_some_and(|owner| owner != *UrlKey::of(&target.url).as_bytes())
                && output.join(&target.path).symlink_metadata().is_ok(),
        )
    }

    /// How many lines of the log are not records. What they said is done again.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// What is wrong with the first of them.
    #[must_use]
    pub fn first_problem(&self) -> Option<&LineProblem> {
        self.first_problem.as_ref()
    }
}

/// The file that an earlier run stored with this size and hash, if it is still in the target's place,
/// and is what the list says it must be. One system call.
#[must_use]
pub fn in_place(target: &Target, bytes: u64, sha256: [u8; 8], output: &Path) -> Option<Metadata> {
    if let Some(extra) = &target.extra
        && (extra.size.is_some_and(|size| size != bytes)
            || extra.sha256.is_some_and(|wanted| wanted[..8] != sha256))
    {
        return None;
    }
    // A link has not been put there by us.
    let metadata = fs::symlink_metadata(output.join(&target.path)).ok()?;
    (metadata.is_file() && metadata.len() == bytes).then_some(metadata)
}

#[cfg(test)]
mod tests;
