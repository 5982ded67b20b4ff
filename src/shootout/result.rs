//! What a shootout found: one type that the report, the terminal and every export read.
//!
//! Plain data. It must not measure, and not know how it is shown.

use serde::Serialize;

use super::statistics::Statistics;
use super::timeline::Timeline;
use super::tree::Memory;

/// A whole shootout.
#[derive(Clone, Debug, Serialize)]
pub struct Shootout {
    /// Where, when and how.
    pub about: About,
    /// One for each kind of work.
    pub scenarios: Vec<Scenario>,
    /// It was ended before it was complete; what is here is what was.
    pub interrupted: bool,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// When it began: RFC 3339.
    pub begun: String,
    /// What was typed.
    pub command: String,
    /// Facts as name and value: machine, kernel, versions.
    pub facts: Vec<(String, String)>,
    /// Timed rounds.
    pub rounds: u32,
    /// Rounds before them that do not count.
    pub warm_up: u32,
    /// What a reader has to know to judge the figures.
    pub caveats: Vec<String>,
}

/// One kind of work, and how everyone did.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// `I/O-bound`, `mixed` or `CPU-bound`.
    pub name: String,
    /// What the built-in origin simulates; `None` for the real network.
    pub simulate: Option<String>,
    /// Time from a request to its answer, if it is known.
    pub latency_s: Option<f64>,
    /// CPU work on each body.
    pub cpu_per_task_s: f64,
    /// Downloads in flight, for all that can have more than one.
    pub in_flight: u16,
    /// URLs, each once.
    pub urls: usize,
    /// The list was rewritten to plain http on loopback, for contestants from outside.
    pub rewritten: bool,
    /// One for each entrant, in their order.
    pub standings: Vec<Standing>,
    /// The same for other numbers of downloads in flight.
    pub scan: Vec<ScanPoint>,
    /// What was particular about this work.
    pub notes: Vec<String>,
}

/// Everyone with one number of downloads in flight.
#[derive(Clone, Debug, Serialize)]
pub struct ScanPoint {
    /// Downloads in flight.
    pub in_flight: u16,
    /// One for each entrant that can have more than one, in their order.
    pub standings: Vec<Standing>,
}

/// How one entrant did.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Who.
    pub name: String,
    /// What it is, in a line.
    pub summary: String,
    /// Its place among all entrants: its colour follows from it.
    pub place: usize,
    /// The command, with `OUT` and `LIST` for the paths.
    pub command: String,
    /// What came of it.
    pub state: State,
    /// How long it would take if only latency, CPU work and its limits existed.
    pub ideal_s: Option<f64>,
    /// Its timed rounds, each one checked.
    pub runs: Vec<Run>,
    /// Figures over the runs; only if it did not fail.
    pub figures: Option<Figures>,
    /// The most memory seen in a round that does not count.
    pub memory: Option<Memory>,
    /// The phases of every task of a round that does not count.
    pub timeline: Option<Timeline>,
}

/// What came of an entrant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum State {
    /// It has a time.
    Measured,
    /// It did not do the work: it never gets a time.
    Failed(String),
    /// It was never asked to, or not to the end of one round.
    NotMeasured(String),
}

/// One timed round.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Which, from 1.
    pub round: u32,
    /// From the start of the process until its end.
    pub wall_s: f64,
    /// CPU time of the process tree in user mode.
    pub user_s: f64,
    /// CPU time of the process tree in the kernel.
    pub system_s: f64,
    /// Voluntary context switches of the process tree.
    pub voluntary: u64,
    /// Involuntary ones.
    pub involuntary: u64,
    /// Files checked.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// CPU time of the origin meanwhile, if there is one.
    pub origin_cpu_s: Option<f64>,
}

/// Figures over the timed rounds of one entrant.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Wall time in seconds.
    pub wall: Statistics,
    /// CPU time in user mode, in seconds.
    pub user: Statistics,
    /// CPU time in the kernel, in seconds.
    pub system: Statistics,
    /// Files stored in a second of wall time.
    pub files_per_s: Statistics,
    /// Bytes stored in a second of wall time.
    pub bytes_per_s: Statistics,
    /// Voluntary context switches.
    pub voluntary: Statistics,
    /// Involuntary context switches.
    pub involuntary: Statistics,
    /// Share of one processor that the origin took, at the median.
    pub origin_load: Option<f64>,
}

impl Figures {
    /// The figures over `runs`, if there are any.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn of(runs: &[Run]) -> Option<Self> {
        let over =
            |value: fn(&Run) -> f64| Statistics::of(&runs.iter().map(value).collect::<Vec<_>>());
        let loads: Vec<f64> = runs
            .iter()
            .filter_map(|run| Some(run.origin_cpu_s? / run.wall_s))
            .collect();
        Some(Self {
            wall: over(|run| run.wall_s)?,
            user: over(|run| run.user_s)?,
            system: over(|run| run.system_s)?,
            files_per_s: over(|run| run.files as f64 / run.wall_s)?,
            bytes_per_s: over(|run| run.bytes as f64 / run.wall_s)?,
            voluntary: over(|run| run.voluntary as f64)?,
            involuntary: over(|run| run.involuntary as f64)?,
            origin_load: Statistics::of(&loads).map(|loads| loads.median),
        })
    }
}

impl Standing {
    /// Its figures, if it has a time.
    #[must_use]
    pub fn measured(&self) -> Option<&Figures> {
        match self.state {
            State::Measured => self.figures.as_ref(),
            State::Failed(_) | State::NotMeasured(_) => None,
        }
    }

    /// Why it has no time, if it has none: a word, and the reason.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, &str)> {
        match &self.state {
            State::Measured => None,
            State::Failed(reason) => Some(("failed", reason)),
            State::NotMeasured(reason) => Some(("not measured", reason)),
        }
    }
}

impl Shootout {
    /// Whether anyone failed.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.scenarios.iter().any(|scenario| {
            let scanned = scenario.scan.iter().flat_map(|point| &point.standings);
            scenario
                .standings
                .iter()
                .chain(scanned)
                .any(|standing| matches!(standing.state, State::Failed(_)))
        })
    }
}
