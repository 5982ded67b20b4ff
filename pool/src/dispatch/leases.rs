//! When leases expire without a sign of life, and what the core does before that has consequences.
//!
//! ```text
//!   waiting ------- one expires: `Listen` ---------> listening
//!      ^                                                 |
//!      +---- `Listened`: those leases have ended --------+
//! ```
//!
//! A sign of life may be on its way when a lease expires. So no worker is blamed before the core
//! has received everything that was sent until then, and a lease that is renewed in that time
//! continues. The leases of a worker that is being terminated are not kept here.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use protocol::TaskId;

/// All leases that can expire.
#[derive(Debug)]
pub(super) struct Leases {
    /// How long a lease lasts without a sign of life.
    timeout: Duration,
    ends: BTreeSet<(Instant, TaskId)>,
    /// When listening began, if it has.
    listening: Option<Instant>,
}

impl Leases {
    pub(super) const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            ends: BTreeSet::new(),
            listening: None,
        }
    }

    /// Starts a lease on `task`, and returns when it expires.
    pub(super) fn grant(&mut self, now: Instant, task: TaskId) -> Instant {
        let end = now + self.timeout;
        self.ends.insert((end, task));
        end
    }

    /// Renews the lease on `task`, which would expire at `end`, and returns when it expires now.
    pub(super) fn renew(&mut self, now: Instant, end: Instant, task: TaskId) -> Instant {
        self.forget(end, task);
        self.grant(now, task)
    }

    /// Removes the lease on `task`, which would expire at `end`.
    pub(super) fn forget(&mut self, end: Instant, task: TaskId) {
        self.ends.remove(&(end, task));
    }

    /// Returns when listening must begin, because a lease expires.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let first = self.ends.first().filter(|_| self.listening.is_none());
        first.map(|&(end, _)| end)
    }

    /// Begins to listen if a lease has expired, and returns whether it did.
    pub(super) fn listen(&mut self, now: Instant) -> bool {
        let is_due = self.next_end().is_some_and(|end| end <= now);
        if is_due {
            self.listening = Some(now);
        }
        is_due
    }

    /// Ends listening: everything that was sent before it began has been received. Removes and
    /// returns the leases that had expired by then and were not renewed.
    pub(super) fn listened(&mut self) -> Vec<TaskId> {
        let Some(until) = self.listening.take() else {
            return Vec::new();
        };
        let over = std::iter::from_fn(|| {
            let is_over = self.ends.first().is_some_and(|&(end, _)| end <= until);
            is_over.then(|| self.ends.pop_first()).flatten()
        });
        over.map(|(_, task)| task).collect()
    }

    /// Extends every lease by `pause`.
    pub(super) fn extend(&mut self, pause: Duration) {
        let ends = std::mem::take(&mut self.ends).into_iter();
        self.ends = ends.map(|(end, task)| (end + pause, task)).collect();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether there is a lease on `task` that expires at `end`.
    pub(super) fn has(&self, end: Instant, task: TaskId) -> bool {
        self.ends.contains(&(end, task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step. Numbers are the second at which it happens, the second at which the lease would have
    /// expired, and the task.
    enum Step {
        Grant(u64, u64),
        Renew(u64, u64, u64),
        Forget(u64, u64),
        Listen(u64, bool),
        Listened(&'static [u64]),
        Extend(u64),
    }

    #[test]
    fn nobody_is_blamed_before_all_is_heard() {
        use Step::{Extend, Forget, Grant, Listen, Listened, Renew};
        // Steps, with leases of ten seconds; then the second at which listening must begin.
        let rows = [
            (vec![], None),
            (vec![Grant(0, 1), Grant(2, 2)], Some(10)),
            (vec![Grant(0, 1), Grant(2, 2), Forget(10, 1)], Some(12)),
            (vec![Grant(0, 1), Listen(9, false)], Some(10)),
            (vec![Grant(0, 1), Listen(10, true), Listen(11, false)], None),
            (
                vec![Grant(0, 1), Grant(2, 2), Listen(11, true), Listened(&[1])],
                Some(12),
            ),
            // The sign of life came late.
            (
                vec![
                    Grant(0, 1),
                    Listen(10, true),
                    Renew(10, 10, 1),
                    Listened(&[]),
                ],
                Some(20),
            ),
            // The lease of the other task expires after listening for the first has begun.
            (
                vec![
                    Grant(0, 1),
                    Grant(1, 2),
                    Listen(10, true),
                    Listened(&[1]),
                    Listen(11, true),
                    Listened(&[2]),
                    Listened(&[]),
                ],
                None,
            ),
            (
                vec![
                    Grant(0, 2),
                    Grant(0, 1),
                    Listen(10, true),
                    Listened(&[1, 2]),
                ],
                None,
            ),
            (vec![Grant(0, 1), Extend(5), Listen(14, false)], Some(15)),
        ];
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        for (number, (steps, next)) in rows.into_iter().enumerate() {
            let mut leases = Leases::new(Duration::from_secs(10));
            for step in steps {
                match step {
                    Grant(now, task) => {
                        let end = leases.grant(at(now), TaskId(task));
                        assert!(end == at(now + 10) && leases.has(end, TaskId(task)));
                    }
                    Renew(now, end, task) => {
                        leases.renew(at(now), at(end), TaskId(task));
                    }
                    Forget(end, task) => leases.forget(at(end), TaskId(task)),
                    Listen(now, due) => assert_eq!(leases.listen(at(now)), due, "row {number}"),
                    Listened(over) => {
                        let found = leases.listened().into_iter().map(|task| task.0);
                        assert_eq!(found.collect::<Vec<_>>(), over, "row {number}");
                    }
                    Extend(pause) => leases.extend(Duration::from_secs(pause)),
                }
            }
            assert_eq!(leases.next_end(), next.map(at), "row {number}");
        }
    }
}
