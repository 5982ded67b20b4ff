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
    /// URLs of these partitions that the member's run has and has not recorded.
    pub taken_on: u64,
    /// Outcomes that are recorded and not in the queue yet.
    pub unpublished: u64,
    /// URLs that were fed to the whole fleet, once known.
    pub fed: Option<u64>,
}

impl Fleet {
    /// Number of partitions of a fleet.
    pub const PARTITIONS: u64 = 256;

    /// Returns this member's part of what the whole fleet shares, as a numerator and a denominator.
    /// It is never 0, so that a member without partitions can finish what it has begun.
    #[must_use]
    pub fn part(&self) -> (u64, u64) {
        (self.partitions.clamp(1, Self::PARTITIONS), Self::PARTITIONS)
    }
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
