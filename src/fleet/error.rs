//! Why something of a fleet cannot be done.

use std::io;

use super::frame::{MessageError, VERSION};
use crate::disk_map::DiskMapError;
use crate::input::InputError;
use crate::run::SetUpError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No server lets this program in.
    #[error("cannot connect to the queue at {servers}: {error}; is nats-server running there?")]
    Connect { servers: String, error: String },
    /// The server is too old.
    #[error("the queue is nats-server {version}; a fleet needs 2.10 or later")]
    OldServer {
        /// Its version.
        version: String,
    },
    /// The run is of another version of this program.
    #[error(
        "the fleet's run {run} speaks version {there}, and this program version {VERSION}; use the \
         same version of coordinator on all machines"
    )]
    Version {
        run: String,
        /// Its version.
        there: u32,
    },
    /// The queue does not do what is asked.
    #[error(
        "cannot {what} at the queue: {error}; check that nats-server runs with JetStream (-js), and \
         what this user may do"
    )]
    Queue {
        /// What was asked.
        what: &'static str,
        error: String,
    },
    /// An option names something that cannot be used.
    #[error("cannot use what {option} names: {error}")]
    Unusable {
        /// The option.
        option: &'static str,
        #[source]
        error: io::Error,
    },
    /// Something else stands where a message of the fleet belongs.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The list is not the one that was fed.
    #[error(
        "the list is not the one that the run {run} was fed with so far: partition {partition} \
         differs in its first {fed} targets; feed the same list with the same options, or name \
         another run with --run"
    )]
    OtherList {
        run: String,
        /// Where it differs.
        partition: u16,
        /// Targets that were fed.
        fed: u64,
    },
    /// Somebody else feeds the same run.
    #[error(
        "another feeder has written to the run {run}; let one of them feed, and start the other again"
    )]
    TwoFeeders { run: String },
    /// There is no list to read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// There is no room to keep track of it.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
    /// The member's own run did not begin.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The run log cannot be read.
    #[error("cannot read the run log: {0}")]
    Log(String),
    /// The system refused something.
    #[error("cannot {what}: {error}")]
    System {
        what: &'static str,
        #[source]
        error: io::Error,
    },
}

impl FleetError {
    /// The queue did not do this.
    pub(super) fn queue<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Queue {
            what,
            error: error.to_string(),
        }
    }

    /// The system did not do this.
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

impl From<serde_json::Error> for FleetError {
    fn from(error: serde_json::Error) -> Self {
        Self::Message(error.into())
    }
}
