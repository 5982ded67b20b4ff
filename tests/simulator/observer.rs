//! Watches a run from outside, by its events and actions alone, and reports violations.
//!
//! It keeps its own books and shares no code with the core. The numbers in its messages are those
//! of the invariants in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use coordinator::dispatch::{Action, Event, KillReason, Limits, Notice, Policy};
use protocol::{Severity, SlotId, TaskId, WorkerId};

use crate::world::nanos;

mod fairness;
mod placing;
mod workers;

use fairness::Given;

#[derive(Debug, Default)]
struct Seen {
    spawned_at: u64,
    ready: bool,
    /// Tasks held, and whether each has started.
    held: BTreeMap<TaskId, bool>,
    answered: bool,
    dismissed: bool,
    /// Why it was terminated or killed.
    condemned: Option<KillReason>,
    /// When it may be killed, if it was only asked to exit.
    kill_at: Option<u64>,
    /// It has violated the protocol.
    violated: bool,
    /// Tasks assigned and not given back.
    given: u32,
    /// When each task held, and its worker, last gave a sign of life; and whether the task has
    /// started but the worker's last sign of life did not name it.
    moved: BTreeMap<TaskId, (u64, bool)>,
}

impl Seen {
    fn is_idle(&self) -> bool {
        self.ready && self.held.is_empty() && !self.dismissed && self.condemned.is_none()
    }
}

#[derive(Debug, Default)]
struct Task {
    /// It is not part of the input.
    prerequisite: bool,
    /// Shortest time to the next task of its host.
    spacing: Duration,
    host: u32,
    /// Its other hosts, in order.
    mirrors: VecDeque<u32>,
    /// The severity of its latest failure, until the core has reacted to that.
    failed: Option<Severity>,
    size: u32,
    leased: Option<WorkerId>,
    attempts: u32,
    /// Of those, the attempts at earlier hosts.
    elsewhere: u32,
    /// Its latest failure was a refusal of its host to serve it now.
    pushed_back: bool,
    kills: u32,
    unexplained: u32,
    suspect: bool,
    finished: bool,
    /// Its body is in place.
    placed: bool,
    /// The slot whose chunk it belongs to.
    chunk: Option<SlotId>,
    /// It must not be assigned before this time.
    not_before: u64,
}

impl Task {
    /// Returns whether it must be quarantined.
    fn is_guilty(&self, limits: &Limits) -> bool {
        self.kills >= limits.max_deliveries
            || self.kills + self.unexplained >= limits.max_unexplained
    }
}

/// The observer's books on a run.
#[derive(Debug)]
pub struct Observer {
    limits: Limits,
    workers: BTreeMap<WorkerId, Seen>,
    epochs: BTreeMap<u16, u32>,
    tasks: BTreeMap<TaskId, Task>,
    input_ended: bool,
    /// The core has asked to listen and has no answer; and when it last had one.
    listening: bool,
    listened: u64,
    ending: bool,
    aborted: bool,
    finished: bool,
    failed: u64,
    barren_deaths: VecDeque<u64>,
    /// Deaths in a row without progress, for each slot.
    barren_slots: BTreeMap<u16, u32>,
    /// When the next task may be assigned, of any host and of each host.
    next_turn: u64,
    next_of_host: BTreeMap<u32, u64>,
    /// Slots that were closed or retired at some time.
    abandoned: BTreeSet<u16>,
    /// Hosts that answered their latest download.
    heard: BTreeSet<u32>,
    /// Hosts that have refused to serve a task: the core decides how little they get.
    pushing: BTreeSet<u32>,
    /// What has been assigned in this step.
    given: Vec<Given>,
    /// Tasks whose bodies are whole but not in place yet, and the worker that finished each.
    placing: BTreeMap<TaskId, WorkerId>,
    /// If the run ends: until when it must at least wait for placements.
    patience: Option<u64>,
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
            listening: false,
            listened: u64::MAX,
            ending: false,
            aborted: false,
            finished: false,
            failed: 0,
            barren_deaths: VecDeque::new(),
            barren_slots: BTreeMap::new(),
            next_turn: 0,
            next_of_host: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            heard: BTreeSet::new(),
            pushing: BTreeSet::new(),
            given: Vec::new(),
            placing: BTreeMap::new(),
            patience: None,
            records: 0,
        }
    }

    /// Returns whether `event` must change nothing: it is from an earlier epoch, or about a task
    /// that the worker does not hold.
    pub fn is_stale(&self, event: &Event) -> bool {
        match event {
            Event::Started { worker, task, .. }
            | Event::Finished { worker, task, .. }
            | Event::Nacked { worker, task, .. } => !self.holds(*worker, *task),
            Event::Placed { worker, task, .. } => self.placing.get(task) != Some(worker),
            Event::Released { worker, task } => self
                .workers
                .get(worker)
                .is_none_or(|seen| seen.held.get(task) != Some(&false)),
            Event::WorkerReady { worker }
            | Event::HeartbeatReceived { worker, .. }
            | Event::ProtocolViolated { worker }
            | Event::WorkerExited { worker, .. } => !self.workers.contains_key(worker),
            Event::TaskOffered { .. }
            | Event::PrerequisiteOffered { .. }
            | Event::TaskRefused
            | Event::InputEnded
            | Event::DrainRequested
            | Event::AbortRequested
            | Event::GiveUpRequested { .. }
            | Event::Resumed { .. }
            | Event::Resized { .. }
            | Event::Listened
            | Event::Tick => false,
        }
    }

    fn holds(&self, worker: WorkerId, task: TaskId) -> bool {
        self.workers
            .get(&worker)
            .is_some_and(|seen| seen.held.contains_key(&task))
    }

    /// Notes an event that is about to be handled.
    pub fn on_event(&mut self, now: u64, event: &Event) -> Verified {
        if self.is_stale(event) {
            return Ok(());
        }
        match event {
            Event::TaskOffered {
                task,
                group: host,
                alternatives: mirrors,
                size,
                spacing,
            } => {
                let entry = self.tasks.entry(*task).or_default();
                entry.host = host.0;
                entry.mirrors = mirrors.iter().map(|host| host.0).collect();
                entry.size = *size;
                entry.spacing = *spacing;
            }
            Event::PrerequisiteOffered {
                task,
                group: host,
                size,
            } => {
                let entry = self.tasks.entry(*task).or_default();
                entry.prerequisite = true;
                entry.host = host.0;
                entry.size = *size;
            }
            Event::TaskRefused => {
                self.failed += 1;
                self.records += 1;
            }
            Event::WorkerReady { worker } => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    let again = std::mem::replace(&mut seen.ready, true);
                    let late =
                        u128::from(now - seen.spawned_at) > self.limits.start_timeout.as_nanos();
                    if late && !again && seen.condemned.is_none() {
                        return Err(format!("4: {worker} was waited for beyond its time"));
                    }
                }
            }
            Event::Started { worker, task, .. } => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    seen.held.insert(*task, true);
                }
            }
            Event::Finished { worker, task, .. } => {
                self.answered(*worker, *task);
                self.hear(*task, true);
                self.placing.insert(*task, *worker);
            }
            Event::Placed { task, result, .. } => self.placed(*task, result),
            Event::HeartbeatReceived { worker, running } => self.beat(now, *worker, running),
            Event::Resumed { pause } => self.resumed(*pause),
            Event::Resized { workers } => self.resized(*workers),
            Event::Nacked {
                worker,
                task,
                failure,
            } => {
                self.answered(*worker, *task);
                if failure.severity == Severity::Unprepared {
                    if let Some(entry) = self.tasks.get_mut(task) {
                        // This was not an attempt.
                        entry.attempts -= 1;
                    }
                    self.hear(*task, true);
                    return Ok(());
                }
                self.hear(*task, failure.kind != protocol::FailureKind::Stalled);
                if failure.severity == Severity::Fatal {
                    self.placing.insert(*task, *worker);
                }
                if let Some(entry) = self.tasks.get_mut(task) {
                    entry.failed = Some(failure.severity);
                    entry.pushed_back = failure.is_pushback();
                    if entry.pushed_back {
                        self.pushing.insert(entry.host);
                    }
                }
            }
            Event::Released { worker, task } => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    seen.held.remove(task);
                    seen.given -= 1;
                }
                self.release(*task);
            }
            Event::WorkerExited { worker, exit, ran } => {
                self.exited(now, *worker, exit, ran.as_deref());
            }
            Event::AbortRequested => (self.ending, self.aborted) = (true, true),
            Event::DrainRequested | Event::GiveUpRequested { .. } => {
                if !std::mem::replace(&mut self.ending, true) {
                    self.patience = Some(now + nanos(self.limits.grace));
                }
            }
            Event::InputEnded => self.input_ended = true,
            Event::ProtocolViolated { worker } => {
                if let Some(seen) = self.workers.get_mut(worker) {
                    seen.violated = true;
                }
            }
            Event::Listened => {
                if !std::mem::take(&mut self.listening) {
                    return Err("listened, and was not asked to".to_owned());
                }
                self.listened = now;
            }
            Event::Tick => {}
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
        self.barren_slots.remove(&worker.slot.0);
        self.release(task);
    }

    fn release(&mut self, task: TaskId) {
        if let Some(entry) = self.tasks.get_mut(&task) {
            entry.leased = None;
        }
    }

    /// Checks an action, and notes it.
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
            Action::Place { worker, task, .. } | Action::Prove { worker, task, .. } => {
                match self.placing.get(task) {
                    Some(by) if by == worker => Ok(()),
                    Some(_) | None => Err(format!("9: task {task} placed, which is not finished")),
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
            Action::Terminate { worker, reason } => self.terminate(now, *worker, reason),
            Action::Kill { worker, reason } => self.kill(now, *worker, reason),
            Action::Listen => match std::mem::replace(&mut self.listening, true) {
                true => Err("asked to listen twice".to_owned()),
                false => Ok(()),
            },
            Action::Record {
                task,
                verdict,
                attempts,
                ..
            } => self.record(*task, verdict, *attempts),
            Action::Notify(Notice::Retrying {
                task,
                attempts,
                delay,
                ..
            }) => self.retry_due(*task, *attempts, now + nanos(*delay)),
            Action::TurnToAlternative { task, .. } => self.turned(now, *task),
            Action::Notify(_) => Ok(()),
            Action::Finish { ending } => self.finish(now, ending),
        }
    }

    fn assign(&mut self, now: u64, worker: WorkerId, task: TaskId) -> Verified {
        let limit = self.limits.max_failures;
        let failures = limit.is_some_and(|limit| limit.is_exceeded(self.failed, self.records));
        let late = self.limits.run_time.is_some_and(|time| now > nanos(time));
        if self.ending || failures || late {
            return Err(format!("4: task {task} assigned while the run ends"));
        }
        let Some(seen) = self.workers.get_mut(&worker) else {
            return Err(format!(
                "2: task {task} assigned to {worker}, which is gone"
            ));
        };
        if !seen.ready || seen.dismissed || seen.condemned.is_some() {
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
        if let Some(by) = self.placing.get(&task) {
            return Err(format!(
                "9: task {task} assigned while that of {by} is placed"
            ));
        }
        if self.placing.len() >= self.limits.placing {
            return Err(format!("9: task {task} assigned while too many are placed"));
        }
        if let Some(holder) = entry.leased.replace(worker) {
            return Err(format!(
                "1: task {task} assigned to {worker}, {holder} holds it"
            ));
        }
        if entry.attempts - entry.elsewhere > self.limits.retries || entry.is_guilty(&self.limits) {
            return Err(format!("5: task {task} assigned beyond its limits"));
        }
        seen.given += 1;
        let most = self.limits.worker_tasks.map(NonZeroU32::get);
        if most.is_some_and(|most| seen.given > most) {
            return Err(format!("recycling: {worker} is given more than its share"));
        }
        if worker.slot.0 >= self.limits.workers {
            return Err(format!(
                "resize: task {task} assigned to {worker}, which is to go"
            ));
        }
        if self.limits.policy == Policy::Chunked && !entry.suspect && !entry.prerequisite {
            if !self.input_ended {
                return Err(format!(
                    "chunked: task {task} assigned before the input was split"
                ));
            }
            let slot = *entry.chunk.get_or_insert(worker.slot);
            if self.abandoned.contains(&slot.0) {
                entry.chunk = Some(worker.slot);
            } else if slot != worker.slot {
                return Err(format!(
                    "chunked: task {task} of slot {slot} assigned to {worker}"
                ));
            }
        }
        let next_of_host = self.next_of_host.entry(entry.host).or_default();
        // The assignments of one step are sent worker by worker. A task after which its host needs
        // no rest may therefore come behind another that was assigned after it.
        let spacing = self.limits.group_spacing.max(entry.spacing);
        let behind = spacing.is_zero() && self.given.iter().any(|given| given.host == entry.host);
        if now < self.next_turn || (now < *next_of_host && !behind) {
            return Err(format!("pace: task {task} assigned before its turn"));
        }
        self.next_turn = now + nanos(self.limits.spacing);
        *next_of_host = (*next_of_host).max(now + nanos(spacing));
        if now < entry.not_before {
            return Err(format!("5: task {task} assigned before its retry is due"));
        }
        let (host, apart) = (entry.host, entry.suspect || entry.prerequisite);
        self.give(worker, task, host, apart)?;
        let Some(seen) = self.workers.get_mut(&worker) else {
            return Ok(());
        };
        seen.held.insert(task, false);
        seen.moved.insert(task, (now, false));
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

    /// Checks that at most the cap can run against a host at once, whichever tasks each worker
    /// starts.
    fn check_hosts(&self) -> Verified {
        let Some(cap) = self.limits.per_group else {
            return Ok(());
        };
        let loads = self.loads();
        match loads.iter().find(|&(_, &load)| load > cap) {
            Some((host, load)) => Err(format!(
                "3: host {host} has {load} at once, its cap is {cap}"
            )),
            None => Ok(()),
        }
    }

    /// Checks that a task moves to its next mirror only after it has failed permanently at its
    /// host, or has used up its attempts or its time there.
    fn turned(&mut self, now: u64, task: TaskId) -> Verified {
        let late = self.limits.retry_max_time.is_some();
        let Some(entry) = self.tasks.get_mut(&task) else {
            return Err(format!(
                "10: task {task} turned to a mirror and never offered"
            ));
        };
        let spent = entry.attempts - entry.elsewhere;
        let is_over = match entry.failed.take() {
            Some(Severity::Permanent) => true,
            Some(Severity::Transient { .. }) => spent > self.limits.retries || late,
            Some(Severity::Unprepared | Severity::Fatal) | None => false,
        };
        let (true, Some(mirror)) = (is_over, entry.mirrors.pop_front()) else {
            return Err(format!("10: task {task} turned to a mirror: {entry:?}"));
        };
        let left = std::mem::replace(&mut entry.host, mirror);
        entry.elsewhere = entry.attempts;
        entry.spacing = Duration::ZERO;
        entry.not_before = now;
        self.forget_host(left);
        Ok(())
    }

    /// Checks the retry after a transient nack. A refusal of the host may spend no attempt.
    fn retry_due(&mut self, task: TaskId, attempts: u32, at: u64) -> Verified {
        let Some(entry) = self.tasks.get_mut(&task) else {
            return Ok(());
        };
        entry.failed = None;
        entry.not_before = at;
        if entry.pushed_back && self.limits.retries > 0 && attempts + 1 == entry.attempts {
            entry.attempts = attempts;
        }
        if attempts != entry.attempts {
            return Err(format!("5: task {task} has spent {attempts} attempts"));
        }
        Ok(())
    }
}
