//! Appends records to the run log and to the log of deaths.
//!
//! Records are written in batches, with as few system calls as possible. Once flushed, they are
//! safe from the death of this process, and from a crash of the machine if the log is durable. Only
//! the holder of the [`Lock`](super::Lock) may write.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::OFlags;
use serde::Serialize;

use super::append::Appender;
use super::{DeathRecord, Log, LogError, Record};
use crate::folder::{OwnFolder, StateError};

/// The run log's name in its folder.
pub const RESULTS: &str = "results.jsonl";

/// The name of the log of deaths, in the same folder.
pub const DEATHS: &str = "deaths.jsonl";

/// A type of record that has its own log.
pub trait Logged: Serialize {
    const LOG: Log;
}

impl Logged for Record {
    const LOG: Log = Log::Results;
}

impl Logged for DeathRecord {
    const LOG: Log = Log::Deaths;
}

/// A log, open for appending.
///
/// Dropping it writes the remaining records and ignores errors, unlike [`flush`](Self::flush).
pub struct LogWriter<T: Logged = Record> {
    lines: Appender<File>,
    path: PathBuf,
    cut: u64,
    records: PhantomData<fn(&T)>,
}

impl<T: Logged> std::fmt::Debug for LogWriter<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("path", &self.path)
            .field("pending", &self.lines.pending())
            .finish_non_exhaustive()
    }
}

impl<T: Logged> LogWriter<T> {
    /// Opens the log in the run's own folder, or creates it. A last line without newline is what a
    /// crash left of a write, whatever it contains, and is cut off first.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be opened, or if the torn line cannot be cut off.
    pub fn open(own: &OwnFolder) -> Result<Self, LogError> {
        let log = T::LOG;
        let path = own.as_folder().path().join(log.name());
        let file = match own.open(log.name(), OFlags::APPEND) {
            Ok(file) => file,
            Err(StateError::System { source, .. }) => {
                return Err(LogError::Open { log, path, source });
            }
            Err(error) => return Err(error.into()),
        };
        match cut_torn_line(&file) {
            Ok((length, cut)) => Ok(Self {
                lines: Appender::new(file, length),
                path,
                cut,
                records: PhantomData,
            }),
            Err(source) => Err(LogError::Cut { log, path, source }),
        }
    }

    /// Makes records safe from a loss of power from now on, once they are flushed: fdatasync(2)
    /// follows each batch. The name of the log is made safe with its folder.
    ///
    /// # Errors
    ///
    /// Fails if the existing records cannot be made safe.
    pub fn make_durable(&mut self) -> Result<(), LogError> {
        self.lines.make_durable().map_err(|source| LogError::Sync {
            log: T::LOG,
            path: self.path.clone(),
            source,
        })
    }

    /// Returns the number of bytes of a torn last line that were cut off on opening.
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// Returns the size of its whole lines in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.lines.whole()
    }

    /// Adds a record, which is written with the next flush. Flushes automatically at 64 KiB.
    ///
    /// # Errors
    ///
    /// As for [`flush`](Self::flush). The record is kept nevertheless.
    pub fn append(&mut self, record: &T) -> Result<(), LogError> {
        let added = self
            .lines
            .line(|buffer| serde_json::to_writer(buffer, record));
        added.map_err(|error| self.failed(error.into()))?;
        if self.lines.is_full() {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes all records added so far.
    ///
    /// # Errors
    ///
    /// Returns [`LogError::Write`] if the system does not accept all of them. The log then still
    /// ends with a whole line, the missing records are kept, and the next flush tries again.
    /// Returns [`LogError::Sync`] if they are written and cannot be made safe.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.lines.flush().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> LogError {
        let (log, path) = (T::LOG, self.path.clone());
        match self.lines.pending() {
            // Everything is written, so the sync failed.
            0 => LogError::Sync { log, path, source },
            unwritten => LogError::Write {
                log,
                path,
                unwritten,
                source,
            },
        }
    }
}

impl<T: Logged> Drop for LogWriter<T> {
    fn drop(&mut self) {
        // A caller that needs the result has flushed. A task without a record is only done again.
        let _ = self.lines.flush();
    }
}

/// Cuts off the text after the last newline. Returns the new length and the number of cut bytes.
fn cut_torn_line(file: &File) -> io::Result<(u64, u64)> {
    let length = file.metadata()?.len();
    let whole = whole_lines(file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    Ok((whole, length - whole))
}

/// Returns the end of the last line that has a newline. Searches from the end in bounded memory.
fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut buffer = [0; 8 * 1024];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most the buffer's length"
        )]
        let piece = &mut buffer[..(end - start) as usize];
        file.read_exact_at(piece, start)?;
        if let Some(at) = memchr::memrchr(b'\n', piece) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;
    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::super::record::tests::{any_record, facts, failure, stored};
    use super::super::{Facts, LogReader};
    use super::*;

    fn own(dir: &Path) -> OwnFolder {
        OwnFolder::named(dir).expect("a folder")
    }

    fn record(task: u64) -> Record {
        Record::stored(facts(task, &format!("https://h/{task}")), stored(task))
    }

    fn line(record: &Record) -> Vec<u8> {
        let mut line = serde_json::to_vec(record).expect("it is JSON");
        line.push(b'\n');
        line
    }

    fn records_in(dir: &Path) -> Vec<Record> {
        let reader = LogReader::open(&dir.join(RESULTS)).expect("the log is there");
        let records: Result<Vec<_>, _> = reader.collect();
        records.expect("every line is a record")
    }

    #[test]
    fn what_is_appended_is_read_back_over_several_runs() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for task in 1..=3 {
            let mut log = LogWriter::open(&own(dir.path())).expect("open");
            assert_eq!(log.cut(), 0);
            log.append(&record(task)).expect("append");
            log.flush().expect("flush");
            let expected: Vec<Record> = (1..=task).map(record).collect();
            assert_eq!(records_in(dir.path()), expected);
        }
    }

    #[test]
    fn the_buffer_is_bounded_and_a_drop_writes_the_rest() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(RESULTS);
        let mut log = LogWriter::open(&own(dir.path())).expect("open");
        let size = line(&record(1)).len();
        let fitting = super::super::append::FULL / size;
        for _ in 0..fitting {
            log.append(&record(1)).expect("append");
        }
        assert_eq!(fs::metadata(&path).expect("stat").len(), 0);
        log.append(&record(1)).expect("append");
        let all = ((fitting + 1) * size) as u64;
        assert_eq!(fs::metadata(&path).expect("stat").len(), all);
        log.append(&record(1)).expect("append");
        drop(log);
        assert_eq!(fs::metadata(&path).expect("stat").len(), all + size as u64);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_wherever_it_is_torn() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(RESULTS);
        let first = line(&record(1));
        let second = line(&record(2));
        for kept in 0..second.len() {
            fs::write(&path, [&first[..], &second[..kept]].concat()).expect("write");
            assert_eq!(
                records_in(dir.path()),
                [record(1)],
                "torn after {kept} bytes"
            );
            let mut log = LogWriter::open(&own(dir.path())).expect("open");
            assert_eq!(log.cut(), kept as u64);
            log.append(&record(3)).expect("append");
            drop(log);
            assert_eq!(records_in(dir.path()), [record(1), record(3)]);
        }
    }

    #[test]
    fn a_torn_line_is_cut_off_whatever_it_holds() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(RESULTS);
        let first = line(&record(1));
        // A power cut leaves zeros on some file systems.
        for torn in [
            vec![0; 8192],
            vec![b'x'; 100_000],
            vec![0xFF; 8193 - first.len()],
        ] {
            for start in [&first[..], b""] {
                fs::write(&path, [start, &torn[..]].concat()).expect("write");
                let log = LogWriter::<Record>::open(&own(dir.path())).expect("open");
                assert_eq!(log.cut(), torn.len() as u64);
                assert_eq!(fs::read(&path).expect("read"), start);
            }
        }
    }

    #[test]
    fn an_error_names_the_file_and_what_was_tried() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let gone = dir.path().join("gone");
        fs::create_dir(&gone).expect("create");
        let folder = own(&gone);
        fs::remove_dir(&gone).expect("remove");
        let error = LogWriter::<Record>::open(&folder).expect_err("no such folder");
        let path = gone.join(RESULTS);
        let expected = format!("cannot open the run log {}: No such file", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(!error.is_disk_full());
        let full = LogError::Write {
            log: Log::Results,
            path: "results.jsonl".into(),
            unwritten: 3,
            source: io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
        };
        assert!(full.is_disk_full());
        assert_eq!(
            full.to_string(),
            "cannot write to the run log results.jsonl: No space left on device (os error 28); \
             3 finished tasks are not recorded, make room and run the same command again to finish"
        );
    }

    /// The kernel cuts a write short at a limit on the size of files, as a full disk would. The
    /// limit affects the whole process, so the test uses its own process.
    #[test]
    fn a_write_that_the_kernel_cuts_short_leaves_whole_lines() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg("--exact")
            .arg("run::log::writer::tests::child_with_a_limit_on_file_sizes")
            .env("COORDINATOR_TEST_LOG", dir.path())
            .output()
            .expect("it runs");
        assert!(child.status.success(), "{child:?}");
        // All three records of the child are in the log, which shows that it ran.
        assert_eq!(records_in(dir.path()), [record(1), record(2), record(3)]);
    }

    /// A helper for the test above, which sets the variable. Does nothing by itself.
    #[test]
    fn child_with_a_limit_on_file_sizes() {
        let Some(dir) = std::env::var_os("COORDINATOR_TEST_LOG") else {
            return;
        };
        let dir = Path::new(&dir);
        // With a handler the write fails with EFBIG; without one the signal would kill the process.
        let seen = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), seen)
            .expect("a handler");
        let limit = |bytes| {
            let maximum = None;
            let current = bytes;
            setrlimit(Resource::Fsize, Rlimit { current, maximum }).expect("a limit");
        };
        let mut log = LogWriter::open(&own(dir)).expect("open");
        for task in 1..=3 {
            log.append(&record(task)).expect("append");
        }
        let size = line(&record(1)).len() as u64;
        limit(Some(size + 10));
        let error = log.flush().expect_err("the limit is reached");
        assert!(
            matches!(error, LogError::Write { unwritten: 2, .. }),
            "{error:?}"
        );
        assert_eq!(fs::metadata(dir.join(RESULTS)).expect("stat").len(), size);
        assert_eq!(records_in(dir), [record(1)]);
        limit(None);
        log.flush().expect("there is room again");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_records_are_read_back_in_order(records in prop::collection::vec(any_record(), 0..8)) {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let mut log = LogWriter::open(&own(dir.path())).expect("open");
            for record in &records {
                log.append(record).expect("append");
            }
            drop(log);
            prop_assert_eq!(records_in(dir.path()), records);
        }
    }

    #[test]
    fn a_failure_is_recorded_as_well() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let facts = Facts {
            attempts: 4,
            ..facts(1, "https://h/")
        };
        let record = Record::failed(facts, failure());
        let mut log = LogWriter::open(&own(dir.path())).expect("open");
        log.append(&record).expect("append");
        drop(log);
        assert_eq!(records_in(dir.path()), [record]);
    }
}
