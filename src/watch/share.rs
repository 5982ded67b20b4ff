//! The share of a fleet's list that this run works on now.
//!
//! The fleet code writes it, and the views of the run read it.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// A share of the list of a fleet; docs/monitoring.md describes the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Whether this member may work: its last contact with the queue is within its lease.
    pub in_touch: bool,
    /// Members of the fleet, as the queue last reported.
    pub members: u64,
    /// Partitions that this member works on.
    pub partitions: u64,
    /// URLs that this member has accepted and not recorded.
    pub taken_on: u64,
    /// Outcomes that are recorded and not in the queue yet.
    pub unpublished: u64,
    /// URLs that were fed to the whole fleet, once known.
    pub fed: Option<u64>,
}

/// The latest share.
#[derive(Clone, Debug, Default)]
pub struct Share(Arc<Mutex<Fleet>>);

impl Share {
    /// Sets the current share.
    pub fn set(&self, fleet: Fleet) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fleet;
    }

    /// Returns the current share.
    #[must_use]
    pub fn get(&self) -> Fleet {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
