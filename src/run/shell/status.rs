//! What each worker is doing, for somebody who asks.

use std::time::Instant;

use protocol::{Phase, WorkerId};

use super::Shell;
use crate::run::report::{RunningLine, WorkerLine};

impl Shell {
    pub(super) fn worker_lines(&self, now: Instant) -> Vec<WorkerLine> {
        self.parts
            .core
            .slots()
            .map(|slot| WorkerLine {
                worker: slot.worker,
                pid: self.parts.pool.pid(slot.worker),
                state: slot.state,
                running: slot
                    .running
                    .iter()
                    .filter_map(|view| {
                        Some(RunningLine {
                            url: self.tasks.get(&view.task)?.target.url.clone(),
                            elapsed: now.saturating_duration_since(view.since),
                            heard: self
                                .heard
                                .get(&view.task)
                                .filter(|sign| sign.worker == slot.worker)
                                .map(|sign| (sign.phase, sign.bytes)),
                        })
                    })
                    .chain(self.placing_lines(slot.worker, now))
                    .collect(),
                queued: slot.queued,
            })
            .collect()
    }

    /// What is placed of the bodies of `worker`, or of one before it in its slot.
    fn placing_lines(
        &self,
        worker: WorkerId,
        now: Instant,
    ) -> impl Iterator<Item = RunningLine> + '_ {
        let phase = match self.parts.placement.runs_commands() {
            true => Phase::Executing,
            false => Phase::Storing,
        };
        self.tasks.values().filter_map(move |entry| {
            let placing = entry
                .placing
                .filter(|placing| placing.worker.slot == worker.slot)?;
            Some(RunningLine {
                url: entry.target.url.clone(),
                elapsed: now.saturating_duration_since(placing.since),
                heard: Some((phase, placing.bytes)),
            })
        })
    }
}
