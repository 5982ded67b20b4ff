//! Runs one command: starts it, reads its standard error, and ends it with all its processes.
//!
//! Only poll(2) blocks, and the kept output is bounded. It must not know what the command is for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitStatus, pidfd_open};

use pool::Lines;

use super::order::CommandEnd;
use super::tree::{self, Reaped};
use super::{DIE_WITHIN, KILL_AFTER, leader};

/// Maximum time between two checks of a running command. A longer gap counts only as this much of
/// the command's time: for the rest, this process and the command were stopped (Ctrl-Z).
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same for a command that was asked to end: the end of orphans is not reported.
const LOOK_AFTER_END: Duration = Duration::from_millis(20);

/// Number of bytes read at once: the default capacity of a pipe (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// Maximum number of bytes read after the end of a command: a process that survives may still
/// write.
const MAX_REST: usize = 1024 * 1024;

/// The outcome of a command. None of its processes is left, if the system lets them be ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Exit code 0.
    Succeeded,
    /// Another end, with the last line on standard error.
    Failed(CommandEnd, Option<String>),
    /// It could not be started.
    NotStarted(Errno),
    /// The owner no longer waits for it.
    Abandoned,
}

/// Runs `command` until it ends, or until `owner`, a socket, becomes readable. The owner sends
/// nothing before the answer, so this means that it closed its end. The command's standard input
/// and output are /dev/null.
pub(super) fn run(command: &mut Command, timeout: Duration, owner: BorrowedFd<'_>) -> Outcome {
    leader::die_with_this_process(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::NotStarted(errno_of(&error)),
    };
    let leader = Pid::from_child(&child);
    let watched = pidfd_open(leader, PidfdFlags::empty()).and_then(|pidfd| {
        let stderr = child.stderr.take().map(OwnedFd::from);
        if let Some(pipe) = &stderr {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok((pidfd, stderr))
    });
    match watched {
        Ok((pidfd, stderr)) => Running {
            leader,
            pidfd,
            status: None,
            stderr,
            lines: Lines::default(),
            buffer: vec![0; CHUNK].into(),
        }
        .finish(timeout, owner),
        Err(errno) => {
            tree::end_all(DIE_WITHIN);
            Outcome::NotStarted(errno)
        }
    }
}

/// A running command.
struct Running {
    leader: Pid,
    pidfd: OwnedFd,
    /// Set when the leader is reaped.
    status: Option<WaitStatus>,
    /// `None` once its end has been read.
    stderr: Option<OwnedFd>,
    lines: Lines,
    buffer: Box<[u8]>,
}

impl Running {
    fn finish(mut self, timeout: Duration, owner: BorrowedFd<'_>) -> Outcome {
        let mut left = timeout;
        let mut timed_out = false;
        loop {
            let slice = left.min(match timed_out {
                false => LOOK_EVERY,
                true => LOOK_AFTER_END,
            });
            let begun = Instant::now();
            if !self.wait(owner, slice) {
                tree::end_all(DIE_WITHIN);
                return Outcome::Abandoned;
            }
            left = left.saturating_sub(begun.elapsed().min(slice));
            let alone = self.reap();
            match (timed_out, &self.status) {
                (false, Some(_)) => break,
                (false, None) if left.is_zero() => {
                    tree::signal_all(Signal::TERM);
                    timed_out = true;
                    left = KILL_AFTER;
                }
                (true, _) if alone || left.is_zero() => break,
                (_, _) => {}
            }
        }
        // A command that succeeded is complete, and one that failed must not continue.
        tree::end_all(DIE_WITHIN);
        let end = match (timed_out, self.status) {
            (true, _) => CommandEnd::TimedOut,
            (false, status) => match status.and_then(end_of) {
                None => return Outcome::Succeeded,
                Some(end) => end,
            },
        };
        Outcome::Failed(end, self.last_line())
    }

    /// Waits for an event and reads the output. Returns whether the owner still waits.
    fn wait(&mut self, owner: BorrowedFd<'_>, within: Duration) -> bool {
        let (present, wrote) = {
            let mut polled = vec![PollFd::from_borrowed_fd(owner, PollFlags::IN)];
            if let Some(pipe) = &self.stderr {
                polled.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
            }
            if self.status.is_none() {
                polled.push(PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN));
            }
            if poll(&mut polled, Some(&tree::timespec(within))).is_err() {
                // Interrupted by a signal; no other error is possible here.
                return true;
            }
            let happened = |at: usize| polled.get(at).is_some_and(|fd| !fd.revents().is_empty());
            let wrote = self.stderr.is_some() && happened(1);
            (!happened(0), wrote)
        };
        if wrote {
            self.read_once();
        }
        present
    }

    /// Reaps the children that have ended. Returns whether none are left.
    fn reap(&mut self) -> bool {
        loop {
            match tree::reap() {
                // Once it is reaped, an orphan can get its process id.
                Reaped::One(pid, status) if pid == self.leader && self.status.is_none() => {
                    self.status = Some(status);
                }
                Reaped::One(..) => {}
                Reaped::Alive => return false,
                Reaped::Alone => return true,
            }
        }
    }

    /// Reads standard error once. Returns the number of bytes, or 0 at its end or if none are
    /// ready.
    fn read_once(&mut self) -> usize {
        let Some(pipe) = &self.stderr else {
            return 0;
        };
        match rustix::io::read(pipe, &mut self.buffer[..]) {
            Ok(count @ 1..) => {
                self.lines.feed(&self.buffer[..count], |_| {});
                count
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(_) | Err(_) => {
                self.stderr = None;
                0
            }
        }
    }

    fn last_line(mut self) -> Option<String> {
        let mut rest = MAX_REST;
        loop {
            match self.read_once() {
                0 => break,
                count => rest = rest.saturating_sub(count),
            }
            if rest == 0 {
                break;
            }
        }
        self.lines.finish(|_| {}).pop()
    }
}

/// Returns how a command failed, or `None` if it succeeded.
fn end_of(status: WaitStatus) -> Option<CommandEnd> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(CommandEnd::Code(code)),
        (None, signal) => Some(CommandEnd::Signal(signal.unwrap_or_default())),
    }
}

/// Returns the error number. An error without one comes from an argument with a nul byte.
fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}
