//! Which lines of a run log count: the last one of each task.
//!
//! The log is read once to note which line is the last of each task, in a [`DiskMap`], so that memory
//! stays bounded however long the log is. If no task has two lines, which is usual, all of them
//! count, and who counted while they were read is done. Otherwise the log is read again, and each line
//! is asked whether it is that one. What is appended meanwhile is not looked at. This module opens the
//! log for reading only, and takes no lock.

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
    /// How much of it there was when it was opened.
    length: u64,
    /// Where the last line of each task begins.
    last: DiskMap<8>,
    /// No task has two lines: all count.
    all: bool,
    torn: bool,
    unusual: bool,
    simulated: bool,
    unreadable: Unreadable,
}

/// What a reader came across that is no record.
#[derive(Debug, Default)]
pub struct Unreadable {
    /// How many lines are none.
    pub lines: u64,
    /// What is wrong with the first.
    pub first: Option<LineProblem>,
}

impl Latest {
    /// Opens the run log of an output folder, and notes which lines count. `visit` is shown each record,
    /// be it one that counts or not. Temporary files, if there must be any, are made in `folder`.
    ///
    /// # Errors
    ///
    /// There is none; it is something else; it cannot be read to its end; there is no room in
    /// `folder` to keep track of it; or what `visit` fails with.
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

    /// Shows `visit` every record that counts, in the order of the log, until it breaks off.
    ///
    /// # Errors
    ///
    /// What `visit` fails with; or the log cannot be read any more.
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

    /// The same, with all that a record says. What is not a record although enough of it can be read is
    /// given back.
    ///
    /// # Errors
    ///
    /// As of `each`.
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

    /// Whether the record of this key in the line that begins here is the last of its task.
    fn counts(&self, key: impl FnOnce() -> Key, at: u64) -> Result<bool, ResultsError> {
        Ok(self.all || self.last.get(&key())? == Some(at.to_be_bytes()))
    }

    /// Whether every record counts: no task has two.
    #[must_use]
    pub const fn all_count(&self) -> bool {
        self.all
    }

    /// What of the log is no record.
    #[must_use]
    pub const fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    /// Where the run log is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the log ends in the middle of a line.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.torn
    }

    /// Whether a line of the log, be it one that counts or not, has a task that a line of text
    /// cannot say.
    #[must_use]
    pub const fn is_unusual(&self) -> bool {
        self.unusual
    }

    /// Whether a record of the log is of a simulated run.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// The run log itself, to be compared with what is about to be written.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

impl Unreadable {
    /// # Errors
    ///
    /// If the log itself cannot be read on.
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

/// A duplicate is recorded beside the task whose file it shares, again by each run: it is told
/// apart by its number.
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
        // Whatever else is wrong shows with the file.
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

/// Where to look instead, if the default folder has no results and that of simulated runs has.
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
