//! What must hold for workers, from their start to their exit; and who is blamed for a death.

use std::time::Duration;

use coordinator::dispatch::{Exit, KillReason};
use protocol::{TaskId, WorkerId};

use super::{Observer, Seen, Verified};

impl Observer {
    pub(super) fn spawn(&mut self, now: u64, worker: WorkerId) -> Verified {
        if self.workers.keys().any(|other| other.slot == worker.slot) {
            return Err(format!("2: spawned {worker} into a slot that is taken"));
        }
        let epoch = self.epochs.entry(worker.slot.0).or_default();
        *epoch += 1;
        if worker.epoch.0 != *epoch {
            return Err(format!("2: epoch of {worker} is not {epoch}"));
        }
        if self.ending {
            return Err(format!("4: spawned {worker} while the run ends"));
        }
        if worker.slot.0 >= self.limits.workers {
            return Err(format!("resize: spawned {worker}, one too many"));
        }
        let deaths_without_progress = self.barren_slots.get(&worker.slot.0).copied();
        if deaths_without_progress.is_some_and(|deaths| deaths >= self.limits.slot_deaths) {
            return Err(format!("5: spawned {worker} into a slot to be retired"));
        }
        let period = self.limits.restart_intensity.period.as_nanos();
        self.barren_deaths
            .retain(|&at| u128::from(now - at) < period);
        if self.barren_deaths.len() > self.limits.restart_intensity.restarts as usize {
            return Err(format!("5: spawned {worker} beyond the restart intensity"));
        }
        let seen = Seen {
            spawned_at: now,
            ..Seen::default()
        };
        self.workers.insert(worker, seen);
        Ok(())
    }

    /// Notes a sign of life: for everything but the running tasks that it does not name.
    pub(super) fn beat(&mut self, now: u64, worker: WorkerId, running: &[TaskId]) {
        let Some(seen) = self.workers.get_mut(&worker) else {
            return;
        };
        let works = seen.held.values().any(|&started| started);
        for (task, &started) in &seen.held {
            if !started && !works {
                // It is alive, but starts nothing.
            } else if !started || running.contains(task) {
                seen.moved.insert(*task, (now, false));
            } else if let Some((_, omitted)) = seen.moved.get_mut(task) {
                *omitted = true;
            }
        }
    }

    /// Extends all deadlines by `pause`, during which no message could be received.
    pub(super) fn resumed(&mut self, pause: Duration) {
        let pause = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.patience = self.patience.map(|at| at + pause);
        for seen in self.workers.values_mut() {
            seen.spawned_at += pause;
            seen.kill_at = seen.kill_at.map(|at| at + pause);
            for (at, _) in seen.moved.values_mut() {
                *at += pause;
            }
        }
    }

    pub(super) fn resized(&mut self, workers: u16) {
        let workers = workers.max(1);
        self.abandoned
            .extend(workers..self.limits.workers.max(workers));
        self.limits.workers = workers;
        self.barren_slots
            .retain(|_, deaths| *deaths < self.limits.slot_deaths);
    }

    /// Checks that there is reason to ask the worker to exit. A worker counts as silent only if the
    /// core has just listened: messages on their way are not silence.
    pub(super) fn terminate(
        &mut self,
        now: u64,
        worker: WorkerId,
        reason: &KillReason,
    ) -> Verified {
        let timeout = self.limits.lease_timeout.as_nanos();
        let Some(seen) = self.workers.get_mut(&worker) else {
            return Err(format!("asked {worker} to end, which is gone"));
        };
        if seen.condemned.is_some() {
            return Err(format!("asked {worker} to end twice"));
        }
        let overran = |task: &TaskId, omitted: bool| {
            seen.held.contains_key(task)
                && seen.moved.get(task).is_some_and(|&(at, was_omitted)| {
                    was_omitted == omitted
                        && self.listened == now
                        && u128::from(now.saturating_sub(at)) >= timeout
                })
        };
        let is_true = match reason {
            KillReason::GraceExpired if seen.is_idle() => {
                return Err(format!(
                    "7: {worker} was kept without a task until it was ended"
                ));
            }
            KillReason::LeaseExpired(task) => overran(task, true),
            KillReason::Silent => seen.held.keys().any(|task| overran(task, false)),
            KillReason::StartTimeout => !seen.ready,
            KillReason::Overstayed => seen.dismissed,
            // The run may have ended for a reason that only the core knows.
            KillReason::GraceExpired => true,
            KillReason::Unwanted => !seen.ready && worker.slot.0 >= self.limits.workers,
            KillReason::ProtocolViolation | KillReason::RunEnds => false,
        };
        if !is_true {
            return Err(format!("asked {worker} to end because {reason}: {seen:?}"));
        }
        let grace = u64::try_from(self.limits.kill_after.as_nanos()).unwrap_or(u64::MAX);
        seen.kill_at = Some(now + grace);
        seen.condemned = Some(reason.clone());
        Ok(())
    }

    /// Checks that the worker is killed without warning only for a reason that allows that, or
    /// after its grace period.
    pub(super) fn kill(&mut self, now: u64, worker: WorkerId, reason: &KillReason) -> Verified {
        let Some(seen) = self.workers.get_mut(&worker) else {
            return Err(format!("killed {worker}, which is gone"));
        };
        match (&seen.condemned, seen.kill_at.take()) {
            (Some(earlier), Some(_)) if earlier != reason => Err(format!(
                "killed {worker} because {reason}, asked to end because {earlier}"
            )),
            (Some(_), Some(at)) if now < at && !self.aborted && !seen.violated => {
                Err(format!("killed {worker} before its grace was over"))
            }
            (Some(_), Some(_)) => Ok(()),
            (Some(_), None) => Err(format!("killed {worker} twice")),
            (None, _) => {
                let at_once = match reason {
                    KillReason::ProtocolViolation => true,
                    KillReason::RunEnds => self.ending || !seen.ready,
                    KillReason::StartTimeout
                    | KillReason::LeaseExpired(_)
                    | KillReason::Silent
                    | KillReason::Overstayed
                    | KillReason::GraceExpired
                    | KillReason::Unwanted => false,
                };
                seen.condemned = Some(reason.clone());
                if at_once {
                    Ok(())
                } else {
                    Err(format!("killed {worker} without warning because {reason}"))
                }
            }
        }
    }

    /// Notes that a worker is gone: which tasks it held, and which are to blame.
    pub(super) fn exited(
        &mut self,
        now: u64,
        worker: WorkerId,
        exit: &Exit,
        ran: Option<&[TaskId]>,
    ) {
        let Some(seen) = self.workers.remove(&worker) else {
            return;
        };
        let wanted = match seen.condemned {
            Some(
                KillReason::Overstayed
                | KillReason::GraceExpired
                | KillReason::RunEnds
                | KillReason::Unwanted,
            ) => true,
            Some(
                KillReason::StartTimeout
                | KillReason::LeaseExpired(_)
                | KillReason::Silent
                | KillReason::ProtocolViolation,
            ) => false,
            None => seen.dismissed && seen.held.is_empty(),
        };
        let running: Vec<_> = seen
            .held
            .iter()
            .filter(|&(task, &started)| ran.map_or(started, |ran| ran.contains(task)))
            .map(|(&task, _)| task)
            .collect();
        for &task in seen.held.keys() {
            self.release(task);
        }
        if wanted {
            return;
        }
        for task in &running {
            let Some(entry) = self.tasks.get_mut(task) else {
                continue;
            };
            let alone = u32::from(running.len() == 1);
            match &seen.condemned {
                Some(KillReason::LeaseExpired(hung)) => {
                    entry.suspect |= hung == task;
                    entry.kills += u32::from(hung == task);
                    continue;
                }
                Some(KillReason::Silent) => entry.unexplained += alone,
                None if matches!(exit, Exit::Signal(9 | 15)) => entry.unexplained += alone,
                Some(_) | None => entry.kills += alone,
            }
            entry.suspect = true;
        }
        if running.is_empty() && !seen.answered {
            let deaths = self.barren_slots.entry(worker.slot.0).or_default();
            *deaths += 1;
            if *deaths >= self.limits.slot_deaths {
                self.abandoned.insert(worker.slot.0);
            }
            if !self.ending {
                self.barren_deaths.push_back(now);
            }
        }
    }
}
