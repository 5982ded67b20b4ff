//! What the origin simulates: the SPEC of `--simulate`, read and written as text.
//!
//! It holds settings and checks them, and must not act on them.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

/// The longest latency and jitter: longer is a mistake, and a sum of the two always fits.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const SIZE: &str = "a size such as 64KiB or 10kB, or a range such as 1KiB..1MiB";
const TIME: &str = "a time such as 100ms or 1.5s, at most 24h";
const RATE: &str =
    "a percentage such as 0.5% or a fraction such as 0.005, up to 100%, in steps of 0.0001%";
const ERRORS: &str = "a percentage or fraction up to 100%, then optionally a colon and a status \
                      from 400 to 599, such as 1%:404";
const TRANSIENT: &str = "a whole number of requests from 0, or none";
const SEED: &str = "a whole number from 0 to 18446744073709551615";

/// What the origin simulates.
///
/// As text: `KEY=VALUE` pairs with commas between them, in any order, each key at most once; what
/// is left out has its default, so that the empty text is the default as a whole. The keys are the
/// fields' names. [`Display`](fmt::Display) writes every key, and reads back as the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Body size; within a range it is chosen for each URL, uniform in the logarithm, so that a
    /// list has many small bodies and a few large ones. Default 64 KiB.
    pub size: SizeRange,
    /// Time from the request to the head of the response. Default 100 ms.
    pub latency: Duration,
    /// Added to the latency: uniform from 0 up to this. Default 0.
    pub jitter: Duration,
    /// Requests answered with an error status. Default none.
    pub errors: ErrorAnswers,
    /// Share of the requests answered with half of the body that was announced, then the end of
    /// the connection. Default 0.
    pub truncate: Rate,
    /// Share of the requests that end with a reset connection (RST), half of them before the head
    /// and half in the middle of the body. Default 0.
    pub reset: Rate,
    /// Share of the requests that get the head and half of the body, and then silence: the
    /// connection stays open. It takes a client with a limit on silence (`--speed-time`) to get out
    /// of it. Default 0.
    pub stall: Rate,
    /// Share of the requests whose body drips, 10 bytes a second, so that there is never silence.
    /// It takes a limit on the whole time (`--max-time`) to get out of a long one. Default 0.
    pub slow: Rate,
    /// Share of the requests whose body never ends: no length is announced, and after the URL's own
    /// bytes come others, 64 KiB every 10 ms. It takes a limit on the size or on the whole time
    /// (`--max-filesize`, `--max-time`). Default 0.
    pub endless: Rate,
    /// Share of the hosts whose robots.txt forbids everything; that of the others then forbids
    /// nothing. With 0, the default, `/robots.txt` is a URL like any other.
    pub disallow: Rate,
    /// Only so many requests of each URL, the first ones, can meet a fault; later ones are answered
    /// whole, so that a client that tries again gets there for certain. Default: all can.
    pub transient: Option<u32>,
    /// Changes every body, size and fault. Default 1.
    pub seed: u64,
}

/// Inclusive range of sizes in bytes, the lower end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    min: u64,
    max: u64,
}

/// Which share of the requests is answered with an error, and with which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorAnswers {
    /// The share of the requests.
    pub rate: Rate,
    /// The status, 400 to 599. Default 503.
    pub status: StatusCode,
}

/// A share from 0 to 1, in steps of a millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

/// Why a text is no [`Spec`].
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A key that there is not.
    #[error(
        "cannot simulate `{key}`: the settings are size, latency, jitter, errors, truncate, reset, stall, slow, endless, disallow, transient and seed"
    )]
    Key {
        /// The key given.
        key: String,
    },
    /// A key without an equals sign.
    #[error("`{key}` has no value: write {key}=VALUE, where VALUE is {allowed}")]
    Missing {
        /// The key given.
        key: String,
        /// What its values are.
        allowed: &'static str,
    },
    /// A key given twice.
    #[error("`{key}` is given more than once: give it once")]
    Repeated {
        /// The key given.
        key: String,
    },
    /// A value that the key cannot have.
    #[error("cannot use `{value}` as {key}: it takes {allowed}")]
    Value {
        /// The key given.
        key: &'static str,
        /// The value given.
        value: String,
        /// What its values are.
        allowed: &'static str,
        /// What the value's parser said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The shares of faults add up to more than all requests.
    #[error(
        "errors, truncate, reset, stall, slow and endless add up to more than 100%: lower one of them"
    )]
    Shares,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            size: SizeRange::new(64 << 10, 64 << 10),
            latency: Duration::from_millis(100),
            jitter: Duration::ZERO,
            errors: ErrorAnswers {
                rate: Rate::default(),
                status: StatusCode::SERVICE_UNAVAILABLE,
            },
            truncate: Rate::default(),
            reset: Rate::default(),
            stall: Rate::default(),
            slow: Rate::default(),
            endless: Rate::default(),
            disallow: Rate::default(),
            transient: None,
            seed: 1,
        }
    }
}

impl SizeRange {
    /// The range between two sizes, both included, whichever is larger.
    #[must_use]
    pub const fn new(one: u64, other: u64) -> Self {
        if one <= other {
            Self {
                min: one,
                max: other,
            }
        } else {
            Self {
                min: other,
                max: one,
            }
        }
    }

    /// The smallest size, in bytes.
    #[must_use]
    pub const fn min(self) -> u64 {
        self.min
    }

    /// The largest size, in bytes.
    #[must_use]
    pub const fn max(self) -> u64 {
        self.max
    }
}

impl Rate {
    /// All requests, in the steps that rates are counted in.
    pub(super) const WHOLE: u64 = 1_000_000;

    /// The share in steps: at most [`Rate::WHOLE`].
    pub(super) fn steps(self) -> u64 {
        u64::from(self.0)
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        if text.trim().is_empty() {
            return Ok(spec);
        }
        for setting in text.split(',') {
            let (key, value) = match setting.split_once('=') {
                Some((key, value)) => (key.trim(), Some(value.trim())),
                None => (setting.trim(), None),
            };
            let allowed = allowed(key).ok_or_else(|| SpecError::Key {
                key: key.to_owned(),
            })?;
            let value = value.ok_or_else(|| SpecError::Missing {
                key: key.to_owned(),
                allowed,
            })?;
            if seen.contains(&key) {
                return Err(SpecError::Repeated {
                    key: key.to_owned(),
                });
            }
            seen.push(key);
            spec.set(key, value)?;
        }
        if spec.shares().map(Rate::steps).iter().sum::<u64>() > Rate::WHOLE {
            return Err(SpecError::Shares);
        }
        Ok(spec)
    }
}

impl Spec {
    /// The share of each fault.
    pub(super) const fn shares(&self) -> [Rate; 6] {
        [
            self.errors.rate,
            self.truncate,
            self.reset,
            self.stall,
            self.slow,
            self.endless,
        ]
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SpecError> {
        match key {
            "size" => self.size = checked("size", value, SIZE, size)?,
            "latency" => self.latency = checked("latency", value, TIME, time)?,
            "jitter" => self.jitter = checked("jitter", value, TIME, time)?,
            "errors" => self.errors = checked("errors", value, ERRORS, errors)?,
            "truncate" => self.truncate = checked("truncate", value, RATE, rate)?,
            "reset" => self.reset = checked("reset", value, RATE, rate)?,
            "stall" => self.stall = checked("stall", value, RATE, rate)?,
            "slow" => self.slow = checked("slow", value, RATE, rate)?,
            "endless" => self.endless = checked("endless", value, RATE, rate)?,
            "disallow" => self.disallow = checked("disallow", value, RATE, rate)?,
            "transient" => self.transient = checked("transient", value, TRANSIENT, transient)?,
            "seed" => self.seed = checked("seed", value, SEED, |text| Ok(text.parse()?))?,
            unknown => {
                return Err(SpecError::Key {
                    key: unknown.to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            size,
            latency,
            jitter,
            errors,
            truncate,
            reset,
            stall,
            slow,
            endless,
            disallow,
            transient,
            seed,
        } = self;
        let [latency, jitter] = [latency, jitter].map(|time| {
            // Without its spaces, so that the whole is one word for a shell.
            humantime::format_duration(*time)
                .to_string()
                .replace(' ', "")
        });
        write!(
            f,
            "size={size},latency={latency},jitter={jitter},errors={errors},truncate={truncate},reset={reset},stall={stall},slow={slow},endless={endless},disallow={disallow},"
        )?;
        match transient {
            Some(requests) => write!(f, "transient={requests},seed={seed}"),
            None => write!(f, "transient=none,seed={seed}"),
        }
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_size(f, self.min)?;
        if self.min < self.max {
            f.write_str("..")?;
            write_size(f, self.max)?;
        }
        Ok(())
    }
}

impl fmt::Display for ErrorAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate.fmt(f)?;
        if self.status != StatusCode::SERVICE_UNAVAILABLE {
            write!(f, ":{}", self.status.as_u16())?;
        }
        Ok(())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

type Parsed<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the values of `key` are, if there is such a key.
fn allowed(key: &str) -> Option<&'static str> {
    match key {
        "size" => Some(SIZE),
        "latency" | "jitter" => Some(TIME),
        "errors" => Some(ERRORS),
        "truncate" | "reset" | "stall" | "slow" | "endless" | "disallow" => Some(RATE),
        "transient" => Some(TRANSIENT),
        "seed" => Some(SEED),
        _ => None,
    }
}

fn checked<T>(
    key: &'static str,
    value: &str,
    allowed: &'static str,
    parse: impl FnOnce(&str) -> Parsed<T>,
) -> Result<T, SpecError> {
    parse(value).map_err(|source| SpecError::Value {
        key,
        value: value.to_owned(),
        allowed,
        source,
    })
}

fn size(text: &str) -> Parsed<SizeRange> {
    let bytes = |text: &str| parse_size::parse_size(text.trim());
    match text.split_once("..") {
        None => bytes(text).map(|only| Ok(SizeRange::new(only, only)))?,
        Some((low, high)) => {
            let (low, high) = (bytes(low)?, bytes(high)?);
            if low > high {
                return Err("the range ends before it begins".into());
            }
            Ok(SizeRange::new(low, high))
        }
    }
}

fn time(text: &str) -> Parsed<Duration> {
    let time = humantime::parse_duration(text)?;
    if time > LONGEST {
        return Err("the time is too long".into());
    }
    Ok(time)
}

fn errors(text: &str) -> Parsed<ErrorAnswers> {
    let (share, status) = match text.split_once(':') {
        Some((share, status)) => (share, StatusCode::from_str(status.trim())?),
        None => (text, StatusCode::SERVICE_UNAVAILABLE),
    };
    if !status.is_client_error() && !status.is_server_error() {
        return Err("the status is not an error".into());
    }
    Ok(ErrorAnswers {
        rate: rate(share)?,
        status,
    })
}

fn transient(text: &str) -> Parsed<Option<u32>> {
    match text {
        "none" => Ok(None),
        number => Ok(Some(number.parse()?)),
    }
}

fn rate(text: &str) -> Parsed<Rate> {
    let (number, steps) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 10_000.0),
        None => (text.trim(), 1_000_000.0),
    };
    let exact = f64::from_str(number)? * steps;
    let rounded = exact.round();
    if !(0.0..=1_000_000.0).contains(&exact) {
        return Err("the share is not between none and all".into());
    }
    // Half a step away is no rounding error of the parser: it would be another share than asked.
    if (exact - rounded).abs() > 1e-6 {
        return Err("the share is too fine".into());
    }
    Ok(Rate(rounded as u32))
}

/// Writes a size exactly, in the largest binary unit that it is a multiple of.
fn write_size(f: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match fitting {
        Some((shift, unit)) => write!(f, "{}{unit}", bytes >> shift),
        None => write!(f, "{bytes}B"),
    }
}

#[cfg(test)]
mod tests;
