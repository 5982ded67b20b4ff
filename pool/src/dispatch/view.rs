//! What can be read from the core: counters, and the state of each slot.

use std::time::Instant;

use protocol::{JobFailure, TaskId, WorkerId};

use super::Dispatcher;
use super::slot::SlotState;
use super::task::Place;

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks of the input, offered or refused. Prerequisites count neither here nor in `done`,
    /// `failed` and `quarantined`.
    pub offered: u64,
    /// Tasks finished as done.
    pub done: u64,
    /// Tasks finished as failed.
    pub failed: u64,
    /// Tasks quarantined.
    pub quarantined: u64,
    /// Nacks that led to another attempt.
    pub retries: u64,
    /// Leases ended by a death or a deadline that led to another delivery.
    pub redeliveries: u64,
    /// Workers spawned.
    pub spawned: u64,
    /// Workers that were replaced after their quota of tasks.
    pub recycled: u64,
    /// Deaths of workers that were not meant to leave.
    pub deaths: u64,
    /// Messages that changed nothing because their worker or lease was gone.
    pub stale: u64,
}

impl Counts {
    /// Returns the number of finished tasks, however they finished.
    #[must_use]
    pub const fn finished(&self) -> u64 {
        self.done + self.failed + self.quarantined
    }
}

/// The present state of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// The current worker, or the last one.
    pub worker: WorkerId,
    /// Its state, as a word.
    pub state: &'static str,
    /// The tasks that it runs, as far as is known.
    pub running: Vec<TaskView>,
    /// Number of other tasks that it holds.
    pub queued: usize,
}

/// One running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskView {
    pub task: TaskId,
    /// When it started, as far as is known.
    pub since: Instant,
}

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Returns what has happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the number of tasks that were offered and are not finished, without prerequisites.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.tasks
            .values()
            .filter(|task| !task.prerequisite)
            .count()
    }

    /// Returns the number of tasks that wait for their next attempt.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.queue.delayed()
    }

    /// Returns the number of tasks that workers have answered and that are being placed or checked.
    #[must_use]
    pub const fn placing(&self) -> usize {
        self.placing
    }

    /// Returns the number of slots that the pool should have.
    #[must_use]
    pub const fn workers(&self) -> u16 {
        self.limits.workers
    }

    /// Returns whether a worker has started `task` before and may have left a part of its output. A
    /// task that its worker had ended but not reported when it died does not count: failures are
    /// reported at once, and a whole body leaves no part behind.
    #[must_use]
    pub fn is_begun(&self, task: TaskId) -> bool {
        self.tasks
            .get(&task)
            .is_some_and(|task| task.begun.is_some())
    }

    /// Returns whether `worker` holds `task`.
    #[must_use]
    pub fn holds(&self, worker: WorkerId, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(
            |task| matches!(task.place, Place::Leased(lease) if lease.worker == worker),
        )
    }

    /// Returns the number of the present delivery of `task` if it is leased, and of the next one
    /// otherwise. The first is 1.
    #[must_use]
    pub fn delivery(&self, task: TaskId) -> u32 {
        self.tasks.get(&task).map_or(1, |task| task.broken + 1)
    }

    /// Returns the present state of every slot.
    ///
    /// A worker reports late which tasks it has started, and reports short tasks only after they
    /// have ended. If it has room for more than it has reported, the next tasks that it holds
    /// therefore count as running: since its last answer, or since they were assigned.
    pub fn slots(&self) -> impl Iterator<Item = SlotView> + '_ {
        self.slots.iter().map(|slot| {
            let concurrency = usize::from(self.limits.concurrency);
            let unsaid = concurrency
                .saturating_sub(slot.running().len())
                .min(slot.queue().len());
            SlotView {
                worker: slot.worker(),
                state: match slot.state() {
                    SlotState::Vacant { .. } => "vacant",
                    SlotState::Retired => "retired",
                    SlotState::Starting { .. } => "starting",
                    SlotState::Ready if slot.held() == 0 => "idle",
                    SlotState::Ready => "busy",
                    SlotState::Leaving { .. } => "leaving",
                    SlotState::Dying { .. } => "dying",
                },
                running: slot
                    .running()
                    .iter()
                    .chain(slot.queue().iter().take(unsaid))
                    .filter_map(|&task| match self.tasks.get(&task)?.place {
                        Place::Leased(lease) => {
                            let free = slot.last_answer().max(Some(lease.asked.at));
                            Some(TaskView {
                                task,
                                since: lease.started.or(free)?,
                            })
                        }
                        Place::Ready
                        | Place::Prerequisites
                        | Place::Suspects
                        | Place::Chunk(_)
                        | Place::Delayed(_)
                        | Place::Placing { .. } => None,
                    })
                    .collect(),
                queued: slot.queue().len() - unsaid,
            }
        })
    }
}
