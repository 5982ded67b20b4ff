//! Prerequisites and tasks of the input take turns. Time stands still.

use std::time::{Duration, Instant};

use coordinator::dispatch::{Action, Dispatcher, Event, HostId, Limits, Policy};
use protocol::{TaskId, WorkerId};

use crate::worker::finished;

const PREREQUISITE: u64 = 1 << 52;

/// A run whose workers start and answer all tasks, one at a time.
struct Run {
    core: Dispatcher,
    now: Instant,
    /// Tasks in the order in which they were assigned.
    order: Vec<u64>,
    finished: bool,
}

impl Run {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            core: Dispatcher::new(limits, now),
            now,
            order: Vec::new(),
            finished: false,
        }
    }

    fn task(&mut self, task: u64, host: u32) {
        self.core.handle(
            self.now,
            Event::TaskOffered {
                task: TaskId(task),
                group: HostId(host),
                alternatives: Vec::new(),
                size: 100,
                spacing: Duration::ZERO,
            },
        );
    }

    fn prerequisite(&mut self, task: u64, host: u32) {
        self.core.handle(
            self.now,
            Event::PrerequisiteOffered {
                task: TaskId(PREREQUISITE + task),
                group: HostId(host),
                size: 100,
            },
        );
    }

    /// Carries out actions until no worker holds a task.
    fn work(&mut self) {
        let mut held: Vec<(WorkerId, TaskId)> = Vec::new();
        loop {
            while let Some(action) = self.core.poll_action() {
                match action {
                    Action::Spawn { worker } => {
                        self.core.handle(self.now, Event::WorkerReady { worker });
                    }
                    Action::Assign { worker, tasks } => {
                        self.order.extend(tasks.iter().map(|task| task.0));
                        held.extend(tasks.into_iter().map(|task| (worker, task)));
                    }
                    Action::Revoke { tasks, .. } => {
                        let (back, rest) = held.into_iter().partition(|(_, id)| tasks.contains(id));
                        held = rest;
                        let back: Vec<(WorkerId, TaskId)> = back;
                        for (worker, task) in back {
                            self.core.handle(self.now, Event::Released { worker, task });
                        }
                    }
                    Action::Dismiss { worker } => {
                        let exit = coordinator::dispatch::Exit::Code(0);
                        let ran = None;
                        self.core
                            .handle(self.now, Event::WorkerExited { worker, exit, ran });
                    }
                    Action::Finish { .. } => self.finished = true,
                    Action::Place {
                        worker,
                        task,
                        output: stored,
                    } => {
                        let result = Ok(stored);
                        let event = Event::Placed {
                            worker,
                            task,
                            result,
                        };
                        self.core.handle(self.now, event);
                    }
                    Action::Prove { .. }
                    | Action::Terminate { .. }
                    | Action::Kill { .. }
                    | Action::Listen
                    | Action::Record { .. }
                    | Action::TurnToAlternative { .. }
                    | Action::Notify(_) => {}
                }
            }
            if held.is_empty() {
                return;
            }
            let (worker, task) = held.remove(0);
            let at = self.now;
            self.core
                .handle(self.now, Event::Started { worker, task, at });
            self.core.handle(self.now, finished(worker, task));
            self.core.audit().unwrap();
        }
    }
}

fn one_worker() -> Limits {
    Limits {
        workers: 1,
        prefetch: 0,
        ..Limits::default()
    }
}

#[test]
fn a_prerequisite_does_not_wait_for_the_end_of_a_long_list_nor_a_list_for_many_prerequisites() {
    let mut run = Run::new(one_worker());
    for n in 0..50 {
        run.task(n, 0);
    }
    for n in 0..20 {
        run.prerequisite(n, 1 + u32::try_from(n).unwrap());
    }
    run.work();
    let kinds: Vec<_> = run.order.iter().map(|&id| id >= PREREQUISITE).collect();
    assert_eq!(kinds.len(), 70);
    for turns in kinds[..40].windows(2) {
        assert_ne!(turns[0], turns[1], "{kinds:?}");
    }
}

#[test]
fn nothing_is_handed_out_ahead_of_a_prerequisite_or_where_a_host_wants_time() {
    let limits = Limits {
        prefetch: 16,
        ..one_worker()
    };
    let mut run = Run::new(limits.clone());
    for n in 0..50 {
        run.task(n, 0);
    }
    run.prerequisite(0, 1);
    run.work();
    let at = run.order.iter().position(|&id| id >= PREREQUISITE);
    assert!(at.unwrap() < 2, "{:?}", run.order);

    let mut run = Run::new(limits);
    run.core.handle(
        run.now,
        Event::TaskOffered {
            task: TaskId(100),
            group: HostId(0),
            alternatives: Vec::new(),
            size: 1,
            spacing: Duration::from_secs(1),
        },
    );
    run.task(101, 0);
    run.task(102, 0);
    run.work();
    assert_eq!(run.order, [100], "the others wait");
    run.now += Duration::from_secs(1);
    run.core.handle(run.now, Event::Tick);
    run.work();
    assert_eq!(run.order, [100, 101, 102], "they want no time of their own");
}

#[test]
fn errands_are_done_before_the_input_is_cut_into_chunks() {
    let mut run = Run::new(Limits {
        policy: Policy::Chunked,
        workers: 2,
        ..Limits::default()
    });
    run.task(1, 0);
    run.prerequisite(0, 1);
    run.work();
    assert_eq!(run.order, [PREREQUISITE]);
    run.task(2, 1);
    run.core.handle(run.now, Event::InputEnded);
    run.work();
    assert_eq!(run.order.len(), 3);
    assert!(run.finished);
    let counts = run.core.counts();
    assert_eq!(
        (counts.offered, counts.done),
        (2, 2),
        "prerequisites do not count"
    );
}

#[test]
fn what_is_refused_counts_against_the_limit_on_failures() {
    let mut run = Run::new(Limits {
        max_failures: Some(coordinator::dispatch::MaxFailures::Count(1)),
        ..one_worker()
    });
    run.core.handle(run.now, Event::TaskRefused);
    assert!(run.core.wants_tasks());
    run.core.handle(run.now, Event::TaskRefused);
    run.work();
    assert!(run.finished, "more than one failed");
    assert_eq!(run.core.counts().failed, 2);
}
