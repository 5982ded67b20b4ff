//! The job that all four pools run; `job.py` is the same in Python.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Number of jobs.
pub(crate) const JOBS: u64 = 100;

/// The job that ends its process the first time it is started.
pub(crate) const CRASHES: u64 = 50;

/// Environment variable with the path of a file. Each start of that job adds a line to the file.
pub(crate) const NOTES: &str = "COMPARE_NOTES";

/// Returns the square of a number.
pub(crate) fn square(number: u64) -> u64 {
    if number == CRASHES && note().unwrap_or(false) {
        std::process::abort();
    }
    number * number
}

/// Records a start of the job. Returns whether it is the first.
fn note() -> io::Result<bool> {
    let notes = std::env::var_os(NOTES).unwrap_or_default();
    let is_first = !Path::new(&notes).exists();
    let mut file = OpenOptions::new().create(true).append(true).open(notes)?;
    writeln!(file, "{}", now().as_nanos())?;
    Ok(is_first)
}

/// Returns the time of the clock that all processes share.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::try_from(time).unwrap_or_default()
}
