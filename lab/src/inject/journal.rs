//! The journal of faults from outside: `injected.jsonl`, with a line for each signal.
//!
//! A line is written before its signal is sent. So a search for deaths without a cause finds every
//! one that this program caused. Append-only, over all runs of a folder.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use protocol::{Epoch, MonotonicNanos, SlotId, Timestamp, WorkerId};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Name of the journal, in `.coordinator` within the output folder.
pub const JOURNAL: &str = "injected.jsonl";

/// One line of the journal: a worker gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Time by the system clock: microseconds since 1970-01-01T00:00:00Z.
    pub time_us: Timestamp,
    /// Time by `CLOCK_MONOTONIC` (`clock_gettime(2)`): nanoseconds since the machine started.
    pub monotonic_ns: MonotonicNanos,
    pub fault: Blow,
    pub worker: Struck,
    /// Its process id.
    pub pid: u32,
}

/// What happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGKILL, together with all others.
    KillAll,
    /// SIGSTOP, permanently.
    Stop,
    /// SIGSTOP, for a short time.
    Pause,
    /// SIGCONT, after a pause.
    Continue,
}

/// A worker in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Struck {
    /// Its slot.
    pub slot: SlotId,
    /// Its epoch.
    pub epoch: Epoch,
}

impl From<WorkerId> for Struck {
    fn from(WorkerId { slot, epoch }: WorkerId) -> Self {
        Self { slot, epoch }
    }
}

/// The journal cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the journal of injected faults {}: {source}", .path.display())]
pub struct JournalError {
    /// Path of the journal.
    path: PathBuf,
    source: io::Error,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Continues the journal in `file`, which is at `path` and open for reading and appending. If a
    /// crash cut off the last line, this ends that line, so that the next one is whole.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or written.
    pub fn new(path: PathBuf, file: File) -> Result<Self, JournalError> {
        let mut journal = Self { path, file };
        end_last_line(&mut journal.file).map_err(|error| journal.refused(error))?;
        Ok(journal)
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Records that these workers are about to get signals, with one write for all.
    pub(super) fn write(&mut self, blows: &[(Blow, WorkerId, u32)]) -> Result<(), JournalError> {
        let (time_us, monotonic_ns) = (wall_time(), monotonic_time());
        let mut lines = Vec::new();
        for &(fault, worker, pid) in blows {
            let line = Injected {
                time_us,
                monotonic_ns,
                fault,
                worker: worker.into(),
                pid,
            };
            serde_json::to_writer(&mut lines, &line).map_err(|error| self.refused(error.into()))?;
            lines.push(b'\n');
        }
        self.file
            .write_all(&lines)
            .map_err(|error| self.refused(error))
    }

    fn refused(&self, source: io::Error) -> JournalError {
        JournalError {
            path: self.path.clone(),
            source,
        }
    }
}

fn end_last_line(file: &mut File) -> io::Result<()> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn wall_time() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn monotonic_time() -> MonotonicNanos {
    let now = clock_gettime(ClockId::Monotonic);
    // This clock is never negative.
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    MonotonicNanos(part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_also_behind_one_that_a_crash_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(JOURNAL);
        let worker = WorkerId {
            slot: SlotId(2),
            epoch: Epoch(7),
        };
        let open = || {
            let file = File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(&path);
            Journal::new(path.clone(), file.expect("a file")).expect("it opens")
        };
        let mut journal = open();
        journal
            .write(&[(Blow::Kill, worker, 4711)])
            .expect("written");
        drop(journal);
        let mut file = File::options().append(true).open(&path).expect("there");
        file.write_all(b"{\"time_us\":1").expect("written");
        let mut journal = open();
        let both = [(Blow::KillAll, worker, 1), (Blow::KillAll, worker, 2)];
        journal.write(&both).expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        let lines: Vec<Option<Injected>> = text
            .lines()
            .map(|line| serde_json::from_str(line).ok())
            .collect();
        let [Some(first), None, Some(second), Some(third)] = lines[..] else {
            panic!("{text}");
        };
        assert!(text.contains(r#""fault":"kill","worker":{"slot":2,"epoch":7},"pid":4711}"#));
        assert_eq!((first.fault, second.pid, third.pid), (Blow::Kill, 1, 2));
        assert!(first.monotonic_ns <= second.monotonic_ns);
        assert_eq!(second.monotonic_ns, third.monotonic_ns);
    }
}
