//! What a shootout found: one type that the report, the terminal and every export read.
//!
//! Plain data. It must not measure, and not know how it is shown.

use serde::Serialize;

use super::statistics::Statistics;
use super::timeline::Timeline;
use super::tree::Memory;
use crate::format;

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
    /// Load average of the machine over the minute before the start, if the kernel tells.
    pub load: Option<f64>,
    /// Processors that the entrants could use.
    pub processors: usize,
    /// What a reader has to know to judge the figures.
    pub caveats: Vec<String>,
}

/// A load average above this means that something else ran beside the shootout.
const BUSY: f64 = 0.5;

impl About {
    /// Whether something else kept the machine busy before the start.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.load.is_some_and(|load| load > BUSY)
    }

    /// What the machine did before the start, in a sentence, if the kernel tells.
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
    /// The list says https.
    pub tls: bool,
    /// One for each entrant: the fastest first, those without a time last.
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
    /// One for each entrant that can have more than one, in the same order at every point.
    pub standings: Vec<Standing>,
}

/// Where an entrant comes from. On the page its colour follows from it.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ours, Self::Outside, Self::Python];

    /// As a class of the page and a word of the exports: the same as in JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Outside => "outside",
            Self::Python => "python",
        }
    }

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "coordinator",
            Self::Outside => "other programs",
            Self::Python => "Python",
        }
    }
}

/// How one entrant did.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    pub name: String,
    /// What it is, in a line.
    pub summary: String,
    /// Where it comes from.
    pub family: Family,
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

/// CPU time below this is not split into user mode and kernel. Many kernels split it by what ran at
/// each tick of a clock of 100 to 1000 Hz: below it the shares come from a handful of ticks.
pub const LEAST_SPLIT_S: f64 = 0.05;

impl Figures {
    /// CPU time in seconds, user mode and kernel together.
    #[must_use]
    pub fn cpu_s(&self) -> f64 {
        self.user.median + self.system.median
    }

    /// User mode and kernel in seconds, if there is enough CPU time to tell them apart.
    #[must_use]
    pub fn cpu_split_s(&self) -> Option<(f64, f64)> {
        (self.cpu_s() >= LEAST_SPLIT_S).then_some((self.user.median, self.system.median))
    }

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

impl Scenario {
    /// Puts the fastest first and those without a time last, here and in the scan.
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

/// The figures of the fastest, if anyone has a time.
#[must_use]
pub fn fastest(standings: &[Standing]) -> Option<&Figures> {
    let measured = standings.iter().filter_map(Standing::measured);
    measured.min_by(|one, other| one.wall.median.total_cmp(&other.wall.median))
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
