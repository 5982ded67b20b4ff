//! The guard: a process that starts runners, and cleans up behind those that were killed.
//!
//! It is in a process group of its own, so that it outlives what is done to the worker's group, and
//! ends when the worker's end of the control socket is closed: then with everything below it. It
//! must not hear of a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IoSliceMut, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::plan::Plan;
use super::{DIE_WITHIN, ExecError, RUNNER, begin, system, tree};
use crate::session::MAX_SLOTS;

/// Runs this process as a guard: its standard input is the control socket. Returns when that is
/// closed, and nothing is left.
///
/// To be called as the first thing `main` does, as
/// [`process::run`](crate::process::run) is.
///
/// # Errors
///
/// If it cannot begin.
pub fn run(arguments: Vec<OsString>) -> Result<(), ExecError> {
    let plan = begin(arguments)?;
    plan.template()?;
    let (lifeline, alive) = io::pipe().map_err(system("make a pipe"))?;
    let mut guard = Guard {
        plan,
        lifeline,
        _alive: alive,
        runners: BTreeMap::new(),
    };
    let stdin = io::stdin();
    while guard.wait(stdin.as_fd()) {
        let Some((number, socket)) = receive(stdin.as_fd()) else {
            break;
        };
        match socket {
            Some(socket) => guard.start(number, socket),
            None => guard.end(number),
        }
    }
    for (_, process) in guard.runners.values() {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
    tree::end_all(|_| false, DIE_WITHIN);
    Ok(())
}

/// The next request on `control`: a new runner with this number, which talks on this socket; or
/// without a socket, the end of the runner with this number. Nothing at the end.
fn receive(control: BorrowedFd<'_>) -> Option<(u32, Option<OwnedFd>)> {
    let mut number = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut number)];
        match recvmsg(control, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(_) => return None,
            Ok(received) => break received,
        }
    };
    if received.bytes != number.len() {
        return None;
    }
    let socket = ancillary.drain().find_map(|message| {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message {
            sockets.next()
        } else {
            None
        }
    });
    Some((u32::from_le_bytes(number), socket))
}

struct Guard {
    plan: Plan,
    /// What each runner has an end of, and the other end. When this process is gone, that is
    /// closed, and runners end.
    lifeline: PipeReader,
    _alive: PipeWriter,
    runners: BTreeMap<u32, (Pid, OwnedFd)>,
}

impl Guard {
    /// Waits for a request, and cleans up behind runners that end meanwhile. `false` if nothing can
    /// be waited for.
    fn wait(&mut self, control: BorrowedFd<'_>) -> bool {
        loop {
            let mut polled = vec![PollFd::from_borrowed_fd(control, PollFlags::IN)];
            let processes = self.runners.values().map(|(_, process)| process);
            polled.extend(processes.map(|process| PollFd::new(process, PollFlags::IN)));
            match poll(&mut polled, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            }
            let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            let is_asked = is_ready(&polled[0]);
            let ended: Vec<_> = self
                .runners
                .keys()
                .zip(&polled[1..])
                .filter(|(_, fd)| is_ready(fd))
                .map(|(number, _)| *number)
                .collect();
            for number in &ended {
                self.runners.remove(number);
            }
            if !ended.is_empty() {
                self.clean_up();
            }
            if is_asked {
                return true;
            }
        }
    }

    /// Ends what runners left that are gone.
    fn clean_up(&self) {
        let is_runner = |pid| self.runners.values().any(|(runner, _)| *runner == pid);
        tree::end_all(is_runner, DIE_WITHIN);
    }

    /// If there is none, the other end of `socket` is closed, which tells.
    fn start(&mut self, number: u32, socket: OwnedFd) {
        if self.runners.len() >= usize::from(MAX_SLOTS) {
            tracing::error!("more runners are asked for than a worker has slots");
            return;
        }
        match self.spawn(socket) {
            Ok(runner) => {
                self.runners.insert(number, runner);
            }
            Err(error) => tracing::error!(%error, "cannot start a runner for --exec"),
        }
    }

    fn spawn(&self, socket: OwnedFd) -> io::Result<(Pid, OwnedFd)> {
        let mut command = self.plan.command(RUNNER);
        command
            .arg0("coordinator")
            .stdin(self.lifeline.try_clone()?)
            .stdout(Stdio::from(socket));
        if let Some(group) = self.plan.group {
            command.process_group(group.as_raw_nonzero().get());
        }
        let pid = Pid::from_child(&command.spawn()?);
        // Without this it could not be seen to end, and goes with the next clean-up.
        Ok((pid, pidfd_open(pid, PidfdFlags::empty())?))
    }

    fn end(&mut self, number: u32) {
        if let Some((_, process)) = self.runners.get(&number) {
            // It is seen to end by the next wait.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}
