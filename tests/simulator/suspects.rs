//! Suspects: what they wait for, and in which order. In a time that stands still.

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

/// Two workers that are ready, and `tasks` tasks of one host, which is known to answer.
fn two_workers(prefetch: u16, tasks: u64) -> (Dispatcher, Instant) {
    let now = Instant::now();
    let limits = Limits {
        workers: 2,
        prefetch,
        per_host: None,
        ..Limits::default()
    };
    let mut core = Dispatcher::new(limits, now);
    offer(&mut core, now, 0..tasks);
    core.handle(now, Event::InputEnded);
    for slot in 0..2 {
        let worker = worker(slot, 1);
        core.handle(now, Event::WorkerReady { worker });
    }
    (core, now)
}

/// What each of the actions hands out or asks back, as a word, a slot and tasks.
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
            | Action::TurnToMirror { .. }
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
