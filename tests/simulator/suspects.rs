//! Suspects: what they wait for, and in which order. Time stands still.

use std::time::Instant;

use coordinator::dispatch::{Action, Dispatcher, Event, Exit, Limits};
use protocol::{Epoch, SlotId, TaskId, WorkerId};

use crate::worker::{finished, offer};

fn worker(slot: u16, epoch: u32) -> WorkerId {
    WorkerId {
        slot: SlotId(slot),
        epoch: Epoch(epoch),
    }
}

/// Returns a core with two workers that are ready, and `tasks` tasks of one host.
fn two_workers(prefetch: u16, tasks: u64) -> (Dispatcher, Instant) {
    pool(2, prefetch, tasks)
}

/// Returns a core with `workers` workers that are ready, and `tasks` tasks of one host.
fn pool(workers: u16, prefetch: u16, tasks: u64) -> (Dispatcher, Instant) {
    let now = Instant::now();
    let limits = Limits {
        workers,
        prefetch,
        per_group: None,
        ..Limits::default()
    };
    let mut core = Dispatcher::new(limits, now);
    offer(&mut core, now, 0..tasks);
    core.handle(now, Event::InputEnded);
    for slot in 0..workers {
        let worker = worker(slot, 1);
        core.handle(now, Event::WorkerReady { worker });
    }
    (core, now)
}

/// Returns what the actions assign or ask back: a word, the slot and the tasks.
fn moves(core: &mut Dispatcher) -> Vec<(&'static str, u16, Vec<u64>)> {
    let numbers = |tasks: Vec<TaskId>| tasks.into_iter().map(|task| task.0).collect();
    std::iter::from_fn(|| core.poll_action())
        .filter_map(|action| match action {
            Action::Assign { worker, tasks } => Some(("assign", worker.slot.0, numbers(tasks))),
            Action::Revoke { worker, tasks } => Some(("revoke", worker.slot.0, numbers(tasks))),
            Action::Spawn { .. }
            | Action::Dismiss { .. }
            | Action::Place { .. }
            | Action::Prove { .. }
            | Action::Terminate { .. }
            | Action::Kill { .. }
            | Action::Listen
            | Action::Record { .. }
            | Action::TurnToAlternative { .. }
            | Action::Notify(_)
            | Action::Finish { .. } => None,
        })
        .collect()
}

#[test]
fn a_suspect_waits_for_no_more_than_what_runs() {
    let (mut core, now) = two_workers(8, 100);
    let held: Vec<Vec<u64>> = moves(&mut core)
        .into_iter()
        .map(|(_, _, held)| held)
        .collect();
    let [first, second] = &held[..] else {
        panic!("each was given something: {held:?}");
    };
    assert!(second.len() > 1, "it holds some ahead: {held:?}");
    for (slot, held) in [(0, first), (1, second)] {
        let (worker, task) = (worker(slot, 1), TaskId(held[0]));
        let at = now;
        core.handle(now, Event::Started { worker, task, at });
    }
    moves(&mut core);
    let exit = Exit::Signal(11);
    core.handle(
        now,
        Event::WorkerExited {
            worker: worker(0, 1),
            exit,
            ran: Some(vec![TaskId(first[0])]),
        },
    );
    let ahead = second[1..].to_vec();
    assert_eq!(moves(&mut core), [("revoke", 1, ahead.clone())]);

    let worker = worker(1, 1);
    for task in ahead.into_iter().map(TaskId) {
        core.handle(now, Event::Released { worker, task });
    }
    core.handle(now, finished(worker, TaskId(second[0])));
    assert_eq!(moves(&mut core), [("assign", 1, vec![first[0]])]);
    core.audit().unwrap();
}

#[test]
fn suspects_take_turns_so_that_none_waits_behind_those_that_come_later() {
    let (mut core, now) = two_workers(0, 2);
    let given = moves(&mut core);
    assert_eq!(given, [("assign", 0, vec![0]), ("assign", 1, vec![1])]);
    for slot in 0..2 {
        let (worker, task) = (worker(slot, 1), TaskId(slot.into()));
        let at = now;
        core.handle(now, Event::Started { worker, task, at });
        let exit = Exit::Signal(11);
        let ran = Some(vec![task]);
        core.handle(now, Event::WorkerExited { worker, exit, ran });
    }
    moves(&mut core);
    let worker = worker(1, 2);
    core.handle(now, Event::WorkerReady { worker });
    assert_eq!(moves(&mut core), [("assign", 1, vec![0])]);
}

/// Ends `worker` by SIGSEGV while it runs `task`.
fn die(core: &mut Dispatcher, now: Instant, worker: WorkerId, task: TaskId) {
    let at = now;
    core.handle(now, Event::Started { worker, task, at });
    let exit = Exit::Signal(11);
    let ran = Some(vec![task]);
    core.handle(now, Event::WorkerExited { worker, exit, ran });
}

#[test]
fn a_suspect_goes_to_the_worker_that_ends_first_whichever_that_is() {
    let (mut core, now) = pool(3, 8, 200);
    let held: Vec<Vec<u64>> = moves(&mut core)
        .into_iter()
        .map(|(_, _, held)| held)
        .collect();
    assert!(held.iter().all(|held| held.len() > 1), "{held:?}");
    let suspect = TaskId(held[0][0]);
    for slot in 1..3 {
        let (worker, task) = (worker(slot, 1), TaskId(held[usize::from(slot)][0]));
        let at = now;
        core.handle(now, Event::Started { worker, task, at });
    }
    die(&mut core, now, worker(0, 1), suspect);
    let asked_back = moves(&mut core);
    let ahead = |slot: u16| ("revoke", slot, held[usize::from(slot)][1..].to_vec());
    assert_eq!(asked_back, [ahead(1), ahead(2)]);

    // The worker in slot 1 hangs in its task.
    let second = worker(2, 1);
    for &task in &held[2][1..] {
        let task = TaskId(task);
        core.handle(
            now,
            Event::Released {
                worker: second,
                task,
            },
        );
    }
    core.handle(now, finished(second, TaskId(held[2][0])));
    assert_eq!(moves(&mut core), [("assign", 2, vec![suspect.0])]);
    core.audit().unwrap();
}

#[test]
fn tasks_that_brought_down_workers_have_half_of_the_pool_while_others_wait() {
    let (mut core, now) = pool(4, 0, 6);
    let given = moves(&mut core);
    assert_eq!(given.len(), 4, "{given:?}");
    for slot in 0..4 {
        die(&mut core, now, worker(slot, 1), TaskId(slot.into()));
    }
    moves(&mut core);
    let mut given = Vec::new();
    for slot in 0..4 {
        let worker = worker(slot, 2);
        core.handle(now, Event::WorkerReady { worker });
        given.extend(moves(&mut core));
        core.audit().unwrap();
    }
    let expected = [0, 1, 4, 5].map(|task| vec![task]);
    let tasks: Vec<_> = given.into_iter().map(|(_, _, tasks)| tasks).collect();
    assert_eq!(tasks, expected);

    // No other task waits any more.
    core.handle(now, finished(worker(3, 2), TaskId(5)));
    assert_eq!(moves(&mut core), [("assign", 3, vec![2])]);
    core.audit().unwrap();
}
