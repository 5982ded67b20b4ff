//! Errors of a fleet.

use std::io;

use super::frame::{MessageError, VERSION};
use crate::disk_map::DiskMapError;
use crate::input::InputError;
use crate::run::SetUpError;

/// An error of a fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No server accepts a connection.
    #[error("cannot connect to the queue at {servers}: {error}; is nats-server running there?")]
    Connect { servers: String, error: String },
    /// The server is too old.
    #[error("the queue is nats-server {version}; a fleet needs 2.10 or later")]
    OldServer {
        /// The server's version.
        version: String,
    },
    /// The run has another message version.
    #[error(
        "the fleet's run {run} speaks version {there}, and this program version {VERSION}; use the \
         same version of coordinator on all machines"
    )]
    Version {
        run: String,
        /// The run's message version.
        there: u32,
    },
    /// A request to the queue failed.
    #[error(
        "cannot {what} at the queue: {error}; check that nats-server runs with JetStream (-js), and \
         what this user may do"
    )]
    Queue {
        /// The request.
        what: &'static str,
        error: String,
    },
    /// The value of an option cannot be used.
    #[error("cannot use what {option} names: {error}")]
    Unusable {
        /// The option.
        option: &'static str,
        #[source]
        error: io::Error,
    },
    /// Not a message of the fleet.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The list differs from the one that was fed.
    #[error(
        "the list is not the one that the run {run} was fed with so far: partition {partition} \
         differs in its first {fed} targets; feed the same list with the same options, or name \
         another run with --run"
    )]
    OtherList {
        run: String,
        /// The partition that differs.
        partition: u16,
        /// Number of targets that were fed.
        fed: u64,
    },
    /// Another feeder writes to the same run.
    #[error(
        "another feeder has written to the run {run}; let one of them feed, and start the other again"
    )]
    TwoFeeders { run: String },
    /// A list cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The map of known targets cannot be stored.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
    /// The member's own run did not start.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The run log cannot be read.
    #[error("cannot read the run log: {0}")]
    Log(String),
    /// A system call failed.
    #[error("cannot {what}: {error}")]
    System {
        what: &'static str,
        #[source]
        error: io::Error,
    },
}

impl FleetError {
    /// Returns a conversion for errors of the queue.
    pub(super) fn queue<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Queue {
            what,
            error: error.to_string(),
        }
    }

    /// Returns a conversion for errors of the system.
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

impl From<serde_json::Error> for FleetError {
    fn from(error: serde_json::Error) -> Self {
        Self::Message(error.into())
    }
}
