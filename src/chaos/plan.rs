//! The plan of a chaos run, derived from the command line and a seed before anything starts.
//!
//! The same arguments give the same plan. This module must not start anything.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use lab::origin::{Spec, SpecError};
use serde::Serialize;

use super::faults::{Fault, Faults, FaultsError, poison_mark};
use crate::cli::chaos::ChaosArgs;
use crate::cli::mode::{EngineName, Mode};

/// Number of URLs in the list, unless the user sets it.
pub(super) const URLS: u32 = 2_000;

/// Number of simulated hosts in the list.
pub(super) const HOSTS: u32 = 40;

/// One of this many hosts is asked over TLS.
const TLS_EVERY: u32 = 8;

/// The settings of the origin for answers without faults. Small files allow many of them.
const BODIES: &str = "size=1KiB..64KiB,latency=5ms,jitter=15ms";

/// Number of requests for a URL that can meet a fault of the origin. The run retries more often, so
/// that every URL can be stored.
const TRANSIENT: u32 = 3;

/// The share of the work after which the coordinator meets no more faults, so that the run can end.
const LAST: f64 = 0.95;

/// The plan of a chaos run.
#[derive(Debug)]
pub struct Plan {
    pub program: PathBuf,
    /// The list.
    pub tasks: Vec<Task>,
    /// Worker processes.
    pub workers: u16,
    /// Downloads in flight in each worker.
    pub concurrency: u16,
    /// The engine of the workers.
    pub engine: EngineName,
    /// Whether workers are processes or threads.
    pub mode: Mode,
    /// The settings of the origin.
    pub spec: Spec,
    /// The faults that the run injects itself.
    pub inject: String,
    /// The faults of the coordinator, in order.
    pub injections: Vec<Injection>,
    /// Time limit for everything together.
    pub limit: Duration,
    /// The folder for files and logs, if they are kept.
    pub keep: Option<PathBuf>,
    /// The verdict is printed as JSON.
    pub json: bool,
    /// Only the verdict is printed.
    pub quiet: bool,
    /// The seed of the plan.
    pub seed: u64,
}

/// A URL of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The URL, normalised.
    pub url: String,
    /// The fault that it causes in every worker that starts it, if it is poison.
    pub poison: Option<Fault>,
}

/// A fault of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Injection {
    /// The number of bodies that the origin has served whole before it.
    pub after: u64,
    /// The kind of fault.
    pub what: What,
}

/// The kind of a coordinator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// SIGSTOP, and SIGCONT after this time.
    Suspend(Duration),
    /// SIGKILL. Then the last line of the run log is cut after this share of it, in 1/256.
    Cut(u8),
    /// SIGKILL. Then this share of a line, in 1/256, is appended to the run log.
    Half(u8),
    /// The run log may grow by at most this many bytes.
    Disk(u64),
}

/// Why the command line gives no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The choice of faults is not valid.
    #[error("--faults: {0}")]
    Faults(#[from] FaultsError),
    /// The settings of the origin are not valid.
    #[error("--faults: {0}")]
    Spec(#[from] SpecError),
}

impl Plan {
    /// Validates the command line.
    ///
    /// # Errors
    ///
    /// Fails if the arguments are not valid.
    pub fn new(args: &ChaosArgs) -> Result<Self, PlanError> {
        let urls = args.urls.map_or(URLS, NonZeroU32::get);
        let faults = &args.faults;
        if let Some(fault) = faults.of_fleet() {
            return Err(FaultsError::OfFleet(fault).into());
        }
        let mut rng = Rng::with_seed(args.seed);
        let host = |rng: &mut Rng| rng.u32(..HOSTS);
        Ok(Self {
            tasks: tasks(urls, faults.times(Fault::Poison, urls), host, &mut rng),
            inject: faults.inject(urls, args.seed),
            injections: injections(faults, urls, &mut rng),
            ..Self::calm(args, &faults.simulate(urls))?
        })
    }

    /// Creates a plan without a list, in which only the origin causes faults. `simulate` is added
    /// to the settings of the origin.
    ///
    /// # Errors
    ///
    /// Fails if these settings are not valid.
    pub fn calm(args: &ChaosArgs, simulate: &str) -> Result<Self, PlanError> {
        let seed = args.seed;
        let spec = format!("{BODIES},seed={seed},transient={TRANSIENT}{simulate}");
        Ok(Self {
            // The running file, even if another file has replaced it on disk.
            program: PathBuf::from("/proc/self/exe"),
            tasks: Vec::new(),
            workers: args.workers.get(),
            concurrency: args.concurrency.get(),
            engine: args.engine,
            mode: Mode::Processes,
            spec: spec.parse()?,
            inject: String::new(),
            injections: Vec::new(),
            limit: args.time_limit,
            keep: args.output.clone(),
            json: args.json,
            quiet: args.quiet,
            seed,
        })
    }
}

/// Returns `urls` URLs, with `poisons` of each kind in random places. `host` chooses hosts.
pub(super) fn tasks(
    urls: u32,
    poisons: u32,
    host: impl Fn(&mut Rng) -> u32,
    rng: &mut Rng,
) -> Vec<Task> {
    let kinds = Fault::IN_TASKS.iter();
    let mut poisons: Vec<Fault> = kinds
        .flat_map(|kind| std::iter::repeat_n(*kind, poisons as usize))
        .collect();
    poisons.truncate(urls as usize);
    let mut places: Vec<Option<Fault>> = poisons.into_iter().map(Some).collect();
    places.resize(urls as usize, None);
    rng.shuffle(&mut places);
    let task = |(number, poison): (usize, Option<Fault>)| {
        let host = host(rng);
        let scheme = match host.is_multiple_of(TLS_EVERY) {
            true => "https",
            false => "http",
        };
        let folder = poison.map_or_else(|| "/".to_owned(), poison_mark);
        Task {
            url: format!("{scheme}://host-{host}.example{folder}{number}.bin"),
            poison,
        }
    };
    places.into_iter().enumerate().map(task).collect()
}

fn injections(faults: &Faults, urls: u32, rng: &mut Rng) -> Vec<Injection> {
    let kinds = [
        Fault::Coordinator,
        Fault::Term,
        Fault::Suspend,
        Fault::Torn,
        Fault::Disk,
    ];
    let all = shuffled(&kinds, faults, urls, rng);
    let count = all.len();
    let injection = |(place, fault): (usize, Fault)| Injection {
        after: moment(place, count, urls, rng),
        what: what(fault, rng),
    };
    // Each is within half a step of its place, so they stay in order.
    all.into_iter().enumerate().map(injection).collect()
}

/// Returns each of `kinds` as often as `faults` demands, in random order.
pub(super) fn shuffled(kinds: &[Fault], faults: &Faults, urls: u32, rng: &mut Rng) -> Vec<Fault> {
    let times = |kind: &Fault| faults.times(*kind, urls) as usize;
    let mut all: Vec<_> = kinds
        .iter()
        .flat_map(|kind| std::iter::repeat_n(*kind, times(kind)))
        .collect();
    rng.shuffle(&mut all);
    all
}

/// Returns the number of URLs before fault `place` of `count`. Faults are spread about evenly.
pub(super) fn moment(place: usize, count: usize, urls: u32, rng: &mut Rng) -> u64 {
    let step = f64::from(urls) * LAST / (count as f64 + 1.0);
    ((place as f64 + 0.5 + rng.f64()) * step) as u64
}

pub(super) fn what(fault: Fault, rng: &mut Rng) -> What {
    if fault == Fault::Term {
        What::Term
    } else if fault == Fault::Suspend {
        What::Suspend(Duration::from_millis(rng.u64(50..1_500)))
    } else if fault == Fault::Torn && rng.bool() {
        What::Cut(rng.u8(..))
    } else if fault == Fault::Torn {
        What::Half(rng.u8(1..))
    } else if fault == Fault::Disk {
        // Records have about 500 bytes, so the limit is mostly reached within one.
        What::Disk(rng.u64(..2_000))
    } else {
        What::Kill
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(arguments: &str) -> Plan {
        let words = ["coordinator", "chaos"]
            .into_iter()
            .chain(arguments.split_whitespace());
        match Cli::try_parse_from(words).expect("it parses").command {
            Some(Command::Chaos(args)) => Plan::new(&args).expect("it makes sense"),
            other => panic!("{other:?} is no chaos"),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_does_not() {
        let one = plan("--seed 3");
        let again = plan("--seed 3");
        assert_eq!(
            (&one.tasks, &one.injections),
            (&again.tasks, &again.injections)
        );
        let other = plan("--seed 4");
        assert_ne!(one.tasks, other.tasks);
        assert_ne!(one.injections, other.injections);
    }

    #[test]
    fn every_url_is_normalised_and_there_once_and_poisons_are_named() {
        let plan = plan("--urls 500 --faults poison=3");
        let urls: std::collections::BTreeSet<_> = plan.tasks.iter().map(|task| &task.url).collect();
        assert_eq!(urls.len(), 500);
        for url in urls {
            assert_eq!(url::Url::parse(url).expect("a URL").as_str(), url);
        }
        let named = |task: &&Task| task.url.contains("/poison-");
        assert_eq!(plan.tasks.iter().filter(named).count(), 18);
        assert!(
            plan.tasks
                .iter()
                .all(|task| task.poison.is_some() == named(&task))
        );
    }

    #[test]
    fn twenty_thousand_urls_bring_twenty_deaths_of_the_coordinator() {
        let plan = plan("--urls 20000");
        let kills = plan.injections.iter().filter(|injection| {
            matches!(injection.what, What::Kill | What::Cut(_) | What::Half(_))
        });
        assert!(kills.count() >= 20);
        assert!(
            plan.injections
                .is_sorted_by_key(|injection| injection.after)
        );
        assert!(
            plan.injections
                .iter()
                .all(|injection| injection.after < 20_000)
        );
    }
}
