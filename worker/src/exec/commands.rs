//! Commands as a worker sees them: it asks a runner, waits, and is told how it went.
//!
//! Each file has a runner to itself while its command runs; runners that have nothing to do are kept
//! for the next. While it waits, a slot says that it moves: how long a command may take is the
//! runner's to watch, and only a runner that is silent beyond that counts as frozen.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::{CommandAnswer, CommandOrder, Executed, FailureKind, Phase, Setup, codec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, send, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};
use tokio::io::Interest;

use super::plan::Plan;
use super::tree::timespec;
use super::{DIE_WITHIN, GUARD, KILL_AFTER, verdict};
use crate::activity::Activity;
use crate::fault::Fault;
use crate::faults::rest;

/// Time between two signs of life of a slot whose command runs, and between two looks whether the
/// slot is to give up.
const TICK: Duration = Duration::from_millis(200);

/// What a runner may take beyond the time of its command before it counts as frozen.
const SLACK: Duration = Duration::from_secs(10);

/// Largest answer, in bytes: a line of [`Lines`](crate::Lines) is most of it.
const MAX_ANSWER: usize = 8 * 1024;

/// Where the worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// In a process of its own, and the leader of its process group. Runners and commands are in
    /// that group, so what is done to the group is done to them: they are stopped with it,
    /// continued, and killed. Once it is in its sandbox it can start no guard, so when it loses the
    /// one it has, the process ends.
    Process,
    /// In another's. Runners and commands are in the guard's process group.
    Local,
}

/// The commands of one worker. Dropping it ends those that run.
#[derive(Debug)]
pub struct Commands {
    home: Home,
    plan: Plan,
    guard: Mutex<Guard>,
    idle: Mutex<Vec<Runner>>,
    /// Number of the next runner.
    next: AtomicU32,
}

#[derive(Debug)]
struct Guard {
    process: Child,
    control: OwnedFd,
}

#[derive(Debug)]
struct Runner {
    number: u32,
    /// Keeps messages apart, though the type does not say so.
    socket: UnixStream,
}

impl Commands {
    /// Starts the guard, if `setup` asks for commands. To be called before the worker confines
    /// itself: what it cannot do then, the command could not either.
    ///
    /// # Errors
    ///
    /// If the guard cannot be started.
    pub fn start(setup: &Setup, home: Home) -> io::Result<Option<Self>> {
        let Some(exec) = &setup.exec else {
            return Ok(None);
        };
        let group = match home {
            Home::Process => Some(getpgrp()),
            Home::Local => None,
        };
        let plan = Plan {
            group,
            // That of the worker.
            nice: None,
            output: setup.output.clone().into(),
            exec: exec.clone(),
        };
        Ok(Some(Self {
            home,
            guard: Mutex::new(Guard::start(&plan)?),
            plan,
            idle: Mutex::default(),
            next: AtomicU32::new(0),
        }))
    }

    /// Sends `signal` to all of them, in a worker without a process of its own.
    pub fn signal(&self, signal: Signal) {
        let guard = self.guard();
        // Not reaped before it is dropped, so its group cannot be another's.
        let _ = kill_process_group(Pid::from_child(&guard.process), signal);
    }

    /// Ends guard, runners and what runs, and waits for that.
    pub fn finish(&self) {
        self.guard().finish();
    }

    /// Runs the command on the file of `order`, and waits for it, on the thread that calls.
    ///
    /// # Errors
    ///
    /// If it does not succeed, or cannot be run; what that means for the task. The file is left as
    /// it is.
    pub fn run(&self, order: &CommandOrder, activity: &Activity) -> Result<Executed, Fault> {
        let runner = self.send(order)?;
        for _ in 0..self.ticks() {
            activity.enter(Phase::Executing);
            if activity.is_abandoned() {
                return Err(Fault::permanent(FailureKind::Internal, "given up"));
            }
            let mut polled = [PollFd::new(&runner.socket, PollFlags::IN)];
            // If it is interrupted, the look is early.
            let _ = poll(&mut polled, Some(&timespec(TICK)));
            if let Some(heard) = runner.receive() {
                return self.heard(runner, heard);
            }
        }
        Err(self.frozen(&runner))
    }

    /// The same on an event loop. Dropped halfway, it ends the command.
    pub(crate) async fn run_async(
        &self,
        order: &CommandOrder,
        activity: &Activity,
    ) -> Result<Executed, Fault> {
        let runner = self.send(order)?;
        // For its readiness alone: as a stream it would not keep messages apart.
        let watched = runner.watch().map_err(|error| unavailable(&error))?;
        for _ in 0..self.ticks() {
            activity.enter(Phase::Executing);
            let heard = tokio::time::timeout(TICK, async {
                loop {
                    watched.readable().await?;
                    let heard = watched.try_io(Interest::READABLE, || {
                        runner.receive().ok_or(ErrorKind::WouldBlock.into())
                    });
                    match heard {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        heard => return heard,
                    }
                }
            })
            .await;
            if let Ok(heard) = heard {
                drop(watched);
                return self.heard(runner, heard.unwrap_or(Heard::End));
            }
        }
        Err(self.frozen(&runner))
    }

    /// How often a slot looks before it takes its runner for frozen. Ticks are counted, and not
    /// time: this process may have been stopped, and the command with it.
    fn ticks(&self) -> u128 {
        let longest = self
            .plan
            .exec
            .timeout
            .saturating_add(KILL_AFTER + DIE_WITHIN + SLACK);
        longest.as_millis() / TICK.as_millis() + 1
    }

    /// Finds a runner for `order`, and hands it over.
    fn send(&self, order: &CommandOrder) -> Result<Runner, Fault> {
        let frame = codec::encode(order)
            .map_err(|error| Fault::permanent(FailureKind::Exec, error.to_string()))?;
        loop {
            let kept = lock(&self.idle).pop();
            let is_new = kept.is_none();
            let runner = match kept {
                Some(runner) => runner,
                None => self.new_runner()?,
            };
            match send(&runner.socket, &frame, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(runner),
                Err(_) if is_new => return Err(self.lost(runner)),
                // It was killed while it had nothing to do: no loss.
                Err(_) => {}
            }
        }
    }

    fn new_runner(&self) -> Result<Runner, Fault> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let asked = pair().and_then(|(socket, theirs)| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let sockets = [theirs.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
            sendmsg(
                &self.guard().control,
                &[IoSlice::new(&number.to_le_bytes())],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )?;
            Ok(Runner {
                number,
                socket: socket.into(),
            })
        });
        asked.map_err(|error| {
            self.see_to_guard();
            unavailable(&error)
        })
    }

    /// What came of an order.
    fn heard(&self, runner: Runner, heard: Heard) -> Result<Executed, Fault> {
        match heard {
            Heard::Answer(answer) => {
                lock(&self.idle).push(runner);
                verdict::judge(answer, &self.plan.exec)
            }
            Heard::End => Err(self.lost(runner)),
        }
    }

    /// The runner is gone, and its command with it: it was killed, or could not be started.
    fn lost(&self, runner: Runner) -> Fault {
        drop(runner);
        self.see_to_guard();
        verdict::lost(&self.plan.exec)
    }

    /// The runner says nothing, though it should long have ended its command.
    fn frozen(&self, runner: &Runner) -> Fault {
        // If there is no guard, there will soon be no runner either.
        let _ = send(
            &self.guard().control,
            &runner.number.to_le_bytes(),
            SendFlags::NOSIGNAL,
        );
        verdict::frozen(&self.plan.exec)
    }

    /// Without its guard a worker can run nothing. One that can start another does so.
    fn see_to_guard(&self) {
        let mut guard = self.guard();
        if !guard.is_gone() {
            return;
        }
        match self.home {
            Home::Local => {
                lock(&self.idle).clear();
                match Guard::start(&self.plan) {
                    Ok(new) => *guard = new,
                    // The next task tries again.
                    Err(error) => tracing::error!(%error, "cannot start the guard of --exec"),
                }
            }
            Home::Process => {
                // Nobody to tell it to if that fails.
                let _ = writeln!(
                    io::stderr(),
                    "the process that runs commands (--exec) was killed"
                );
                // Whoever kills that kills this: it is nothing that a task has done.
                let _ = kill_process(getpid(), Signal::KILL);
                rest()
            }
        }
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        lock(&self.guard)
    }
}

impl Guard {
    fn start(plan: &Plan) -> io::Result<Self> {
        let (control, theirs) = pair()?;
        let process = plan
            .command(GUARD)
            .arg0("coordinator")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // What is done to the worker's group must not be done to the one who cleans up.
            .process_group(0)
            .spawn()?;
        Ok(Self { process, control })
    }

    /// Whether its end of the socket is closed.
    fn is_gone(&self) -> bool {
        let mut polled = [PollFd::new(&self.control, PollFlags::IN)];
        // It never says anything.
        poll(&mut polled, Some(&timespec(Duration::ZERO))).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Guard {
    /// Ends it, with all its runners and commands, and waits for that.
    fn finish(&mut self) {
        // Only fails if it is closed already.
        let _ = rustix::net::shutdown(&self.control, rustix::net::Shutdown::Both);
        if let Ok(None) = self.process.try_wait() {
            // One that is stopped does not see it.
            let _ = kill_process_group(Pid::from_child(&self.process), Signal::CONT);
            let _ = self.process.wait();
        }
    }
}

/// What is heard of a runner.
enum Heard {
    Answer(CommandAnswer),
    /// It is gone, or says what it must not.
    End,
}

impl Runner {
    /// For an event loop to wait on.
    fn watch(&self) -> io::Result<tokio::net::UnixStream> {
        let socket = self.socket.try_clone()?;
        socket.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(socket)
    }

    /// What there is to be heard now, if there is anything.
    fn receive(&self) -> Option<Heard> {
        let mut buffer = [0; MAX_ANSWER];
        match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(Heard::End),
            Ok((_, size)) => Some(codec::decode(&buffer[..size]).map_or(Heard::End, Heard::Answer)),
        }
    }
}

/// A pair of sockets that keep messages apart.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Too few descriptors, most likely.
fn unavailable(error: &io::Error) -> Fault {
    Fault::transient(
        FailureKind::Exec,
        format!("cannot reach the process that runs commands: {error}"),
    )
}

/// Every change is whole in itself, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
