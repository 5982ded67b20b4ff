//! Runs the same list in every mode, with a URL that crashes its worker, one that exhausts memory
//! and one that hangs, to show what each mode loses by what it shares.
//!
//! Each mode is run as a user would run it: a run that dies or is stuck is started again, a few
//! times at most. This module must not know how a mode works.

mod measure;
mod table;

use std::io::{self, Write};

use fastrand::Rng;
use serde::Serialize;
use serde_json::json;

use super::faults::poison_mark;
use super::plan::{Plan, PlanError, Task};
use super::watch::Interrupt;
use super::{ChaosError, Ending, Fault};
use crate::cli::chaos::ChaosArgs;
use crate::cli::mode::Mode;
use crate::shootout::tree::Memory;

/// Number of URLs in the list, unless the user sets it.
const URLS: u32 = 200;

/// The faults of the three URLs, and their places as shares of the list.
const TRAPS: [(Fault, f64); 3] = [(Fault::Segv, 0.5), (Fault::Eat, 0.65), (Fault::Hang, 0.8)];

/// What a mode lost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub mode: Mode,
    /// How its first run ended.
    pub first_run: String,
    /// Whether the first run ended without help, with everything except the three URLs done.
    pub survived: bool,
    /// URLs, except the three, that the first run left without a file.
    pub lost: usize,
    /// Runs until everything except the three was stored, or until no more were tried.
    pub runs: u32,
    /// Seconds from the start until everything except the three was stored. `None` if never.
    pub recovered_s: Option<f64>,
    /// Bodies that the origin served whole more than once.
    pub served_again: u64,
    /// Peak memory of all processes before the first of the three URLs.
    pub memory: Option<Memory>,
    /// Processor time of all runs, in seconds, of the processes that their parents waited for.
    pub cpu_s: f64,
}

/// A planned comparison.
#[derive(Debug)]
pub struct Comparison {
    plans: Vec<(Mode, Plan)>,
    json: bool,
    urls: u32,
    workers: u16,
}

impl Comparison {
    /// Validates the command line.
    ///
    /// # Errors
    ///
    /// Fails if the arguments are not valid.
    pub fn new(args: &ChaosArgs) -> Result<Self, PlanError> {
        let urls = args.urls.map_or(URLS, std::num::NonZeroU32::get);
        let workers = args.workers.get();
        let tasks = tasks(urls, &mut Rng::with_seed(args.seed));
        let traps = TRAPS.map(|(fault, _)| format!("{}@{}", fault.name(), poison_mark(fault)));
        let plan = |mode: Mode| {
            Ok::<_, PlanError>(Plan {
                tasks: tasks.clone(),
                // All modes have the same number of downloads in flight, as far as they can.
                concurrency: match mode {
                    Mode::Async => workers,
                    Mode::Processes | Mode::Threads | Mode::Sequential => 1,
                },
                inject: traps.join(","),
                mode,
                ..Plan::calm(args, "")?
            })
        };
        let plans = Mode::ALL.map(|mode| Ok((mode, plan(mode)?)));
        Ok(Self {
            plans: plans.into_iter().collect::<Result<_, PlanError>>()?,
            json: args.json,
            urls,
            workers,
        })
    }

    /// Runs all modes, and prints what each lost. Clean if the mode with processes survived.
    ///
    /// # Errors
    ///
    /// Fails if a mode cannot be run or watched.
    pub fn execute(&self) -> Result<Ending, ChaosError> {
        let interrupt = Interrupt::listen().map_err(ChaosError::Signals)?;
        let mut costs = Vec::new();
        for (mode, plan) in &self.plans {
            costs.push(measure::measure(*mode, plan, &interrupt)?);
            if let Some(signal) = interrupt.signal() {
                return Ok(Ending::Interrupted(signal));
            }
        }
        self.print(&costs).map_err(ChaosError::Write)?;
        let kept = costs
            .iter()
            .any(|cost| cost.mode == Mode::Processes && cost.survived && cost.lost == 0);
        Ok(match kept {
            true => Ending::Clean,
            false => Ending::Broken,
        })
    }

    fn print(&self, costs: &[Cost]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let all = json!({"urls": self.urls, "workers": self.workers, "modes": costs});
            writeln!(out, "{all:#}")?;
        } else {
            let names = TRAPS.map(|(fault, _)| fault.name()).join(", ");
            writeln!(
                out,
                "{} URLs, {} at once; one each that brings about: {names}",
                self.urls, self.workers
            )?;
            writeln!(out, "{}", table::table(costs))?;
        }
        out.flush()
    }
}

/// Returns a list with the three URLs in their places.
fn tasks(urls: u32, rng: &mut Rng) -> Vec<Task> {
    let mut tasks: Vec<Task> = (0..urls)
        .map(|number| Task {
            url: format!("http://host-{}.example/{number}.bin", rng.u32(..8)),
            poison: None,
        })
        .collect();
    for (fault, share) in TRAPS {
        let place = (f64::from(urls) * share) as usize;
        if let Some(task) = tasks.get_mut(place) {
            let mark = poison_mark(fault);
            task.url = format!("http://host-0.example{mark}{place}.bin");
            task.poison = Some(fault);
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_urls_are_there_once_each_and_behind_the_first_half() {
        let tasks = tasks(200, &mut Rng::with_seed(1));
        let traps: Vec<_> = tasks
            .iter()
            .enumerate()
            .filter_map(|(place, task)| Some((task.poison?, place)))
            .collect();
        let expected = [(Fault::Segv, 100), (Fault::Eat, 130), (Fault::Hang, 160)];
        assert_eq!(traps, expected);
    }
}
