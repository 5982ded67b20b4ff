//! Virtual time and everything that happens in it: input, model workers, messages on their way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use coordinator::dispatch::{Action, Dispatcher, Event, Exit, HostId};
use protocol::{TaskId, WorkerId};

use crate::observer::Observer;
use crate::scenario::Scenario;
use crate::worker::{Fate, ModelWorker, draw_fate, finished, nacked, pushed_back};

mod bodies;
mod links;
mod places;

/// More steps than any correct run takes. A list of one silent host takes minutes, and the input
/// checks every millisecond whether more of it is wanted.
const MOST_STEPS: usize = 1_000_000;

/// Something that happens at a given time.
#[derive(Clone, Debug)]
enum Happening {
    /// The core receives this event.
    Heard(Event),
    /// The core receives these events together.
    Reported(Vec<Event>),
    Input,
    /// A spawned worker becomes ready.
    Up(WorkerId),
    /// A worker receives this action.
    Told(WorkerId, Action),
    /// A task of a worker ends, in whatever way.
    Done(WorkerId, TaskId),
    Heartbeat(WorkerId),
    /// A worker sends the messages that it has delayed.
    Says(WorkerId),
    Die(WorkerId, Exit),
    /// The coordinator is stopped for this long; if true, the workers are too.
    Pause(u64, bool),
    /// The coordinator runs again after a pause of this length.
    Resume(u64),
}

impl Happening {
    /// Returns whether it happens to the coordinator itself.
    const fn is_heard(&self) -> bool {
        matches!(self, Self::Heard(_) | Self::Reported(_) | Self::Input)
    }
}

pub struct World {
    scenario: Scenario,
    rng: fastrand::Rng,
    core: Dispatcher,
    observer: Observer,
    epoch: Instant,
    now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    workers: BTreeMap<WorkerId, ModelWorker>,
    offered: u64,
    /// Places that a prerequisite is asking: the prerequisite, and the tasks that wait, as they
    /// will be offered.
    asking: BTreeMap<u32, (TaskId, Vec<Event>)>,
    /// The spacing that each place needs, once it has been asked.
    asked: BTreeMap<u32, Duration>,
    /// Number of tasks that waited and are about to be offered or refused.
    released: usize,
    hosts: BTreeMap<TaskId, HostId>,
    /// The mirrors that each task may turn to, the next one last.
    mirrors: BTreeMap<TaskId, Vec<HostId>>,
    finished: bool,
    /// Until when the coordinator is stopped, and whether the workers are too.
    paused: Option<(u64, bool)>,
    /// Every event and action as text, if requested.
    pub trace: Option<Vec<String>>,
    /// A hash of the actions among them. It is the same in every process.
    pub fingerprint: u64,
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        let scenario = Scenario::from_seed(seed);
        // All worlds share it. Otherwise two traces of the same run would differ.
        static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
        let epoch = *EPOCH;
        Self {
            rng: fastrand::Rng::with_seed(!seed),
            core: Dispatcher::new(scenario.limits.clone(), epoch),
            observer: Observer::new(scenario.limits.clone()),
            epoch,
            now: 0,
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            workers: BTreeMap::new(),
            offered: 0,
            asking: BTreeMap::new(),
            asked: BTreeMap::new(),
            released: 0,
            hosts: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            finished: false,
            paused: None,
            trace: trace.then(|| vec![format!("{scenario:#?}")]),
            fingerprint: 0,
            scenario,
        }
    }

    /// Runs to the end.
    pub fn run(&mut self) -> Result<(), String> {
        self.at(0, Happening::Input);
        let users = [
            (self.scenario.drain_at, Event::DrainRequested),
            (self.scenario.abort_at, Event::AbortRequested),
            (
                self.scenario.give_up_at,
                Event::GiveUpRequested {
                    reason: String::new(),
                },
            ),
        ];
        for (at, event) in users {
            if let Some(at) = at {
                self.at(nanos(at), Happening::Heard(event));
            }
        }
        for (at, workers) in self.scenario.resizes.clone() {
            let event = Event::Resized { workers };
            self.at(nanos(at), Happening::Heard(event));
        }
        for (at, length, everybody) in self.scenario.pauses.clone() {
            self.at(nanos(at), Happening::Pause(nanos(length), everybody));
        }
        for _ in 0..MOST_STEPS {
            if self.finished {
                return Ok(());
            }
            self.step()?;
        }
        Err("7: the run goes on and on".to_owned())
    }

    fn step(&mut self) -> Result<(), String> {
        let next = self.agenda.peek().map(|&Reverse((at, _))| at);
        let timeout = self
            .core
            .poll_timeout()
            .map(|deadline| nanos(deadline.at.saturating_duration_since(self.epoch)))
            .map(|at| self.paused.map_or(at, |(until, _)| at.max(until + 1)));
        match (next, timeout) {
            (None, None) => Err("7: nothing will ever happen again".to_owned()),
            (Some(next), Some(timeout)) if timeout < next => self.tick(timeout),
            (None, Some(timeout)) => self.tick(timeout),
            (Some(_), _) => {
                let Some(Reverse((at, sequence))) = self.agenda.pop() else {
                    return Ok(());
                };
                let Some(happening) = self.happenings.remove(&sequence) else {
                    return Ok(());
                };
                if let Some(later) = self.postponed(at, &happening) {
                    // It keeps its place in the order of events.
                    self.agenda.push(Reverse((later, sequence)));
                    self.happenings.insert(sequence, happening);
                    return Ok(());
                }
                self.now = self.now.max(at);
                self.happen(happening)
            }
        }
    }

    /// Returns when an event that was due at `at` happens, if a pause delays it.
    fn postponed(&self, at: u64, happening: &Happening) -> Option<u64> {
        let (until, everybody) = self.paused?;
        let waits = match happening {
            Happening::Resume(_) => false,
            Happening::Pause(..) => true,
            Happening::Heard(_)
            | Happening::Reported(_)
            | Happening::Says(_)
            | Happening::Input
            | Happening::Up(_)
            | Happening::Told(..)
            | Happening::Done(..)
            | Happening::Heartbeat(_)
            | Happening::Die(..) => everybody || happening.is_heard(),
        };
        (waits && at <= until).then_some(until + 1)
    }

    fn tick(&mut self, at: u64) -> Result<(), String> {
        self.now = self.now.max(at);
        self.tell_core(Event::Tick)
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.agenda.push(Reverse((at, self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    fn after(&mut self, most: Duration, happening: Happening) {
        let delay = self.rng.u64(..=nanos(most));
        self.at(self.now + delay, happening);
    }

    /// Passes `event` to the core, checks the actions of the core and carries them out.
    fn tell_core(&mut self, event: Event) -> Result<(), String> {
        self.tell_core_all(vec![event])
    }

    /// Does the same for events that arrive together. If one of them is stale, passes each alone.
    fn tell_core_all(&mut self, events: Vec<Event>) -> Result<(), String> {
        let now = self.epoch + Duration::from_nanos(self.now);
        let stale = events.iter().any(|event| self.observer.is_stale(event));
        if stale && events.len() > 1 {
            return events
                .into_iter()
                .try_for_each(|event| match self.finished {
                    true => Ok(()),
                    false => self.tell_core(event),
                });
        }
        if stale {
            // First, everything that is due is done. Any further action is then an effect of the
            // stale event.
            self.tell_core(Event::Tick)?;
        }
        for event in &events {
            self.note('>', event);
            self.observer.on_event(self.now, event)?;
        }
        let before = *self.core.counts();
        self.core.handle_all(now, events);
        let mut actions = Vec::new();
        while let Some(action) = self.core.poll_action() {
            self.note('<', &action);
            self.observer.on_action(self.now, &action)?;
            actions.push(action);
        }
        self.observer.settle(self.now)?;
        self.core
            .audit()
            .map_err(|violation| format!("audit: {violation}"))?;
        if stale && !self.finished {
            let mut after = *self.core.counts();
            let heard = after.stale - before.stale;
            after.stale = before.stale;
            if after != before || heard != 1 || actions.len() != 1 {
                return Err(format!("2: a stale message led to {actions:?}"));
            }
        }
        for action in actions {
            self.act(action);
        }
        Ok(())
    }

    fn note(&mut self, direction: char, what: &dyn std::fmt::Debug) {
        use std::hash::{Hash, Hasher};
        let Some(trace) = &mut self.trace else {
            return;
        };
        let line = format!("{:>12.6} {direction} {what:?}", self.now as f64 / 1e9);
        if direction == '<' {
            let mut hasher = std::hash::DefaultHasher::new();
            (self.fingerprint, &line).hash(&mut hasher);
            self.fingerprint = hasher.finish();
        }
        trace.push(line);
    }

    /// Carries out an action of the core.
    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn { worker } => {
                self.workers.insert(worker, ModelWorker::new());
                let drawn = self.rng.f64();
                if drawn < self.scenario.stillborn {
                    let exit = Exit::NotStarted("stillborn".to_owned());
                    self.after(Duration::from_millis(20), Happening::Die(worker, exit));
                } else if drawn < self.scenario.stillborn + self.scenario.slow_start {
                    let late = nanos(self.scenario.limits.start_timeout) + 1_000_000;
                    self.at(self.now + late, Happening::Up(worker));
                } else {
                    self.after(Duration::from_millis(5), Happening::Up(worker));
                }
            }
            Action::Assign { worker, .. }
            | Action::Revoke { worker, .. }
            | Action::Dismiss { worker } => self.send_down(worker, action),
            Action::Terminate { worker, .. } => {
                if self.rng.f64() >= self.scenario.stubborn {
                    let exit = Exit::Signal(15);
                    self.after(Duration::from_millis(3), Happening::Die(worker, exit));
                }
            }
            Action::Kill { worker, .. } => {
                let exit = Exit::Signal(9);
                self.after(Duration::from_millis(3), Happening::Die(worker, exit));
            }
            Action::Place {
                worker,
                task,
                output: stored,
            } => self.place(worker, task, stored),
            Action::Prove {
                worker,
                task,
                failure,
            } => self.prove(worker, task, failure),
            Action::Listen => self.listen(),
            Action::Record { task, .. } => self.answered(task),
            Action::TurnToAlternative { task, .. } => {
                let mirror = self.mirrors.get_mut(&task).and_then(Vec::pop);
                self.hosts.extend(mirror.map(|host| (task, host)));
            }
            Action::Notify(_) => {}
            Action::Finish { .. } => self.finished = true,
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Heard(event) => {
                let released = matches!(event, Event::TaskOffered { .. } | Event::TaskRefused);
                self.released -= usize::from(released);
                return self.tell_core(event);
            }
            Happening::Reported(events) => return self.tell_core_all(events),
            Happening::Says(worker) => self.says(worker),
            Happening::Input => return self.input(),
            Happening::Up(worker) => self.up(worker),
            Happening::Told(worker, action) => self.told(worker, action),
            Happening::Done(worker, task) => self.done(worker, task),
            Happening::Heartbeat(worker) => self.heartbeat(worker),
            Happening::Die(worker, exit) => self.die(worker, exit),
            Happening::Pause(length, everybody) => {
                self.paused = Some((self.now + length, everybody));
                self.at(self.now + length, Happening::Resume(length));
            }
            Happening::Resume(length) => {
                self.paused = None;
                let pause = Duration::from_nanos(length);
                return self.tell_core(Event::Resumed { pause });
            }
        }
        Ok(())
    }

    fn input(&mut self) -> Result<(), String> {
        let (interval, batch) = self.scenario.input;
        for _ in 0..batch {
            if self.offered == self.scenario.tasks {
                if self.asking.is_empty() && self.released == 0 {
                    return self.tell_core(Event::InputEnded);
                }
                break;
            }
            if !self.core.wants_tasks() {
                break;
            }
            self.offered += 1;
            let task = TaskId(self.offered);
            // Lists are often sorted by host.
            let host = HostId(match self.scenario.sorted {
                true => {
                    (self.offered * u64::from(self.scenario.hosts) / (self.scenario.tasks + 1))
                        as u32
                }
                false => self.rng.u32(..self.scenario.hosts),
            });
            self.hosts.insert(task, host);
            let mirrors = self.draw_mirrors();
            self.mirrors
                .insert(task, mirrors.iter().rev().copied().collect());
            let event = Event::TaskOffered {
                task,
                group: host,
                alternatives: mirrors,
                size: self.rng.u32(20..500),
                spacing: Duration::ZERO,
            };
            if self.scenario.asks_first {
                self.ask_first(host, event)?;
            } else {
                self.tell_core(event)?;
            }
        }
        let next = self.now + nanos(interval).max(1_000_000);
        self.at(next, Happening::Input);
        Ok(())
    }

    /// Usually returns nothing, otherwise some hosts, which may include the task's own.
    fn draw_mirrors(&mut self) -> Vec<HostId> {
        let most = match self.rng.f64() < self.scenario.mirrored {
            true => self.rng.u8(1..=3),
            false => 0,
        };
        (0..most)
            .map(|_| HostId(self.rng.u32(..self.scenario.hosts)))
            .collect()
    }

    fn alive(&mut self, worker: WorkerId) -> Option<&mut ModelWorker> {
        self.workers
            .get_mut(&worker)
            .filter(|model| !model.dead && !model.frozen)
    }

    fn up(&mut self, worker: WorkerId) {
        if self.alive(worker).is_some() {
            self.send_up(worker, Event::WorkerReady { worker });
            self.at(self.now, Happening::Heartbeat(worker));
        }
    }

    fn told(&mut self, worker: WorkerId, action: Action) {
        let overstay = self.scenario.overstay;
        let stays = self.rng.f64() < overstay;
        let Some(model) = self.alive(worker) else {
            return;
        };
        match action {
            Action::Assign { tasks, .. } => {
                model.queue.extend(tasks);
                self.take_up(worker);
            }
            Action::Revoke { tasks, .. } => {
                let ModelWorker {
                    queue, outgoing, ..
                } = model;
                queue.retain(|&task| {
                    let revoked = tasks.contains(&task);
                    if revoked {
                        outgoing.push(Event::Released { worker, task });
                    }
                    !revoked
                });
                self.says(worker);
            }
            Action::Dismiss { .. } if !stays => self.die(worker, Exit::Code(0)),
            Action::Dismiss { .. }
            | Action::Spawn { .. }
            | Action::Terminate { .. }
            | Action::Kill { .. }
            | Action::Place { .. }
            | Action::Prove { .. }
            | Action::Listen
            | Action::Record { .. }
            | Action::TurnToAlternative { .. }
            | Action::Notify(_)
            | Action::Finish { .. } => {}
        }
    }

    /// Starts tasks while there are free places.
    fn take_up(&mut self, worker: WorkerId) {
        let concurrency = usize::from(self.scenario.limits.concurrency);
        while let Some(model) = self.alive(worker)
            && model.running.len() < concurrency
            && let Some(task) = model.queue.pop_front()
        {
            let silent = self.scenario.silent_host == Some(self.hosts[&task].0);
            let fate = match silent {
                true => Fate::silence(),
                false => draw_fate(&self.scenario, &mut self.rng, task),
            };
            let at = self.epoch + Duration::from_nanos(self.now);
            if let Some(model) = self.alive(worker) {
                model.running.insert(task, fate);
                model.outgoing.push(Event::Started { worker, task, at });
            }
            let most = Duration::from_millis(if silent { 3000 } else { 300 });
            self.after(most, Happening::Done(worker, task));
        }
    }

    fn done(&mut self, worker: WorkerId, task: TaskId) {
        let Some(model) = self.alive(worker) else {
            return;
        };
        let Some(&fate) = model.running.get(&task) else {
            return;
        };
        match fate {
            Fate::Stuck => return,
            Fate::Freeze => {
                model.frozen = true;
                return;
            }
            Fate::Crash => return self.die(worker, Exit::Signal(11)),
            Fate::Killed => return self.die(worker, Exit::Signal(9)),
            Fate::Violate => return self.send_up(worker, Event::ProtocolViolated { worker }),
            Fate::Ack => model.ended(finished(worker, task), task),
            Fate::Nack(kind, severity) => {
                model.ended(nacked(worker, task, kind, severity), task);
            }
            Fate::Refused(severity) => model.ended(pushed_back(worker, task, severity), task),
        }
        self.take_up(worker);
        self.say_or_hold(worker);
    }

    /// Reports a task that has ended: at once if the worker has a free place, otherwise at once or
    /// later.
    fn say_or_hold(&mut self, worker: WorkerId) {
        let at_once = self.rng.bool();
        let concurrency = usize::from(self.scenario.limits.concurrency);
        let hold = self.scenario.hold;
        let Some(model) = self.alive(worker) else {
            return;
        };
        if at_once || model.running.len() < concurrency {
            self.says(worker);
        } else if !std::mem::replace(&mut model.hurries, true) {
            self.after(hold, Happening::Says(worker));
        }
    }

    /// Sends the messages that a worker has delayed.
    fn says(&mut self, worker: WorkerId) {
        let Some(model) = self.alive(worker) else {
            return;
        };
        model.hurries = false;
        let events = std::mem::take(&mut model.outgoing);
        if !events.is_empty() {
            self.send_up_all(worker, events);
        }
    }

    fn heartbeat(&mut self, worker: WorkerId) {
        let interval = nanos(self.scenario.limits.lease_timeout) / 4;
        let Some(model) = self.alive(worker) else {
            return;
        };
        let running = model.moving();
        self.says(worker);
        self.send_up(worker, Event::HeartbeatReceived { worker, running });
        self.at(self.now + interval, Happening::Heartbeat(worker));
    }

    /// Ends a worker. What it had sent still arrives, followed by the report of its exit. What it
    /// had not sent is lost.
    fn die(&mut self, worker: WorkerId, exit: Exit) {
        let forged = self.rng.f64() < self.scenario.forged;
        let Some(model) = self.workers.get_mut(&worker) else {
            return;
        };
        if std::mem::replace(&mut model.dead, true) {
            return;
        }
        let ran = match forged {
            false => model.running.keys().copied().collect(),
            true => (0..self.rng.usize(..5))
                .map(|_| TaskId(self.rng.u64(..=self.offered)))
                .collect(),
        };
        let ran = self.scenario.pages.then_some(ran);
        self.send_up(worker, Event::WorkerExited { worker, exit, ran });
    }
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
