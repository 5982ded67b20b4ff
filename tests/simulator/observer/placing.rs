//! What must hold at the end: of a placement, of a record, and of the run.

use std::collections::BTreeSet;

use coordinator::dispatch::{Ending, GiveUp, Verdict};
use protocol::{Failure, Severity, Stored, TaskId};

use super::{Observer, Verified};

impl Observer {
    /// Notes the end of the placement of `task`.
    pub(super) fn placed(&mut self, task: TaskId, result: &Result<Box<Stored>, Box<Failure>>) {
        self.placing.remove(&task);
        if let Some(entry) = self.tasks.get_mut(&task) {
            entry.failed = None;
        }
        match result {
            Ok(_) => {
                if let Some(entry) = self.tasks.get_mut(&task) {
                    entry.placed = true;
                }
            }
            Err(failure) => self.ending |= failure.severity == Severity::Fatal,
        }
    }

    pub(super) fn record(&mut self, task: TaskId, verdict: &Verdict, attempts: u32) -> Verified {
        let Some(entry) = self.tasks.get_mut(&task) else {
            return Err(format!("1: task {task} recorded and never offered"));
        };
        if std::mem::replace(&mut entry.finished, true) {
            return Err(format!("1: task {task} recorded twice"));
        }
        let here = entry.attempts - entry.elsewhere;
        if attempts != entry.attempts || here > self.limits.retries + 1 {
            return Err(format!("5: task {task} recorded with {attempts} attempts"));
        }
        if matches!(verdict, Verdict::Failed(_))
            && entry.failed.is_some()
            && !entry.mirrors.is_empty()
        {
            return Err(format!(
                "10: task {task} failed, and has mirrors: {entry:?}"
            ));
        }
        if matches!(verdict, Verdict::Done(_)) != entry.placed || self.placing.contains_key(&task) {
            return Err(format!("9: task {task} recorded as {verdict:?}: {entry:?}"));
        }
        if matches!(verdict, Verdict::Quarantined(_)) != entry.is_guilty(&self.limits) {
            return Err(format!("6: task {task} recorded as {verdict:?}: {entry:?}"));
        }
        if !entry.prerequisite {
            self.failed += u64::from(matches!(verdict, Verdict::Failed(_)));
            self.records += 1;
        }
        self.forget_host_of(task);
        Ok(())
    }

    pub(super) fn finish(&mut self, now: u64, ending: &Ending) -> Verified {
        self.finished = true;
        if let Some(worker) = self.workers.keys().next() {
            return Err(format!("7: finished while {worker} is left"));
        }
        // If a run ends for a reason that only the core knows, the time when that began is unknown.
        let is_known = matches!(
            ending,
            Ending::Interrupted | Ending::GivenUp(GiveUp::Other(_))
        );
        let patient = is_known && self.patience.is_some_and(|at| now < at);
        if !self.placing.is_empty() && !self.aborted && patient {
            return Err(format!("9: finished while {:?} are placed", self.placing));
        }
        let unfinished: BTreeSet<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| !task.finished)
            .map(|(id, _)| id.0)
            .collect();
        if *ending == Ending::Completed && !unfinished.is_empty() {
            return Err(format!("1: completed without tasks {unfinished:?}"));
        }
        Ok(())
    }
}
