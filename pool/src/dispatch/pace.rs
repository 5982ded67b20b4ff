//! Pauses, delays and limits on failures: when a group rests, when a task is retried, and when too
//! many have failed.

use std::time::{Duration, Instant};

use protocol::{JobFailure, TaskId};

use super::Dispatcher;
use super::backoff::retry_delay;
use super::event::{Ending, GiveUp, GroupId};
use super::task::Place;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Makes the group of `id` rest for `pause`: it gets no more tasks, and workers are asked for
    /// those that they hold ahead. Running tasks continue.
    pub(super) fn rest_group(&mut self, now: Instant, id: TaskId, pause: Duration) {
        let Some(group) = self.tasks.get(&id).map(|task| task.group) else {
            return;
        };
        self.queue.groups_mut().rest(group, now + pause);
        self.recall_group(id, group);
    }

    /// Asks workers to give back the tasks of `group` that they hold ahead, except `id`, which was
    /// just answered.
    pub(super) fn recall_group(&mut self, id: TaskId, group: GroupId) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if !slot.is_ready() || slot.held_of(group) == 0 {
                continue;
            }
            // That task is answered, even if its worker has not reported its start.
            let others = slot.queue().iter().filter(|&&other| other != id);
            let ahead = others.filter(|id| {
                self.tasks.get(id).is_some_and(|task| {
                    task.group == group
                        && matches!(task.place, Place::Leased(lease) if !lease.revoked)
                })
            });
            let ahead = ahead.copied().collect();
            self.revoke(index, ahead);
        }
    }

    /// Returns how long `id` waits before it is retried, or `None` if it is not.
    pub(super) fn delay_of_retry(
        &mut self,
        now: Instant,
        id: TaskId,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let task = self.tasks.get(&id)?;
        if task.attempts > self.limits.retries {
            return None;
        }
        let delay = retry_delay(
            self.limits.retry_delay,
            task.attempts,
            retry_after,
            self.limits.retry_delay_max,
            &mut self.rng,
        );
        let begun = task.begun.unwrap_or(now);
        let age = now.saturating_duration_since(begun) + delay;
        let in_time = self.limits.retry_max_time.is_none_or(|most| age <= most);
        in_time.then_some(delay)
    }

    /// Ends the run if more tasks have failed than the limit allows.
    pub(super) fn count_failures(&mut self, now: Instant) {
        let (failed, finished) = (self.counts.failed, self.counts.finished());
        let limit = self.limits.max_failures;
        if limit.is_some_and(|limit| limit.is_exceeded(failed, finished)) {
            let reason = GiveUp::TooManyFailures { failed };
            self.end(now, Ending::GivenUp(reason));
        }
    }
}
