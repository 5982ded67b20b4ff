//! A worker in a process of its own: from the first instruction to the last.
//!
//! It must not do any work: that is the session's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use pool::link::LinkError;
use pool::process::{self, Reached};
use pool::session;
use protocol::Setup;

use crate::faults;
use crate::job::{Download, IpcInbox, IpcOutbox};
use crate::limits::{self, LimitsError};
use crate::session::{SessionError, slots, start};
use crate::throttle::Throttle;

/// Why a worker process could not work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not begin.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
    /// The limits of the setup cannot be had.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// What the workers share is not at standard output.
    #[error("cannot share the rate of --limit-rate through standard output: {0}")]
    Throttle(#[source] io::Error),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl ProcessError {
    /// The coordinator has no more use for this process.
    const fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Process(process::ProcessError::Link(LinkError::Closed))
                | Self::Session(SessionError::Session(session::SessionError::Link(
                    LinkError::Closed
                )))
        )
    }
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
    match work(socket, first) {
        Err(error) if error.is_end() => Ok(()),
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

fn begin(parent_pid: u32) -> Result<bool, ProcessError> {
    pool::close_inherited().map_err(process::ProcessError::Descriptors)?;
    Ok(process::begin(parent_pid)?)
}

fn work(
    socket: &Path,
    first: impl FnOnce(&Setup, &mut IpcInbox, &IpcOutbox),
) -> Result<(), ProcessError> {
    let Reached::<Download> {
        mut inbox,
        outbox,
        setup,
    } = process::reach(socket)?;
    let limit = setup.limit_rate.as_ref();
    let throttle = limit
        .map(|limit| Throttle::shared(limit, rustix::stdio::stdout()))
        .transpose()
        .map_err(ProcessError::Throttle)?;
    let page = process::page(slots(&setup))?;
    let in_force = limits::apply(&setup)?;
    tracing::debug!(%in_force, "sandbox");
    first(&setup, &mut inbox, &outbox);
    let session = start(Arc::new(outbox), &setup, throttle, Some(page))?;
    // Not joined: a download may run for as long as its limits allow, and the end of the process
    // ends it.
    session.read(&mut inbox).map_err(SessionError::Session)?;
    Ok(())
}
