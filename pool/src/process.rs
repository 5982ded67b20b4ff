//! A worker in a process of its own: what comes before its session.

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

/// Why a worker process could not work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// What was inherited could not be closed.
    #[error("cannot close inherited descriptors: {0}")]
    Descriptors(#[source] io::Error),
    /// The system does not tell us when the coordinator dies.
    #[error("cannot ask to be told of the coordinator's death: {0}")]
    DeathSignal(#[source] io::Error),
    /// A write beyond a limit on file sizes would end this process.
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
    /// What is to show what it runs is not at standard input.
    #[error("cannot show through standard input what runs: {0}")]
    Page(#[source] io::Error),
    /// It cannot be confined.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// What comes before anything else in the process of a worker, once what it inherited [is
/// closed](crate::close_inherited); whether the coordinator with process id `parent_pid` is there.
///
/// # Errors
///
/// If the system refuses.
pub fn begin(parent_pid: u32) -> Result<bool, ProcessError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| ProcessError::DeathSignal(errno.into()))?;
    // The coordinator may have died before the line above; then there will be no signal.
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    // Caught, and of no further interest: the write fails (RLIMIT_FSIZE in setrlimit(2)), which is
    // a failure of that task and not the death of a worker.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map_err(ProcessError::FileSizeSignal)?;
    Ok(u32::try_from(parent) == Ok(parent_pid))
}

/// A worker that has reached its coordinator.
#[derive(Debug)]
pub struct Reached<J: Job> {
    /// Where the coordinator's messages come in.
    pub inbox: IpcInbox<J>,
    /// Where messages to it go out.
    pub outbox: IpcOutbox<J>,
    /// How to work.
    pub setup: Box<J::Setup>,
}

/// Connects to the coordinator that listens at `socket`, and waits for the setup.
///
/// # Errors
///
/// If nobody is there, or it says something else.
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

/// The page of this process, with so many slots, which its coordinator put at standard input.
///
/// # Errors
///
/// If it is not there.
pub fn page(slots: u16) -> Result<Page, ProcessError> {
    Page::map(rustix::stdio::stdin(), slots).map_err(ProcessError::Page)
}
