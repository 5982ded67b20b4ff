//! The job that all four do; `job.py` is the same.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How many jobs there are.
pub(crate) const JOBS: u64 = 100;

/// The job that ends its process the first time that it is begun.
pub(crate) const CRASHES: u64 = 50;

/// The variable with the path of the file that has a line for each time that job is begun.
pub(crate) const NOTES: &str = "COMPARE_NOTES";

/// The square of a number.
pub(crate) fn square(number: u64) -> u64 {
    if number == CRASHES && note().unwrap_or(false) {
        std::process::abort();
    }
    number * number
}

/// Notes when the job is begun. Whether it is the first time.
fn note() -> io::Result<bool> {
    let notes = std::env::var_os(NOTES).unwrap_or_default();
    let is_first = !Path::new(&notes).exists();
    let mut file = OpenOptions::new().create(true).append(true).open(notes)?;
    writeln!(file, "{}", now().as_nanos())?;
    Ok(is_first)
}

/// The clock that all processes share.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::try_from(time).unwrap_or_default()
}
