//! The core: a pure state machine that makes all decisions of a run.
//!
//! The caller passes events to [`Dispatcher::handle`], and then drains [`Dispatcher::poll_action`]
//! and carries out the actions in order. [`Dispatcher::poll_timeout`] returns when the core must be
//! called again, even if nothing happens. Time is a parameter, random choices come from a seed, and
//! the order of iteration is deterministic. The same events at the same times therefore give the
//! same actions.
//!
//! A step handles the events that have arrived, acts on the deadlines that have passed, starts
//! workers, hands out tasks, and asks for tasks back.
//!
//! The core must not do I/O, read a clock, start a thread, know a URL, or know how a worker is
//! started. Every pool, of processes or of threads, uses it unchanged.
//!
//! # Its machines
//!
//! | machine | what it knows |
//! | --- | --- |
//! | `course.rs` | whether the run is running, ending or finished, and whether more input may come |
//! | `queue.rs` | which tasks wait, where, and which is next; its `groups.rs` holds the load and the turns of each group |
//! | `suspects.rs` | which tasks must run alone |
//! | `leases.rs` | when each lease expires without a sign of life |
//! | `slots.rs` | every `slot.rs`: the state of its worker, and the tasks that the worker holds |
//! | `backoff.rs` | how often workers died without progress |
//! | `blame.rs` | what caused a death, and which task is to blame: two tables, no state |
//!
//! Each machine has private fields and tests of its own, and knows none of the others.
//! [`Dispatcher`] holds the tasks and connects the machines: it turns an event into calls of
//! several machines, and into actions. It is spread over several files: `answers.rs` for events
//! about tasks, `supervise.rs` for events about workers, `assign.rs` and `chunks.rs` for handing
//! tasks out, `pushback.rs` and `pace.rs` for failures, `ending.rs`, `resize.rs`, and `view.rs` for
//! reading the state. `audit.rs` checks the invariants that involve more than one machine.
//!
//! A **group** is a set of tasks that share limits; for downloads, the tasks of one host. A task is
//! held **ahead** if its worker has no room to run it yet.
//!
//! # The life of a task
//!
//! ```text
//!                 +---------------------- Released, or not running when its worker died
//!                 v                                |
//! TaskOffered -> Ready ---- Assign ------------> Leased --- Finished ---> Placing --- Placed -> done
//!                 ^                             |  |  |                    |   |
//!                 |  Nacked, transient          |  |  +-- Nacked, -+       |   +- permanent, or
//!                 +---- Delayed <---------------+  |  permanent or |       |      out of attempts
//!                          ^                       |  out of       +-------|----------+------> failed
//!                          |                       |  attempts             |
//!                          +-----------------------|--- Placed, transient -+
//!              Suspects <-- its worker died -------+
//!                 |  ^      while it ran           |
//!        Assign,  |  |                             +--- the last tolerated death
//!        alone    +--+                                  while it ran alone ------> quarantined
//! ```
//!
//! A task that has failed at its group permanently, or is out of attempts there, becomes `Ready`
//! again for the group of its next alternative, if it has one (`alternatives.rs`).
//!
//! A task in `Placing` has been answered by its worker. Its output is being placed; or its worker
//! calls the failure fatal, and that is being checked ([`Action::Prove`]). The task has no lease:
//! the death of its worker neither blames nor redelivers it. While as many tasks as
//! [`Limits::placing`] are in this state, no task is handed out.

mod alternatives;
mod answers;
mod assign;
mod audit;
mod backoff;
mod blame;
mod chunks;
mod course;
mod ending;
mod event;
mod groups;
mod leases;
mod limits;
mod pace;
mod pressure;
mod pushback;
mod queue;
mod resize;
mod signal;
mod slot;
mod slots;
mod supervise;
mod suspects;
mod task;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use protocol::{JobFailure, SlotId, TaskId};

pub use event::{
    Action, Deadline, DeadlineCause, Ending, Event, Exit, GiveUp, GroupId, KillReason, MemoryCause,
    Notice, Verdict,
};
pub use limits::{Intensity, Limits, MaxFailures, Policy, RetryDelay};
pub use signal::signal_name;
pub use view::{Counts, SlotView, TaskView};

use backoff::RestartWindow;
use course::Course;
use leases::Leases;
use queue::Queue;
use slot::Slot;
use slots::Slots;
use suspects::Suspects;
use task::Task;

/// The core of a run: its tasks, and the machines of this [module](self).
#[derive(Debug)]
pub struct Dispatcher<O, F> {
    limits: Limits,
    rng: fastrand::Rng,
    course: Course<F>,
    /// The time of the last call.
    now: Instant,
    /// The unfinished tasks. Each is in the place that it names.
    tasks: BTreeMap<TaskId, Task>,
    queue: Queue,
    suspects: Suspects,
    /// How many tasks are being placed.
    placing: usize,
    leases: Leases,
    slots: Slots,
    restarts: RestartWindow,
    actions: VecDeque<Action<O, F>>,
    counts: Counts,
}

impl<O, F: JobFailure> Dispatcher<O, F> {
    /// Creates the core of a run that starts at `now`.
    #[must_use]
    pub fn new(limits: Limits, now: Instant) -> Self {
        let mut slots = Slots::new(limits.concurrency, limits.prefetch);
        for number in 0..limits.workers {
            slots.push(Slot::new(SlotId(number), now));
        }
        slots.whole();
        Self {
            rng: fastrand::Rng::with_seed(limits.seed),
            course: Course::new(now, limits.run_time),
            now,
            tasks: BTreeMap::new(),
            queue: Queue::new(&limits, now),
            suspects: Suspects::default(),
            placing: 0,
            leases: Leases::new(limits.lease_timeout),
            slots,
            restarts: RestartWindow::new(limits.restart_intensity),
            actions: VecDeque::new(),
            counts: Counts::default(),
            limits,
        }
    }

    /// Handles one event. Drain [`poll_action`](Self::poll_action) afterwards.
    ///
    /// `now` must not decrease from call to call.
    pub fn handle(&mut self, now: Instant, event: Event<O, F>) {
        self.handle_all(now, [event]);
    }

    /// Handles `events` in order, and only then hands out tasks: a worker that has reported the end
    /// of several tasks gets several at once.
    pub fn handle_all(&mut self, now: Instant, events: impl IntoIterator<Item = Event<O, F>>) {
        if self.course.is_finished() {
            return;
        }
        self.now = now;
        for event in events {
            self.take_in(now, event);
        }
        self.forget_revocations();
        self.expire(now);
        if self.course.is_running() {
            self.queue.groups_mut().wake(now);
            self.restrain();
            self.retire_workers(now);
            self.staff(now);
            self.assign(now);
            while self.rebalance() {}
        }
        self.settle(now);
        // So that reading the state does not change it.
        self.slots.whole();
    }

    fn take_in(&mut self, now: Instant, event: Event<O, F>) {
        match event {
            Event::TaskOffered {
                task,
                group,
                alternatives,
                size,
                spacing,
            } => {
                self.counts.offered += 1;
                let entry = Task {
                    alternatives: alternatives.into(),
                    spacing,
                    ..Task::new(now, group, size)
                };
                self.on_offered(task, entry);
            }
            Event::PrerequisiteOffered { task, group, size } => {
                let entry = Task {
                    prerequisite: true,
                    ..Task::new(now, group, size)
                };
                self.on_offered(task, entry);
            }
            Event::TaskRefused => self.on_refused(now),
            Event::InputEnded => self.on_input_ended(),
            Event::WorkerReady { worker } => self.on_ready(worker),
            Event::Started { worker, task, at } => self.on_started(now, worker, task, at),
            Event::Finished {
                worker,
                task,
                output,
            } => self.on_finished(now, worker, task, output),
            Event::Placed {
                worker,
                task,
                result,
            } => self.on_placed(now, worker, task, result),
            Event::Nacked {
                worker,
                task,
                failure,
            } => self.on_nacked(now, worker, task, failure),
            Event::Released { worker, task } => self.on_released(now, worker, task),
            Event::HeartbeatReceived { worker, running } => {
                self.on_heartbeat(now, worker, &running);
            }
            Event::ProtocolViolated { worker } => self.on_violation(worker),
            Event::WorkerExited { worker, exit, ran } => self.on_exited(now, worker, exit, ran),
            Event::DrainRequested => self.end(now, Ending::Interrupted),
            Event::AbortRequested => self.abort(now),
            Event::GiveUpRequested { reason } => {
                self.end(now, Ending::GivenUp(GiveUp::Other(reason)));
            }
            Event::Resumed { pause } => self.on_resumed(pause),
            Event::Resized { workers } => self.on_resized(now, workers),
            Event::Listened => self.on_listened(now),
            Event::Tick => {}
        }
    }

    /// Returns the next action to carry out, if there is one.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action<O, F>> {
        self.actions.pop_front()
    }

    /// Returns the latest time at which the core needs [`Event::Tick`], and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let retry = self
            .queue
            .next_due()
            .filter(|_| self.course.is_running())
            .map(|at| (at, DeadlineCause::Retry));
        let lease = self.leases.next_end().map(|at| (at, DeadlineCause::Lease));
        let grace = self
            .course
            .deadline()
            .filter(|&at| !self.all_dying() || (self.placing > 0 && at > self.now))
            .map(|at| (at, DeadlineCause::Grace));
        let whole = self.slots.as_known();
        let shared = self.wanted_workers(whole.coming) > 0;
        let respawns = whole.vacant.iter().filter_map(|&index| {
            let wanted = shared || (self.course.is_running() && self.wants_worker_for_chunk(index));
            let not_before = self.slots[index].not_before().filter(|_| wanted);
            not_before.map(|at| (at, DeadlineCause::Respawn))
        });
        let first = whole.due.first().map(|&(at, _)| at);
        let due = whole.due.iter().take_while(|&&(at, _)| Some(at) == first);
        let slots = due.filter_map(|&(_, index)| self.slots[index].due());
        let pace = self
            .queue
            .next_pace(self.now, self.suspects.len())
            .filter(|_| self.course.is_running())
            .map(|at| (at, DeadlineCause::Pace));
        let time_is_up = self.course.time_is_up();
        let time_is_up = time_is_up.map(|at| (at, DeadlineCause::RunTime));
        [retry, lease, grace, pace, time_is_up]
            .into_iter()
            .flatten()
            .chain(respawns)
            .chain(slots)
            .min()
            .map(|(at, cause)| Deadline { at, cause })
    }

    /// Returns whether more of the input should be offered now. Offering more is always allowed,
    /// but not needed to keep every worker busy.
    #[must_use]
    pub fn wants_tasks(&self) -> bool {
        if self.limits.policy == Policy::Chunked {
            return self.course.is_running() && self.course.is_input_open();
        }
        self.course.is_running()
            && self.course.is_input_open()
            && self.queue.groups().available() < self.limits.lookahead
            && self.tasks.len() < self.limits.lookahead_max
    }

    /// Acts on every deadline that has passed.
    fn expire(&mut self, now: Instant) {
        if self.leases.listen(now) {
            self.actions.push_back(Action::Listen);
        }
        if self.course.time_is_up().is_some_and(|at| at <= now) {
            self.end(now, Ending::GivenUp(GiveUp::TimeIsUp));
        }
        if self.course.is_running() {
            while let Some(task) = self.queue.take_due(now) {
                self.make_ready(now, task);
            }
        }
        for index in self.slots.whole().due_by(now) {
            match self.slots[index].due() {
                Some((_, DeadlineCause::Start)) => {
                    self.terminate(now, index, KillReason::StartTimeout);
                }
                Some((_, DeadlineCause::Leave)) => {
                    self.terminate(now, index, KillReason::Overstayed);
                }
                _ => self.hasten(index),
            }
        }
        if self.course.deadline().is_some_and(|at| at <= now) {
            for index in 0..self.slots.len() {
                self.terminate(now, index, KillReason::GraceExpired);
            }
        }
    }
}

#[cfg(test)]
mod tests;
