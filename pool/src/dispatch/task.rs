//! One unfinished task, as the core sees it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::{SlotId, WorkerId};

use super::event::GroupId;
use super::pressure::Asked;

/// An unfinished task.
#[derive(Debug)]
pub(super) struct Task {
    /// The group that it is for now.
    pub(super) group: GroupId,
    /// Those that it is for if that fails, in their order.
    pub(super) alternatives: VecDeque<GroupId>,
    /// It is not of the input.
    pub(super) prerequisite: bool,
    /// Shortest time to the next one of its group.
    pub(super) spacing: Duration,
    /// What it takes of a worker's credit.
    pub(super) size: u32,
    /// Answers so far, of where it is tried now.
    pub(super) attempts: u32,
    /// Answers of those before.
    pub(super) earlier_attempts: u32,
    /// Leases that a death or a deadline ended while the task ran.
    pub(super) broken: u32,
    /// Of those, the ones that it is to blame for: it ran alone, or hung, and the worker's end
    /// was not of a kind that may come from outside.
    pub(super) kills: u32,
    /// Of those, the ones where it ran alone and the end may have come from outside.
    pub(super) unexplained: u32,
    /// It ran when its worker died, and is only ever run alone since.
    pub(super) suspect: bool,
    /// The slot whose chunk it belongs to, once the input is split.
    pub(super) chunk: Option<SlotId>,
    /// How often its group had served when it first refused this, or last in a way that spent no
    /// attempt.
    pub(super) refused: Option<u64>,
    /// When it was first started, as far as is known.
    pub(super) begun: Option<Instant>,
    /// When it was last put in the queue.
    pub(super) ready_at: Instant,
    pub(super) place: Place,
}

/// Where an unfinished task is. In exactly one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the ready queue.
    Ready,
    /// In the queue of prerequisites, ready.
    Prerequisites,
    /// In the queue of suspects, ready.
    Suspects,
    /// In what is left of its slot's chunk, ready.
    Chunk(SlotId),
    /// Waiting for its next attempt.
    Delayed(Instant),
    /// With a worker.
    Leased(Lease),
    /// This worker has answered it, and that is being seen to, or its failure tried. It
    /// waited so long before it was last started.
    Placing { worker: WorkerId, queued: Duration },
}

/// A worker's exclusive, time-limited claim on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) worker: WorkerId,
    pub(super) deadline: Instant,
    /// When it was handed out, and how much its group was asked then.
    pub(super) asked: Asked,
    /// When the worker took it up, if it has.
    pub(super) started: Option<Instant>,
    /// The worker was asked to give it back.
    pub(super) revoked: bool,
    /// The worker's last heartbeat did not name it, though it runs: it overran its limits.
    pub(super) overdue: bool,
}

impl Task {
    pub(super) const fn new(now: Instant, group: GroupId, size: u32) -> Self {
        Self {
            group,
            alternatives: VecDeque::new(),
            prerequisite: false,
            spacing: Duration::ZERO,
            size,
            attempts: 0,
            earlier_attempts: 0,
            broken: 0,
            kills: 0,
            unexplained: 0,
            suspect: false,
            chunk: None,
            refused: None,
            begun: None,
            ready_at: now,
            place: Place::Ready,
        }
    }

    /// Answers so far, wherever it was tried.
    pub(super) const fn all_attempts(&self) -> u32 {
        self.earlier_attempts.saturating_add(self.attempts)
    }

    /// The lease on it, if `worker` has it.
    pub(super) fn lease_of(&mut self, worker: WorkerId) -> Option<&mut Lease> {
        match &mut self.place {
            Place::Leased(lease) if lease.worker == worker => Some(lease),
            Place::Leased(_)
            | Place::Ready
            | Place::Prerequisites
            | Place::Suspects
            | Place::Chunk(_)
            | Place::Delayed(_)
            | Place::Placing { .. } => None,
        }
    }
}
