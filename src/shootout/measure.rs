//! Runs one command, and measures wall time and the resources that its process tree used.
//!
//! Nothing inspects a timed run between its start and its end. An observed run is never timed,
//! because its memory is sampled while it runs. This module must not judge what the command did.

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

/// Time between two samples of the memory of an observed run.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// Time between two checks whether a timed run must be ended. These cost the run nothing.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Time for a command to exit after SIGTERM.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Number of bytes that are quoted from the end of a command's output.
const QUOTED: u64 = 2048;

/// The conditions of a run.
#[derive(Debug)]
pub struct Conditions<'a> {
    /// Checked while the command runs.
    pub interrupt: &'a Interrupt,
    /// Longest allowed time.
    pub limit: Duration,
    /// Whether its memory is sampled. Such a run must not be timed.
    pub observe: bool,
    /// The file for its standard output and error.
    pub output: &'a Path,
}

/// The measurements of a command that has ended.
#[derive(Debug)]
pub struct Measured {
    /// Time from before its start until its end.
    pub wall: Duration,
    /// Resources that it and its descendants used.
    pub usage: Usage,
    /// Peak memory, if it was observed.
    pub memory: Option<Memory>,
    /// Exit status.
    pub status: ExitStatus,
    /// The reason for ending it early, if it was ended early.
    pub ended: Option<Ended>,
    /// The end of its output.
    pub said: String,
}

/// The reason for ending a command early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exceeded its time limit.
    Limit,
    /// The shootout was interrupted.
    Interrupted,
}

/// Runs a command to its end, in its own process group.
///
/// # Errors
///
/// Fails if it cannot be started or waited for.
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
            // Without the watcher, nothing would end the command, so it is killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let ended = await_end(group);
        let wall = begun.elapsed();
        // Sending fails only if the watcher has ended.
        let _ = done.send(());
        let seen = watcher.map(|watcher| watcher.join().unwrap_or_default());
        (ended.map(|()| wall), seen)
    });
    // Its descendants must not run beside the next command. The group id is still valid: a zombie
    // keeps its process id until it is reaped.
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

/// Waits until a child has ended, but does not reap it.
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

/// The results of the watcher.
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

/// Returns the end of the output, or nothing if it cannot be read.
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

/// Describes the exit status.
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
        // The first sample may come too late for a run this short, but not for one that waits for
        // it.
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
