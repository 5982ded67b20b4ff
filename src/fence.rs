//! The targets of a fleet that this member may place, and the end of this permission.
//!
//! The fleet sets them. The placement checks them just before it renames a file.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The partition of a target, and its number in that partition.
pub type FencedTarget = (u16, u64);

/// The granted targets and the end of the lease, shared by the fleet and the placement.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The end of the lease, as the time since boot.
    until: Option<Duration>,
    granted: HashSet<FencedTarget>,
}

impl Fence {
    /// Returns whether the file of this target may be placed now.
    #[must_use]
    pub fn allows(&self, target: FencedTarget) -> bool {
        let state = self.lock();
        // After a pause of the process, this may run before the thread that keeps the lease.
        state.until.is_some_and(|until| boot_time() < until) && state.granted.contains(&target)
    }

    /// Sets the time since boot until which granted targets may be placed.
    pub fn set_until(&self, until: Option<Duration>) {
        self.lock().until = until;
    }

    /// Grants a target.
    pub fn grant(&self, target: FencedTarget) {
        self.lock().granted.insert(target);
    }

    /// Returns whether a target is granted, even if the lease has ended.
    #[must_use]
    pub fn is_granted(&self, target: FencedTarget) -> bool {
        self.lock().granted.contains(&target)
    }

    /// Removes a target that is finished or was given back.
    pub fn forget(&self, target: FencedTarget) {
        self.lock().granted.remove(&target);
    }

    /// Removes all targets of a partition.
    pub fn revoke(&self, partition: u16) {
        self.lock().granted.retain(|(other, _)| *other != partition);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single operation, so the state stays valid if a lock holder panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time since boot, including the time in which the machine was suspended.
#[must_use]
pub fn boot_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_is_allowed_until_it_is_revoked_or_the_time_is_over() {
        let fence = Fence::default();
        fence.grant((7, 1));
        assert!(!fence.allows((7, 1)), "there is no lease");
        fence.set_until(Some(boot_time() + Duration::from_secs(3600)));
        assert!(fence.allows((7, 1)));
        assert!(!fence.allows((7, 2)) && !fence.allows((8, 1)));
        // The lease ends before the fleet revokes anything.
        fence.set_until(Some(boot_time()));
        assert!(!fence.allows((7, 1)) && fence.is_granted((7, 1)));
        fence.set_until(Some(boot_time() + Duration::from_secs(3600)));
        fence.grant((8, 1));
        fence.revoke(7);
        assert!(!fence.allows((7, 1)) && !fence.is_granted((7, 1)));
        fence.forget((8, 1));
        assert!(!fence.allows((8, 1)));
    }
}
