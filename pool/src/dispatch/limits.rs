//! The numbers that the core decides by.

use std::num::NonZeroU32;
use std::time::Duration;

/// The numbers that the core decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Slots in the pool, at least 1.
    pub workers: u16,
    /// How tasks are handed out.
    pub policy: Policy,
    /// Tasks that a worker runs at once, at least 1.
    pub concurrency: u16,
    /// Most tasks that a worker may hold beyond those it runs, when there is plenty to do and each
    /// takes little time.
    pub prefetch: u16,
    /// Bytes of assignments that a worker may hold without having started them. One is always
    /// allowed. It keeps what a worker has not read well below what its socket takes, so that a
    /// worker whose socket is full has said that it started what it has not read.
    pub credit_bytes: u32,
    /// Tasks of one group that may run at once over all workers; `None` is no limit.
    pub per_group: Option<u32>,
    /// Shortest time between two tasks handed out, whatever their groups; zero for none. With this
    /// or `group_spacing`, `prefetch` must be 0: what is handed out is begun at once.
    pub spacing: Duration,
    /// Shortest time between two tasks of one group handed out; zero for none.
    pub group_spacing: Duration,
    /// Attempts after the first that a task with transient failures gets.
    pub retries: u32,
    /// No retry is begun later than this after a task was first started; `None` for no limit.
    pub retry_max_time: Option<Duration>,
    /// How long a failed task waits.
    pub retry_delay: RetryDelay,
    /// Longest wait before a retry, also when the server asks for more.
    pub retry_delay_max: Duration,
    /// How long a group may refuse everything before its refusals are failures like any other.
    pub group_patience: Duration,
    /// Failed tasks that end the run.
    pub max_failures: Option<MaxFailures>,
    /// How long tasks are handed out; what is unfinished then is left for the next run.
    pub run_time: Option<Duration>,
    /// Workers that a task may kill while it runs alone; the last of them quarantines it.
    pub max_deliveries: u32,
    /// Workers that may die while a task runs alone, if deaths count that may have come from
    /// outside (a `kill -9`, a worker that is stopped); the last of them quarantines it. More
    /// than `max_deliveries`, so that whoever kills workers at random does not get an innocent
    /// quarantined; not without limit, since a task can also kill its worker in such a way.
    pub max_unexplained: u32,
    /// How many deaths without progress end the run.
    pub restart_intensity: Intensity,
    /// Deaths in a row without progress after which a slot is retired, at least 1.
    pub slot_deaths: u32,
    /// Tasks after which a worker is replaced by a new one; `None` for never. The first workers
    /// of the slots get between half of it and all of it, so that not all leave together.
    pub worker_tasks: Option<NonZeroU32>,
    /// Shortest and longest pause of a slot after a death without progress.
    pub restart_backoff: (Duration, Duration),
    /// How long a lease lasts without a sign of life.
    pub lease_timeout: Duration,
    /// How long a worker may take to be ready.
    pub start_timeout: Duration,
    /// How long a worker that was asked to end may take, before it is killed.
    pub kill_after: Duration,
    /// How long running tasks may take once the run is asked to end, and a dismissed worker to
    /// leave.
    pub grace: Duration,
    /// Tasks in [`placing`](super::Dispatcher::placing) with which no more are handed out, at
    /// least 1.
    pub placing: usize,
    /// Ready tasks below which the core asks for more of the input.
    pub lookahead: usize,
    /// Unfinished tasks above which it does not, whatever their state.
    pub lookahead_max: usize,
    /// Seed of every random choice.
    pub seed: u64,
}

/// How many failed tasks end a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    /// More than so many.
    Count(u64),
    /// More than this part of the finished tasks (0 to 1), once there are
    /// [`SAMPLE`](Self::SAMPLE) of them.
    Share(f64),
}

impl MaxFailures {
    /// Finished tasks before a share of them means anything.
    pub const SAMPLE: u64 = 100;

    /// Whether so many failed tasks among so many finished ones are too many.
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
    /// A queue that all workers take from.
    Shared,
    /// The input is read to its end, and split into as many chunks as there are slots, in its
    /// order; each slot works on its own chunk, and nobody helps anybody. (Python's `Pool.map`
    /// with one chunk per worker.) Suspects alone may be run by any slot.
    Chunked,
}

/// How long a failed task waits before its next attempt, unless its server says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDelay {
    /// This long each time.
    Fixed(Duration),
    /// This long after the first failure and twice as long after each further one, less a random
    /// part of up to a half, so that tasks that failed together do not come back together.
    Exponential(Duration),
}

/// The most restarts in a period, as Erlang's supervisors count them; here only the deaths of
/// workers that had done nothing count.
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
