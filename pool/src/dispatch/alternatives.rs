//! Alternatives: other groups at which a task can be done.
//!
//! A task belongs to one group at a time, and keeps to the limits and turns of that group. When it
//! has failed there permanently or has spent all its attempts, it moves to the next. At each group
//! it has as many attempts as a task without alternatives. It never moves back, and the next run
//! begins with the first group.

use std::time::{Duration, Instant};

use protocol::{JobFailure, Severity, TaskId};

use super::Dispatcher;
use super::event::Action;
use super::queue::End;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Returns whether `id` can be tried elsewhere instead of failing with `failure`.
    pub(super) fn may_turn_to_alternative(&self, id: TaskId, failure: &F) -> bool {
        let has_alternative = self
            .tasks
            .get(&id)
            .is_some_and(|task| !task.alternatives.is_empty());
        has_alternative && !failure.is_own() && failure.severity() != Severity::Fatal
    }

    /// Moves `id`, which failed in a worker, to its next alternative.
    pub(super) fn turn_to_alternative(&mut self, now: Instant, id: TaskId, failure: Box<F>) {
        // Before its group changes, so that the load of the old group is corrected.
        self.unlease(id);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let Some(group) = task.alternatives.pop_front() else {
            return;
        };
        let left = std::mem::replace(&mut task.group, group);
        task.earlier_attempts = task.all_attempts();
        task.attempts = 0;
        // This was between the task and the old group.
        task.refused = None;
        task.spacing = Duration::ZERO;
        self.queue.groups_mut().enter(group);
        self.queue.groups_mut().leave(left);
        self.counts.retries += 1;
        self.actions
            .push_back(Action::TurnToAlternative { task: id, failure });
        self.queue_up(now, id, End::Back);
    }
}
