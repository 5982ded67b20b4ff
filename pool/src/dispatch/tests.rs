//! Decisions that no invariant covers: which worker is assigned what, and when. Time stands still
//! unless a test advances it.

use std::time::{Duration, Instant};

use protocol::{Epoch, JobFailure, Severity, SlotId, TaskId, WorkerId};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A group refused a task and asks for this pause.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Refused(Duration);

impl JobFailure for Refused {
    fn severity(&self) -> Severity {
        Severity::Transient {
            retry_after: Some(self.0),
        }
    }

    fn refusal(&self) -> Option<u32> {
        Some(1)
    }
}

/// A failure that may pass.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Passing;

impl JobFailure for Passing {
    fn severity(&self) -> Severity {
        Severity::Transient { retry_after: None }
    }
}

/// The first worker of a slot.
fn worker(slot: u16) -> WorkerId {
    WorkerId {
        slot: SlotId(slot),
        epoch: Epoch(1),
    }
}

fn limits(workers: u16, concurrency: u16) -> Limits {
    Limits {
        workers,
        concurrency,
        per_group: None,
        ..Limits::default()
    }
}

/// Starts a run with `tasks` tasks of one group. Its workers have not started yet.
fn run<F: JobFailure>(limits: Limits, tasks: u64) -> (Dispatcher<(), F>, Instant) {
    let now = Instant::now();
    let mut core = Dispatcher::new(limits, now);
    let events = (1..=tasks).map(offered);
    core.handle_all(now, events);
    (core, now)
}

fn offered<F>(task: u64) -> Event<(), F> {
    Event::TaskOffered {
        task: TaskId(task),
        group: GroupId(0),
        alternatives: Vec::new(),
        size: 1,
        spacing: Duration::ZERO,
    }
}

fn started<F>(slot: u16, task: u64, at: Instant) -> Event<(), F> {
    Event::Started {
        worker: worker(slot),
        task: TaskId(task),
        at,
    }
}

fn finished<F>(slot: u16, task: u64) -> Event<(), F> {
    Event::Finished {
        worker: worker(slot),
        task: TaskId(task),
        output: Box::new(()),
    }
}

fn died<F>(slot: u16, ran: &[u64]) -> Event<(), F> {
    Event::WorkerExited {
        worker: worker(slot),
        exit: Exit::Code(1),
        ran: Some(ran.iter().copied().map(TaskId).collect()),
    }
}

/// Returns what was assigned (`+`) and asked back (`-`): the slot and the tasks.
fn moves<F: JobFailure>(core: &mut Dispatcher<(), F>) -> Vec<(char, u16, Vec<u64>)> {
    let numbers = |tasks: &[TaskId]| tasks.iter().map(|task| task.0).collect();
    let mut moves = Vec::new();
    while let Some(action) = core.poll_action() {
        if let Action::Assign { worker, tasks } = &action {
            moves.push(('+', worker.slot.0, numbers(tasks)));
        }
        if let Action::Revoke { worker, tasks } = &action {
            moves.push(('-', worker.slot.0, numbers(tasks)));
        }
    }
    moves
}

/// Makes the first `slots` workers ready.
fn ready<F: JobFailure>(core: &mut Dispatcher<(), F>, now: Instant, slots: u16) {
    let workers = (0..slots).map(worker);
    core.handle_all(now, workers.map(|worker| Event::WorkerReady { worker }));
}

#[test]
fn an_idle_worker_gets_the_last_of_what_another_holds_ahead() {
    let (mut core, now) = run::<Passing>(limits(1, 1), 40);
    core.handle(now, Event::InputEnded);
    ready(&mut core, now, 1);
    let [('+', 0, held)] = &moves(&mut core)[..] else {
        panic!("one worker holds tasks");
    };
    let held = held.clone();
    assert!(held.len() > 1, "{held:?}");
    core.handle(now, Event::Resized { workers: 2 });
    core.handle(now, Event::WorkerReady { worker: worker(1) });
    // The second worker does all tasks that wait. The first still runs its first task.
    let asked_back = loop {
        match &moves(&mut core)[..] {
            [('+', 1, tasks)] => {
                let done = tasks.iter().map(|&task| finished(1, task));
                core.handle_all(now, done);
            }
            [('-', 0, tasks)] => break tasks.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked_back, held[held.len() - 1..]);
    let released = Event::Released {
        worker: worker(0),
        task: TaskId(asked_back[0]),
    };
    core.handle(now, released);
    assert_eq!(moves(&mut core)[0], ('+', 1, asked_back));
}

#[test]
fn a_group_that_refuses_is_asked_back_what_is_held_ahead_and_not_yet_ended() {
    let (mut core, now) = run::<Refused>(limits(1, 1), 40);
    ready(&mut core, now, 1);
    let [('+', 0, held)] = &moves(&mut core)[..] else {
        panic!("one worker holds tasks");
    };
    assert!(held.len() > 3, "{held:?}");
    let refused = Event::Nacked {
        worker: worker(0),
        task: TaskId(held[0]),
        failure: Box::new(Refused(SECOND)),
    };
    // A task whose end arrived together with the refusal need not be asked back.
    core.handle_all(now, [refused, finished(0, held[1])]);
    assert_eq!(moves(&mut core), [('-', 0, held[2..].to_vec())]);
}

#[test]
fn the_worker_that_holds_least_is_kept_free_for_a_suspect() {
    let limits = Limits {
        // No other group comes, so this one may use all places.
        lookahead_max: 0,
        ..limits(3, 2)
    };
    let (mut core, now) = run::<Passing>(limits, 6);
    ready(&mut core, now, 3);
    let given = moves(&mut core);
    for (_, slot, tasks) in &given {
        let tasks = tasks.iter().map(|&task| started(*slot, task, now));
        core.handle_all(now, tasks);
    }
    let held = |slot| -> Vec<u64> {
        let given = given.iter().filter(|(_, to, _)| *to == slot);
        given.flat_map(|(_, _, tasks)| tasks.clone()).collect()
    };
    core.handle(now, finished(1, held(1)[0]));
    core.handle(now, died(2, &held(2)));
    assert_eq!(moves(&mut core), []);
    // The second worker has a free place, and the first will have one.
    core.handle(now, offered(7));
    assert_eq!(moves(&mut core), []);
    core.handle(now, finished(0, held(0)[0]));
    assert_eq!(moves(&mut core), [('+', 0, vec![7])]);
    // It is empty.
    core.handle(now, finished(1, held(1)[1]));
    let [('+', 1, suspects)] = &moves(&mut core)[..] else {
        panic!("the second worker has one of the suspects");
    };
    assert!(suspects.len() == 1 && held(2).contains(&suspects[0]));
    assert_eq!(core.counts().redeliveries, 2);
}

#[test]
fn no_retry_is_begun_after_its_time() {
    let limits = Limits {
        retries: 10,
        retry_delay: RetryDelay::Fixed(5 * SECOND),
        retry_max_time: Some(10 * SECOND),
        ..limits(1, 1)
    };
    let (mut core, begun) = run(limits, 1);
    ready(&mut core, begun, 1);
    let nacked = || Event::Nacked {
        worker: worker(0),
        task: TaskId(1),
        failure: Box::new(Passing),
    };
    for second in [0, 5] {
        let now = begun + second * SECOND;
        core.handle(now, Event::Tick);
        assert_eq!(moves(&mut core), [('+', 0, vec![1])], "at {second} s");
        core.handle(now, started(0, 1, now));
        core.handle(now, nacked());
    }
    // At 10 s one more attempt may start, but not at 15 s.
    let now = begun + 10 * SECOND;
    core.handle(now, Event::Tick);
    assert_eq!(moves(&mut core), [('+', 0, vec![1])]);
    assert_eq!(core.counts().failed, 0);
    core.handle(now, nacked());
    assert_eq!(core.counts().failed, 1);
}

#[test]
fn a_prerequisite_is_waited_for_as_any_other_task_is() {
    let limits = Limits {
        spacing: SECOND,
        prefetch: 0,
        ..limits(1, 2)
    };
    let (mut core, now) = run::<Passing>(limits, 0);
    let prerequisite = |task| Event::PrerequisiteOffered {
        task: TaskId(task),
        group: GroupId(0),
        size: 1,
    };
    core.handle_all(now, [prerequisite(1), prerequisite(2)]);
    ready(&mut core, now, 1);
    assert_eq!(moves(&mut core), [('+', 0, vec![1])]);
    let expected = Deadline {
        at: now + SECOND,
        cause: DeadlineCause::Pace,
    };
    assert_eq!(core.poll_timeout(), Some(expected));
}
