//! Which targets of a larger list this machine may still put in place, and until when.
//!
//! Whoever deals out the list says it; whoever puts files in place asks, just before it does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A target: its share of the list, and its number in that share.
pub type FencedTarget = (u16, u64);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// How long the machine will have been up when the time is over.
    until: Option<Duration>,
    granted: HashSet<FencedTarget>,
}

impl Fence {
    /// Whether the file of this target may be put in place now.
    #[must_use]
    pub fn allows(&self, target: FencedTarget) -> bool {
        let state = self.lock();
        // The clock is read here, not by whoever set the time: all of this process may have stood still.
        state.until.is_some_and(|until| boot_time() < until) && state.granted.contains(&target)
    }

    /// Sets until when what is granted may be put in place.
    pub fn set_until(&self, until: Option<Duration>) {
        self.lock().until = until;
    }

    /// The target is this machine's.
    pub fn grant(&self, target: FencedTarget) {
        self.lock().granted.insert(target);
    }

    /// Whether the target is this machine's, if there is time.
    #[must_use]
    pub fn is_granted(&self, target: FencedTarget) -> bool {
        self.lock().granted.contains(&target)
    }

    /// The target is done, or was given back.
    pub fn forget(&self, target: FencedTarget) {
        self.lock().granted.remove(&target);
    }

    /// No target of this share is this machine's any more.
    pub fn revoke(&self, share: u16) {
        self.lock().granted.retain(|(other, _)| *other != share);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole in itself, so a panic elsewhere does not matter.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long this machine has been up, suspended or not.
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
        assert!(!fence.allows((7, 1)), "nobody said until when");
        fence.set_until(Some(boot_time() + Duration::from_secs(3600)));
        assert!(fence.allows((7, 1)));
        assert!(!fence.allows((7, 2)) && !fence.allows((8, 1)));
        // The time is over before anybody says so.
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
