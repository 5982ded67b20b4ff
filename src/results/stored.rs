//! Lists the files of a run: URL and path, for other programs.

use std::io::Write;
use std::ops::ControlFlow;

use super::filter::Filter;
use super::latest::Latest;
use super::{ResultsError, to_stdout};

/// Prints a line for each file on `out`, and returns their number. Duplicates add no lines.
///
/// # Errors
///
/// Fails if the log cannot be read, or if `out` cannot be written to.
pub fn print(latest: &Latest, filter: &Filter, out: &mut impl Write) -> Result<u64, ResultsError> {
    let mut printed = 0;
    latest.each(|record| {
        let is_file = record.outcome.has_file();
        if let Some(path) = record.path()
            && is_file
            && filter.admits(&record.url, record.kind())
        {
            writeln!(out, "{}\t{path}", record.url).map_err(to_stdout)?;
            printed += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(printed)
}
