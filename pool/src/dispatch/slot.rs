//! One place in the pool, and the worker in it.
//!
//! ```text
//!              Spawn              WorkerReady             Dismiss
//!   Vacant -----------> Starting -------------> Ready -------------> Leaving
//!     ^                    |                      |                     |
//!     |                    | Terminate, Kill      | Terminate, Kill     | Terminate, Kill
//!     |                    v                      v                     v
//!     |                    +-------------------> Dying <----------------+
//!     |                                           |  | Kill, if it was only asked to end
//!     +---- WorkerExited (from any state) --------+--+
//!     |
//!     +---- after too many deaths without progress --> Retired
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use protocol::{Epoch, SlotId, TaskId, WorkerId};

use super::event::{GroupId, KillReason};

/// How long a worker is to have something to do without hearing from the coordinator: longer than
/// that takes to have its turn on a busy machine.
const AHEAD: Duration = Duration::from_millis(20);
/// Tasks ahead while it is not known how long they take.
const UNKNOWN_AHEAD: usize = 16;
/// Fewest tasks ahead, however long they take: the end of one is heard of only after a moment.
const LEAST_AHEAD: usize = 2;

/// What the worker in a slot is up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SlotState {
    /// No worker, and none before this moment.
    Vacant { not_before: Instant },
    /// No worker, and never one again: those before did nothing but die.
    Retired,
    /// Spawned, not ready yet.
    Starting { deadline: Instant },
    /// Can be handed tasks.
    Ready,
    /// Was told to leave.
    Leaving { deadline: Instant },
    /// Was asked to end, and is killed at the moment given; or is killed already.
    Dying {
        reason: KillReason,
        kill_at: Option<Instant>,
    },
}

/// A place in the pool.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: SlotId,
    /// Of the current worker, or of the last one while vacant; 0 before the first.
    pub(super) epoch: u32,
    pub(super) state: SlotState,
    /// Leased and not known to be started, in the order of assignment.
    pub(super) queue: VecDeque<TaskId>,
    /// Leased and started, as far as the worker has said. It says so late, and may have ended some
    /// of them, or have started some of `queue`: then it is about to say that, or to show a sign of
    /// life, which it does after it.
    pub(super) running: BTreeSet<TaskId>,
    /// Bytes of the assignments in `queue`: no less than what is still unread in the worker's channel.
    pub(super) bytes: u32,
    /// Leases by group.
    pub(super) groups: BTreeMap<GroupId, u32>,
    /// Holds a suspect, and may hold nothing else.
    pub(super) alone: bool,
    /// Gets nothing more until it is empty, to take a suspect then.
    pub(super) reserved: bool,
    /// Was given up when the pool was made smaller: gets no tasks and no workers any more, unless
    /// the pool grows again.
    pub(super) closed: bool,
    /// Tasks that the worker may still be given before it is replaced; `None` is no limit.
    pub(super) quota: Option<u32>,
    /// The group that served the worker's latest answer.
    pub(super) served_by: Option<GroupId>,
    /// When the worker last began a task, and how long one takes it of late, if it has begun two.
    began: Option<Instant>,
    pace: Option<Duration>,
    /// When a worker last answered a task.
    pub(super) answered: Option<Instant>,
    /// The worker has answered a task.
    pub(super) progress: bool,
    /// Deaths in a row without progress.
    pub(super) deaths_without_progress: u32,
}

impl Slot {
    pub(super) const fn new(id: SlotId, now: Instant) -> Self {
        Self {
            id,
            epoch: 0,
            state: SlotState::Vacant { not_before: now },
            queue: VecDeque::new(),
            running: BTreeSet::new(),
            bytes: 0,
            groups: BTreeMap::new(),
            alone: false,
            reserved: false,
            closed: false,
            quota: None,
            served_by: None,
            began: None,
            pace: None,
            answered: None,
            progress: false,
            deaths_without_progress: 0,
        }
    }

    /// The current worker, or the last one.
    pub(super) const fn worker(&self) -> WorkerId {
        WorkerId {
            slot: self.id,
            epoch: Epoch(self.epoch),
        }
    }

    /// Whether `worker` is in it now.
    pub(super) fn is(&self, worker: WorkerId) -> bool {
        self.worker() == worker && !self.is_vacant()
    }

    /// Leases held.
    pub(super) fn held(&self) -> usize {
        self.queue.len() + self.running.len()
    }

    /// Has no worker.
    pub(super) const fn is_vacant(&self) -> bool {
        matches!(self.state, SlotState::Vacant { .. } | SlotState::Retired)
    }

    /// Can have workers, now or later.
    pub(super) const fn is_in_use(&self) -> bool {
        !self.closed && !matches!(self.state, SlotState::Retired)
    }

    /// Is being ended.
    pub(super) const fn is_dying(&self) -> bool {
        matches!(self.state, SlotState::Dying { .. })
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.state, SlotState::Ready)
    }

    /// May be handed tasks, as far as the slot itself goes.
    pub(super) const fn is_open(&self) -> bool {
        self.takes_tasks() && !self.alone && !self.reserved
    }

    /// Its worker is ready and not on its way out, whatever it holds.
    pub(super) const fn takes_tasks(&self) -> bool {
        self.is_ready() && !self.closed && !matches!(self.quota, Some(0))
    }

    /// Moves `task`, which its worker began at this moment, from the queue to the running ones.
    pub(super) fn start(&mut self, task: TaskId, at: Instant) {
        self.unqueue(task);
        self.running.insert(task);
        if let Some(before) = self.began.replace(at) {
            let gap = at.saturating_duration_since(before);
            // It may have had nothing to do for a while.
            self.pace = Some(
                self.pace
                    .map_or(gap, |pace| (pace * 3 + gap.min(pace * 2)) / 4),
            );
        }
    }

    /// How many tasks are worth holding beyond those that run, `most` at most: what takes the worker
    /// [`AHEAD`].
    pub(super) fn ahead(&self, most: usize) -> usize {
        let Some(pace) = self.pace else {
            return most.min(UNKNOWN_AHEAD);
        };
        let tasks = AHEAD.as_nanos() / pace.as_nanos().max(1);
        usize::try_from(tasks)
            .unwrap_or(most)
            .clamp(most.min(LEAST_AHEAD), most)
    }

    /// Takes `task` out, wherever it is.
    pub(super) fn remove(&mut self, task: TaskId) {
        if !self.running.remove(&task) {
            self.unqueue(task);
        }
    }

    fn unqueue(&mut self, task: TaskId) {
        // Workers start tasks in the order of assignment: nearly always the first.
        if self.queue.front() == Some(&task) {
            self.queue.pop_front();
        } else {
            self.queue.retain(|&other| other != task);
        }
    }
}
