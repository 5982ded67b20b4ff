//! What earlier runs recorded, for a run that continues their work.
//!
//! Tasks are found by their URL and the name that the list gives their file, never by position: the
//! list may have been sorted, cut or extended since. The run log is read once, before the run
//! begins. Of a long log, only the part that an earlier run's index does not cover is read
//! (`kept`).

mod keeper;
mod kept;
mod state;

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use protocol::Algorithm;

use super::log::{self, Brief, LineProblem, LogError, LogReader, Outcome, Record};
use crate::disk_map::{DiskMap, DiskMapError, Found, Wanted};
use crate::folder::OwnFolder;
use crate::input::{Target, UrlKey};
pub use keeper::Keeper;
pub(super) use kept::FILE;
use kept::{Extent, Facts, Kept};
use state::State;
pub use state::{Earlier, Left};

/// Bytes of the log that are read again instead of indexed: this takes some tens of milliseconds.
/// For a long log, the limit is this fraction of the indexed part.
const AGAIN: u64 = 16 * 1024 * 1024;
const AGAIN_PART: u64 = 8;

/// What earlier runs recorded of each task; the latest record counts. Takes about ten bits of
/// memory for each task, and a temporary file if there are many.
#[derive(Debug)]
pub struct Index {
    tasks: DiskMap<{ State::BYTES }>,
    /// The key of the URL whose file has a given path, for paths that do not contain that key.
    owners: DiskMap<{ UrlKey::BYTES }>,
    facts: Facts,
    /// The part of the log that the index file covers.
    kept: Extent,
    last_unnamed: Option<Box<Record>>,
    first_problem: Option<LineProblem>,
    /// What to report of stored files.
    detail: Detail,
    /// The run log and its path, to read records.
    log: Option<(File, PathBuf)>,
}

/// The entry of a task in the index.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    state: State,
    /// The number of the entry, which is unique, or `None` if the index is in memory.
    pub number: Option<u32>,
}

impl Entry {
    fn of(found: Found<{ State::BYTES }>) -> Self {
        Self {
            state: State(found.value),
            number: found.entry.and_then(|number| number.try_into().ok()),
        }
    }
}

/// What is reported of the record of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What is needed to check that the file is still in place.
    Size,
    /// The place of the record in the log, so that all of it can be read later. It is also
    /// reported if the task failed later, because its file is still there.
    Place,
}

/// Why an index cannot be created or read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The run log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The entries cannot be stored.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
}

/// Why a log from any source cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The entries cannot be stored.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
}

/// The files that an index is created from.
#[derive(Debug)]
pub struct Source<'a> {
    /// The run log, if there is one.
    pub results: Option<File>,
    /// Its path, for messages.
    pub path: &'a Path,
    /// The folder for temporary files, if any are needed.
    pub folder: PathBuf,
    /// The index that an earlier run [kept](Index::keep_if_long), if there is one. It is used if it
    /// belongs to this log.
    pub kept: Option<File>,
}

/// Returns whether it would take long to read the run log from `kept` to `end`.
fn is_long(kept: u64, end: u64) -> bool {
    end.saturating_sub(kept) > AGAIN.max(kept / AGAIN_PART)
}

impl Index {
    /// Creates an index without records. Temporary files, if any are needed, are created in
    /// `folder`.
    #[must_use]
    pub fn empty(folder: PathBuf) -> Self {
        Self {
            tasks: DiskMap::new(folder.clone()),
            owners: DiskMap::new(folder),
            facts: Facts::default(),
            kept: Extent::default(),
            last_unnamed: None,
            first_problem: None,
            detail: Detail::Size,
            log: None,
        }
    }

    /// Reads a run log. The part that the index of an earlier run covers is not read again.
    /// `detail` is what to report of each stored file. Call [`keep_if_long`](Self::keep_if_long),
    /// [`seal`](Self::seal) or both afterwards.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read to its end, or if there is no room for the entries. Lines
    /// that are not records are only counted.
    pub fn load(source: Source<'_>, detail: Detail) -> Result<Self, IndexError> {
        let folder = source.folder.clone();
        let empty = Self {
            detail,
            ..Self::empty(folder)
        };
        empty.read_log(source, None)
    }

    /// Reads a run log in little memory, only to [keep](Self::keep) its index. This process has
    /// read or written the log as far as `known`.
    fn load_to_keep(source: Source<'_>, known: Extent) -> Result<Self, IndexError> {
        let folder = source.folder.clone();
        let empty = Self {
            tasks: DiskMap::to_write(folder.clone()),
            owners: DiskMap::to_write(folder.clone()),
            ..Self::empty(folder)
        };
        empty.read_log(source, Some(known))
    }

    fn read_log(mut self, source: Source<'_>, known: Option<Extent>) -> Result<Self, IndexError> {
        let Some(results) = source.results else {
            return Ok(self);
        };
        let path = source.path;
        let unreadable = |source| LogError::Read {
            path: path.to_owned(),
            source,
        };
        if let Some(file) = source.kept {
            match Kept::open(file, &results, known, (&self.tasks, &self.owners)) {
                Ok(kept) => {
                    self.tasks = kept.tasks;
                    self.owners = kept.owners;
                    self.facts = kept.facts;
                    self.kept = kept.extent;
                }
                Err(why) => {
                    tracing::info!("the index is not used, and the run log is read: {why}");
                }
            }
        }
        // The shared position does not matter, because records are read at given positions.
        let log = results.try_clone().map_err(unreadable)?;
        if let Some((lines, bytes)) = self.facts.first_problem {
            (&results)
                .seek(SeekFrom::Start(bytes))
                .map_err(unreadable)?;
            let mut reader = LogReader::behind(bytes, lines, &results);
            self.first_problem = reader.next_brief().and_then(Result::err);
        }
        self.log = Some((log, path.to_owned()));
        let Facts { end, lines, .. } = self.facts;
        (&results).seek(SeekFrom::Start(end)).map_err(unreadable)?;
        let rest = LogReader::behind(end, lines, &results);
        let mut index = self.fill(rest).map_err(|error| match error {
            ReadError::Read(source) => IndexError::from(unreadable(source)),
            ReadError::DiskMap(error) => error.into(),
        })?;
        tracing::info!(
            "run log: {} bytes are known from the index, and {} bytes were read",
            index.kept.bytes,
            index.facts.end - index.kept.bytes,
        );
        if let Some(at) = index.facts.last_unnamed {
            let record = log::record_at(&results, at).map_err(unreadable)?;
            index.last_unnamed = record.map(Box::new);
        }
        Ok(index)
    }

    /// Keeps the index that was [loaded](Self::load) for the next run, if reading the log again
    /// would take long.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written. This only costs the next run time.
    pub fn keep_if_long(&mut self, own: &OwnFolder) -> io::Result<()> {
        kept::tidy(own.as_folder());
        match is_long(self.kept.bytes, self.facts.end) {
            true => self.keep(own),
            false => Ok(()),
        }
    }

    pub(super) fn keep(&mut self, own: &OwnFolder) -> io::Result<()> {
        let Some((log, _)) = &self.log else {
            return Ok(());
        };
        let extent = self.kept.to(log, self.facts.end)?;
        let (tasks, owners) = (&mut self.tasks, &mut self.owners);
        kept::keep(own, tasks, owners, self.facts, extent)?;
        self.kept = extent;
        Ok(())
    }

    /// Reads a run log from any source.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read to its end, or if there is no room in `folder` for the
    /// entries.
    pub fn read<R: Read>(reader: LogReader<R>, folder: PathBuf) -> Result<Self, ReadError> {
        let mut index = Self::empty(folder).fill(reader)?;
        index.seal()?;
        Ok(index)
    }

    /// Makes the index smaller and look-ups faster. Call this when nothing more will be added.
    ///
    /// # Errors
    ///
    /// Fails if a temporary file cannot be written.
    pub fn seal(&mut self) -> Result<(), DiskMapError> {
        self.tasks.seal()?;
        self.owners.seal()
    }

    fn fill<R: Read>(mut self, mut reader: LogReader<R>) -> Result<Self, ReadError> {
        while let Some(record) = reader.next_brief_at() {
            match record {
                Ok((at, record)) => self.add(&record, at)?,
                Err(LineProblem::Read { source, .. }) => return Err(source.into()),
                Err(problem @ (LineProblem::NotARecord { .. } | LineProblem::TooLong { .. })) => {
                    self.facts.unreadable += 1;
                    if self.first_problem.is_none() {
                        self.facts.first_problem = Some((reader.number() - 1, reader.begin()));
                        self.first_problem = Some(problem);
                    }
                }
            }
        }
        self.facts.end = reader.end();
        self.facts.lines = reader.number();
        Ok(self)
    }

    fn add(&mut self, record: &Brief<'_>, at: u64) -> Result<(), DiskMapError> {
        let Some(state) = State::of(record, at) else {
            return Ok(());
        };
        self.facts.records += 1;
        if record.outcome.has_file() && record.out().is_none() && !record.server_named {
            self.facts.last_unnamed = Some(at);
        }
        let url = UrlKey::of(&record.url);
        let key = match (record.range(), record.out()) {
            (None, None) => url,
            (range, out) => UrlKey::of_task(&record.url, range, out),
        };
        let state = match record.outcome {
            Outcome::Failed => state.after(self.tasks.get(key.as_bytes())?.map(State)),
            Outcome::Stored
            | Outcome::Unchanged
            | Outcome::Quarantined
            | Outcome::Duplicate
            | Outcome::Fenced => state,
        };
        self.tasks.insert(*key.as_bytes(), state.0)?;
        // A path that contains the key of its URL belongs to no other URL.
        if let Some(path) = record.path()
            && (record.out().is_some() || !path.contains(&url.to_string()))
        {
            let place = *UrlKey::of(path).as_bytes();
            self.owners.insert(place, *url.as_bytes())?;
        }
        Ok(())
    }

    /// Returns how an earlier run finished the task with this key.
    ///
    /// # Errors
    ///
    /// Fails if the temporary file cannot be read.
    pub fn state(&self, key: &UrlKey) -> Result<Option<Earlier>, DiskMapError> {
        let entry = self.find(key)?;
        Ok(entry.and_then(|entry| self.earlier(entry)))
    }

    /// Returns the entry of the task with this key.
    ///
    /// # Errors
    ///
    /// Fails if the temporary file cannot be read.
    pub fn find(&self, key: &UrlKey) -> Result<Option<Entry>, DiskMapError> {
        Ok(self.tasks.find(key.as_bytes())?.map(Entry::of))
    }

    /// Looks up many tasks, and calls `tell` for each that has an entry, with its key and its
    /// number in `wanted`.
    ///
    /// # Errors
    ///
    /// Fails if the temporary file cannot be read.
    pub fn find_all(
        &self,
        wanted: Wanted,
        mut tell: impl FnMut(UrlKey, u32, Entry),
    ) -> Result<(), DiskMapError> {
        self.tasks.find_all(wanted, |key, number, found| {
            tell(UrlKey::from_bytes(key), number, Entry::of(found));
        })
    }

    /// Returns how an earlier run finished the task of this entry.
    #[must_use]
    pub fn earlier(&self, entry: Entry) -> Option<Earlier> {
        entry.state.earlier(self.detail)
    }

    /// Returns the record of the target's file at position `at` of the run log, or `None` if there
    /// is no record or that of another file.
    ///
    /// # Errors
    ///
    /// Fails if the run log cannot be read.
    pub fn record(&self, at: u64, target: &Target) -> Result<Option<Record>, LogError> {
        let Some((log, path)) = &self.log else {
            return Ok(None);
        };
        let record = log::record_at(log, at).map_err(|source| LogError::Read {
            path: path.clone(),
            source,
        })?;
        Ok(record.filter(|record| {
            let is_its_own = record.path.as_deref() == Some(&*target.path);
            record.url == target.url && (is_its_own || record.server_named)
        }))
    }

    /// Returns the key of the URL whose file an earlier run stored at the path with this key,
    /// unless the path itself contains that key.
    ///
    /// # Errors
    ///
    /// Fails if the temporary file cannot be read.
    pub fn owner(
        &self,
        place: &[u8; UrlKey::BYTES],
    ) -> Result<Option<[u8; UrlKey::BYTES]>, DiskMapError> {
        self.owners.get(place)
    }

    /// Returns the last record of a stored file that the list did not name. Only known for a log
    /// that was [loaded](Self::load).
    #[must_use]
    pub fn last_unnamed(&self) -> Option<&Record> {
        self.last_unnamed.as_deref()
    }

    /// Returns whether no earlier run finished a task.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.facts.records == 0
    }

    /// Returns the number of lines of the log that are not records. Their tasks are done again.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.facts.unreadable
    }

    /// Returns what is wrong with the first of these lines.
    #[must_use]
    pub fn first_problem(&self) -> Option<&LineProblem> {
        self.first_problem.as_ref()
    }
}

/// Returns whether the file of this record is still at the target's path, and matches what the list
/// says about it.
#[must_use]
pub fn is_in_place_as(record: &Record, target: &Target, output: &Path) -> bool {
    let (Some(bytes), Some(digest)) = (record.bytes, record.sha256) else {
        return false;
    };
    let mut sha256 = [0; 8];
    sha256.copy_from_slice(&digest.0[..8]);
    let left = Left::after(bytes, record.exec.map(|exec| exec.left));
    is_in_place(target, left, sha256, output)
}

/// Returns whether what an earlier run left of the file, which had this hash when it was
/// downloaded, is still at the target's path, and matches what the list says about it. Takes at
/// most one system call.
#[must_use]
pub fn is_in_place(target: &Target, left: Left, sha256: [u8; 8], output: &Path) -> bool {
    match left {
        Left::Whole(bytes) => in_place(target, bytes, sha256, output).is_some(),
        // The list describes the file as it was downloaded. The recorded hash is of that file.
        Left::Changed(bytes) => {
            has_hash(target, sha256) && file_of_size(target, bytes, output).is_some()
        }
        // The command that took the file away has it.
        Left::Gone => has_hash(target, sha256),
    }
}

/// Returns the metadata of the file that an earlier run stored with this size and hash, if it is
/// still at the target's path and matches what the list says about it. Takes one system call.
#[must_use]
pub fn in_place(target: &Target, bytes: u64, sha256: [u8; 8], output: &Path) -> Option<Metadata> {
    let size = target.expect().and_then(|expect| expect.size);
    if size.is_some_and(|size| size != bytes) || !has_hash(target, sha256) {
        return None;
    }
    file_of_size(target, bytes, output)
}

/// Returns whether the list gives this hash or none.
fn has_hash(target: &Target, sha256: [u8; 8]) -> bool {
    let wanted = target
        .expect()
        .and_then(|expect| expect.checksum(Algorithm::Sha256));
    wanted.is_none_or(|wanted| wanted.digest.starts_with(&sha256))
}

fn file_of_size(target: &Target, bytes: u64, output: &Path) -> Option<Metadata> {
    // The program creates no links here, so it did not create this one.
    let metadata = fs::symlink_metadata(output.join(target.place())).ok()?;
    (metadata.is_file() && metadata.len() == bytes).then_some(metadata)
}

#[cfg(test)]
mod tests;
