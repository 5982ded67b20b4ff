//! The limits of a run.

use std::num::NonZeroU32;
use std::time::Duration;

/// The settings that the core decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Slots in the pool, at least 1.
    pub workers: u16,
    /// How tasks are handed out.
    pub policy: Policy,
    /// Tasks that a worker runs at once, at least 1.
    pub concurrency: u16,
    /// Most tasks that a worker may hold beyond those it runs, if many tasks wait and each takes
    /// little time.
    pub prefetch: u16,
    /// Bytes of assignments that a worker may hold without having started them. One task is always
    /// allowed. The limit keeps what a worker has not read well below the capacity of its socket.
    /// If the socket is full, the worker has therefore reported tasks as started that it has not
    /// read.
    pub credit_bytes: u32,
    /// Tasks of one group that may run at once in all workers; `None` for no limit.
    pub per_group: Option<u32>,
    /// Shortest time between two assignments, whatever the groups; zero for no limit. With this or
    /// `group_spacing`, `prefetch` must be 0, so that a task starts as soon as it is assigned.
    pub spacing: Duration,
    /// Shortest time between the assignments of two tasks of one group; zero for no limit.
    pub group_spacing: Duration,
    /// Attempts after the first, for a task that fails transiently.
    pub retries: u32,
    /// No retry starts later than this after the task first started; `None` for no limit.
    pub retry_max_time: Option<Duration>,
    /// How long a failed task waits for its next attempt.
    pub retry_delay: RetryDelay,
    /// Longest wait before a retry, even if the server asks for more.
    pub retry_delay_max: Duration,
    /// How long a group may refuse everything before its refusals count as failures like any other.
    pub group_patience: Duration,
    /// How many failed tasks end the run.
    pub max_failures: Option<MaxFailures>,
    /// How long tasks are handed out. Tasks that are unfinished then are left for the next run.
    pub run_time: Option<Duration>,
    /// Workers that a task may kill while it runs alone; the last of them quarantines it.
    pub max_deliveries: u32,
    /// Workers that may die while a task runs alone, including deaths that may have come from
    /// outside (a `kill -9`, a worker that is stopped); the last of them quarantines it. More than
    /// `max_deliveries`, so that killing workers at random does not quarantine an innocent task.
    /// Not unlimited, because a task can also kill its worker in these ways.
    pub max_unexplained: u32,
    /// How many deaths without progress the run tolerates.
    pub restart_intensity: Intensity,
    /// Deaths in a row without progress after which a slot is retired, at least 1.
    pub slot_deaths: u32,
    /// Tasks after which a worker is replaced; `None` for never. The first worker of each slot gets
    /// between half of this number and all of it, so that not all leave at the same time.
    pub worker_tasks: Option<NonZeroU32>,
    /// Shortest and longest pause of a slot after a death without progress.
    pub restart_backoff: (Duration, Duration),
    /// How long a lease lasts without a sign of life.
    pub lease_timeout: Duration,
    /// How long a worker may take to become ready.
    pub start_timeout: Duration,
    /// How long a worker that was asked to exit may take before it is killed.
    pub kill_after: Duration,
    /// Grace period: how long running tasks may take once the run begins to end, and a dismissed
    /// worker may take to leave.
    pub grace: Duration,
    /// Number of tasks in [`placing`](super::Dispatcher::placing) at which no more are handed out,
    /// at least 1.
    pub placing: usize,
    /// Number of ready tasks below which the core asks for more of the input.
    pub lookahead: usize,
    /// Number of unfinished tasks, in any state, at which it stops asking.
    pub lookahead_max: usize,
    /// Seed of every random choice.
    pub seed: u64,
}

/// How many failed tasks end a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    /// More than this many.
    Count(u64),
    /// More than this share of the finished tasks (0 to 1), once [`SAMPLE`](Self::SAMPLE) tasks
    /// have finished.
    Share(f64),
}

impl MaxFailures {
    /// Number of finished tasks from which a share is meaningful.
    pub const SAMPLE: u64 = 100;

    /// Returns whether `failed` failed tasks among `finished` ones are too many.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "a share of 2^52 tasks is precise enough"
    )]
    pub fn is_exceeded(self, failed: u64, finished: u64) -> bool {
        match self {
            Self::Count(most) => failed > most,
            Self::Share(most) => finished >= Self::SAMPLE && failed as f64 > most * finished as f64,
        }
    }
}

/// How tasks are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All workers take tasks from one queue.
    Shared,
    /// The input is read to its end and split, in its order, into one chunk for each slot. Each
    /// slot works on its own chunk only. (Python's `Pool.map` with one chunk per worker.) Suspects
    /// may run in any slot.
    Chunked,
}

/// How long a failed task waits for its next attempt, unless its server asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDelay {
    /// The same time after each failure.
    Fixed(Duration),
    /// This long after the first failure, and twice as long after each further one, less a random
    /// part of up to a half. So tasks that failed together are not retried together.
    Exponential(Duration),
}

/// The most restarts in a period, as in Erlang's supervisors. Only deaths without progress count:
/// deaths of workers that had answered no task and ran none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Deaths without progress that are tolerated within the period.
    pub restarts: u32,
    pub period: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 6,
            policy: Policy::Shared,
            concurrency: 1,
            prefetch: 64,
            credit_bytes: 128 * 1024,
            per_group: Some(6),
            spacing: Duration::ZERO,
            group_spacing: Duration::ZERO,
            retries: 3,
            retry_max_time: None,
            retry_delay: RetryDelay::Exponential(Duration::from_secs(1)),
            retry_delay_max: Duration::from_secs(600),
            group_patience: Duration::from_secs(90),
            max_failures: None,
            run_time: None,
            max_deliveries: 3,
            max_unexplained: 15,
            restart_intensity: Intensity {
                restarts: 18,
                period: Duration::from_secs(60),
            },
            slot_deaths: 5,
            worker_tasks: None,
            restart_backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            lease_timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(10),
            kill_after: Duration::from_secs(1),
            grace: Duration::from_secs(30),
            placing: 256,
            lookahead: 1024,
            lookahead_max: 65_536,
            seed: 0,
        }
    }
}
