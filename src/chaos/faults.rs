//! The faults that `--faults` can name, and their amounts.
//!
//! This module must not inject any of them. Some are injected by the run itself (`--inject`), some
//! by the origin (`--simulate`), and the rest by the supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A worker is killed with SIGKILL.
    Kill,
    /// A worker is stopped permanently with SIGSTOP.
    Stop,
    /// A worker is stopped, and continued shortly after.
    Pause,
    /// All workers are killed at once.
    KillAll,
    /// A worker dies of SIGSEGV in the middle of a task.
    Segv,
    /// A worker aborts in the middle of a task.
    Abort,
    /// A worker exits with code 0 in the middle of a task.
    Exit,
    /// A worker allocates memory until it dies.
    Eat,
    /// A download hangs.
    Hang,
    /// A worker sends bytes that break the protocol.
    Garbage,
    /// A worker starts, but never connects.
    NoConnect,
    /// A worker exits as soon as it is started.
    NoStart,
    /// URLs that cause one of the faults above in every worker that starts them.
    Poison,
    /// The origin answers with an error.
    Errors,
    /// The origin ends a body too early.
    Truncate,
    /// The origin resets the connection.
    Reset,
    /// The origin stops sending within a body.
    Stall,
    /// The origin sends a body very slowly.
    Slow,
    /// The origin sends a body without an end.
    Endless,
    /// The coordinator is killed with SIGKILL.
    Coordinator,
    /// The coordinator is asked to end with SIGTERM.
    Term,
    /// The coordinator is stopped, and continued shortly after.
    Suspend,
    /// The coordinator is killed, and the end of its run log is torn.
    Torn,
    /// The disk is full for the coordinator.
    Disk,
    /// The queue of a fleet is killed, and restarted shortly after.
    Server,
    /// The feeder of a fleet is killed, and started again.
    Feeder,
    /// A member of a fleet is disconnected from the queue for longer than its lease.
    Cut,
}

/// The unit of a fault's amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Times per second.
    Rate,
    /// Percent of the URLs, of the requests or of the workers.
    Share,
    /// Times in total, or URLs of each kind.
    Count,
}

/// What injects a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The run, through `--inject`.
    Run,
    /// The origin.
    Origin,
    /// The supervisor.
    Supervisor,
    /// The supervisor of a fleet.
    Fleet,
}

/// The amount of each fault. Faults without an entry are off.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    amounts: BTreeMap<Fault, Option<f64>>,
    /// Faults that were named, and not just included in `all`.
    named: BTreeSet<Fault>,
}

/// Why a text is not a valid choice of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultsError {
    /// There is no such fault.
    #[error("there is no fault '{name}'; there are all, none, {}", names())]
    Unknown {
        /// The name given.
        name: String,
    },
    /// The amount is not valid.
    #[error("'{value}' is no amount of {}: it takes {}", .fault.name(), .fault.measure().expected())]
    Amount {
        /// The fault.
        fault: Fault,
        /// The text given as its amount.
        value: String,
    },
    /// The fault can happen to a fleet only.
    #[error("{} befalls a fleet only; say of how many members with --fleet", .0.name())]
    OfFleet(Fault),
}

fn names() -> String {
    Fault::ALL.map(Fault::name).join(", ")
}

/// Number of URLs for each fault of the coordinator, unless the user sets an amount.
const URLS_PER_KILL: u32 = 800;
const URLS_PER_TEAR: u32 = 2_000;
const URLS_PER_SUSPENSION: u32 = 4_000;
const URLS_PER_RARITY: u32 = 5_000;

impl Fault {
    /// All faults, in their order.
    pub const ALL: [Self; 27] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::KillAll,
        Self::Segv,
        Self::Abort,
        Self::Exit,
        Self::Eat,
        Self::Hang,
        Self::Garbage,
        Self::NoConnect,
        Self::NoStart,
        Self::Poison,
        Self::Errors,
        Self::Truncate,
        Self::Reset,
        Self::Stall,
        Self::Slow,
        Self::Endless,
        Self::Coordinator,
        Self::Term,
        Self::Suspend,
        Self::Torn,
        Self::Disk,
        Self::Server,
        Self::Feeder,
        Self::Cut,
    ];

    /// Faults that a poison URL can cause.
    pub const IN_TASKS: [Self; 6] = [
        Self::Segv,
        Self::Abort,
        Self::Exit,
        Self::Eat,
        Self::Hang,
        Self::Garbage,
    ];

    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::KillAll => "kill-all",
            Self::Segv => "segv",
            Self::Abort => "abort",
            Self::Exit => "exit",
            Self::Eat => "eat",
            Self::Hang => "hang",
            Self::Garbage => "garbage",
            Self::NoConnect => "no-connect",
            Self::NoStart => "no-start",
            Self::Poison => "poison",
            Self::Errors => "errors",
            Self::Truncate => "truncate",
            Self::Reset => "reset",
            Self::Stall => "stall",
            Self::Slow => "slow",
            Self::Endless => "endless",
            Self::Coordinator => "coordinator",
            Self::Term => "term",
            Self::Suspend => "suspend",
            Self::Torn => "torn",
            Self::Disk => "disk",
            Self::Server => "server",
            Self::Feeder => "feeder",
            Self::Cut => "cut",
        }
    }

    /// Returns the unit of the amount.
    #[must_use]
    pub const fn measure(self) -> Measure {
        match self {
            Self::Kill | Self::Stop | Self::Pause | Self::KillAll => Measure::Rate,
            Self::Segv
            | Self::Abort
            | Self::Exit
            | Self::Eat
            | Self::Hang
            | Self::Garbage
            | Self::NoConnect
            | Self::NoStart
            | Self::Errors
            | Self::Truncate
            | Self::Reset
            | Self::Stall
            | Self::Slow
            | Self::Endless => Measure::Share,
            Self::Poison
            | Self::Coordinator
            | Self::Term
            | Self::Suspend
            | Self::Torn
            | Self::Disk
            | Self::Server
            | Self::Feeder
            | Self::Cut => Measure::Count,
        }
    }

    /// Returns what injects the fault.
    #[must_use]
    pub const fn by(self) -> By {
        match self {
            Self::Kill
            | Self::Stop
            | Self::Pause
            | Self::KillAll
            | Self::Segv
            | Self::Abort
            | Self::Exit
            | Self::Eat
            | Self::Hang
            | Self::Garbage
            | Self::NoConnect
            | Self::NoStart
            | Self::Poison => By::Run,
            Self::Errors
            | Self::Truncate
            | Self::Reset
            | Self::Stall
            | Self::Slow
            | Self::Endless => By::Origin,
            Self::Coordinator | Self::Term | Self::Suspend | Self::Torn | Self::Disk => {
                By::Supervisor
            }
            Self::Server | Self::Feeder | Self::Cut => By::Fleet,
        }
    }

    /// Returns the default amount for a list of `urls` URLs.
    fn usual(self, urls: u32) -> f64 {
        let once_per = |each: u32| f64::from(urls.div_ceil(each));
        match self {
            Self::Kill => 6.0,
            Self::Stop => 0.2,
            Self::Pause => 1.0,
            Self::KillAll => 0.1,
            Self::Segv | Self::Abort | Self::Exit | Self::Garbage => 0.4,
            Self::Eat | Self::Hang => 0.1,
            Self::NoConnect => 0.5,
            Self::NoStart => 2.0,
            Self::Poison => 1.0,
            Self::Errors | Self::Truncate | Self::Reset => 2.0,
            Self::Stall | Self::Slow | Self::Endless => 0.2,
            Self::Coordinator => once_per(URLS_PER_KILL),
            Self::Torn => once_per(URLS_PER_TEAR),
            Self::Suspend => once_per(URLS_PER_SUSPENSION),
            Self::Server | Self::Feeder | Self::Cut => once_per(URLS_PER_TEAR),
            Self::Term | Self::Disk => once_per(URLS_PER_RARITY),
        }
    }

    fn amount(self, value: &str) -> Result<f64, FaultsError> {
        let number = match self.measure() {
            Measure::Rate => value.strip_suffix("/s").unwrap_or(value),
            Measure::Share => value.strip_suffix('%').unwrap_or(value),
            Measure::Count => value,
        };
        let most = match self.measure() {
            Measure::Rate => 1_000.0,
            Measure::Share => 100.0,
            Measure::Count => 100_000.0,
        };
        number
            .trim()
            .parse()
            .ok()
            .filter(|amount: &f64| (0.0..=most).contains(amount))
            .filter(|amount| self.measure() != Measure::Count || amount.fract() == 0.0)
            .ok_or_else(|| FaultsError::Amount {
                fault: self,
                value: value.to_owned(),
            })
    }
}

impl Measure {
    const fn expected(self) -> &'static str {
        match self {
            Self::Rate => "times a second, such as 5/s, up to 1000/s",
            Self::Share => "a percentage, such as 0.5%",
            Self::Count => "a whole number, up to 100000",
        }
    }
}

impl FromStr for Faults {
    type Err = FaultsError;

    /// Parses names separated by commas, each with an amount unless the default is meant:
    /// `kill=10/s,coordinator=20,torn`. `all` is every fault, and `none` is no fault.
    fn from_str(text: &str) -> Result<Self, FaultsError> {
        let (mut amounts, mut named) = (BTreeMap::new(), BTreeSet::new());
        for item in text.split(',').map(str::trim) {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (item, None),
            };
            match (name, value) {
                ("all", None) => amounts.extend(Fault::ALL.map(|fault| (fault, None))),
                ("none", None) => {}
                _ => {
                    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
                    let fault = fault.ok_or_else(|| FaultsError::Unknown {
                        name: name.to_owned(),
                    })?;
                    let amount = value.map(|value| fault.amount(value)).transpose()?;
                    amounts.insert(fault, amount);
                    named.insert(fault);
                }
            }
        }
        Ok(Self { amounts, named })
    }
}

impl Faults {
    /// Returns the amount of `fault` for `urls` URLs, in the fault's unit.
    #[must_use]
    pub fn of(&self, fault: Fault, urls: u32) -> f64 {
        self.amounts
            .get(&fault)
            .map_or(0.0, |amount| amount.unwrap_or_else(|| fault.usual(urls)))
    }

    /// Returns the first named fault that can happen to a fleet only.
    #[must_use]
    pub fn of_fleet(&self) -> Option<Fault> {
        let mut named = self.named.iter().copied();
        named.find(|fault| fault.by() == By::Fleet && self.amounts[fault] != Some(0.0))
    }

    /// Returns how often `fault` happens, if its amount is a count.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and from 0 to 100,000"
    )]
    pub fn times(&self, fault: Fault, urls: u32) -> u32 {
        self.of(fault, urls) as u32
    }

    /// Returns the faults that the run injects itself, for `--inject`. Empty if there are none.
    #[must_use]
    pub fn inject(&self, urls: u32, seed: u64) -> String {
        let mut spec = String::new();
        for fault in Fault::ALL {
            let amount = self.of(fault, urls);
            if fault.by() != By::Run || amount <= 0.0 {
                continue;
            }
            // Writing to a string never fails.
            let _ = match (fault, fault.measure()) {
                (Fault::Poison, _) => Ok(()),
                (_, Measure::Rate) => write!(spec, "{}={amount}/s,", fault.name()),
                (_, Measure::Share | Measure::Count) => {
                    write!(spec, "{}={amount}%,", fault.name())
                }
            };
        }
        if self.times(Fault::Poison, urls) > 0 {
            for fault in Fault::IN_TASKS {
                let _ = write!(spec, "{}@{},", fault.name(), poison_mark(fault));
            }
        }
        if !spec.is_empty() {
            let _ = write!(spec, "seed={seed}");
        }
        spec
    }

    /// Returns the faults of the origin, as a part of a `--simulate` value; each follows a comma.
    #[must_use]
    pub fn simulate(&self, urls: u32) -> String {
        let mut spec = String::new();
        for fault in Fault::ALL {
            let amount = self.of(fault, urls);
            if fault.by() == By::Origin && amount > 0.0 {
                let _ = write!(spec, ",{}={amount}%", fault.name());
            }
        }
        spec
    }
}

/// Returns the part of a URL that makes it cause `fault` every time.
#[must_use]
pub fn poison_mark(fault: Fault) -> String {
    format!("/poison-{}/", fault.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        text.parse().expect("the test's faults are right")
    }

    #[test]
    fn faults_are_chosen_by_name_with_or_without_an_amount() {
        let some = faults("kill=10/s, coordinator=20,torn");
        assert!((some.of(Fault::Kill, 1000) - 10.0).abs() < 1e-9);
        assert_eq!(some.times(Fault::Coordinator, 1000), 20);
        assert_eq!(some.times(Fault::Torn, 20_000), 10);
        assert_eq!(some.times(Fault::Disk, 20_000), 0);
        assert_eq!(some.inject(1000, 7), "kill=10/s,seed=7");
        assert_eq!(faults("none").inject(1000, 7), "");
    }

    #[test]
    fn all_faults_are_there_with_all() {
        let all = faults("all,kill=0");
        for fault in Fault::ALL {
            assert_eq!(all.of(fault, 2000) > 0.0, fault != Fault::Kill, "{fault:?}");
        }
        let spec = all.inject(2000, 1);
        assert!(
            spec.contains("segv=0.4%,") && spec.contains("segv@/poison-segv/,"),
            "{spec}"
        );
        assert!(all.simulate(2000).starts_with(",errors=2%,truncate=2%"));
    }

    #[test]
    fn what_makes_no_sense_is_named_with_the_way_out() {
        let refusal = |text: &str| text.parse::<Faults>().expect_err(text).to_string();
        assert!(refusal("kil").starts_with("there is no fault 'kil'; there are all, none, kill,"));
        assert_eq!(
            refusal("kill=fast"),
            "'fast' is no amount of kill: it takes times a second, such as 5/s, up to 1000/s"
        );
        for wrong in [
            "segv=101%",
            "coordinator=1.5",
            "disk=-1",
            "all=1",
            "",
            "stop=NaN",
        ] {
            refusal(wrong);
        }
    }
}
