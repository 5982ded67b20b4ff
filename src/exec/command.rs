//! One command: started, listened to, and ended with everything that it started.
//!
//! Nothing waits but poll(2), and what is kept of what it writes is bounded. It must not know what
//! the command is for.

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

/// Longest time between two looks at a command that runs. Of a longer time only so much is counted
/// as the command's: the rest this process was stopped (Ctrl-Z), and the command with it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same for one that was asked to end: nothing tells when orphans do.
const LOOK_AFTER_END: Duration = Duration::from_millis(20);

/// Bytes read at once: as much as a pipe holds by default (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// Most bytes that are read after the end of a command: whoever cannot be ended may still write.
const MAX_REST: usize = 1024 * 1024;

/// What became of a command. Nothing of it is left, if the system lets it be ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Exit code 0.
    Succeeded,
    /// Another end, and the last line on standard error.
    Failed(CommandEnd, Option<String>),
    /// It could not be started.
    NotStarted(Errno),
    /// Nobody wants to know any more.
    Abandoned,
}

/// Runs `command` to its end, or until something comes from `owner`, a socket: nothing is to be said
/// there before the answer, so its other end is closed then. The command's standard input and output
/// are /dev/null.
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

/// A command that runs.
struct Running {
    leader: Pid,
    pidfd: OwnedFd,
    /// Once the leader is reaped.
    status: Option<WaitStatus>,
    /// Until its end is seen.
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
        // Whoever succeeded has done all, and whoever failed is to do no more.
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

    /// Waits for something to happen, and listens; whether the owner is there.
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
                // Interrupted by a signal; there is no other error for what is asked here.
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

    /// Takes note of who has ended; whether nobody is left.
    fn reap(&mut self) -> bool {
        loop {
            match tree::reap() {
                // Once it is reaped, its number can be that of an orphan.
                Reaped::One(pid, status) if pid == self.leader && self.status.is_none() => {
                    self.status = Some(status);
                }
                Reaped::One(..) => {}
                Reaped::Alive => return false,
                Reaped::Alone => return true,
            }
        }
    }

    /// How many bytes of standard error were there; nothing at its end, or if there are none now.
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

/// Nothing if it succeeded.
fn end_of(status: WaitStatus) -> Option<CommandEnd> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(CommandEnd::Code(code)),
        (None, signal) => Some(CommandEnd::Signal(signal.unwrap_or_default())),
    }
}

/// The number of an error; of one that is none of the system's, that of an argument with a nul byte.
fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}
