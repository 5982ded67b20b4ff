//! The current state of each worker, for `--listen` and SIGUSR1.

use std::collections::HashMap;
use std::time::Instant;

use protocol::{Phase, SlotId, TaskId, WorkerId};

use super::Shell;
use crate::run::report::{Activity, RunningLine, WorkerLine};

impl Shell {
    pub(super) fn worker_lines(&self, now: Instant) -> Vec<WorkerLine> {
        let mut placing = self.placing_lines(now);
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
                            heard: self.heard_of(view.task, slot.worker),
                        })
                    })
                    .chain(placing.remove(&slot.worker.slot).unwrap_or_default())
                    .collect(),
                queued: slot.queued,
            })
            .collect()
    }

    /// Returns every task that runs or is being placed.
    pub(super) fn running_lines(&self, now: Instant) -> Vec<RunningLine> {
        let phase = self.placing_phase();
        let placing = self.tasks.values().filter_map(|entry| {
            let placing = entry.placing?;
            Some(RunningLine {
                url: entry.target.url.clone(),
                elapsed: now.saturating_duration_since(placing.since),
                heard: Some(placed(phase, placing.bytes)),
            })
        });
        let slots = self.parts.core.slots();
        let running = slots.flat_map(|slot| {
            let worker = slot.worker;
            slot.running.into_iter().filter_map(move |view| {
                Some(RunningLine {
                    url: self.tasks.get(&view.task)?.target.url.clone(),
                    elapsed: now.saturating_duration_since(view.since),
                    heard: self.heard_of(view.task, worker),
                })
            })
        });
        running.chain(placing).collect()
    }

    pub(super) fn heard_of(&self, task: TaskId, worker: WorkerId) -> Option<Activity> {
        let sign = self.heard.get(&task);
        sign.filter(|sign| sign.worker == worker)
            .map(|sign| sign.heard)
    }

    fn placing_phase(&self) -> Phase {
        match self.parts.placement.runs_commands() {
            true => Phase::Executing,
            false => Phase::Storing,
        }
    }

    /// Returns the bodies that are being placed, by the slot of the worker that downloaded each.
    fn placing_lines(&self, now: Instant) -> HashMap<SlotId, Vec<RunningLine>> {
        let phase = self.placing_phase();
        let mut lines: HashMap<_, Vec<_>> = HashMap::new();
        for entry in self.tasks.values() {
            if let Some(placing) = entry.placing {
                lines
                    .entry(placing.worker.slot)
                    .or_default()
                    .push(RunningLine {
                        url: entry.target.url.clone(),
                        elapsed: now.saturating_duration_since(placing.since),
                        heard: Some(placed(phase, placing.bytes)),
                    });
            }
        }
        lines
    }
}

/// Returns the activity of a complete body.
const fn placed(phase: Phase, bytes: u64) -> Activity {
    Activity {
        phase,
        bytes,
        expected: Some(bytes),
        speed: None,
    }
}
