//! A worker in a process of its own, from start to exit.
//!
//! Must not do any work itself: the session does.

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

/// Reason why a worker process failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The process could not start.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
    /// The limits of the setup cannot be applied.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// Standard output is not the memory that the workers share.
    #[error("cannot share the rate of --limit-rate through standard output: {0}")]
    Throttle(#[source] io::Error),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl ProcessError {
    /// Returns whether the coordinator closed the link, so that this process has to exit.
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
/// Calls `first` once its limits are set and before it begins to work. It normally does nothing;
/// one caller uses it to show what a compromised worker can do.
///
/// Must be the first call in `main`: it closes every descriptor except 0 to 2, so no file may be
/// open and no thread running. When it returns, `main` must return at once, which ends the
/// downloads that still run. Their results are not needed, because the coordinator has dismissed
/// this worker or has exited. If it has exited before this call, that is not an error.
///
/// # Errors
///
/// Fails if the worker cannot start, or if the link fails in another way than by being closed.
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

/// Runs this process as a worker that never connects and does nothing until it is killed. This is a
/// fault for measuring its cost. Call it as described for [`run`].
///
/// # Errors
///
/// Fails if the worker cannot start.
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
    // Not joined: a download may run as long as its limits allow, but ends with the process.
    session.read(&mut inbox).map_err(SessionError::Session)?;
    Ok(())
}
