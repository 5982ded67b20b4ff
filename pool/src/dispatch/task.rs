//! One unfinished task.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::{SlotId, WorkerId};

use super::event::GroupId;
use super::pressure::Asked;

/// An unfinished task, as the core sees it.
#[derive(Debug)]
pub(super) struct Task {
    /// The group that it belongs to at present.
    pub(super) group: GroupId,
    /// The groups of the alternatives that are left, in order.
    pub(super) alternatives: VecDeque<GroupId>,
    /// It is not part of the input.
    pub(super) prerequisite: bool,
    /// Shortest time to the next task of its group.
    pub(super) spacing: Duration,
    /// Bytes of a worker's credit that it takes.
    pub(super) size: u32,
    /// Attempts spent at its present group.
    pub(super) attempts: u32,
    /// Attempts spent at earlier groups.
    pub(super) earlier_attempts: u32,
    /// Deliveries spent: leases that a death or a deadline ended while the task ran.
    pub(super) broken: u32,
    /// Of `broken`, those for which it is to blame: it ran alone, or hung, and the worker's end was
    /// not of a kind that may come from outside.
    pub(super) kills: u32,
    /// Of `broken`, those where it ran alone and the end may have come from outside.
    pub(super) unexplained: u32,
    /// It ran when its worker died, and must run alone since then.
    pub(super) suspect: bool,
    /// The slot whose chunk it belongs to, once the input has been split.
    pub(super) chunk: Option<SlotId>,
    /// How often its group had served when the group first refused this task, or last refused it
    /// without spending an attempt.
    pub(super) refused: Option<u64>,
    /// When it first started, as far as is known.
    pub(super) begun: Option<Instant>,
    /// When it was last put into a queue.
    pub(super) ready_at: Instant,
    pub(super) place: Place,
}

/// Where an unfinished task is: in exactly one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the ready queue.
    Ready,
    /// In the queue of prerequisites, ready.
    Prerequisites,
    /// In the queue of suspects, ready.
    Suspects,
    /// In the rest of its slot's chunk, ready.
    Chunk(SlotId),
    /// Waiting for its next attempt.
    Delayed(Instant),
    /// Held by a worker.
    Leased(Lease),
    /// This worker has answered it. Its output is being placed, or its failure checked. It had
    /// waited for `queued` before it last started.
    Placing { worker: WorkerId, queued: Duration },
}

/// A worker's exclusive right to work on a task, limited in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) worker: WorkerId,
    pub(super) deadline: Instant,
    /// When it was assigned, and the load of its group then.
    pub(super) asked: Asked,
    /// When the worker started it, if it has.
    pub(super) started: Option<Instant>,
    /// The worker was asked to give it back.
    pub(super) revoked: bool,
    /// The task has started, but the worker's last heartbeat did not name it: it exceeds its
    /// limits.
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

    /// Returns the attempts spent at all groups.
    pub(super) const fn all_attempts(&self) -> u32 {
        self.earlier_attempts.saturating_add(self.attempts)
    }

    /// Returns the lease on it, if `worker` holds it.
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
