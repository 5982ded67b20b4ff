//! The queue of all messages that the shell receives.

use super::intake::Batch;
use super::signals::Signal;
use crate::{placement, workers};

/// An external event.
#[derive(Debug)]
pub enum Message {
    /// A message from a worker, for the pool.
    Pool(workers::Message),
    /// Results of placement.
    Placement(Vec<placement::PlacementEvent>),
    /// The next batch of the input.
    Intake(Batch),
    /// The number of entries of all lists.
    Counted(u64),
    /// A request from `--listen` for the state of the run.
    Watched,
    /// A signal to this process.
    Signal(Signal),
}

impl From<workers::Message> for Message {
    fn from(message: workers::Message) -> Self {
        Self::Pool(message)
    }
}
