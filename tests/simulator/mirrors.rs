//! Mirrors: when a task turns to one, and whose limits then apply. Time stands still.

use std::time::{Duration, Instant};

use coordinator::dispatch::{Action, Dispatcher, Event, HostId, Limits, RetryDelay, Verdict};
use protocol::{FailureKind, Severity, TaskId, WorkerId};

use crate::worker::{finished, nacked, placed};

const TRANSIENT: Severity = Severity::Transient { retry_after: None };

struct Run {
    core: Dispatcher,
    now: Instant,
}

impl Run {
    /// Two workers with one place each, and at most one place for each host. Every transient
    /// failure is retried once, without delay.
    fn new() -> Self {
        let now = Instant::now();
        let limits = Limits {
            workers: 2,
            concurrency: 1,
            prefetch: 0,
            per_group: Some(1),
            retries: 1,
            retry_delay: RetryDelay::Fixed(Duration::ZERO),
            ..Limits::default()
        };
        Self {
            core: Dispatcher::new(limits, now),
            now,
        }
    }

    fn tell(&mut self, event: Event) {
        self.core.handle(self.now, event);
        self.core.audit().unwrap();
    }

    fn offer(&mut self, task: u64, host: u32, mirrors: &[u32]) {
        self.tell(Event::TaskOffered {
            task: TaskId(task),
            group: HostId(host),
            alternatives: mirrors.iter().copied().map(HostId).collect(),
            size: 100,
            spacing: Duration::ZERO,
        });
    }

    /// Returns what happens next, as text. Workers are ready as soon as they are spawned, and start
    /// what they are assigned.
    fn moves(&mut self) -> Vec<String> {
        let mut moves = Vec::new();
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Spawn { worker } => self.tell(Event::WorkerReady { worker }),
                Action::Assign { worker, tasks } => {
                    for task in tasks {
                        moves.push(format!("assign {task}"));
                        let at = self.now;
                        self.tell(Event::Started { worker, task, at });
                    }
                }
                Action::TurnToAlternative { task, .. } => moves.push(format!("turn {task}")),
                Action::Record {
                    task,
                    verdict,
                    attempts,
                    ..
                } => {
                    let verdict = match verdict {
                        Verdict::Done(_) => "stored",
                        Verdict::Failed(_) => "failed",
                        Verdict::Quarantined(_) => "quarantined",
                    };
                    moves.push(format!("{verdict} {task} after {attempts}"));
                }
                Action::Place {
                    worker,
                    task,
                    output: stored,
                } => self.tell(placed(worker, task, stored)),
                Action::Revoke { .. }
                | Action::Dismiss { .. }
                | Action::Terminate { .. }
                | Action::Kill { .. }
                | Action::Listen
                | Action::Prove { .. }
                | Action::Notify(_)
                | Action::Finish { .. } => {}
            }
        }
        moves
    }

    fn holder(&self, task: u64) -> WorkerId {
        let holds = |worker: &WorkerId| self.core.holds(*worker, TaskId(task));
        let mut workers = self.core.slots().map(|slot| slot.worker);
        workers.find(holds).unwrap()
    }

    fn fail(&mut self, task: u64, kind: FailureKind, severity: Severity) -> Vec<String> {
        let worker = self.holder(task);
        self.tell(nacked(worker, TaskId(task), kind, severity));
        self.moves()
    }
}

#[test]
fn a_mirror_is_asked_within_the_limits_of_its_own_host() {
    let mut run = Run::new();
    run.offer(1, 0, &[7]);
    run.offer(2, 7, &[]);
    assert_eq!(run.moves(), ["assign 1", "assign 2"]);
    let moves = run.fail(1, FailureKind::Status, Severity::Permanent);
    assert_eq!(moves, ["turn 1"], "the mirror's host has as many as it may");
    // Its first host has room again, but the task no longer belongs to it.
    run.offer(3, 0, &[]);
    assert_eq!(run.moves(), ["assign 3"]);
    let worker = run.holder(2);
    run.tell(finished(worker, TaskId(2)));
    assert_eq!(run.moves(), ["assign 1", "stored 2 after 1"]);
    let worker = run.holder(1);
    run.tell(finished(worker, TaskId(1)));
    assert_eq!(run.moves(), ["stored 1 after 2"]);
}

#[test]
fn each_mirror_has_attempts_of_its_own_and_is_tried_once() {
    let mut run = Run::new();
    run.offer(1, 0, &[1, 0]);
    assert_eq!(run.moves(), ["assign 1"]);
    for _ in 0..2 {
        assert_eq!(run.fail(1, FailureKind::Stalled, TRANSIENT), ["assign 1"]);
        let moves = run.fail(1, FailureKind::Stalled, TRANSIENT);
        assert_eq!(moves, ["turn 1", "assign 1"]);
    }
    assert_eq!(run.fail(1, FailureKind::Stalled, TRANSIENT), ["assign 1"]);
    let moves = run.fail(1, FailureKind::Stalled, TRANSIENT);
    assert_eq!(moves, ["failed 1 after 6"]);
}

#[test]
fn a_failure_that_is_not_the_hosts_is_not_taken_to_a_mirror() {
    for kind in [FailureKind::Store, FailureKind::Internal] {
        let mut run = Run::new();
        run.offer(1, 0, &[1]);
        assert_eq!(run.moves(), ["assign 1"]);
        assert_eq!(run.fail(1, kind, Severity::Permanent), ["failed 1 after 1"]);
    }
}
