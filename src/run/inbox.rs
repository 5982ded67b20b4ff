//! Everything that the run's one thread of decisions can hear, in one queue.

use super::intake::Batch;
use super::signals::Signal;
use crate::{placement, workers};

/// Something that happened outside.
#[derive(Debug)]
pub enum Message {
    /// Of a worker; for the pool to digest.
    Pool(workers::Message),
    /// What became of bodies.
    Placement(Vec<placement::PlacementEvent>),
    /// More of the input.
    Intake(Batch),
    /// The number of entries of all lists.
    Counted(u64),
    /// Somebody watches the run, and wants to know how it is.
    Watched,
    /// A signal to this process.
    Signal(Signal),
}

impl From<workers::Message> for Message {
    fn from(message: workers::Message) -> Self {
        Self::Pool(message)
    }
}
