//! The plan of a chaos run in a fleet, from the arguments and a seed.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::chaos::faults::Fault;
use crate::chaos::plan::{HOSTS, Plan, PlanError, URLS, What, moment, shuffled, tasks, what};
use crate::cli::chaos::ChaosArgs;

/// Time for which a member may be out of touch with the queue (`--lease`).
pub const LEASE: Duration = Duration::from_secs(2);

/// Limit of simultaneous downloads from one host, for the whole fleet.
pub const OF_A_HOST: u16 = 2;

/// Number of hosts that share half of the URLs, so that their partitions need several frames.
const LARGE: u32 = 3;

/// The plan of chaos in a fleet.
#[derive(Debug)]
pub struct FleetPlan {
    /// The list, and the settings that all members share.
    pub common: Plan,
    /// Number of members.
    pub members: u16,
    /// Path of nats-server.
    pub server: PathBuf,
    /// Faults of members and of the queue, in order.
    pub injections: Vec<Injection>,
    /// Shares of the list after which the feeder is killed, in ascending order.
    pub feeder: Vec<f64>,
}

/// A planned fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Injection {
    /// Number of complete bodies that the origins serve before the fault.
    pub after: u64,
    /// Index of the member. If that one does not run undisturbed, the next one that does is used.
    pub member: usize,
    /// The kind of fault.
    pub what: Befalls,
    /// Duration of the fault, or time until a killed process is started again.
    pub time: Duration,
}

/// A kind of fault in a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Befalls {
    /// A member gets a fault that a coordinator without a fleet also gets.
    Member(What),
    /// A member is cut off from the queue.
    Cut,
    /// The queue is killed.
    Server,
}

impl Befalls {
    /// Returns its name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member(what) => what.name(),
            Self::Cut => "cut",
            Self::Server => "server",
        }
    }
}

impl FleetPlan {
    /// Creates the plan from the arguments.
    ///
    /// # Errors
    ///
    /// Fails if the arguments are not a valid plan.
    pub fn new(args: &ChaosArgs, members: u16) -> Result<Self, PlanError> {
        let urls = args.urls.map_or(URLS, NonZeroU32::get);
        let faults = &args.faults;
        let mut rng = Rng::with_seed(args.seed);
        let host = |rng: &mut Rng| match rng.bool() {
            true => rng.u32(..LARGE),
            false => rng.u32(LARGE..HOSTS),
        };
        let tasks = tasks(urls, faults.times(Fault::Poison, urls), host, &mut rng);
        let kinds = [
            Fault::Coordinator,
            Fault::Term,
            Fault::Suspend,
            Fault::Torn,
            Fault::Disk,
            Fault::Cut,
            Fault::Server,
        ];
        let all = shuffled(&kinds, faults, urls, &mut rng);
        let count = all.len();
        let injection = |(place, fault): (usize, Fault)| Injection {
            after: moment(place, count, urls, &mut rng),
            member: rng.usize(..usize::from(members)),
            what: if fault == Fault::Cut {
                Befalls::Cut
            } else if fault == Fault::Server {
                Befalls::Server
            } else {
                Befalls::Member(what(fault, &mut rng))
            },
            // A cut or a suspension is longer than a lease, so that other members take over. A
            // killed member returns before or after the end of its lease, with equal probability.
            time: match matches!(fault, Fault::Cut | Fault::Suspend) {
                true => LEASE.mul_f64(1.2 + rng.f64()),
                false => LEASE.mul_f64(2.0 * rng.f64()),
            },
        };
        let injections = all.into_iter().enumerate().map(injection).collect();
        let kills = faults.times(Fault::Feeder, urls) as usize;
        let mut feeder: Vec<_> = (0..kills).map(|_| rng.f64()).collect();
        feeder.sort_by(f64::total_cmp);
        Ok(Self {
            common: Plan {
                tasks,
                inject: faults.inject(urls, args.seed),
                ..Plan::calm(args, &faults.simulate(urls))?
            },
            members,
            server: args
                .nats_server
                .clone()
                .unwrap_or_else(|| PathBuf::from("nats-server")),
            injections,
            feeder,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(arguments: &str) -> FleetPlan {
        let words = ["coordinator", "chaos", "--fleet", "3"].into_iter();
        let words = words.chain(arguments.split_whitespace());
        match Cli::try_parse_from(words).expect("it parses").command {
            Some(Command::Chaos(args)) => FleetPlan::new(&args, 3).expect("it makes sense"),
            other => panic!("{other:?} is no chaos"),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_does_not() {
        let (one, again, other) = (plan("--seed 3"), plan("--seed 3"), plan("--seed 4"));
        assert_eq!(one.common.tasks, again.common.tasks);
        assert_eq!(
            (&one.injections, &one.feeder),
            (&again.injections, &again.feeder)
        );
        assert_ne!(one.injections, other.injections);
        assert!(one.injections.is_sorted_by_key(|injection| injection.after));
        for name in ["cut", "server", "suspend", "coordinator"] {
            assert!(
                one.injections
                    .iter()
                    .any(|injection| injection.what.name() == name),
                "{name}"
            );
        }
    }

    #[test]
    fn who_stands_still_or_is_cut_off_is_so_for_longer_than_a_lease() {
        for injection in plan("--urls 50000").injections {
            if matches!(
                injection.what,
                Befalls::Cut | Befalls::Member(What::Suspend(_))
            ) {
                assert!(injection.time > LEASE, "{injection:?}");
            }
        }
    }
}
