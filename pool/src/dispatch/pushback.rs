//! A host refuses to serve a task now: whose fault that is, and what becomes of the task.
//!
//! A refusal spends no attempt while it says more about the host than about the task: the host has
//! served something not long ago, it refused other tasks as well, and it did not serve many others
//! since it refused this one. Otherwise it is a failure like any other. So a run ends: such
//! refusals are only borne while the host serves something every
//! [`Limits::host_patience`](super::Limits::host_patience), and what is left becomes less. Where only
//! what it refused before is left, the host may be open and these tasks bad: then it has less time.

use std::time::{Duration, Instant};

use protocol::{Failure, TaskId};

use super::Dispatcher;
use super::task::Place;

/// Longest pause of a host on the word of one task.
const PAUSE_OF_ONE: Duration = Duration::from_secs(10);

/// What the failure of a task says of its host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushback {
    /// The host is at fault: the attempt does not count.
    pub(super) excused: bool,
    /// How long the host is to be asked for nothing, if the task is tried again.
    pub(super) pause: Duration,
}

impl Dispatcher {
    /// Learns what the failure of `id`, which a worker still holds, says of its host.
    pub(super) fn judge(&mut self, now: Instant, id: TaskId, failure: &Failure) -> Pushback {
        let Some(task) = self.tasks.get_mut(&id) else {
            return Pushback::default();
        };
        let Place::Leased(lease) = task.place else {
            return Pushback::default();
        };
        let (host, asked) = (task.host, lease.asked);
        let is_silence = failure.kind.is_silence();
        // A host that never answered cannot be told from one that does not exist.
        if !failure.is_pushback() || (is_silence && !self.ready.has_served(host)) {
            if !is_silence {
                let places = self.places();
                self.ready.serve(now, host, asked, places);
            }
            return Pushback::default();
        }
        let was_free = !self.ready.is_under_pressure(host);
        let patience = self.limits.host_patience;
        let refused = (host, id, failure.kind);
        let meaning = self
            .ready
            .refuse(now, refused, asked, task.refused, patience);
        let wanted = failure.severity.retry_after().unwrap_or_default();
        let wanted = wanted.min(self.limits.retry_delay_max);
        let age = now.saturating_duration_since(task.begun.unwrap_or(now)) + wanted;
        let in_time = self.limits.retry_max_time.is_none_or(|most| age <= most);
        let excused = meaning.excused && in_time && self.limits.retries > 0;
        if excused || task.refused.is_none() {
            task.refused = Some(meaning.served);
        }
        if was_free {
            self.recall_host(id, host);
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

    /// Most that can run at once in all.
    pub(super) fn places(&mut self) -> u32 {
        let in_use = self.slots.whole().in_use;
        let in_use = u32::try_from(in_use).unwrap_or(u32::MAX);
        in_use.saturating_mul(self.limits.concurrency.into())
    }

    /// The slot that is to run `id`, which slot `index` could: one with as little to do that was
    /// served by the host last, and may have a connection to it, if the host pushes back. It may
    /// count connections.
    pub(super) fn slot_with_connection(&self, index: usize, id: TaskId) -> usize {
        let Some(host) = self.tasks.get(&id).map(|task| task.host) else {
            return index;
        };
        if !self.ready.is_under_pressure(host) || self.slots[index].served_by == Some(host) {
            return index;
        }
        let held = self.slots[index].held();
        (0..self.slots.len())
            .find(|&other| {
                let slot = &self.slots[other];
                slot.served_by == Some(host)
                    && slot.is_open()
                    && slot.held() == held
                    && self.has_credit(other, id)
            })
            .unwrap_or(index)
    }
}
