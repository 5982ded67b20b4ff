//! A worker in a process of its own: from the first instruction to the last.
//!
//! It must not do any work: that is the session's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protocol::{FromWorker, Setup, ToWorker};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use signal_hook::consts::SIGXFSZ;

use crate::faults;
use crate::job::{IpcInbox, IpcOutbox};
use crate::limits::{self, LimitsError};
use crate::session::{self, SessionError};
use crate::throttle::Throttle;
use pool::dial::dial;
use pool::link::{Inbox, LinkError, Outbox};
use pool::page::Page;

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
        /// Why.
        cause: io::Error,
    },
    /// The link failed before the session began.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The first message was not the setup.
    #[error("the coordinator did not begin with a setup")]
    NoSetup,
    /// The limits of the setup cannot be had.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// What the workers share is not at standard input.
    #[error("cannot share the rate of --limit-rate through standard input: {0}")]
    Throttle(#[source] io::Error),
    /// What is to show what it runs is not at standard output.
    #[error("cannot show through standard output what runs: {0}")]
    Page(#[source] io::Error),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Runs this process as a worker of the coordinator with process id `parent_pid` that listens at
/// `socket`.
///
/// Once its limits are set, and before it begins to work, it does `first`: that is nothing, unless
/// somebody wants to see what a worker can do that was taken over.
///
/// To be called as the first thing `main` does: it closes every descriptor but 0 to 2, so nothing
/// may be open and no thread running. When it returns, `main` must return at once: that ends the
/// downloads that may still run. They are of no use to anyone then, because the coordinator has
/// dismissed this worker or is gone. If the coordinator is gone already when this is called, it
/// returns quietly.
///
/// # Errors
///
/// If the worker cannot begin, or the link fails otherwise than by being closed.
pub fn run(
    socket: &Path,
    parent_pid: u32,
    first: impl FnOnce(&Setup, &mut IpcInbox, &IpcOutbox),
) -> Result<(), ProcessError> {
    if !begin(parent_pid)? {
        return Ok(());
    }
    // Caught, and of no further interest: the write fails (RLIMIT_FSIZE in setrlimit(2)), which is
    // a failure of that task and not the death of a worker.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map_err(ProcessError::FileSizeSignal)?;
    let (mut inbox, outbox) = connect(socket)?;
    match work(&mut inbox, outbox, first) {
        Err(ProcessError::Link(LinkError::Closed)) => Ok(()),
        result => result,
    }
}

/// Runs this process as a worker that never connects, and does nothing at all until it is killed:
/// a fault, for people who test what it costs. To be called as [`run`] is.
///
/// # Errors
///
/// If the worker cannot begin.
pub fn never_connect(parent_pid: u32) -> Result<(), ProcessError> {
    if begin(parent_pid)? {
        faults::rest();
    }
    Ok(())
}

/// What comes before anything else; whether the coordinator with process id `parent_pid` is there.
fn begin(parent_pid: u32) -> Result<bool, ProcessError> {
    pool::close_inherited().map_err(ProcessError::Descriptors)?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| ProcessError::DeathSignal(errno.into()))?;
    // The coordinator may have died before the line above; then there will be no signal.
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    Ok(u32::try_from(parent) == Ok(parent_pid))
}

fn connect(socket: &Path) -> Result<(IpcInbox, IpcOutbox), ProcessError> {
    let failed = |cause| ProcessError::Connect {
        socket: socket.to_owned(),
        cause,
    };
    let dialled = dial(socket).map_err(failed)?;
    let outbox = IpcOutbox::new(dialled.outbox().clone());
    outbox.send(FromWorker::Hello(dialled.hello().clone()))?;
    let inbox = dialled.answer().map_err(failed)?;
    Ok((IpcInbox::new(inbox), outbox))
}

fn work(
    inbox: &mut IpcInbox,
    outbox: IpcOutbox,
    first: impl FnOnce(&Setup, &mut IpcInbox, &IpcOutbox),
) -> Result<(), ProcessError> {
    let ToWorker::Setup(setup) = inbox.recv()? else {
        return Err(ProcessError::NoSetup);
    };
    let limit = setup.limit_rate.as_ref();
    let throttle = limit
        .map(|limit| Throttle::shared(limit, rustix::stdio::stdin()))
        .transpose()
        .map_err(ProcessError::Throttle)?;
    let page =
        Page::map(rustix::stdio::stdout(), session::slots(&setup)).map_err(ProcessError::Page)?;
    let in_force = limits::apply(&setup)?;
    tracing::debug!(%in_force, "sandbox");
    first(&setup, inbox, &outbox);
    let session = match session::start(Arc::new(outbox), &setup, throttle, Some(page)) {
        Ok(session) => session,
        Err(error) => {
            return Err(match error.into_link() {
                Ok(error) => error.into(),
                Err(error) => error.into(),
            });
        }
    };
    // Not joined: a download may run for as long as its limits allow, and the end of the process
    // ends it.
    session.read(inbox).map_err(SessionError::Session)?;
    Ok(())
}
