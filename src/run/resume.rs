//! What earlier runs recorded, for the run that finishes their work.
//!
//! Resume goes by URL, and by the name that the list gives its file; never by position: the list
//! may have been sorted, cut or extended since. The run log is only read here, once, before the run
//! begins; and of a long log only what is new since an index of it was kept (`kept`).

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

/// Bytes of the log that are read again rather than kept: some tens of milliseconds. Of a long log,
/// one part in so many.
const AGAIN: u64 = 16 * 1024 * 1024;
const AGAIN_PART: u64 = 8;

/// What earlier runs recorded of each task: the latest record counts. Some ten bits of memory for
/// each, and a temporary file once there are many.
#[derive(Debug)]
pub struct Index {
    tasks: DiskMap<{ State::BYTES }>,
    /// The key of the URL whose file a place holds, where the place does not tell by itself.
    owners: DiskMap<{ UrlKey::BYTES }>,
    facts: Facts,
    /// As far as this it is kept.
    kept: Extent,
    last_unnamed: Option<Box<Record>>,
    first_problem: Option<LineProblem>,
    /// What is told of stored files.
    detail: Detail,
    /// The run log, where records are looked up.
    log: Option<(File, PathBuf)>,
}

/// The entry of a task in the index.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    state: State,
    /// The number of the entry, which no other task has, or `None` for an index in memory.
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

/// What is told of the record of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What tells whether the file is still in place.
    Size,
    /// Where the record is in the log, so that all of it can be read when it is asked for. That a
    /// task failed later takes nothing from it: its file stays where it is.
    Place,
}

/// Why an index cannot be made, or asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The run log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was read of it cannot be kept.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
}

/// Why a log from anywhere cannot be indexed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// What was read of it cannot be kept.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
}

/// Where an index is made from.
#[derive(Debug)]
pub struct Source<'a> {
    /// The run log, if there is one.
    pub results: Option<File>,
    /// Where it is, for messages.
    pub path: &'a Path,
    /// Where temporary files are made, if there must be any.
    pub folder: PathBuf,
    /// What an earlier run [kept](Index::keep_if_long), if it did. It is used if it is of this log.
    pub kept: Option<File>,
}

/// Whether it would take long to read the run log from `kept` to `end`.
fn is_long(kept: u64, end: u64) -> bool {
    end.saturating_sub(kept) > AGAIN.max(kept / AGAIN_PART)
}

impl Index {
    /// Nothing was recorded. Temporary files, if there must be any, are made in `folder`.
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

    /// Reads a run log. What an earlier run kept of it is not read again. `detail` is what is to be
    /// told of each stored file. Then it is to be [kept](Self::keep_if_long), [sealed](Self::seal), or both.
    ///
    /// # Errors
    ///
    /// It cannot be read to its end; or there is no room for what it says. Lines
    /// that are not records are only counted.
    pub fn load(source: Source<'_>, detail: Detail) -> Result<Self, IndexError> {
        let folder = source.folder.clone();
        let empty = Self {
            detail,
            ..Self::empty(folder)
        };
        empty.read_log(source, None)
    }

    /// Reads a run log in little memory, only to [keep](Self::keep) what it says. As far as `known`, this
    /// process has read or written it.
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
        // Their common position does not matter: records are read by their place.
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

    /// Keeps what was [loaded](Self::load) for the next run, if it would take long to read again.
    ///
    /// # Errors
    ///
    /// The file cannot be written. Then only time is lost.
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

    /// Reads a run log from anywhere.
    ///
    /// # Errors
    ///
    /// It cannot be read to its end, or there is no room in `folder` for what it says.
    pub fn read<R: Read>(reader: LogReader<R>, folder: PathBuf) -> Result<Self, ReadError> {
        let mut index = Self::empty(folder).fill(reader)?;
        index.seal()?;
        Ok(index)
    }

    /// Makes the index smaller and faster to ask. To be called when nothing is added any more.
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
            Outcome::Stored | Outcome::Unchanged | Outcome::Quarantined | Outcome::Duplicate => {
                state
            }
        };
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

    /// Looks up many tasks, and calls `tell` for each that has an entry, with its key and its number in
    /// `wanted`.
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
            let is_its_own = record.path.as_deref() == Some(&*target.path);
            record.url == target.url && (is_its_own || record.server_named)
        }))
    }

    /// The key of the URL whose file an earlier run stored in the place with this key, if the place
    /// does not hold that key itself.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn owner(
        &self,
        place: &[u8; UrlKey::BYTES],
    ) -> Result<Option<[u8; UrlKey::BYTES]>, DiskMapError> {
        self.owners.get(place)
    }

    /// The last record of a stored file that its list did not name; only of a log that was
    /// [loaded](Self::load).
    #[must_use]
    pub fn last_unnamed(&self) -> Option<&Record> {
        self.last_unnamed.as_deref()
    }

    /// Whether no earlier run finished a task.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.facts.records == 0
    }

    /// How many lines of the log are not records. What they said is done again.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.facts.unreadable
    }

    /// What is wrong with the first of them.
    #[must_use]
    pub fn first_problem(&self) -> Option<&LineProblem> {
        self.first_problem.as_ref()
    }
}

/// Whether the file that is recorded like this is still in the target's place, and is what the list
/// says it must be.
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

/// Whether what an earlier run left of the file, with this hash when it was downloaded, is still
/// in the target's place, and is what the list says it must be. At most one system call.
#[must_use]
pub fn is_in_place(target: &Target, left: Left, sha256: [u8; 8], output: &Path) -> bool {
    match left {
        Left::Whole(bytes) => in_place(target, bytes, sha256, output).is_some(),
        // What the list says is of the file as it was downloaded: of that there is a hash.
        Left::Changed(bytes) => {
            has_hash(target, sha256) && file_of_size(target, bytes, output).is_some()
        }
        // Whoever took it away has it.
        Left::Gone => has_hash(target, sha256),
    }
}

/// The file that an earlier run stored with this size and hash, if it is still in the target's place,
/// and is what the list says it must be. One system call.
#[must_use]
pub fn in_place(target: &Target, bytes: u64, sha256: [u8; 8], output: &Path) -> Option<Metadata> {
    let size = target.expect().and_then(|expect| expect.size);
    if size.is_some_and(|size| size != bytes) || !has_hash(target, sha256) {
        return None;
    }
    file_of_size(target, bytes, output)
}

/// Whether the list says nothing else.
fn has_hash(target: &Target, sha256: [u8; 8]) -> bool {
    let wanted = target
        .expect()
        .and_then(|expect| expect.checksum(Algorithm::Sha256));
    wanted.is_none_or(|wanted| wanted.digest.starts_with(&sha256))
}

fn file_of_size(target: &Target, bytes: u64, output: &Path) -> Option<Metadata> {
    // A link has not been put there by us.
    let metadata = fs::symlink_metadata(output.join(target.place())).ok()?;
    (metadata.is_file() && metadata.len() == bytes).then_some(metadata)
}

#[cfg(test)]
mod tests;
