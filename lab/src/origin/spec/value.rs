//! Single values of a spec: read, and written so that they read back as the same.
//!
//! This module does not know which setting a value belongs to.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use super::{ErrorAnswers, LONGEST, Rate, SizeRange};

/// A value, or the error in the text.
pub(super) type Parsed<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub(super) fn size(text: &str) -> Parsed<SizeRange> {
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

pub(super) fn time(text: &str) -> Parsed<Duration> {
    let time = humantime::parse_duration(text)?;
    if time > LONGEST {
        return Err("the time is too long".into());
    }
    Ok(time)
}

pub(super) fn errors(text: &str) -> Parsed<ErrorAnswers> {
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

/// Returns the value with the name `text`.
pub(super) fn word<T: Copy>(all: &[(&str, T)], text: &str) -> Parsed<T> {
    let found = all.iter().find(|(name, _)| *name == text);
    Ok(found.ok_or("there is no such word")?.1)
}

/// Returns the name of `value`.
pub(super) fn name<T: PartialEq>(all: &[(&'static str, T)], value: T) -> &'static str {
    let found = all.iter().find(|(_, other)| *other == value);
    found.map_or("", |(name, _)| name)
}

pub(super) fn transient(text: &str) -> Parsed<Option<u32>> {
    match text {
        "none" => Ok(None),
        number => Ok(Some(number.parse()?)),
    }
}

pub(super) fn rate(text: &str) -> Parsed<Rate> {
    let (number, steps) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 10_000.0),
        None => (text.trim(), 1_000_000.0),
    };
    let exact = f64::from_str(number)? * steps;
    let rounded = exact.round();
    if !(0.0..=1_000_000.0).contains(&exact) {
        return Err("the share is not between none and all".into());
    }
    // Half a step is not a rounding error of the parser, but another share than requested.
    if (exact - rounded).abs() > 1e-6 {
        return Err("the share is too fine".into());
    }
    Ok(Rate(rounded as u32))
}

/// Writes a size exactly, in the largest binary unit of which it is a multiple.
pub(super) fn write_size(f: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match fitting {
        Some((shift, unit)) => write!(f, "{}{unit}", bytes >> shift),
        None => write!(f, "{bytes}B"),
    }
}
