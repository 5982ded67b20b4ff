//! The state of a run at one moment: the figures that every view of it uses.
//!
//! It contains numbers in base units and must not decide how they are displayed. As JSON it is
//! `/status`, described in docs/monitoring.md; keys are only ever added.

use std::collections::BTreeMap;

use serde::Serialize;

use super::share::Fleet;

/// The event name of the last state.
pub const OVER: &str = "end";

/// Progress of a run: also a line of `--progress json`, described in docs/progress.md.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// Version of the format.
    pub v: u32,
    /// `progress`, or `end` once the run has ended.
    pub event: &'static str,
    /// Time since the run began.
    pub elapsed_ms: u64,
    /// Total URLs of this run; null while unknown, and an estimate until `listed`.
    pub urls: Option<u64>,
    /// Whether `urls` is exact.
    pub listed: bool,
    /// Files stored.
    pub stored: u64,
    /// Files that were already in place and are current.
    pub unchanged: u64,
    /// URLs that failed.
    pub failed: u64,
    /// URLs quarantined by this run.
    pub quarantined: u64,
    /// Bodies of a member of a fleet that were not put in place, because their partition was lost.
    pub fenced: u64,
    /// URLs that earlier runs stored.
    pub stored_earlier: u64,
    /// Running downloads; null at the end.
    pub running: Option<usize>,
    /// Bytes of stored files, and bytes received of unfinished ones.
    pub bytes: u64,
    /// Rate of the last minute; null at the end.
    pub bytes_per_s: Option<u64>,
    /// Rate of the last minute; null at the end.
    pub files_per_s: Option<f64>,
    /// Estimated time left; null while unknown.
    pub eta_ms: Option<u64>,
    /// The exit code at the end; null before.
    pub exit_code: Option<u8>,
}

/// The state of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct State {
    /// Progress of the run.
    #[serde(flatten)]
    pub progress: Progress,
    /// `439 of 1,200 files`, as on the terminal.
    pub files: String,
    /// Bytes of bodies received, including unfinished downloads.
    pub received_bytes: u64,
    /// Failed URLs by kind.
    pub failed_by_kind: BTreeMap<&'static str, u64>,
    /// Hosts with the most failed URLs, in descending order.
    pub failed_by_host: Vec<(String, u64)>,
    /// Failed URLs of all other hosts.
    pub failed_elsewhere: u64,
    /// Counters of the core.
    pub counts: Counts,
    /// The waiting URLs.
    pub queue: Queue,
    /// Running downloads by the registrable domain of their host, in descending order.
    pub running_by_domain: Vec<(String, u64)>,
    /// Number of workers.
    pub workers_total: u64,
    /// The first workers.
    pub workers: Vec<Worker>,
    /// The downloads that have run longest.
    pub oldest: Vec<Download>,
    /// Time spent in the phases of finished URLs, in their last attempt.
    pub phases: Vec<Phase>,
    /// The history of the run.
    pub history: History,
    /// Process ids of all workers, for their memory.
    #[serde(skip)]
    pub pids: Vec<u32>,
    /// Resident memory of the coordinator, and of all workers together, if known.
    pub memory: Memory,
    /// The share of a fleet's list, if the run is one of its members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
}

/// Counters of the core: see [`State::counts`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    /// Failures that led to another attempt.
    pub retries: u64,
    /// Tasks assigned again after a death or an expired lease.
    pub redeliveries: u64,
    /// Workers started.
    pub workers_started: u64,
    /// Workers replaced after their share of tasks.
    pub workers_recycled: u64,
    /// Workers that exited without having been told to leave.
    pub worker_deaths: u64,
}

/// The waiting URLs: see [`State::queue`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Queue {
    /// URLs accepted and not finished.
    pub unfinished: u64,
    /// Of those, the URLs that a worker holds and has not started.
    pub held_ahead: u64,
    /// Of those, the URLs that wait for their next attempt.
    pub delayed: u64,
    /// Of those, the URLs whose body is being placed.
    pub placing: u64,
    /// Of those, the URLs that wait for a robots.txt.
    pub waiting_for_robots: u64,
}

/// One worker.
#[derive(Clone, Debug, Serialize)]
pub struct Worker {
    /// Its slot.
    pub slot: u16,
    /// Its epoch.
    pub epoch: u32,
    /// Its state, as a word.
    pub state: &'static str,
    /// Number of tasks it holds that it has not started.
    pub queued: usize,
    /// Number of downloads it runs.
    pub running: usize,
    /// The download that has run longest.
    pub oldest: Option<Download>,
    /// Use of its time in each of the last seconds, the latest last: percent of the time spent
    /// waiting for servers, and reading and storing bodies.
    pub lane: Vec<(u8, u8)>,
}

/// A running download.
#[derive(Clone, Debug, Serialize)]
pub struct Download {
    /// Its host, with the port if that is not the default of the scheme.
    pub host: String,
    /// The path, without a query.
    pub path: String,
    /// Time since it started.
    pub elapsed_ms: u64,
    /// The phase that its worker last reported; null before that.
    pub phase: Option<&'static str>,
    /// Bytes received.
    pub bytes: u64,
    /// Announced size of the body, if the server sent it.
    pub expected: Option<u64>,
    /// Its speed, if known.
    pub bytes_per_s: Option<u64>,
}

/// Time spent in one phase.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Its name, as in the run log.
    pub name: &'static str,
    /// Number of URLs that took no longer than each of [`BOUNDS`], and the number of all.
    pub cumulative: [u64; BOUNDS.len() + 1],
    /// Total time of all URLs.
    pub sum_s: f64,
}

/// Upper bounds of the classes of a [`Phase`], in seconds.
pub const BOUNDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0,
];

/// Figures at regular times.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// Time between two points.
    pub step_ms: u64,
    /// From the beginning of the run to now.
    pub points: Vec<Point>,
}

/// A point of the [`History`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Point {
    /// URLs finished until then, with any outcome.
    pub finished: u64,
    /// Bytes received until then.
    pub received: u64,
}

/// Resident memory: see [`State::memory`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// Memory of this process.
    pub coordinator_bytes: Option<u64>,
    /// Memory of all workers. Pages that they share count for each worker.
    pub workers_bytes: Option<u64>,
}
