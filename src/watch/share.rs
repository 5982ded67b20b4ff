//! What a run is a part of: the share of a larger list that this machine has at this moment.
//!
//! Whoever deals out the shares writes it, and those who watch the run read it.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// A share of the list of a fleet; docs/monitoring.md describes the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Whether this member may work: the queue has heard of it within its lease.
    pub in_touch: bool,
    /// Members of the fleet, as the queue said last.
    pub members: u64,
    /// Partitions that this member works on.
    pub partitions: u64,
    /// URLs of these that its run has and has not recorded.
    pub taken_on: u64,
    /// Outcomes that are recorded and not in the queue yet.
    pub unpublished: u64,
    /// URLs that the whole fleet was fed with, once that is known.
    pub fed: Option<u64>,
}

impl Fleet {
    /// How many partitions there are.
    pub const PARTITIONS: u64 = 256;

    /// The part of what is the whole fleet's that this member has, and of how many: at least one, since what it has
    /// taken on is to end.
    #[must_use]
    pub fn part(&self) -> (u64, u64) {
        (self.partitions.clamp(1, Self::PARTITIONS), Self::PARTITIONS)
    }
}

/// Where the latest share is.
#[derive(Clone, Debug, Default)]
pub struct Share(Arc<Mutex<Fleet>>);

impl Share {
    /// Says what the share is now.
    pub fn set(&self, fleet: Fleet) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fleet;
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> Fleet {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
