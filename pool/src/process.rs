//! The start of a worker process, before its session.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use signal_hook::consts::SIGXFSZ;

use crate::confine::ConfineError;
use crate::dial::dial;
use crate::job::{FromWorker, Job, ToWorker};
use crate::link::{Inbox, IpcInbox, IpcOutbox, LinkError, Outbox};
use crate::page::Page;
use crate::session::SessionError;

/// Reasons why a worker process could not work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Inherited descriptors could not be closed.
    #[error("cannot close inherited descriptors: {0}")]
    Descriptors(#[source] io::Error),
    /// The system does not notify this process when the coordinator dies.
    #[error("cannot ask to be told of the coordinator's death: {0}")]
    DeathSignal(#[source] io::Error),
    /// SIGXFSZ could not be caught: a write beyond a limit on file sizes would end this process.
    #[error("cannot catch the signal for files that are too large: {0}")]
    FileSizeSignal(#[source] io::Error),
    /// The coordinator could not be reached.
    #[error("cannot reach the coordinator at {}: {cause}", .socket.display())]
    Connect {
        /// The path of the socket.
        socket: PathBuf,
        cause: io::Error,
    },
    /// The link failed before the session began.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The first message was not the setup.
    #[error("the coordinator did not begin with a setup")]
    NoSetup,
    /// The page of this process is not at standard input.
    #[error("cannot show through standard input what runs: {0}")]
    Page(#[source] io::Error),
    /// The process cannot be confined.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Does what a worker process has to do before anything else, except
/// [closing](crate::close_inherited) inherited descriptors. Returns whether the coordinator with
/// process id `parent_pid` is still its parent.
///
/// # Errors
///
/// Fails if a system call fails.
pub fn begin(parent_pid: u32) -> Result<bool, ProcessError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| ProcessError::DeathSignal(errno.into()))?;
    // If the coordinator died before the line above, there is no signal.
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    // The signal is caught and otherwise ignored, so that the write fails (RLIMIT_FSIZE in
    // setrlimit(2)): the task fails, and the worker does not die.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map_err(ProcessError::FileSizeSignal)?;
    Ok(u32::try_from(parent) == Ok(parent_pid))
}

/// A worker that is connected to its coordinator.
#[derive(Debug)]
pub struct Reached<J: Job> {
    /// Receives the coordinator's messages.
    pub inbox: IpcInbox<J>,
    /// Sends messages to the coordinator.
    pub outbox: IpcOutbox<J>,
    /// Configuration of the worker.
    pub setup: Box<J::Setup>,
}

/// Connects to the coordinator that listens at `socket`, and waits for the setup.
///
/// # Errors
///
/// Fails if no coordinator listens there, or if its first message is not the setup.
pub fn reach<J: Job>(socket: &Path) -> Result<Reached<J>, ProcessError> {
    let failed = |cause| ProcessError::Connect {
        socket: socket.to_owned(),
        cause,
    };
    let dialled = dial(socket).map_err(failed)?;
    let outbox = IpcOutbox::<J>::new(dialled.outbox().clone());
    outbox.send(FromWorker::<J>::Hello(dialled.hello().clone()))?;
    let mut inbox = IpcInbox::<J>::new(dialled.answer().map_err(failed)?);
    match inbox.recv()? {
        ToWorker::<J>::Setup(setup) => Ok(Reached {
            inbox,
            outbox,
            setup,
        }),
        ToWorker::<J>::Notice(_)
        | ToWorker::<J>::Assign(_)
        | ToWorker::<J>::Revoke(_)
        | ToWorker::<J>::Dismiss => Err(ProcessError::NoSetup),
    }
}

/// Maps the page of this process, with `slots` slots, which the coordinator put at standard input.
///
/// # Errors
///
/// Fails if standard input is not such a page.
pub fn page(slots: u16) -> Result<Page, ProcessError> {
    Page::map(rustix::stdio::stdin(), slots).map_err(ProcessError::Page)
}
