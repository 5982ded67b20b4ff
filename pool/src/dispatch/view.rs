//! Looking at the core from outside: counters, and what each slot does now.

use std::time::Instant;

use protocol::{JobFailure, TaskId, WorkerId};

use super::Dispatcher;
use super::slot::SlotState;
use super::task::Place;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks of the input, whether offered or refused. Here and in what became of them prerequisites do not
    /// count.
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
    /// Workers that were replaced after their share of tasks.
    pub recycled: u64,
    /// Workers that were gone without having been told to leave.
    pub deaths: u64,
    /// Messages that changed nothing because their worker or lease was gone.
    pub stale: u64,
}

impl Counts {
    /// Tasks finished, in whatever way.
    #[must_use]
    pub const fn finished(&self) -> u64 {
        self.done + self.failed + self.quarantined
    }
}

/// One slot, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// The current worker, or the last one.
    pub worker: WorkerId,
    /// What it is up to, as a word.
    pub state: &'static str,
    /// What it runs, as far as can be told.
    pub running: Vec<TaskView>,
    /// How many more tasks it holds.
    pub queued: usize,
}

/// One running task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskView {
    pub task: TaskId,
    /// Since when.
    pub since: Instant,
}

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Tasks that were offered and are not finished, without prerequisites.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.tasks
            .values()
            .filter(|task| !task.prerequisite)
            .count()
    }

    /// Tasks that wait for their next attempt.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.queue.delayed()
    }

    /// Tasks that are seen to after their workers have answered them.
    #[must_use]
    pub const fn placing(&self) -> usize {
        self.placing
    }

    /// Slots that are meant to be in use.
    #[must_use]
    pub const fn workers(&self) -> u16 {
        self.limits.workers
    }

    /// Whether a worker has begun `task` before, and may have left something of it. One that it died
    /// with, and had ended without having said so, does not count: failures are told at once, and of a
    /// whole body nothing is left.
    #[must_use]
    pub fn is_begun(&self, task: TaskId) -> bool {
        self.tasks
            .get(&task)
            .is_some_and(|task| task.begun.is_some())
    }

    /// Whether `worker` holds `task`.
    #[must_use]
    pub fn holds(&self, worker: WorkerId, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(
            |task| matches!(task.place, Place::Leased(lease) if lease.worker == worker),
        )
    }

    /// Which delivery of `task` the next one is, or the present one, while it is leased: 1 for the
    /// first.
    #[must_use]
    pub fn delivery(&self, task: TaskId) -> u32 {
        self.tasks.get(&task).map_or(1, |task| task.broken + 1)
    }

    /// Every slot, as it is now.
    ///
    /// A worker says late what it has started, and does not say it of short tasks before they have
    /// ended. So the next tasks that it holds count as running where it has room for them: since
    /// its last answer, or since they were handed out.
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
