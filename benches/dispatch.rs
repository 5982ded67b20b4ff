//! Measures how many tasks a second the core can hand out and take back, without real workers.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use coordinator::dispatch::{Action, Dispatcher, Event, HostId, Limits};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{Exchange, Stored, TaskId, Validators};

const TASKS: u64 = 10_000;

/// Simulates workers that ack every task at once. Returns the number of finished tasks.
fn run(limits: Limits, hosts: u32) -> u64 {
    let now = Instant::now();
    let mut core = Dispatcher::new(limits, now);
    let mut events = VecDeque::new();
    let mut offered = 0;
    loop {
        while core.wants_tasks() && offered < TASKS {
            offered += 1;
            let host = HostId(u32::try_from(offered).unwrap() % hosts);
            core.handle(
                now,
                Event::TaskOffered {
                    task: TaskId(offered),
                    group: host,
                    alternatives: Vec::new(),
                    size: 900,
                    spacing: Duration::ZERO,
                },
            );
            if offered == TASKS {
                core.handle(now, Event::InputEnded);
            }
        }
        while let Some(action) = core.poll_action() {
            match action {
                Action::Spawn { worker } => events.push_back(Event::WorkerReady { worker }),
                Action::Assign { worker, tasks } => {
                    for task in tasks {
                        let at = now;
                        events.push_back(Event::Started { worker, task, at });
                        events.push_back(Event::Finished {
                            worker,
                            task,
                            output: stored(),
                        });
                    }
                }
                Action::Place {
                    worker,
                    task,
                    output: stored,
                } => events.push_back(Event::Placed {
                    worker,
                    task,
                    result: Ok(stored),
                }),
                Action::Dismiss { worker } => events.push_back(Event::WorkerExited {
                    worker,
                    exit: coordinator::dispatch::Exit::Code(0),
                    ran: None,
                }),
                Action::Listen => events.push_back(Event::Listened),
                Action::Finish { .. } => return core.counts().done,
                Action::Revoke { .. }
                | Action::Prove { .. }
                | Action::Terminate { .. }
                | Action::Kill { .. }
                | Action::Record { .. }
                | Action::TurnToAlternative { .. }
                | Action::Notify(_) => {}
            }
        }
        if let Some(event) = events.pop_front() {
            core.handle(now, event);
        }
    }
}

fn stored() -> Box<Stored> {
    Box::new(Stored {
        exchange: Exchange::default(),
        bytes: 10_240,
        sha256: [7; 32],
        content_type: None,
        executed: None,
        validators: Validators::default(),
        modified: None,
        unchanged: false,
        suggested_name: None,
    })
}

fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    group
        .throughput(Throughput::Elements(TASKS))
        .sample_size(20);
    for workers in [1, 6, 64, 256] {
        for hosts in [1, 100, 10_000] {
            group.bench_function(format!("{workers} workers, {hosts} hosts"), |b| {
                b.iter(|| {
                    let limits = Limits {
                        workers,
                        ..Limits::default()
                    };
                    assert_eq!(black_box(run(limits, hosts)), TASKS);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
