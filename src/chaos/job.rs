//! One run of the coordinator, as a process that faults can be injected into.
//!
//! This module does not know the reason for a fault.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, prlimit,
};

use pool::reap::{Usage, reap};

/// A run. Dropping it kills it.
#[derive(Debug)]
pub struct Job {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    /// The process is reaped, so its id may belong to another process.
    over: bool,
}

impl Job {
    /// Starts the run in a separate process group, so that Ctrl-C does not reach it. Its output is
    /// appended to the file `said`. `command` sets its input.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be started or watched.
    pub fn start(mut command: Command, said: &Path) -> io::Result<Self> {
        let said: File = OpenOptions::new().append(true).create(true).open(said)?;
        let mut child = command
            .stdout(said.try_clone()?)
            .stderr(said)
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self {
                child,
                pid,
                pidfd,
                over: false,
            }),
            Err(errno) => {
                // It must not continue unwatched.
                child.kill()?;
                child.wait()?;
                Err(errno.into())
            }
        }
    }

    /// Returns its standard input if that is a pipe. Works once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns a descriptor that is readable once it has ended (pidfd_open(2)).
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends it a signal. Does nothing if it has just ended.
    pub fn signal(&self, signal: Signal) {
        if !self.over {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Limits the files that it writes to `size` bytes from now on. Writes then fail with EFBIG
    /// (setrlimit(2)), as they fail on a full disk with ENOSPC.
    ///
    /// # Errors
    ///
    /// Fails if the limit cannot be set although the process is running.
    pub fn limit_files(&self, size: u64) -> io::Result<()> {
        let limit = Rlimit {
            current: Some(size),
            maximum: getrlimit(Resource::Fsize).maximum,
        };
        match prlimit(Some(self.pid), Resource::Fsize, limit) {
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for its end. Also returns the resources used by it and the processes it reaped.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be waited for.
    pub fn finish(&mut self) -> io::Result<(ExitStatus, Usage)> {
        let reaped = reap(self.pid());
        self.over = true;
        reaped
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Describes how a run ended.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
