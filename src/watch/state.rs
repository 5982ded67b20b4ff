//! What is known of a run at one moment: the figures that every view of it is made of.
//!
//! It holds numbers in base units and must not decide how they look. As JSON it is `/status`,
//! described in docs/monitoring.md; keys are only ever added.

use std::collections::BTreeMap;

use serde::Serialize;

use super::share::Fleet;

/// What the event of the last state is called.
pub const OVER: &str = "end";

/// How far a run is: also a line of `--progress json`, described in docs/progress.md.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// Version of the format.
    pub v: u32,
    /// `progress`, or `end` once the run is over.
    pub event: &'static str,
    /// Time since the run began.
    pub elapsed_ms: u64,
    /// URLs of this run in all; null while nobody knows, and an estimate until `listed`.
    pub urls: Option<u64>,
    /// Whether `urls` is their number.
    pub listed: bool,
    /// Files stored.
    pub stored: u64,
    /// Files that were in place already, and are current.
    pub unchanged: u64,
    /// URLs that failed.
    pub failed: u64,
    /// URLs quarantined by this run.
    pub quarantined: u64,
    /// Bodies of a member of a fleet that were not put in place, because their partition was lost.
    pub fenced: u64,
    /// URLs that earlier runs stored.
    pub stored_earlier: u64,
    /// Downloads that run now; null at the end.
    pub running: Option<usize>,
    /// Bytes of stored files, and of what has arrived of unfinished ones.
    pub bytes: u64,
    /// Rate of the last minute; null at the end.
    pub bytes_per_s: Option<u64>,
    /// Rate of the last minute; null at the end.
    pub files_per_s: Option<f64>,
    /// How long the rest will take; null while that is not known.
    pub eta_ms: Option<u64>,
    /// The exit code, at the end; null before.
    pub exit_code: Option<u8>,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize)]
pub struct State {
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
    /// `439 of 1,200 files`, as the terminal says it.
    pub files: String,
    /// Bytes of bodies received, unfinished downloads included.
    pub received_bytes: u64,
    /// Failed URLs by kind.
    pub failed_by_kind: BTreeMap<&'static str, u64>,
    /// Hosts with the most failed URLs, the most first.
    pub failed_by_host: Vec<(String, u64)>,
    /// Failed URLs of all other hosts.
    pub failed_elsewhere: u64,
    /// What the core has counted.
    pub counts: Counts,
    /// What waits.
    pub queue: Queue,
    /// Downloads that run, by the registrable domain of their host, the most first.
    pub running_by_domain: Vec<(String, u64)>,
    /// Workers in all.
    pub workers_total: u64,
    /// The first of them.
    pub workers: Vec<Worker>,
    /// The downloads that have run longest.
    pub oldest: Vec<Download>,
    /// Time spent in the phases of finished URLs, in their last attempt.
    pub phases: Vec<Phase>,
    /// How the run came to be where it is.
    pub history: History,
    /// Process ids of all workers, for their memory.
    #[serde(skip)]
    pub pids: Vec<u32>,
    /// Resident memory of the coordinator, and of all workers together, if that can be known.
    pub memory: Memory,
    /// The share of a fleet's list, if the run is one of its members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
}

/// See [`State::counts`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    /// Failures that led to another attempt.
    pub retries: u64,
    /// Tasks handed out again after a death or a lease that ended.
    pub redeliveries: u64,
    /// Workers started.
    pub workers_started: u64,
    /// Workers replaced after their share of tasks.
    pub workers_recycled: u64,
    /// Workers that were gone without having been told to leave.
    pub worker_deaths: u64,
}

/// See [`State::queue`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Queue {
    /// URLs taken on and not finished.
    pub unfinished: u64,
    /// Of those: held by a worker that has not begun them.
    pub held_ahead: u64,
    /// Of those: waiting for their next attempt.
    pub delayed: u64,
    /// Of those: their body is being put in place.
    pub placing: u64,
    /// Of those: waiting for a robots.txt.
    pub waiting_for_robots: u64,
}

/// One worker.
#[derive(Clone, Debug, Serialize)]
pub struct Worker {
    /// Its slot.
    pub slot: u16,
    /// Which worker of that slot it is.
    pub epoch: u32,
    /// What it is up to, as a word.
    pub state: &'static str,
    /// How many tasks it holds that it has not begun.
    pub queued: usize,
    /// How many downloads it runs.
    pub running: usize,
    /// The one that has run longest.
    pub oldest: Option<Download>,
    /// What it did in each of the last seconds, the latest last: percent of the time that it waited
    /// for servers, and that it read and stored bodies.
    pub lane: Vec<(u8, u8)>,
}

/// One download that runs.
#[derive(Clone, Debug, Serialize)]
pub struct Download {
    /// Where from, with the port if it is not that of the scheme.
    pub host: String,
    /// The path, without a query.
    pub path: String,
    /// For how long.
    pub elapsed_ms: u64,
    /// What its worker last said that it is doing; null before that.
    pub phase: Option<&'static str>,
    /// Bytes received.
    pub bytes: u64,
    /// How many there will be, if the server has said so.
    pub expected: Option<u64>,
    /// The speed, if that can be told.
    pub bytes_per_s: Option<u64>,
}

/// Time spent in one phase.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Its name, as in the run log.
    pub name: &'static str,
    /// How many URLs took no longer than each of [`BOUNDS`], and how many in all.
    pub cumulative: [u64; BOUNDS.len() + 1],
    /// The time of all together.
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

/// See [`History`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Point {
    /// URLs finished until then, in whatever way.
    pub finished: u64,
    /// Bytes received until then.
    pub received: u64,
}

/// See [`State::memory`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// Of this process.
    pub coordinator_bytes: Option<u64>,
    /// Of all workers; pages that they share count for each of them.
    pub workers_bytes: Option<u64>,
}
