//! What is injected: the SPEC of `--inject`, read and written as text.
//!
//! This module holds settings and checks them. It must not act on them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use protocol::{Faults, MAX_POISON_TEXT, MAX_POISONS, Poison, Share, TaskFault};

use super::number;
use super::start::{StartFault, StartFaults};

const SHARE: &str = "a percentage from 0% to 100%, in steps of 0.0001%, such as 5% or 0.5%";
const RATE: &str = "a rate from 0.001/s to 1000/s, in steps of 0.001/s, such as 20/s or 0.1/s";
const SEED: &str = "a whole number from 0 to 18446744073709551615";

/// Decimals of a percentage, and of a rate.
const PERCENT_DECIMALS: usize = 4;
const RATE_DECIMALS: usize = 3;

/// What is injected into a run.
///
/// As text: items separated by commas, in any order, each at most once: `FAULT=N%`, `FAULT@TEXT`,
/// `FAULT=R/s`, `seed=N`. [`Display`](fmt::Display) writes every item that has an effect, and the
/// result parses to the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Share of the URLs that meet a fault with their first delivery. Faults with no share are
    /// omitted. The shares add up to at most 100%.
    pub tasks: BTreeMap<TaskFault, Share>,
    /// Faults that URLs with a certain text always meet. The first match counts.
    pub poisons: Vec<Poison>,
    /// Share of the workers that never start, as for `tasks`.
    pub starts: BTreeMap<StartFault, Share>,
    /// How often workers get signals.
    pub signals: BTreeMap<SignalFault, Rate>,
    /// Changes what is drawn. Default 1.
    pub seed: u64,
}

/// Signals that the coordinator sends to its own workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalFault {
    /// SIGKILL to one of them.
    Kill,
    /// SIGSTOP to one of them, permanently.
    Stop,
    /// SIGSTOP to one of them, and SIGCONT shortly after.
    Pause,
    /// SIGKILL to all of them.
    KillAll,
}

impl SignalFault {
    /// All variants, in order.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::Pause, Self::KillAll];

    /// Returns the name in options and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::KillAll => "kill-all",
        }
    }
}

/// Average frequency: from 0.001 to 1000 times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u32);

impl Rate {
    /// Creates a rate of `times` per thousand seconds; `None` unless from 1 to 1,000,000.
    #[must_use]
    pub const fn per_1000_seconds(times: u32) -> Option<Self> {
        if 1 <= times && times <= 1_000_000 {
            Some(Self(times))
        } else {
            None
        }
    }

    /// Returns the rate per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// Reason why a text is not a [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An unknown fault.
    #[error(
        "cannot inject `{item}`: the faults are segv, abort, exit, eat, hang and garbage (=N% or \
         @TEXT), no-connect and no-start (=N%), kill, stop, pause and kill-all (=R/s), and seed=N"
    )]
    Unknown {
        /// The item given.
        item: String,
    },
    /// A fault without its share or rate.
    #[error("`{key}` has no value: write {key}=VALUE, where VALUE is {allowed}")]
    Missing {
        /// The fault given.
        key: String,
        /// Its possible values.
        allowed: &'static str,
    },
    /// A value that the fault does not accept.
    #[error("cannot use `{value}` as {key}: it takes {allowed}")]
    Value {
        /// The fault given.
        key: String,
        /// The value given.
        value: String,
        /// Its possible values.
        allowed: &'static str,
    },
    /// An item given twice.
    #[error("`{item}` is given more than once: give it once")]
    Repeated {
        /// The item given.
        item: String,
    },
    /// A text with a fault that does not depend on URLs.
    #[error(
        "`{key}` cannot be had for certain URLs (`{key}@{text}`): only segv, abort, exit, eat, \
         hang and garbage can"
    )]
    NotOfUrls {
        /// The fault given.
        key: String,
        /// The text given.
        text: String,
    },
    /// A poison whose text is empty or too long.
    #[error("the text of `{key}@` has {bytes} bytes: it can have from 1 to {MAX_POISON_TEXT}")]
    PoisonText {
        /// The fault given.
        key: String,
        /// Length of the text in bytes.
        bytes: usize,
    },
    /// Too many poisons.
    #[error("{count} faults with @TEXT are given: at most {MAX_POISONS} can be")]
    TooManyPoisons { count: usize },
    /// The shares of the faults add up to more than 100%.
    #[error("{what} add up to more than 100%: lower one of them")]
    Shares {
        /// The kind of faults.
        what: &'static str,
    },
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            tasks: BTreeMap::new(),
            poisons: Vec::new(),
            starts: BTreeMap::new(),
            signals: BTreeMap::new(),
            seed: 1,
        }
    }
}

impl Spec {
    /// Returns the faults that workers cause in themselves, if any.
    #[must_use]
    pub fn faults(&self) -> Option<Faults> {
        (!self.tasks.is_empty() || !self.poisons.is_empty()).then(|| Faults {
            seed: self.seed,
            drawn: self.tasks.clone(),
            poisons: self.poisons.clone(),
        })
    }

    /// Returns which workers never start, if any.
    #[must_use]
    pub fn start_faults(&self) -> Option<StartFaults> {
        let share = |fault| self.starts.get(&fault).copied().unwrap_or_default();
        (!self.starts.is_empty()).then(|| StartFaults {
            seed: self.seed,
            no_connect: share(StartFault::NoConnect),
            no_start: share(StartFault::NoStart),
        })
    }

    /// Returns the name of a fault that requires a worker in its own process, if there is one.
    #[must_use]
    pub fn of_processes(&self) -> Option<&'static str> {
        let garbage = TaskFault::Garbage;
        let has_garbage = self.tasks.contains_key(&garbage)
            || self.poisons.iter().any(|poison| poison.fault == garbage);
        let start = self.starts.keys().next().map(|fault| fault.name());
        let signal = self.signals.keys().next().map(|fault| fault.name());
        has_garbage.then(|| garbage.name()).or(start).or(signal)
    }

    fn poison(&mut self, key: &str, text: &str) -> Result<(), SpecError> {
        let key = key.to_owned();
        let fault = match fault_named(&key) {
            Some(Fault::Task(fault)) => fault,
            Some(Fault::Start(_) | Fault::Signal(_)) => {
                let text = text.to_owned();
                return Err(SpecError::NotOfUrls { key, text });
            }
            None => {
                let item = format!("{key}@{text}");
                return Err(SpecError::Unknown { item });
            }
        };
        let bytes = text.len();
        if !(1..=MAX_POISON_TEXT).contains(&bytes) {
            return Err(SpecError::PoisonText { key, bytes });
        }
        self.poisons.push(Poison {
            fault,
            text: text.to_owned(),
        });
        Ok(())
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), SpecError> {
        if key == "seed" {
            self.seed = checked(key, value, SEED, |text| text.parse().ok())?;
            return Ok(());
        }
        match fault_named(key) {
            Some(Fault::Task(fault)) => {
                let share = checked(key, value, SHARE, share)?;
                self.tasks.insert(fault, share);
            }
            Some(Fault::Start(fault)) => {
                let share = checked(key, value, SHARE, share)?;
                self.starts.insert(fault, share);
            }
            Some(Fault::Signal(fault)) => {
                let rate = checked(key, value, RATE, rate)?;
                self.signals.insert(fault, rate);
            }
            None => {
                let item = key.to_owned();
                return Err(SpecError::Unknown { item });
            }
        }
        Ok(())
    }

    /// Checks the combination of the items, and drops those without effect.
    fn check(mut self) -> Result<Self, SpecError> {
        if self.poisons.len() > MAX_POISONS {
            let count = self.poisons.len();
            return Err(SpecError::TooManyPoisons { count });
        }
        within(
            self.tasks.values(),
            "segv, abort, exit, eat, hang and garbage",
        )?;
        within(self.starts.values(), "no-connect and no-start")?;
        self.tasks.retain(|_, share| *share > Share::default());
        self.starts.retain(|_, share| *share > Share::default());
        Ok(self)
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for item in text.split(',').map(str::trim) {
            // The first of the two decides: a text may contain an equals sign, but a value no @.
            let end = item.find(['=', '@']).unwrap_or(item.len());
            let key = item[..end].trim_end();
            let text = item[end..].strip_prefix('@');
            let once = text.map_or(key, |_| item);
            if seen.contains(&once) {
                let item = once.to_owned();
                return Err(SpecError::Repeated { item });
            }
            seen.push(once);
            match text {
                Some(text) => spec.poison(key, text)?,
                None => spec.set(key, item[end..].strip_prefix('=').map(str::trim))?,
            }
        }
        spec.check()
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self
            .tasks
            .iter()
            .map(|(fault, share)| (fault.name(), share));
        let starts = self
            .starts
            .iter()
            .map(|(fault, share)| (fault.name(), share));
        for (name, share) in tasks.chain(starts) {
            write!(f, "{name}=")?;
            number::write(f, share.millionths(), PERCENT_DECIMALS)?;
            f.write_str("%,")?;
        }
        for Poison { fault, text } in &self.poisons {
            write!(f, "{}@{text},", fault.name())?;
        }
        for (fault, rate) in &self.signals {
            write!(f, "{}=", fault.name())?;
            number::write(f, rate.0, RATE_DECIMALS)?;
            f.write_str("/s,")?;
        }
        write!(f, "seed={}", self.seed)
    }
}

/// Any kind of fault.
enum Fault {
    Task(TaskFault),
    Start(StartFault),
    Signal(SignalFault),
}

fn fault_named(name: &str) -> Option<Fault> {
    let task = TaskFault::ALL
        .into_iter()
        .find(|fault| fault.name() == name);
    let start = StartFault::ALL
        .into_iter()
        .find(|fault| fault.name() == name);
    let signal = SignalFault::ALL
        .into_iter()
        .find(|fault| fault.name() == name);
    task.map(Fault::Task)
        .or(start.map(Fault::Start))
        .or(signal.map(Fault::Signal))
}

fn checked<T>(
    key: &str,
    value: Option<&str>,
    allowed: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, SpecError> {
    let key = key.to_owned();
    match value {
        None => Err(SpecError::Missing { key, allowed }),
        Some(text) => parse(text).ok_or_else(|| SpecError::Value {
            key,
            value: text.to_owned(),
            allowed,
        }),
    }
}

fn share(text: &str) -> Option<Share> {
    let percent = text.strip_suffix('%')?;
    Share::from_millionths(number::read(percent, PERCENT_DECIMALS)?)
}

fn rate(text: &str) -> Option<Rate> {
    let times = text.strip_suffix("/s")?;
    Rate::per_1000_seconds(number::read(times, RATE_DECIMALS)?)
}

fn within<'a>(
    shares: impl Iterator<Item = &'a Share>,
    what: &'static str,
) -> Result<(), SpecError> {
    let sum: u64 = shares.map(|share| u64::from(share.millionths())).sum();
    if sum > u64::from(Share::WHOLE) {
        return Err(SpecError::Shares { what });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
