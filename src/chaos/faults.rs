//! The faults that there are, and how much of each: what `--faults` means.
//!
//! It must not bring any of them about: a part is done by the run itself (`--inject`), a part by the
//! origin (`--simulate`), and the rest by the supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A worker is killed with SIGKILL.
    Kill,
    /// A worker is stopped with SIGSTOP, for good.
    Stop,
    /// A worker is stopped, and goes on a little later.
    Pause,
    /// All workers are killed at once.
    KillAll,
    /// A worker dies of SIGSEGV in the middle of a task.
    Segv,
    /// A worker aborts in the middle of a task.
    Abort,
    /// A worker leaves with exit code 0 in the middle of a task.
    Exit,
    /// A worker takes memory until it dies of it.
    Eat,
    /// A download never goes on.
    Hang,
    /// A worker says what is not of the protocol.
    Garbage,
    /// A worker starts, and never connects.
    NoConnect,
    /// A worker leaves as soon as it is started.
    NoStart,
    /// URLs that bring about one of the faults above whenever a worker takes them up.
    Poison,
    /// The origin answers with an error.
    Errors,
    /// The origin ends a body too early.
    Truncate,
    /// The origin resets the connection.
    Reset,
    /// The origin falls silent within a body.
    Stall,
    /// The origin lets a body drip.
    Slow,
    /// The origin's body has no end.
    Endless,
    /// The coordinator is killed with SIGKILL.
    Coordinator,
    /// The coordinator is asked to end, with SIGTERM.
    Term,
    /// The coordinator is stopped, and goes on a little later.
    Suspend,
    /// The coordinator is killed, and the end of its run log is torn.
    Torn,
    /// The disk is full for the coordinator.
    Disk,
    /// The queue of a fleet is killed, and is back a little later.
    Server,
    /// The feeder of a fleet is killed, and started again.
    Feeder,
    /// A member of a fleet is cut off from the queue for longer than its lease.
    Cut,
}

/// What the amount of a fault counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Times a second.
    Rate,
    /// Percent of the URLs, of the requests or of the workers.
    Share,
    /// Times in all, or URLs of each kind.
    Count,
}

/// Who brings a fault about.
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

/// How much of each fault there is to be; faults that are not in it are off.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    amounts: BTreeMap<Fault, Option<f64>>,
    /// Those that were named, and not meant by `all`.
    named: BTreeSet<Fault>,
}

/// Why a text is no choice of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultsError {
    /// There is no such fault.
    #[error("there is no fault '{name}'; there are all, none, {}", names())]
    Unknown {
        /// The name given.
        name: String,
    },
    /// The amount is none.
    #[error("'{value}' is no amount of {}: it takes {}", .fault.name(), .fault.measure().expected())]
    Amount {
        /// Of which fault.
        fault: Fault,
        /// What was given.
        value: String,
    },
    /// It can befall a fleet only.
    #[error("{} befalls a fleet only; say of how many members with --fleet", .0.name())]
    OfFleet(Fault),
}

fn names() -> String {
    Fault::ALL.map(Fault::name).join(", ")
}

/// URLs for each time that something befalls the coordinator, unless the user says how often.
const URLS_PER_KILL: u32 = 800;
const URLS_PER_TEAR: u32 = 2_000;
const URLS_PER_SUSPENSION: u32 = 4_000;
const URLS_PER_RARITY: u32 = 5_000;

impl Fault {
    /// All of them, in their order.
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

    /// Those that a poison can bring about.
    pub const IN_TASKS: [Self; 6] = [
        Self::Segv,
        Self::Abort,
        Self::Exit,
        Self::Eat,
        Self::Hang,
        Self::Garbage,
    ];

    /// What it is called.
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

    /// What its amount counts.
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

    /// Who brings it about.
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

    /// How much of it there is in a list of so many URLs, unless the user says.
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

    /// Names with commas between them, each with an amount if it is not to be the usual one:
    /// `kill=10/s,coordinator=20,torn`. `all` is every fault, `none` is nothing.
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
    /// How much of `fault` there is to be with so many URLs; its unit is the fault's measure.
    #[must_use]
    pub fn of(&self, fault: Fault, urls: u32) -> f64 {
        self.amounts
            .get(&fault)
            .map_or(0.0, |amount| amount.unwrap_or_else(|| fault.usual(urls)))
    }

    /// The first that was named and can befall a fleet only.
    #[must_use]
    pub fn of_fleet(&self) -> Option<Fault> {
        let mut named = self.named.iter().copied();
        named.find(|fault| fault.by() == By::Fleet && self.amounts[fault] != Some(0.0))
    }

    /// How often `fault` is to happen, if that is what its amount counts.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and from 0 to 100,000"
    )]
    pub fn times(&self, fault: Fault, urls: u32) -> u32 {
        self.of(fault, urls) as u32
    }

    /// The faults that the run brings about itself, as `--inject` takes them; empty if there are
    /// none.
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

    /// The faults of the origin, as a part of what `--simulate` takes, with a comma before each.
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

/// What stands in a URL that brings about `fault` every time.
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
