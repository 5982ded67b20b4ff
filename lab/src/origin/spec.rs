//! What the origin simulates: the SPEC of `--simulate`, read and written as text.
//!
//! This module holds settings and checks them. It must not act on them.

mod value;

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use value::{Parsed, errors, name, rate, size, time, transient, word, write_size};

/// Longest latency and jitter. More is a mistake, and the sum of the two never overflows.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const SIZE: &str = "a size such as 64KiB or 10kB, or a range such as 1KiB..1MiB";
const TIME: &str = "a time such as 100ms or 1.5s, at most 24h";
const RATE: &str =
    "a percentage such as 0.5% or a fraction such as 0.005, up to 100%, in steps of 0.0001%";
const ERRORS: &str = "a percentage or fraction up to 100%, then optionally a colon and a status \
                      from 400 to 599, such as 1%:404";
const TRANSIENT: &str = "a whole number of requests from 0, or none";
const RANGE: &str = "on or off";
const VALIDATORS: &str = "both, etag, date or none";
const SEED: &str = "a whole number from 0 to 18446744073709551615";

/// What the origin simulates.
///
/// As text: `KEY=VALUE` pairs separated by commas, in any order, each key at most once. A missing
/// key has its default, so the empty text means all defaults. The keys are the names of the fields.
/// [`Display`](fmt::Display) writes every key, and the result parses to the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Body size. A size within a range is chosen for each URL, uniform in the logarithm, so that a
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
    /// Share of the requests that get the head and half of the body, and then nothing, while the
    /// connection stays open. Only a limit on silence (`--speed-time`) ends this. Default 0.
    pub stall: Rate,
    /// Share of the requests with a body at 10 bytes a second, so that the connection is never
    /// silent. Only a limit on the total time (`--max-time`) ends a long one early. Default 0.
    pub slow: Rate,
    /// Share of the requests whose body never ends. No length is announced, and the URL's own bytes
    /// are followed by others, 64 KiB every 10 ms. A client needs a limit on the size or on the
    /// total time (`--max-filesize`, `--max-time`). Default 0.
    pub endless: Rate,
    /// Share of the hosts whose robots.txt forbids everything; those of the other hosts forbid
    /// nothing. With 0, the default, `/robots.txt` is a URL like any other.
    pub disallow: Rate,
    /// Number of requests for each URL, counted from the first, that can meet a fault. Later ones
    /// are answered completely, so that retries succeed in the end. Default: no limit.
    pub transient: Option<u32>,
    /// Whether the origin answers requests for parts of a body (`Range`). Default on.
    pub range: Range,
    /// Which validators a body has: its `ETag`, its `Last-Modified`, both or none. Default both.
    pub validators: Validators,
    /// Share of the URLs with another body and a later `Last-Modified` than without this key, for a
    /// second run to detect. Default 0.
    pub changed: Rate,
    /// Changes every body, size and fault. Default 1.
    pub seed: u64,
}

/// Whether the origin answers requests for parts of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// It does.
    #[default]
    On,
    /// `Range` is ignored.
    Off,
}

/// Validators (RFC 9110 section 8.8) of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validators {
    /// Both.
    #[default]
    Both,
    /// `ETag`.
    Etag,
    /// `Last-Modified`.
    Date,
    /// None.
    None,
}

impl Range {
    const ALL: [(&'static str, Self); 2] = [("on", Self::On), ("off", Self::Off)];
}

impl Validators {
    const ALL: [(&'static str, Self); 4] = [
        ("both", Self::Both),
        ("etag", Self::Etag),
        ("date", Self::Date),
        ("none", Self::None),
    ];
}

/// Inclusive range of sizes in bytes, the lower end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    min: u64,
    max: u64,
}

/// Share of the requests that are answered with an error, and its status.
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

/// Reason why a text is not a [`Spec`].
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// An unknown key.
    #[error(
        "cannot simulate `{key}`: the settings are size, latency, jitter, errors, truncate, reset, stall, slow, endless, disallow, transient, range, validators, changed and seed"
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
        /// Its possible values.
        allowed: &'static str,
    },
    /// A key given twice.
    #[error("`{key}` is given more than once: give it once")]
    Repeated {
        /// The key given.
        key: String,
    },
    /// A value that the key does not accept.
    #[error("cannot use `{value}` as {key}: it takes {allowed}")]
    Value {
        /// The key given.
        key: &'static str,
        /// The value given.
        value: String,
        /// Its possible values.
        allowed: &'static str,
        /// The error of the parser of the value.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The shares of the faults add up to more than 100%.
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
            range: Range::On,
            validators: Validators::Both,
            changed: Rate::default(),
            seed: 1,
        }
    }
}

impl SizeRange {
    /// Creates the range between two sizes, both included, in either order.
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

    /// Returns the smallest size, in bytes.
    #[must_use]
    pub const fn min(self) -> u64 {
        self.min
    }

    /// Returns the largest size, in bytes.
    #[must_use]
    pub const fn max(self) -> u64 {
        self.max
    }
}

impl Rate {
    /// All requests, in the steps of a rate.
    pub(super) const WHOLE: u64 = 1_000_000;

    /// Returns the share in steps, at most [`Rate::WHOLE`].
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
    /// Returns the share of each fault.
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
            "range" => {
                self.range = checked("range", value, RANGE, |text| word(&Range::ALL, text))?;
            }
            "validators" => {
                let parse = |text: &str| word(&Validators::ALL, text);
                self.validators = checked("validators", value, VALIDATORS, parse)?;
            }
            "changed" => self.changed = checked("changed", value, RATE, rate)?,
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
            range,
            validators,
            changed,
            seed,
        } = self;
        let [latency, jitter] = [latency, jitter].map(|time| {
            // Without spaces, so that the text is one word for a shell.
            humantime::format_duration(*time)
                .to_string()
                .replace(' ', "")
        });
        write!(
            f,
            "size={size},latency={latency},jitter={jitter},errors={errors},truncate={truncate},reset={reset},stall={stall},slow={slow},endless={endless},disallow={disallow},"
        )?;
        match transient {
            Some(requests) => write!(f, "transient={requests},")?,
            None => write!(f, "transient=none,")?,
        }
        let range = name(&Range::ALL, *range);
        let validators = name(&Validators::ALL, *validators);
        write!(
            f,
            "range={range},validators={validators},changed={changed},seed={seed}"
        )
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

/// Returns the possible values of `key`, if there is such a key.
fn allowed(key: &str) -> Option<&'static str> {
    match key {
        "size" => Some(SIZE),
        "latency" | "jitter" => Some(TIME),
        "errors" => Some(ERRORS),
        "truncate" | "reset" | "stall" | "slow" | "endless" | "disallow" | "changed" => Some(RATE),
        "transient" => Some(TRANSIENT),
        "range" => Some(RANGE),
        "validators" => Some(VALIDATORS),
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

#[cfg(test)]
mod tests;
