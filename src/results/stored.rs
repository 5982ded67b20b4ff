//! The files of a run: URL and path, for other programs.

use std::io::Write;
use std::ops::ControlFlow;

use super::filter::Filter;
use super::latest::{Latest, Unreadable};
use super::{ResultsError, to_stdout};
use crate::run::log::Outcome;

/// Prints a line for each file on `out`, and counts them. A duplicate in the list adds no line.
///
/// # Errors
///
/// If the log cannot be read, or `out` not be written to.
pub fn print(
    latest: &Latest,
    filter: &Filter,
    out: &mut impl Write,
) -> Result<(u64, Unreadable), ResultsError> {
    let mut printed = 0;
    let unreadable = latest.each(|record| {
        let is_file = matches!(record.outcome, Outcome::Stored | Outcome::Unchanged);
        if let Some(path) = &record.path
            && is_file
            && filter.admits(record)
        {
            writeln!(out, "{}\t{path}", record.url).map_err(to_stdout)?;
            printed += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((printed, unreadable))
}
