//! A model worker, which obeys or not as the scenario says. No I/O, virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use coordinator::dispatch::{Dispatcher, Event, HostId};
use protocol::{Exchange, Failure, FailureKind, Severity, Stored, TaskId, WorkerId};

use crate::scenario::Scenario;

/// How a task that a model worker starts will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Ack,
    Nack(FailureKind, Severity),
    /// The host refuses to serve it now.
    Refused(Severity),
    Crash,
    Killed,
    Freeze,
    Stuck,
    Violate,
}

impl Fate {
    /// Returns the fate of a task of a host that does not answer.
    pub const fn silence() -> Self {
        Self::Nack(
            FailureKind::Stalled,
            Severity::Transient { retry_after: None },
        )
    }
}

/// Offers these tasks, all of one host.
pub fn offer(core: &mut Dispatcher, now: Instant, tasks: impl Iterator<Item = u64>) {
    offer_of_hosts(core, now, tasks, 1);
}

/// Offers these tasks, of `hosts` hosts in turn.
pub fn offer_of_hosts(
    core: &mut Dispatcher,
    now: Instant,
    tasks: impl Iterator<Item = u64>,
    hosts: u32,
) {
    for (host, task) in (0..hosts).cycle().zip(tasks) {
        core.handle(
            now,
            Event::TaskOffered {
                task: TaskId(task),
                group: HostId(host),
                alternatives: Vec::new(),
                size: 100,
                spacing: Duration::ZERO,
            },
        );
    }
}

#[derive(Debug)]
pub struct ModelWorker {
    pub queue: VecDeque<TaskId>,
    pub running: BTreeMap<TaskId, Fate>,
    /// Messages that it has not sent yet.
    pub outgoing: Vec<Event>,
    /// It will send them soon.
    pub hurries: bool,
    pub frozen: bool,
    pub dead: bool,
    /// Until when its messages are on their way. Messages arrive in the order in which they were
    /// sent.
    pub uplink_busy_until: u64,
    pub downlink_busy_until: u64,
}

impl ModelWorker {
    pub fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            outgoing: Vec::new(),
            hurries: false,
            frozen: false,
            dead: false,
            uplink_busy_until: 0,
            downlink_busy_until: 0,
        }
    }

    /// Ends `task`; `report` says how.
    pub fn ended(&mut self, report: Event, task: TaskId) {
        self.outgoing.push(report);
        self.running.remove(&task);
    }

    /// Returns the running tasks that a heartbeat names.
    pub fn moving(&self) -> Vec<TaskId> {
        self.running
            .iter()
            .filter(|&(_, &fate)| fate != Fate::Stuck)
            .map(|(&task, _)| task)
            .collect()
    }
}

/// Returns whether `task` kills every worker that runs it: a property of the task, the same at each
/// delivery.
pub fn is_poison(scenario: &Scenario, task: TaskId) -> bool {
    fastrand::Rng::with_seed(task.0 ^ scenario.limits.seed).f64() < scenario.poison
}

pub fn draw_fate(scenario: &Scenario, rng: &mut fastrand::Rng, task: TaskId) -> Fate {
    if is_poison(scenario, task) {
        return Fate::Crash;
    }
    let mut drawn = rng.f64();
    let retry_after = rng
        .bool()
        .then(|| std::time::Duration::from_millis(rng.u64(..3000)));
    let kind = match rng.f64() < scenario.silence {
        true => FailureKind::Stalled,
        false => FailureKind::Status,
    };
    let ladder = [
        (scenario.crash, Fate::Crash),
        (scenario.killed, Fate::Killed),
        (scenario.freeze, Fate::Freeze),
        (scenario.stuck, Fate::Stuck),
        (scenario.violate, Fate::Violate),
        (scenario.fatal, Fate::Nack(kind, Severity::Fatal)),
        (
            scenario.pushback,
            Fate::Refused(Severity::Transient { retry_after }),
        ),
        (scenario.ignorant, Fate::Nack(kind, Severity::Unprepared)),
        (scenario.permanent, Fate::Nack(kind, Severity::Permanent)),
        (
            scenario.transient,
            Fate::Nack(kind, Severity::Transient { retry_after }),
        ),
    ];
    for (chance, fate) in ladder {
        if drawn < chance {
            return fate;
        }
        drawn -= chance;
    }
    Fate::Ack
}

pub fn finished(worker: WorkerId, task: TaskId) -> Event {
    Event::Finished {
        worker,
        task,
        output: Box::new(Stored {
            bytes: task.0,
            ..Stored::default()
        }),
    }
}

/// Decides what happens to a body that `worker` has finished.
pub fn draw_placement(
    scenario: &Scenario,
    rng: &mut fastrand::Rng,
    stored: Box<Stored>,
) -> Result<Box<Stored>, Box<Failure>> {
    let mut drawn = rng.f64();
    for (chance, severity) in [
        (
            scenario.misplaced,
            Severity::Transient { retry_after: None },
        ),
        (scenario.unplaceable, Severity::Permanent),
        (scenario.fatal, Severity::Fatal),
    ] {
        if drawn < chance {
            return Err(Box::new(Failure {
                exchange: Exchange::default(),
                kind: FailureKind::Store,
                message: String::new(),
                severity,
            }));
        }
        drawn -= chance;
    }
    Ok(stored)
}

/// Decides what the check of a fatal failure finds: half of the workers are wrong.
pub fn draw_proof(rng: &mut fastrand::Rng, mut failure: Box<Failure>) -> Box<Failure> {
    if rng.bool() {
        failure.severity = Severity::Transient { retry_after: None };
    }
    failure
}

/// Returns the event that the body is in place; the disk takes no time.
pub fn placed(worker: WorkerId, task: TaskId, stored: Box<Stored>) -> Event {
    Event::Placed {
        worker,
        task,
        result: Ok(stored),
    }
}

pub fn nacked(worker: WorkerId, task: TaskId, kind: FailureKind, severity: Severity) -> Event {
    failed(worker, task, kind, severity, None)
}

/// Returns the event that the host refuses to serve `task` now.
pub fn pushed_back(worker: WorkerId, task: TaskId, severity: Severity) -> Event {
    failed(worker, task, FailureKind::Status, severity, Some(503))
}

fn failed(
    worker: WorkerId,
    task: TaskId,
    kind: FailureKind,
    severity: Severity,
    status: Option<u16>,
) -> Event {
    Event::Nacked {
        worker,
        task,
        failure: Box::new(Failure {
            exchange: Exchange {
                status,
                ..Exchange::default()
            },
            kind,
            message: String::new(),
            severity,
        }),
    }
}
