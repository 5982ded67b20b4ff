//! What a chaos run is about: made from what was typed and a seed, before anything is started.
//!
//! The same arguments give the same plan. It must not start anything.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use lab::origin::{Spec, SpecError};
use serde::Serialize;

use super::faults::{Fault, Faults, FaultsError, poison_mark};
use crate::cli::chaos::ChaosArgs;
use crate::cli::mode::{EngineName, Mode};

/// URLs of the list, unless the user says how many.
pub(super) const URLS: u32 = 2_000;

/// Simulated hosts of the list.
pub(super) const HOSTS: u32 = 40;

/// One host in so many is asked over TLS.
const TLS_EVERY: u32 = 8;

/// What the origin answers with where nothing goes wrong: small files, so that there are many.
const BODIES: &str = "size=1KiB..64KiB,latency=5ms,jitter=15ms";

/// Requests of a URL that can meet a fault of the origin. The run tries more often than that, so
/// that every URL can be stored.
const TRANSIENT: u32 = 3;

/// The share of the work after which nothing more befalls the coordinator, so that the run can end.
const LAST: f64 = 0.95;

/// A chaos run to be held.
#[derive(Debug)]
pub struct Plan {
    pub program: PathBuf,
    /// What is to be downloaded.
    pub tasks: Vec<Task>,
    /// Worker processes.
    pub workers: u16,
    /// Downloads in flight in each.
    pub concurrency: u16,
    /// What drives them.
    pub engine: EngineName,
    /// How workers are made.
    pub mode: Mode,
    /// How the origin answers.
    pub spec: Spec,
    /// The faults that the run brings about itself.
    pub inject: String,
    /// What befalls the coordinator, in order.
    pub injections: Vec<Injection>,
    /// Longest time that it all may take.
    pub limit: Duration,
    /// Whether files and logs are kept, and where.
    pub keep: Option<PathBuf>,
    /// The verdict is printed as JSON.
    pub json: bool,
    /// Nothing is said but the verdict.
    pub quiet: bool,
    /// What it was made from.
    pub seed: u64,
}

/// A URL of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The URL, normalised.
    pub url: String,
    /// What it does to every worker that takes it up, if it does.
    pub poison: Option<Fault>,
}

/// Something that befalls the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Injection {
    /// How many bodies the origin has served whole by then.
    pub after: u64,
    /// What it is.
    pub what: What,
}

/// What befalls the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// SIGSTOP, and SIGCONT after this time.
    Suspend(Duration),
    /// SIGKILL; then the last line of the run log is cut after this share of it, in 1/256.
    Cut(u8),
    /// SIGKILL; then this share of a line, in 1/256, is appended to the run log.
    Half(u8),
    /// The run log may grow by so many bytes, and no more.
    Disk(u64),
}

/// Why there is no plan: what was typed makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The faults.
    #[error("--faults: {0}")]
    Faults(#[from] FaultsError),
    /// The origin's.
    #[error("--faults: {0}")]
    Spec(#[from] SpecError),
}

impl Plan {
    /// Makes sense of what was typed.
    ///
    /// # Errors
    ///
    /// If there is none in it.
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

    /// A plan without a list, in which nothing happens but the origin's faults: `simulate` is added
    /// to what the origin is told.
    ///
    /// # Errors
    ///
    /// If that makes no sense.
    pub fn calm(args: &ChaosArgs, simulate: &str) -> Result<Self, PlanError> {
        let seed = args.seed;
        let spec = format!("{BODIES},seed={seed},transient={TRANSIENT}{simulate}");
        Ok(Self {
            // The file that runs now, even if another was put in its place meanwhile.
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

/// So many URLs, of which `poisons` are poison of each kind, in random places; `host` chooses hosts.
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

/// Each of `kinds` as often as `faults` says, in random order.
pub(super) fn shuffled(kinds: &[Fault], faults: &Faults, urls: u32, rng: &mut Rng) -> Vec<Fault> {
    let times = |kind: &Fault| faults.times(*kind, urls) as usize;
    let mut all: Vec<_> = kinds
        .iter()
        .flat_map(|kind| std::iter::repeat_n(*kind, times(kind)))
        .collect();
    rng.shuffle(&mut all);
    all
}

/// After how many URLs the fault in this place, of `count`, is due: about evenly spread.
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
        // Records have some 500 bytes: the limit is mostly reached within one.
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
