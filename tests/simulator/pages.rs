//! What the page of a dead worker means, and late reports. Time stands still.

use std::time::{Duration, Instant};

use coordinator::dispatch::{Action, Dispatcher, Event, Exit, Limits, Notice};
use protocol::{Epoch, SlotId, TaskId, WorkerId};

use crate::worker::{finished, offer, placed};

const FIRST: WorkerId = WorkerId {
    slot: SlotId(0),
    epoch: Epoch(1),
};

/// Returns a core with a worker that is ready and holds as many of `tasks` tasks as it can.
fn one_worker(concurrency: u16, tasks: u64) -> (Dispatcher, Instant) {
    let now = Instant::now();
    let limits = Limits {
        workers: 1,
        concurrency,
        per_group: None,
        ..Limits::default()
    };
    let mut core = Dispatcher::new(limits, now);
    offer(&mut core, now, 1..=tasks);
    core.handle(now, Event::InputEnded);
    core.handle(now, Event::WorkerReady { worker: FIRST });
    while core.poll_action().is_some() {}
    (core, now)
}

fn started(task: u64, at: Instant) -> Event {
    Event::Started {
        worker: FIRST,
        task: TaskId(task),
        at,
    }
}

/// Tasks that the worker has reported as started; tasks on its page; and the tasks that are
/// redelivered, each with the number of deaths it is to blame for.
type Case = (
    &'static [u64],
    Option<&'static [u64]>,
    &'static [(u64, u32)],
);

#[test]
fn a_death_is_blamed_on_what_the_page_says_and_the_worker_holds() {
    let cases: [Case; 9] = [
        (&[1], Some(&[1]), &[(1, 1)]),
        // It had not reported yet that it started this task.
        (&[], Some(&[1]), &[(1, 1)]),
        (&[1], Some(&[2]), &[(2, 1)]),
        // Their bodies were whole, but it had not reported that yet.
        (&[1, 2], Some(&[]), &[]),
        (&[], Some(&[]), &[]),
        // Neither ran alone.
        (&[1], Some(&[2, 1]), &[(2, 0), (1, 0)]),
        // Tasks that it never had, and one task twice.
        (&[1], Some(&[1, 99, 1, u64::MAX]), &[(1, 1)]),
        (&[], Some(&[99]), &[]),
        // There is no page.
        (&[1], None, &[(1, 1)]),
    ];
    for (said, page, blamed) in cases {
        let (mut core, now) = one_worker(2, 20);
        for task in said {
            core.handle(now, started(*task, now));
        }
        core.handle(
            now,
            Event::WorkerExited {
                worker: FIRST,
                exit: Exit::Signal(11),
                ran: page.map(|page| page.iter().copied().map(TaskId).collect()),
            },
        );
        core.audit().unwrap();
        let mut redelivered = Vec::new();
        let mut ran = Vec::new();
        while let Some(action) = core.poll_action() {
            if let Action::Notify(Notice::Redelivering { task, kills, .. }) = action {
                redelivered.push((task.0, kills));
            } else if let Action::Notify(Notice::WorkerDied { running, .. }) = action {
                ran = running;
            }
        }
        assert_eq!(redelivered, blamed, "{said:?} {page:?}");
        assert_eq!(ran.len(), blamed.len(), "{said:?} {page:?}");
        for task in 1..=20 {
            let blamed = blamed.iter().any(|(blamed, _)| *blamed == task);
            let deliveries = core.delivery(TaskId(task));
            assert_eq!(deliveries, 1 + u32::from(blamed), "{said:?} {page:?}");
            // What a worker may have left of these tasks must be looked for.
            let begun = blamed || said.contains(&task);
            assert_eq!(core.is_begun(TaskId(task)), begun, "{said:?} {page:?}");
        }
    }
}

#[test]
fn a_start_counts_from_when_it_was_however_late_it_is_told() {
    let ms = Duration::from_millis;
    // When the start was, as reported and as counted.
    for (said, counted) in [(ms(40), ms(40)), (ms(0), ms(0)), (ms(900), ms(100))] {
        let (mut core, begun) = one_worker(1, 1);
        let now = begun + ms(100);
        let done = finished(FIRST, TaskId(1));
        let Event::Finished { output: stored, .. } = done.clone() else {
            unreachable!("it is finished");
        };
        core.handle_all(now, [started(1, begun + said), done]);
        core.handle(now, placed(FIRST, TaskId(1), stored));
        let queued = std::iter::from_fn(|| core.poll_action()).find_map(|action| {
            let Action::Record { queued, .. } = action else {
                return None;
            };
            Some(queued)
        });
        assert_eq!(queued, Some(counted), "{said:?}");
    }
}

/// Returns how many tasks each message assigns, after the first 8 tasks took `each`.
fn assigned_after(each: Duration) -> Vec<usize> {
    let (mut core, begun) = one_worker(1, 1000);
    let done = (1..=8).flat_map(|task| {
        let at = begun + each * (task as u32 - 1);
        [started(task, at), finished(FIRST, TaskId(task))]
    });
    core.handle_all(begun + each * 8, done);
    core.audit().unwrap();
    std::iter::from_fn(|| core.poll_action())
        .filter_map(|action| {
            let Action::Assign { tasks, .. } = action else {
                return None;
            };
            Some(tasks.len())
        })
        .collect()
}

#[test]
fn what_is_told_together_is_answered_by_one_assignment() {
    let ms = Duration::from_millis(1);
    assert_eq!(
        assigned_after(ms * 5 / 4),
        [8],
        "what it ended is made up for at once"
    );
}

#[test]
fn a_worker_holds_as_many_tasks_ahead_as_keep_it_busy_for_a_moment() {
    let us = Duration::from_micros(1);
    // It held 17 tasks, and has ended 8 of them.
    assert_eq!(assigned_after(us * 500), [1 + 40 - 9]);
    assert_eq!(
        assigned_after(us * 10),
        [1 + 64 - 9],
        "and no more than may be"
    );
    let slow = assigned_after(us * 100_000);
    assert!(slow.is_empty(), "it holds too many of such: {slow:?}");
}

#[test]
fn a_short_task_counts_as_running_before_its_worker_says_so() {
    let (mut core, now) = one_worker(2, 3);
    let running = |core: &Dispatcher| {
        let slot = core.slots().next().expect("one slot");
        let running = slot.running.iter();
        let tasks: Vec<_> = running
            .map(|view| (view.task.0, view.since.saturating_duration_since(now)))
            .collect();
        (tasks, slot.queued)
    };
    let second = Duration::from_secs(1);
    let at_once = Duration::ZERO;
    assert_eq!(running(&core), (vec![(1, at_once), (2, at_once)], 0));
    // The next task took the place of the first.
    core.handle(now + second, started(1, now));
    core.handle(now + second, finished(FIRST, TaskId(1)));
    while core.poll_action().is_some() {}
    assert_eq!(running(&core), (vec![(2, second), (3, second)], 0));
    // Task 2 counts from its start, now that this is reported. Task 3 started when task 1 ended.
    core.handle(now + second * 2, started(2, now));
    assert_eq!(running(&core), (vec![(2, at_once), (3, second)], 0));
}
