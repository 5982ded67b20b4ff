//! How a run ends: completed, drained, aborted or given up. The steps are the same, only their
//! deadlines differ.

use std::time::Instant;

use protocol::JobFailure;

use super::Dispatcher;
use super::event::{Action, Ending, KillReason};
use super::slot::SlotState;

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Begins to end the run. The first reason stays.
    pub(super) fn end(&mut self, now: Instant, ending: Ending<F>) {
        if !self.course.end(ending, now + self.limits.grace) {
            return;
        }
        for index in 0..self.slots.len() {
            if self.slots[index].is_ready() {
                let unstarted = self.slots[index].queue().iter().copied().collect();
                self.revoke(index, unstarted);
            }
        }
    }

    /// Ends the run at once.
    pub(super) fn abort(&mut self, now: Instant) {
        self.end(now, Ending::Interrupted);
        // Tasks that are being placed are not waited for.
        self.course.hurry(now);
        for index in 0..self.slots.len() {
            self.kill(index, KillReason::RunEnds);
        }
    }

    /// Continues to end a run that is ending: dismisses empty workers, and finishes the run once no
    /// worker is left, and nothing is being placed or the grace period has expired.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.course.is_running() && !self.course.is_input_open() && self.tasks.is_empty() {
            self.end(now, Ending::Completed);
        }
        let Some(deadline) = self.course.deadline() else {
            return;
        };
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            match slot.state() {
                SlotState::Ready if slot.held() == 0 => {
                    let worker = slot.dismiss(now + self.limits.grace);
                    self.actions.push_back(Action::Dismiss { worker });
                }
                SlotState::Starting { .. } => self.kill(index, KillReason::RunEnds),
                SlotState::Ready
                | SlotState::Vacant { .. }
                | SlotState::Retired
                | SlotState::Leaving { .. }
                | SlotState::Dying { .. } => {}
            }
        }
        if self.slots.iter().all(super::Slot::is_vacant)
            && (self.placing == 0 || deadline <= now)
            && let Some(ending) = self.course.finish()
        {
            self.actions.push_back(Action::Finish { ending });
        }
    }

    /// Returns whether every worker that is left has been asked to exit or killed.
    pub(super) fn all_dying(&self) -> bool {
        self.slots.as_known().living == 0
    }
}
