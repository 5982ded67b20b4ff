//! A group refuses a task for now: which of the two is at fault, and what happens to the task.
//!
//! A refusal spends no attempt while it says more about the group than about the task. That is so
//! if the group has served something recently, has refused other tasks as well, and has not served
//! many others since it refused this one. Otherwise it is a failure like any other. This ensures
//! that a run ends: such refusals are excused only while the group serves something every
//! [`Limits::group_patience`](super::Limits::group_patience), so that fewer and fewer tasks are
//! left. If only tasks are left that it refused before, the group may be open and these tasks bad:
//! it then has less time.

use std::time::{Duration, Instant};

use protocol::{JobFailure, TaskId};

use super::Dispatcher;
use super::assign::fits;
use super::task::Place;

/// Longest pause of a group because of one task.
const PAUSE_OF_ONE: Duration = Duration::from_secs(10);

/// What the failure of a task says about its group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushback {
    /// The group is at fault: the task spends no attempt.
    pub(super) excused: bool,
    /// How long the group must rest if the task is retried.
    pub(super) pause: Duration,
}

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Determines what the failure of `id`, which a worker still holds, says about its group.
    pub(super) fn judge(&mut self, now: Instant, id: TaskId, failure: &F) -> Pushback {
        let Some(task) = self.tasks.get_mut(&id) else {
            return Pushback::default();
        };
        let Place::Leased(lease) = task.place else {
            return Pushback::default();
        };
        let (group, asked) = (task.group, lease.asked);
        let is_silence = failure.is_silence();
        // A group that has never answered cannot be distinguished from one that does not exist.
        let way = failure
            .refusal()
            .filter(|_| !is_silence || self.queue.groups().has_served(group));
        let Some(way) = way else {
            if !is_silence {
                let places = self.places();
                self.queue.groups_mut().serve(now, group, asked, places);
            }
            return Pushback::default();
        };
        let was_free = !self.queue.groups().is_under_pressure(group);
        let patience = self.limits.group_patience;
        let refused = (group, id, way);
        let meaning = self
            .queue
            .groups_mut()
            .refuse(now, refused, asked, task.refused, patience);
        let wanted = failure.severity().retry_after().unwrap_or_default();
        let wanted = wanted.min(self.limits.retry_delay_max);
        let age = now.saturating_duration_since(task.begun.unwrap_or(now)) + wanted;
        let in_time = self.limits.retry_max_time.is_none_or(|most| age <= most);
        let excused = meaning.excused && in_time && self.limits.retries > 0;
        if excused || task.refused.is_none() {
            task.refused = Some(meaning.served);
        }
        if was_free {
            self.recall_group(id, group);
        }
        Pushback {
            excused,
            pause: if meaning.is_unanimous {
                wanted
            } else if meaning.served == 0 {
                wanted.min(PAUSE_OF_ONE)
            } else {
                Duration::ZERO
            },
        }
    }

    /// Returns how many tasks can run at once in the whole pool.
    pub(super) fn places(&mut self) -> u32 {
        let in_use = self.slots.whole().in_use;
        let in_use = u32::try_from(in_use).unwrap_or(u32::MAX);
        in_use.saturating_mul(self.limits.concurrency.into())
    }

    /// Returns the slot that should run `id`: usually `index`. If the group pushes back, it is a
    /// slot with equally few tasks whose latest answer came from this group. That worker may have a
    /// connection to the group, and the group may count connections.
    pub(super) fn slot_with_connection(&self, index: usize, id: TaskId) -> usize {
        let Some(group) = self.tasks.get(&id).map(|task| task.group) else {
            return index;
        };
        if !self.queue.groups().is_under_pressure(group)
            || self.slots[index].served_by() == Some(group)
        {
            return index;
        }
        let held = self.slots[index].held();
        (0..self.slots.len())
            .find(|&other| {
                let slot = &self.slots[other];
                slot.served_by() == Some(group)
                    && slot.is_open()
                    && slot.held() == held
                    && fits(slot, &self.tasks, self.limits.credit_bytes)(id)
            })
            .unwrap_or(index)
    }
}
