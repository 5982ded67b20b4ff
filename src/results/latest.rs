//! Determines which lines of a run log count: the last one of each task.
//!
//! The log is read once to note the last line of each task in a [`DiskMap`], so that memory stays
//! bounded however long the log is. Usually no task has two lines. Then all lines count, and
//! anything that was computed during this pass is complete. Otherwise the log is read again, and
//! each line is checked. Lines that are appended after the start are ignored. This module opens the
//! log only for reading, and takes no lock.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use protocol::TaskId;

use super::ResultsError;
use super::failed::is_plain;
use crate::cli::run::{OUTPUT, SIMULATED_OUTPUT};
use crate::disk_map::{DiskMap, Key};
use crate::input::UrlKey;
use crate::run::log::{Brief, Layout, LineProblem, Log, LogError, LogReader, Outcome, Record};

/// The records of a run log that count.
#[derive(Debug)]
pub struct Latest {
    file: File,
    path: PathBuf,
    /// Length of the log when it was opened.
    length: u64,
    /// Where the last line of each task begins.
    last: DiskMap<8>,
    /// Whether all records count, because no task has two lines.
    all: bool,
    torn: bool,
    unusual: bool,
    simulated: bool,
    unreadable: Unreadable,
}

/// The lines of a log that are not records.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// Number of these lines.
    pub lines: u64,
    /// The problem of the first one.
    pub first: Option<LineProblem>,
}

impl Latest {
    /// Opens the run log of an output folder and determines which lines count. Passes every record
    /// to `visit`. Temporary files, if any are needed, are created in `folder`.
    ///
    /// # Errors
    ///
    /// Fails if there is no log, if it is not a plain file, if it cannot be read to its end, if
    /// `folder` has no room, or if `visit` fails.
    pub fn open(
        output: &Path,
        folder: PathBuf,
        visit: impl FnMut(&Brief<'_>) -> Result<(), ResultsError>,
    ) -> Result<Self, ResultsError> {
        let layout = Layout::at(output.to_owned());
        let (file, length) = open(output, &layout)?;
        let path = layout.results();
        let mut latest = Self {
            file,
            path,
            length,
            last: DiskMap::new(folder),
            all: false,
            torn: false,
            unusual: false,
            simulated: false,
            unreadable: Unreadable::default(),
        };
        latest.note(visit)?;
        Ok(latest)
    }

    fn note(
        &mut self,
        mut visit: impl FnMut(&Brief<'_>) -> Result<(), ResultsError>,
    ) -> Result<(), ResultsError> {
        let mut reader = reader(&self.file, self.length)?;
        let mut records = 0_u64;
        while let Some(brief) = reader.next_brief_at() {
            match brief {
                Ok((at, brief)) => {
                    self.unusual |= !is_plain(&brief.url, brief.range(), brief.out());
                    self.simulated |= brief.simulated;
                    records += 1;
                    self.last.insert(key_of(&brief), at.to_be_bytes())?;
                    visit(&brief)?;
                }
                Err(problem) => self.unreadable.add(problem, &self.path)?,
            }
        }
        self.torn = reader.is_torn();
        if records == 0
            && let Some(first) = self.unreadable.first.take()
        {
            let path = self.path.clone();
            return Err(ResultsError::NotALog { path, first });
        }
        self.last.seal()?;
        self.all = self.last.entries() == Some(records);
        Ok(())
    }

    /// Passes every record that counts to `visit`, in the order of the log, until it breaks off.
    ///
    /// # Errors
    ///
    /// Fails if `visit` fails, or if the log cannot be read any more.
    pub fn each(
        &self,
        mut visit: impl FnMut(&Brief<'_>) -> Result<ControlFlow<()>, ResultsError>,
    ) -> Result<(), ResultsError> {
        let mut reader = reader(&self.file, self.length)?;
        while let Some(brief) = reader.next_brief_at() {
            match brief {
                Ok((at, brief)) => {
                    if self.counts(|| key_of(&brief), at)? && visit(&brief)?.is_break() {
                        break;
                    }
                }
                Err(problem) => Unreadable::default().add(problem, &self.path)?,
            }
        }
        Ok(())
    }

    /// Like `each`, with complete records. Returns the lines of which only a part could be read, so
    /// that they are not records.
    ///
    /// # Errors
    ///
    /// As for `each`.
    pub fn each_whole(
        &self,
        mut visit: impl FnMut(&Record) -> Result<(), ResultsError>,
    ) -> Result<Unreadable, ResultsError> {
        let mut reader = reader(&self.file, self.length)?;
        let mut unreadable = Unreadable::default();
        while let Some(record) = reader.next() {
            match record {
                Ok(record) => {
                    let (range, out) = (record.range.as_deref(), record.out.as_deref());
                    let key = || key(&record.url, range, out, record.outcome, record.task);
                    if self.counts(key, reader.begin())? {
                        visit(&record)?;
                    }
                }
                Err(problem) => unreadable.add(problem, &self.path)?,
            }
        }
        Ok(unreadable)
    }

    /// Returns whether the record with this key, in the line at `at`, is the last of its task.
    fn counts(&self, key: impl FnOnce() -> Key, at: u64) -> Result<bool, ResultsError> {
        Ok(self.all || self.last.get(&key())? == Some(at.to_be_bytes()))
    }

    /// Returns whether every record counts, because no task has two.
    #[must_use]
    pub const fn all_count(&self) -> bool {
        self.all
    }

    /// Returns the lines of the log that are not records.
    #[must_use]
    pub const fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    /// Returns the path of the run log.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the log ends in the middle of a line.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.torn
    }

    /// Returns whether the log has, on any line, a task that a line of text cannot express.
    #[must_use]
    pub const fn is_unusual(&self) -> bool {
        self.unusual
    }

    /// Returns whether any record of the log is from a simulated run.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// Returns the run log itself, for a comparison with the target of an export.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

impl Unreadable {
    /// # Errors
    ///
    /// Fails if the log itself cannot be read further.
    fn add(&mut self, problem: LineProblem, path: &Path) -> Result<(), ResultsError> {
        if let LineProblem::Read { source, .. } = problem {
            let path = path.to_owned();
            return Err(LogError::Read { path, source }.into());
        }
        self.lines += 1;
        self.first.get_or_insert(problem);
        Ok(())
    }
}

fn key_of(brief: &Brief<'_>) -> Key {
    let (range, out) = (brief.range(), brief.out());
    key(&brief.url, range, out, brief.outcome, brief.task)
}

/// Returns the key of a task. A duplicate is recorded beside the task whose file it shares, and
/// again in each run, so its number is part of its key.
fn key(url: &str, range: Option<&str>, out: Option<&str>, outcome: Outcome, task: TaskId) -> Key {
    let key = match outcome {
        Outcome::Duplicate => {
            let range = range.unwrap_or_default();
            let out = out.unwrap_or_default();
            UrlKey::of(&format!("{url}\n{range}\n{out}\n{}", task.0))
        }
        Outcome::Stored
        | Outcome::Unchanged
        | Outcome::Failed
        | Outcome::Quarantined
        | Outcome::Fenced => UrlKey::of_task(url, range, out),
    };
    *key.as_bytes()
}

fn open(output: &Path, layout: &Layout) -> Result<(File, u64), ResultsError> {
    let folder = output.to_owned();
    let hint = hint(output);
    match output.metadata() {
        Ok(metadata) if !metadata.is_dir() => return Err(ResultsError::NotAFolder { folder }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ResultsError::NoFolder { folder, hint });
        }
        // Any other error shows when the file is opened.
        Ok(_) | Err(_) => {}
    }
    let file = layout.open_log(Log::Results)?;
    let file = file.ok_or(ResultsError::NoLog { folder, hint })?;
    match file.metadata() {
        Ok(metadata) => Ok((file, metadata.len())),
        Err(source) => {
            let (log, path) = (Log::Results, layout.results());
            Err(LogError::Open { log, path, source }.into())
        }
    }
}

/// Returns a hint, if the default folder has no results and the folder of simulated runs has.
fn hint(output: &Path) -> &'static str {
    let simulated = Layout::at(PathBuf::from(SIMULATED_OUTPUT)).results();
    match output == Path::new(OUTPUT) && simulated.is_file() {
        true => "; a simulated run stored in simulated: coordinator results simulated",
        false => "",
    }
}

fn reader(mut file: &File, length: u64) -> Result<LogReader<Take<&File>>, ResultsError> {
    file.seek(SeekFrom::Start(0))
        .map_err(ResultsError::Rewind)?;
    Ok(LogReader::new(file.take(length)))
}
