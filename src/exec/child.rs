//! The executor's view of a runner: a child process and the socket to it.
//!
//! This module must not interpret the answers of a runner.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::slice;
use std::time::Duration;

use protocol::codec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair,
};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process_group, pidfd_open, waitpid,
};

use super::DIE_WITHIN;
use super::order::CommandAnswer;
use super::plan::Plan;
use super::tree::{timespec, wait_for_any};

/// Maximum size of an answer in bytes, most of which is a line of [`Lines`](pool::Lines).
const MAX_ANSWER: usize = 8 * 1024;

/// A child process that runs one command at a time. It leads a process group.
#[derive(Debug)]
pub(super) struct Runner {
    /// Its process, which is reaped only by [`end`](Self::end).
    pid: Pid,
    /// A socket that keeps message boundaries.
    socket: OwnedFd,
}

/// An event from a runner.
#[derive(Debug)]
pub(super) enum RunnerEvent {
    /// Its command has ended.
    Answer(CommandAnswer),
    /// It has exited, or sent an invalid answer.
    End,
}

impl Runner {
    pub(super) fn start(plan: &Plan) -> io::Result<Self> {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let process = plan
            .command()
            .arg0("coordinator")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            pid: Pid::from_child(&process),
            socket,
        })
    }

    /// Sends an order. Returns `false` if the runner has exited.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        send(&self.socket, frame, SendFlags::NOSIGNAL).is_ok()
    }

    /// Makes it end its command and exit. Its messages until then can still be received.
    pub(super) fn close(&self) {
        // This fails only if it has exited.
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    /// Waits for an event, but not longer than `within`.
    pub(super) fn wait(&self, within: Duration) -> Option<RunnerEvent> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        // If this is interrupted, the socket is only checked early.
        let _ = poll(&mut polled, Some(&timespec(within)));
        let mut buffer = [0; MAX_ANSWER];
        match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(RunnerEvent::End),
            Ok((_, size)) => {
                Some(codec::decode(&buffer[..size]).map_or(RunnerEvent::End, RunnerEvent::Answer))
            }
        }
    }

    /// Sends `signal` to its process group. Must not be called after [`end`](Self::end).
    pub(super) fn signal(&self, signal: Signal) {
        // This fails only if the group has no process left.
        let _ = kill_process_group(self.pid, signal);
    }

    /// Ends it with its process group and returns its exit status, or `None` if it does not end in
    /// time because it waits for a disk.
    pub(super) fn end(&self) -> Option<WaitStatus> {
        // Neither id can be reused until the process is reaped.
        let process = pidfd_open(self.pid, PidfdFlags::empty()).ok();
        self.signal(Signal::KILL);
        if let Some(process) = process {
            wait_for_any(slice::from_ref(&process), DIE_WITHIN);
        }
        let reaped = waitpid(Some(self.pid), WaitOptions::NOHANG).ok().flatten();
        reaped.map(|(_, status)| status)
    }
}
