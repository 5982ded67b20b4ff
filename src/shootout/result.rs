//! The results of a shootout: one type that the report, the terminal and every export read.
//!
//! Plain data. This module must not measure, and does not know how the results are shown.

use serde::Serialize;

use super::statistics::Statistics;
use super::timeline::Timeline;
use super::tree::Memory;
use crate::format;

/// A whole shootout.
#[derive(Clone, Debug, Serialize)]
pub struct Shootout {
    /// Time, place and method.
    pub about: About,
    /// One scenario for each kind of work.
    pub scenarios: Vec<Scenario>,
    /// Whether it was ended early. The results then hold what was complete by then.
    pub interrupted: bool,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// Start time (RFC 3339).
    pub begun: String,
    /// The command line.
    pub command: String,
    /// Facts as name and value: machine, kernel, versions.
    pub facts: Vec<(String, String)>,
    /// Timed rounds.
    pub rounds: u32,
    /// Rounds before them that do not count.
    pub warm_up: u32,
    /// Load average of the machine over the minute before the start, if the kernel reports it.
    pub load: Option<f64>,
    /// Processors that the entrants could use.
    pub processors: usize,
    /// Limits of the method that a reader must know.
    pub caveats: Vec<String>,
}

/// A load average above this means that something else ran beside the shootout.
const BUSY: f64 = 0.5;

impl About {
    /// Returns whether other programs kept the machine busy before the start.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.load.is_some_and(|load| load > BUSY)
    }

    /// Describes the state of the machine before the start, if the kernel reports its load.
    #[must_use]
    pub fn machine(&self) -> Option<String> {
        let state = match self.busy() {
            true => "the machine was busy, so expect times to vary",
            false => "the machine was idle",
        };
        Some(format!(
            "Load average before the start: {:.2} on {}; {state}.",
            self.load?,
            format::count(self.processors, "processor"),
        ))
    }
}

/// One kind of work, and the results of all entrants.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// `I/O-bound`, `mixed` or `CPU-bound`.
    pub name: String,
    /// The behaviour of the built-in origin, or `None` for the real network.
    pub simulate: Option<String>,
    /// Time from a request to its answer, if known.
    pub latency_s: Option<f64>,
    /// CPU work on each body.
    pub cpu_per_task_s: f64,
    /// Downloads in flight of all entrants that can have more than one.
    pub in_flight: u16,
    /// Number of different URLs.
    pub urls: usize,
    /// Whether the list was rewritten to the server's address on loopback, for outside contestants.
    pub rewritten: bool,
    /// Whether the list has https URLs.
    pub tls: bool,
    /// The results of the entrants: the fastest first, those without a time last.
    pub standings: Vec<Standing>,
    /// The same with other numbers of downloads in flight.
    pub scan: Vec<ScanPoint>,
    /// Special conditions of this work.
    pub notes: Vec<String>,
}

/// All entrants with one number of downloads in flight.
#[derive(Clone, Debug, Serialize)]
pub struct ScanPoint {
    /// Downloads in flight.
    pub in_flight: u16,
    /// The results of the entrants that can have more than one, in the same order at every point.
    pub standings: Vec<Standing>,
}

/// The family of an entrant. It determines the colour on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// One of this program's approaches.
    Ours,
    /// Another program.
    Outside,
    /// One of the talk's Python programs.
    Python,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 3] = [Self::Ours, Self::Outside, Self::Python];

    /// Returns the class on the page and the word in the exports, which is the same as in JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Outside => "outside",
            Self::Python => "python",
        }
    }

    /// Returns the name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "coordinator",
            Self::Outside => "other programs",
            Self::Python => "Python",
        }
    }
}

/// The results of one entrant.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    pub name: String,
    /// A description in one line.
    pub summary: String,
    /// Its family.
    pub family: Family,
    /// The command, with `OUT` and `LIST` instead of the paths.
    pub command: String,
    /// Whether it has a time.
    pub state: State,
    /// The time if only latency, CPU work and its limits existed.
    pub ideal_s: Option<f64>,
    /// Its timed rounds, all checked.
    pub runs: Vec<Run>,
    /// Figures over the runs, if it did not fail.
    pub figures: Option<Figures>,
    /// Peak memory in a round that does not count.
    pub memory: Option<Memory>,
    /// The phases of every task in a round that does not count.
    pub timeline: Option<Timeline>,
}

/// Whether an entrant has a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum State {
    /// It has a time.
    Measured,
    /// It did not do the work, so it has no time.
    Failed(String),
    /// It did not run, or did not complete a round.
    NotMeasured(String),
}

/// One timed round.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Number of the round, from 1.
    pub round: u32,
    /// Time from the start of the process until its end.
    pub wall_s: f64,
    /// CPU time of the process tree in user mode.
    pub user_s: f64,
    /// CPU time of the process tree in the kernel.
    pub system_s: f64,
    /// Voluntary context switches of the process tree.
    pub voluntary: u64,
    /// Involuntary context switches of the process tree.
    pub involuntary: u64,
    /// Number of files, all checked.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// CPU time of the origin during the run, if there is one.
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
    /// Median share of one processor that the origin used.
    pub origin_load: Option<f64>,
}

/// CPU time below this is not split into user mode and kernel. Many kernels split it by what runs
/// at each tick of a clock of 100 to 1000 Hz, so that below it the shares rest on a few ticks.
pub const LEAST_SPLIT_S: f64 = 0.05;

impl Figures {
    /// Returns the CPU time in seconds, user mode and kernel together.
    #[must_use]
    pub fn cpu_s(&self) -> f64 {
        self.user.median + self.system.median
    }

    /// Returns the time in user mode and in the kernel in seconds, if there is enough to split.
    #[must_use]
    pub fn cpu_split_s(&self) -> Option<(f64, f64)> {
        (self.cpu_s() >= LEAST_SPLIT_S).then_some((self.user.median, self.system.median))
    }

    /// Returns the figures over `runs`, or `None` without runs.
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
    /// Returns its figures, if it has a time.
    #[must_use]
    pub fn measured(&self) -> Option<&Figures> {
        match self.state {
            State::Measured => self.figures.as_ref(),
            State::Failed(_) | State::NotMeasured(_) => None,
        }
    }

    /// Returns why it has no time: a word, and the reason.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, &str)> {
        match &self.state {
            State::Measured => None,
            State::Failed(reason) => Some(("failed", reason)),
            State::NotMeasured(reason) => Some(("not measured", reason)),
        }
    }
}

impl Scenario {
    /// Sorts the fastest first and entrants without a time last, also in the scan.
    pub fn sort(&mut self) {
        let median = |standing: &Standing| {
            standing
                .measured()
                .map_or(f64::INFINITY, |figures| figures.wall.median)
        };
        self.standings
            .sort_by(|one, other| median(one).total_cmp(&median(other)));
        for point in &mut self.scan {
            point.standings.sort_by_key(|standing| {
                let same = |other: &Standing| other.name == standing.name;
                self.standings.iter().position(same)
            });
        }
    }
}

/// Returns the figures of the fastest entrant, if any entrant has a time.
#[must_use]
pub fn fastest(standings: &[Standing]) -> Option<&Figures> {
    let measured = standings.iter().filter_map(Standing::measured);
    measured.min_by(|one, other| one.wall.median.total_cmp(&other.wall.median))
}

impl Shootout {
    /// Returns whether any entrant failed.
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
