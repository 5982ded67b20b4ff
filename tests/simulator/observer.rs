//! Watches a run from outside, by its events and actions alone, and names what must not be.
//!
//! It keeps its own books and shares no code with the core. The numbers are those of the
//! invariants in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coordinator::dispatch::{Action, Ending, Event, Exit, KillReason, Limits, Policy, Verdict};
use protocol::{Severity, SlotId, TaskId, WorkerId};

#[derive(Debug, Default)]
struct Seen {
    spawned_at: u64,
    ready: bool,
    /// Tasks held, and whether each is started.
    held: BTreeMap<TaskId, bool>,
    answered: bool,
    dismissed: bool,
    killed: Option<KillReason>,
}

impl Seen {
    fn is_idle(&self) -> bool {
        self.ready && self.held.is_empty() && !self.dismissed && self.killed.is_none()
    }
}

#[derive(Debug, Default)]
struct Task {
    host: u32,
    size: u32,
    leased: Option<WorkerId>,
    attempts: u32,
    kills: u32,
    suspect: bool,
    finished: bool,
    /// Whose chunk it is in.
    chunk: Option<SlotId>,
    /// Not to be assigned before this moment.
    not_before: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Observer {
    limits: Limits,
    workers: BTreeMap<WorkerId, Seen>,
    epochs: BTreeMap<u16, u32>,
    tasks: BTreeMap<TaskId, Task>,
    input_ended: bool,
    ending: bool,
    finished: bool,
    barren_deaths: VecDeque<u64>,
    pub records: u64,
}

type Verified = Result<(), String>;

impl Observer {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            workers: BTreeMap::new(),
            epochs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            input_ended: false,
            ending: false,
            finished: false,
            barren_deaths: VecDeque::new(),
            records: 0,
        }
    }

    /// Whether `event` must change nothing: it is of a worker that is gone, or is about a task
    /// that the worker does not hold.
    pub fn is_stale(&self, event: &Event) -> bool {
        match event {
            Event::Started { worker, task }
            | Event::Acked { worker, task, .. }
            | Event::Nacked { worker, task, .. } => !self.holds(*worker, *task),
            Event::Released { worker, task } => self
                .workers
                .get(worker)
                .is_none_or(|seen| seen.held.get(task) != Some(&false)),
            Event::WorkerReady { worker }
            | Event::HeartbeatReceived { worker, .. }
            | Event::ProtocolViolated { worker }
            | Event::WorkerExited { worker, .. } => !self.workers.contains_key(worker),
            Event::TaskOffered { .. }
            | Event::InputEnded
            | Event::DrainRequested
            | Event::AbortRequested
            | Event::GiveUpRequested { .. }
            | Event::Tick => false,
        }
    }

    fn holds(&self, worker: WorkerId, task: TaskId) -> bool {
        self.workers
            .get(&worker)
            .is_some_and(|seen| seen.held.contains_key(&task))
    }

    /// Takes note of an event that is about to be handled.
    pub fn on_event(&mut self, now: u64, event: &Event) -> Verified {
        if self.is_stale(event) {
            return Ok(());
        }
        match event {
            Event::TaskOffered { task, host, size } => {
                let entry = self.tasks.entry(*task).or_default();
                entry.host = host.0;
                entry.size = *size;
            }
            Event::WorkerReady { worker } => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    let again = std::mem::replace(&mut seen.ready, true);
                    let late =
                        u128::from(now - seen.spawned_at) > self.limits.start_timeout.as_nanos();
                    if late && !again && seen.killed.is_none() {
                        return Err(format!("4: {worker} was waited for beyond its time"));
                    }
                }
            }
            Event::Started { worker, task } => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    seen.held.insert(*task, true);
                }
            }
            Event::Acked { worker, task, .. } => self.answered(*worker, *task),
            Event::Nacked {
                worker,
                task,
                failure,
            } => {
                self.answered(*worker, *task);
                if failure.severity == Severity::Fatal {
                    self.ending = true;
                }
            }
            Event::Released { worker, task } => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    seen.held.remove(task);
                }
                self.release(*task);
            }
            Event::WorkerExited { worker, exit } => self.exited(now, *worker, exit),
            Event::DrainRequested | Event::AbortRequested | Event::GiveUpRequested { .. } => {
                self.ending = true;
            }
            Event::InputEnded => self.input_ended = true,
            Event::HeartbeatReceived { .. } | Event::ProtocolViolated { .. } | Event::Tick => {}
        }
        Ok(())
    }

    fn answered(&mut self, worker: WorkerId, task: TaskId) {
        if let Some(seen) = self.workers.get_mut(&worker) {
            seen.held.remove(&task);
            seen.answered = true;
        }
        if let Some(entry) = self.tasks.get_mut(&task) {
            entry.attempts += 1;
        }
        self.release(task);
    }

    fn release(&mut self, task: TaskId) {
        if let Some(entry) = self.tasks.get_mut(&task) {
            entry.leased = None;
        }
    }

    fn exited(&mut self, now: u64, worker: WorkerId, _: &Exit) {
        let Some(seen) = self.workers.remove(&worker) else {
            return;
        };
        let wanted = match seen.killed {
            Some(KillReason::Overstayed | KillReason::GraceExpired | KillReason::RunEnds) => true,
            Some(
                KillReason::StartTimeout
                | KillReason::LeaseExpired(_)
                | KillReason::ProtocolViolation,
            ) => false,
            None => seen.dismissed && seen.held.is_empty(),
        };
        let running: Vec<_> = seen
            .held
            .iter()
            .filter(|&(_, &started)| started)
            .map(|(&task, _)| task)
            .collect();
        for &task in seen.held.keys() {
            self.release(task);
        }
        if wanted {
            return;
        }
        for task in &running {
            if let Some(entry) = self.tasks.get_mut(task) {
                entry.suspect = true;
                entry.kills += u32::from(running.len() == 1);
            }
        }
        if running.is_empty() && !seen.answered && !self.ending {
            self.barren_deaths.push_back(now);
        }
    }

    /// Checks one action, and takes note of it.
    pub fn on_action(&mut self, now: u64, action: &Action) -> Verified {
        if self.finished {
            return Err(format!("action after the run was finished: {action:?}"));
        }
        match action {
            Action::Spawn { worker } => self.spawn(now, *worker),
            Action::Assign { worker, tasks } => {
                tasks
                    .iter()
                    .try_for_each(|&task| self.assign(now, *worker, task))?;
                self.check_credit(*worker)?;
                self.check_hosts()
            }
            Action::Revoke { worker, tasks } => {
                match tasks.iter().find(|&&task| !self.holds(*worker, task)) {
                    Some(task) => Err(format!("revoked task {task}, which {worker} does not hold")),
                    None => Ok(()),
                }
            }
            Action::Dismiss { worker } => match self.workers.get_mut(worker) {
                Some(seen) if seen.held.is_empty() => {
                    seen.dismissed = true;
                    Ok(())
                }
                Some(_) => Err(format!("dismissed {worker}, which holds tasks")),
                None => Err(format!("dismissed {worker}, which is gone")),
            },
            Action::Kill { worker, reason } => match self.workers.get_mut(worker) {
                Some(seen) if *reason == KillReason::GraceExpired && seen.is_idle() => Err(
                    format!("7: {worker} was kept without a task until it was killed"),
                ),
                Some(seen) if seen.killed.is_none() => {
                    seen.killed = Some(reason.clone());
                    Ok(())
                }
                Some(_) => Err(format!("killed {worker} twice")),
                None => Err(format!("killed {worker}, which is gone")),
            },
            Action::Record {
                task,
                verdict,
                attempts,
                ..
            } => self.record(*task, verdict, *attempts),
            Action::Notify(_) => Ok(()),
            Action::Finish { ending } => self.finish(ending),
        }
    }

    fn spawn(&mut self, now: u64, worker: WorkerId) -> Verified {
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

    fn assign(&mut self, now: u64, worker: WorkerId, task: TaskId) -> Verified {
        if self.ending {
            return Err(format!("4: task {task} assigned while the run ends"));
        }
        let Some(seen) = self.workers.get_mut(&worker) else {
            return Err(format!(
                "2: task {task} assigned to {worker}, which is gone"
            ));
        };
        if !seen.ready || seen.dismissed || seen.killed.is_some() {
            return Err(format!(
                "4: task {task} assigned to {worker}, which is not ready"
            ));
        }
        let Some(entry) = self.tasks.get_mut(&task) else {
            return Err(format!("1: task {task} was never offered"));
        };
        if entry.finished {
            return Err(format!("1: task {task} assigned after it was finished"));
        }
        if let Some(holder) = entry.leased.replace(worker) {
            return Err(format!(
                "1: task {task} assigned to {worker}, {holder} holds it"
            ));
        }
        if entry.attempts > self.limits.retries || entry.kills >= self.limits.max_deliveries {
            return Err(format!("5: task {task} assigned beyond its limits"));
        }
        if self.limits.policy == Policy::Chunked && !entry.suspect {
            if !self.input_ended {
                return Err(format!(
                    "chunked: task {task} assigned before the input was split"
                ));
            }
            let slot = *entry.chunk.get_or_insert(worker.slot);
            if slot != worker.slot {
                return Err(format!(
                    "chunked: task {task} of slot {slot} assigned to {worker}"
                ));
            }
        }
        if now < entry.not_before {
            return Err(format!("5: task {task} assigned before its retry is due"));
        }
        seen.held.insert(task, false);
        let suspects = seen.held.keys().filter(|id| self.tasks[id].suspect).count();
        if suspects > 0 && seen.held.len() > 1 {
            return Err(format!("6: a suspect shares {worker} with other tasks"));
        }
        Ok(())
    }

    fn check_credit(&self, worker: WorkerId) -> Verified {
        let held = &self.workers[&worker].held;
        let most = usize::from(self.limits.concurrency) + usize::from(self.limits.prefetch);
        let unread: Vec<_> = held
            .iter()
            .filter(|&(_, &started)| !started)
            .map(|(id, _)| self.tasks[id].size)
            .collect();
        let bytes: u32 = unread.iter().sum();
        if held.len() > most || (unread.len() > 1 && bytes > self.limits.credit_bytes) {
            return Err(format!(
                "3: {worker} holds {} tasks of {bytes} bytes, beyond its credit",
                held.len()
            ));
        }
        Ok(())
    }

    /// At most the cap can run against a host at once, whatever each worker picks.
    fn check_hosts(&self) -> Verified {
        let Some(cap) = self.limits.per_host else {
            return Ok(());
        };
        let mut loads: BTreeMap<u32, u32> = BTreeMap::new();
        for seen in self.workers.values() {
            let mut of_worker: BTreeMap<u32, u32> = BTreeMap::new();
            for id in seen.held.keys() {
                *of_worker.entry(self.tasks[id].host).or_default() += 1;
            }
            for (host, held) in of_worker {
                *loads.entry(host).or_default() += held.min(self.limits.concurrency.into());
            }
        }
        match loads.iter().find(|&(_, &load)| load > cap) {
            Some((host, load)) => Err(format!(
                "3: host {host} has {load} at once, its cap is {cap}"
            )),
            None => Ok(()),
        }
    }

    fn record(&mut self, task: TaskId, verdict: &Verdict, attempts: u32) -> Verified {
        let Some(entry) = self.tasks.get_mut(&task) else {
            return Err(format!("1: task {task} recorded and never offered"));
        };
        if std::mem::replace(&mut entry.finished, true) {
            return Err(format!("1: task {task} recorded twice"));
        }
        if attempts != entry.attempts || attempts > self.limits.retries + 1 {
            return Err(format!("5: task {task} recorded with {attempts} attempts"));
        }
        if matches!(verdict, Verdict::Quarantined(_)) && entry.kills < self.limits.max_deliveries {
            return Err(format!(
                "6: task {task} quarantined after {} kills",
                entry.kills
            ));
        }
        self.records += 1;
        Ok(())
    }

    /// A transient nack was answered by this delay.
    pub fn retry_due(&mut self, task: TaskId, at: u64) {
        if let Some(entry) = self.tasks.get_mut(&task) {
            entry.not_before = at;
        }
    }

    fn finish(&mut self, ending: &Ending) -> Verified {
        self.finished = true;
        if let Some(worker) = self.workers.keys().next() {
            return Err(format!("7: finished while {worker} is left"));
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
