//! The plan of a shootout: made from the command line before anything is started.
//!
//! This module must not measure. The only programs that it runs are peers, to find out whether they
//! are installed.

use std::path::PathBuf;
use std::time::Duration;

use lab::origin::Spec;

use super::approach::Approach;
use super::entrant::Entrant;
use super::outside::{self, Outside, PeerError};
use crate::cli::shootout::{ExportArgs, Preset, ShootoutArgs};
use crate::input::{Excerpt, LineError, Source};

/// CPU work on a body in the mixed scenario of the matrix, unless the user sets it.
const MIXED_WORK: Duration = Duration::from_millis(5);

/// The CPU-bound scenario has this many times that work.
const CPU_BOUND: u32 = 4;

/// An error in the command line.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No entrant has this name.
    #[error(
        "there is no entrant {name} (--only); there are {there}; --limit, --peers, --peer and --contestant add others"
    )]
    Unknown {
        /// The name on the command line.
        name: String,
        /// The known names.
        there: String,
    },
    /// A named program cannot take part.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A URL cannot be downloaded.
    #[error(transparent)]
    Url(#[from] LineError),
}

/// A shootout that can be run.
#[derive(Debug)]
pub struct Plan {
    pub program: PathBuf,
    /// The sources of URLs.
    pub sources: Vec<Source>,
    /// Downloads in flight.
    pub in_flight: u16,
    /// Other numbers of downloads in flight to measure.
    pub scan: Vec<u16>,
    /// The entrants.
    pub entrants: Vec<Entrant>,
    /// The kinds of work.
    pub scenarios: Vec<Scenario>,
    /// Timed rounds.
    pub rounds: u32,
    /// Rounds before them that do not count.
    pub warm_up: u32,
    /// Longest allowed time of one run.
    pub limit: Duration,
    /// Whether to print nothing.
    pub quiet: bool,
    /// The files for the results.
    pub export: ExportArgs,
}

/// One kind of work.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name.
    pub name: &'static str,
    /// The behaviour of the origin, or `None` for the real network.
    pub simulate: Option<Spec>,
    /// CPU work on each body.
    pub cpu_per_task: Duration,
    /// Whether the files are downloaded over TLS.
    pub tls: bool,
    /// The preset, which has its own files.
    pub preset: Option<Preset>,
}

impl Plan {
    /// Plans a shootout from the command line. A contestant's command that cannot run is not an
    /// error: the results list it as failed.
    ///
    /// # Errors
    ///
    /// Fails if no entrant has a requested name, or a URL cannot be downloaded.
    pub fn new(args: ShootoutArgs) -> Result<Self, PlanError> {
        let scenarios = scenarios(&args);
        let mut scan: Vec<u16> = args.scan_workers.iter().map(|n| n.get()).collect();
        scan.sort_unstable();
        scan.dedup();
        let entrants = entrants(&args)?;
        let sources = match args.urls.is_empty() {
            _ if !args.preset.is_empty() => Vec::new(),
            true => vec![Source::unnamed(true)],
            false => Source::from_arguments(args.urls)?,
        };
        Ok(Self {
            // The file that runs now, even if another file has replaced it.
            program: PathBuf::from("/proc/self/exe"),
            sources,
            in_flight: args.workers.get(),
            scan,
            entrants,
            scenarios,
            rounds: args.rounds,
            warm_up: args.warm_up,
            limit: args.time_limit,
            quiet: args.quiet,
            export: args.export,
        })
    }

    /// Returns whether an outside program takes part.
    #[must_use]
    pub fn has_outsiders(&self) -> bool {
        let outside = |entrant: &Entrant| matches!(entrant, Entrant::Outside(_));
        self.entrants.iter().any(outside)
    }
}

fn scenarios(args: &ShootoutArgs) -> Vec<Scenario> {
    if !args.preset.is_empty() {
        let scenario = |&preset: &Preset| Scenario {
            name: preset.name(),
            simulate: Some(preset.spec()),
            cpu_per_task: Duration::ZERO,
            tls: preset == Preset::Tls,
            preset: Some(preset),
        };
        return args.preset.iter().map(scenario).collect();
    }
    let simulate = (!args.live).then_some(args.simulate);
    if !args.matrix {
        let waits = simulate.is_none_or(|spec| !spec.latency.is_zero());
        let name = match (waits, args.cpu_per_task.is_zero()) {
            (_, true) => "I/O-bound",
            (true, false) => "mixed",
            (false, false) => "CPU-bound",
        };
        return vec![Scenario {
            name,
            simulate,
            cpu_per_task: args.cpu_per_task,
            tls: args.tls,
            preset: None,
        }];
    }
    let work = match args.cpu_per_task {
        Duration::ZERO => MIXED_WORK,
        work => work,
    };
    let at_once = simulate.map(|spec| Spec {
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        ..spec
    });
    [
        ("I/O-bound", simulate, Duration::ZERO),
        ("mixed", simulate, work),
        ("CPU-bound", at_once, work * CPU_BOUND),
    ]
    .map(|(name, simulate, cpu_per_task)| Scenario {
        name,
        simulate,
        cpu_per_task,
        tls: args.tls,
        preset: None,
    })
    .into()
}

fn entrants(args: &ShootoutArgs) -> Result<Vec<Entrant>, PlanError> {
    let mut all: Vec<Entrant> = Approach::ALL.map(Entrant::Own).into();
    for text in &args.contestant {
        all.push(match Outside::parse(text) {
            Ok(outside) => Entrant::Outside(outside),
            Err(error) => Entrant::Nobody {
                name: text.split('=').next().unwrap_or(text).trim().to_owned(),
                reason: error.to_string(),
            },
        });
    }
    if args.limit {
        all.push(Entrant::Outside(Outside::limit()));
    }
    let peers = outside::peers(&args.peer, args.peers)?;
    all.extend(peers.into_iter().map(Entrant::Outside));
    let all = without_namesakes(all);
    if args.only.is_empty() {
        return Ok(all);
    }
    let mut chosen: Vec<Entrant> = Vec::new();
    for name in args.only.iter().map(|name| name.trim()) {
        if chosen.iter().any(|entrant| entrant.name() == name) {
            continue;
        }
        let found = all.iter().find(|entrant| entrant.name() == name);
        chosen.push(found.cloned().ok_or_else(|| unknown(name, &all))?);
    }
    Ok(chosen)
}

fn unknown(name: &str, all: &[Entrant]) -> PlanError {
    let names: Vec<_> = all.iter().map(Entrant::name).collect();
    PlanError::Unknown {
        name: Excerpt::of_name(name),
        there: names.join(", "),
    }
}

/// Rejects later entrants with the same name, because results identify an entrant by its name.
fn without_namesakes(all: Vec<Entrant>) -> Vec<Entrant> {
    let mut named: Vec<Entrant> = Vec::new();
    for entrant in all {
        let taken = named.iter().any(|other| other.name() == entrant.name());
        named.push(match taken {
            false => entrant,
            true => Entrant::Nobody {
                name: format!("{} (again)", entrant.name()),
                reason: "the name is taken: choose another".to_owned(),
            },
        });
    }
    named
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(arguments: &[&str]) -> Plan {
        try_plan(arguments).expect("it makes sense")
    }

    fn try_plan(arguments: &[&str]) -> Result<Plan, PlanError> {
        let words = ["coordinator", "shootout"].iter().chain(arguments);
        match Cli::try_parse_from(words).expect("it parses").command {
            Some(Command::Shootout(args)) => Plan::new(*args),
            other => panic!("{other:?} is no shootout"),
        }
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.entrants.iter().map(Entrant::name).collect()
    }

    #[test]
    fn all_approaches_take_part_by_default() {
        let plan = plan(&[]);
        assert_eq!(names(&plan), Approach::ALL.map(Approach::name));
        assert_eq!((plan.in_flight, plan.rounds, plan.warm_up), (6, 5, 1));
        assert_eq!(plan.scenarios.len(), 1);
        assert_eq!(plan.scenarios[0].name, "I/O-bound");
        assert_eq!(plan.scenarios[0].simulate, Some(Spec::default()));
        assert!(!plan.has_outsiders());
    }

    #[test]
    fn who_is_unknown_is_an_error_that_names_everybody() {
        let error = try_plan(&["--only", "async,fibers,async"]).expect_err("no fibers");
        assert_eq!(
            error.to_string(),
            "there is no entrant fibers (--only); there are sequential, threads, processes-shared, \
             processes-chunked, async, hybrid; --limit, --peers, --peer and --contestant add others"
        );
    }

    #[test]
    fn contestants_that_make_no_sense_stand_as_failed() {
        let command = "a=get {urls} {out}";
        let plan = plan(&[
            "--contestant",
            command,
            "--contestant",
            command,
            "--contestant",
            "b=x",
        ]);
        assert_eq!(names(&plan)[6..], ["a", "a (again)", "b"]);
        let nobodies = plan.entrants.iter();
        let count = nobodies
            .filter(|one| matches!(one, Entrant::Nobody { .. }))
            .count();
        assert_eq!(count, 2);
        assert!(plan.has_outsiders());
    }

    #[test]
    fn the_matrix_has_three_kinds_of_work() {
        let plan = plan(&["--matrix", "--cpu-per-task", "10ms"]);
        let shape: Vec<_> = plan
            .scenarios
            .iter()
            .map(|scenario| {
                let latency = scenario.simulate.map(|spec| spec.latency.as_millis());
                (scenario.name, latency, scenario.cpu_per_task.as_millis())
            })
            .collect();
        assert_eq!(
            shape,
            [
                ("I/O-bound", Some(100), 0),
                ("mixed", Some(100), 10),
                ("CPU-bound", Some(0), 40),
            ]
        );
    }

    #[test]
    fn the_scan_is_in_order_and_without_repetition() {
        assert_eq!(plan(&["--scan-workers", "4,1,4,2"]).scan, [1, 2, 4]);
    }
}
