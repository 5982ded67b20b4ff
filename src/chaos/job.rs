//! One run of the coordinator, as a process that can be struck.
//!
//! It must not know why.

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
    /// Reaped: its process id may be another's by now.
    over: bool,
}

impl Job {
    /// Starts it in a process group of its own, so that Ctrl-C does not reach it; what it says is
    /// appended to the file `said`. What it reads is for `command` to say.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or not be watched.
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
                // It must not run on unwatched.
                child.kill()?;
                child.wait()?;
                Err(errno.into())
            }
        }
    }

    /// Its standard input, the first time, if that is a pipe.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Readable once it has ended (pidfd_open(2)).
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends it a signal; nothing happens if it has just ended.
    pub fn signal(&self, signal: Signal) {
        if !self.over {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// From now on, a file that it writes to can grow to `size` bytes and no further: writes fail
    /// with EFBIG (setrlimit(2)), as they do on a full disk with ENOSPC.
    ///
    /// # Errors
    ///
    /// If the limit cannot be set, and it still runs.
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

    /// Waits for its end; also what it used, with all that it waited for itself.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
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

/// How a run ended, in words.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
