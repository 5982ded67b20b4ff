//! Runs one command and measures it: wall time, and what its process tree used.
//!
//! A timed run is left alone from start to end: nothing looks at it. An observed run is never
//! timed: its memory is sampled meanwhile. This module must not judge what the command did.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::interrupt::Interrupt;
use super::tree::{self, Memory};
use pool::reap::{Usage, reap};

/// Time between two looks at the memory of an observed run.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// Time between two looks at whether a timed run is to be ended: they cost the run nothing.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// How long a command may take to leave once it is told to.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// How much of the end of a command's standard error is quoted, in bytes.
const QUOTED: u64 = 2048;

/// How to run a command.
#[derive(Debug)]
pub struct Conditions<'a> {
    /// Asked while the command runs.
    pub interrupt: &'a Interrupt,
    /// Longest time it may take.
    pub limit: Duration,
    /// Whether its memory is sampled: such a run is not to be timed.
    pub observe: bool,
    /// Where its standard output and error go.
    pub output: &'a Path,
}

/// A command that ran.
#[derive(Debug)]
pub struct Measured {
    /// From before it was started until it had ended.
    pub wall: Duration,
    /// What it and its descendants used.
    pub usage: Usage,
    /// The most memory seen, if it was observed.
    pub memory: Option<Memory>,
    /// How it ended.
    pub status: ExitStatus,
    /// Why it was ended, if it did not end by itself.
    pub ended: Option<Ended>,
    /// The last lines that it wrote.
    pub said: String,
}

/// Why a command was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It took longer than it may.
    Limit,
    /// The shootout was interrupted.
    Interrupted,
}

/// Runs a command to its end, in a process group of its own.
///
/// # Errors
///
/// If it cannot be started or waited for.
pub fn run(mut command: Command, conditions: &Conditions<'_>) -> io::Result<Measured> {
    let mut output = File::create_new(conditions.output)?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0);
    let begun = Instant::now();
    let child = command.spawn()?;
    let group = Pid::from_child(&child);
    let (done, told) = channel();
    let (wall, seen) = thread::scope(|scope| {
        let watcher = thread::Builder::new()
            .name("watch".to_owned())
            .spawn_scoped(scope, move || watch(group, begun, conditions, &told));
        if watcher.is_err() {
            // Nobody would end it: rather not begin.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let ended = await_end(group);
        let wall = begun.elapsed();
        // The receiver is gone only if the watcher is.
        let _ = done.send(());
        let seen = watcher.map(|watcher| watcher.join().unwrap_or_default());
        (ended.map(|()| wall), seen)
    });
    // What it leaves behind must not run on beside the next. The group is still the child's: a
    // zombie keeps its number until it is reaped.
    let _ = kill_process_group(group, Signal::KILL);
    let (status, usage) = reap(child.id())?;
    let seen = seen?;
    Ok(Measured {
        wall: wall?,
        usage,
        memory: seen.memory,
        status,
        ended: seen.ended,
        said: tail(&mut output),
    })
}

/// Waits until a child has ended, and leaves it to be reaped.
fn await_end(pid: Pid) -> io::Result<()> {
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the watcher saw and did.
#[derive(Debug, Default)]
struct Seen {
    memory: Option<Memory>,
    ended: Option<Ended>,
}

fn watch(group: Pid, begun: Instant, conditions: &Conditions<'_>, done: &Receiver<()>) -> Seen {
    let mut seen = Seen::default();
    let mut kill_at = None;
    let pause = if conditions.observe {
        SAMPLE_EVERY
    } else {
        CHECK_EVERY
    };
    loop {
        if conditions.observe {
            // Process ids are positive.
            let root = u32::try_from(group.as_raw_nonzero().get()).unwrap_or(0);
            seen.memory = larger(seen.memory, tree::memory(root));
        }
        match done.recv_timeout(pause) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return seen,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(at) = kill_at {
            if Instant::now() >= at {
                let _ = kill_process_group(group, Signal::KILL);
            }
            continue;
        }
        seen.ended = if conditions.interrupt.signal().is_some() {
            Some(Ended::Interrupted)
        } else if begun.elapsed() > conditions.limit {
            Some(Ended::Limit)
        } else {
            continue;
        };
        let _ = kill_process_group(group, Signal::TERM);
        kill_at = Some(Instant::now() + LEAVE_WITHIN);
    }
}

fn larger(one: Option<Memory>, other: Option<Memory>) -> Option<Memory> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.peak(other)),
        (one, other) => one.or(other),
    }
}

/// The end of what was written, or nothing if it cannot be read.
fn tail(output: &mut File) -> String {
    let mut read = || -> io::Result<Vec<u8>> {
        let length = output.metadata()?.len();
        output.seek(SeekFrom::Start(length.saturating_sub(QUOTED)))?;
        let mut bytes = Vec::new();
        output.take(QUOTED).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// How a command ended, in words.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration, observe: bool) -> Measured {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let conditions = Conditions {
            interrupt: &Interrupt::default(),
            limit,
            observe,
            output: &folder.path().join("output"),
        };
        run(command, &conditions).expect("it runs")
    }

    #[test]
    fn status_and_last_words_are_kept() {
        let measured = sh("echo out; echo err >&2; exit 7", Duration::MAX, false);
        assert_eq!(ending(measured.status), "exit code 7");
        assert_eq!(measured.said, "out\nerr");
        assert_eq!((measured.memory, measured.ended), (None, None));
        assert!(measured.wall > Duration::ZERO);
    }

    #[test]
    fn an_observed_run_has_memory() {
        let measured = sh("true", Duration::MAX, true);
        // The first look may come too late for so short a run, but not for one that waits for it.
        assert!(measured.memory.is_none_or(|memory| memory.bytes > 0));
        let measured = sh("sleep 0.2", Duration::MAX, true);
        assert!(measured.memory.is_some_and(|memory| memory.bytes > 0));
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_all_it_started() {
        let measured = sh("sleep 1000 & sleep 1000", Duration::from_millis(1), false);
        assert_eq!(measured.ended, Some(Ended::Limit));
        assert_eq!(ending(measured.status), "killed by signal 15");
    }

    #[test]
    fn a_command_that_ignores_sigterm_is_killed() {
        let script = "trap '' TERM; while :; do sleep 0.05; done";
        let measured = sh(script, Duration::from_millis(1), false);
        assert_eq!(ending(measured.status), "killed by signal 9");
    }

    #[test]
    fn an_interrupt_ends_the_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let interrupt = Interrupt::default();
        interrupt.raise(2);
        let mut command = Command::new("sleep");
        command.arg("1000");
        let conditions = Conditions {
            interrupt: &interrupt,
            limit: Duration::MAX,
            observe: false,
            output: &folder.path().join("output"),
        };
        let measured = run(command, &conditions).expect("it runs");
        assert_eq!(measured.ended, Some(Ended::Interrupted));
    }
}
