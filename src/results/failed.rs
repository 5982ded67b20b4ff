//! Lists the URLs that failed or are quarantined, in a form that `coordinator -` reads.
//!
//! A list has one format, which its first line determines (`input::Format`). The list is text with
//! one URL per line, unless a task cannot be expressed in text: the list named its file (`out`) or
//! a part of it (`range`), or an edited log has a URL that text would read otherwise. Then every
//! line is JSON.

use std::io::{self, Write};
use std::ops::ControlFlow;

use serde::Serialize;

use super::filter::Filter;
use super::latest::Latest;
use super::{ResultsError, to_stdout};
use crate::run::log::{Brief, Outcome};

#[derive(Serialize)]
struct Line<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<&'a str>,
}

/// Prints the list on `out`, and returns the number of lines.
///
/// # Errors
///
/// Fails if the log cannot be read, or if `out` cannot be written to.
pub fn print(latest: &Latest, filter: &Filter, out: &mut impl Write) -> Result<u64, ResultsError> {
    let as_json = needs_json(latest, filter)?;
    let mut printed = 0;
    latest.each(|record| {
        if is_asked_for(record, filter) {
            line(record, as_json, out).map_err(to_stdout)?;
            printed += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(printed)
}

fn is_asked_for(record: &Brief<'_>, filter: &Filter) -> bool {
    has_failed(record.outcome) && filter.admits(&record.url, record.kind())
}

/// Returns whether a task with this outcome is to be retried.
#[must_use]
pub const fn has_failed(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Failed | Outcome::Quarantined => true,
        Outcome::Stored | Outcome::Unchanged | Outcome::Duplicate | Outcome::Fenced => false,
    }
}

fn needs_json(latest: &Latest, filter: &Filter) -> Result<bool, ResultsError> {
    if !latest.is_unusual() {
        return Ok(false);
    }
    let mut found = false;
    latest.each(|record| {
        found =
            is_asked_for(record, filter) && !is_plain(&record.url, record.range(), record.out());
        Ok(if found {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(found)
}

/// Returns whether a line of text can express the task. Normalised URLs have no such characters.
#[must_use]
pub fn is_plain(url: &str, range: Option<&str>, out: Option<&str>) -> bool {
    let strange = |c: char| c.is_control() || c.is_whitespace() || c == '#';
    let is_usual = url
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    range.is_none()
        && out.is_none()
        && !url.starts_with('{')
        && (is_usual || !url.contains(strange))
}

fn line(record: &Brief<'_>, as_json: bool, out: &mut impl Write) -> io::Result<()> {
    if !as_json {
        return writeln!(out, "{}", record.url);
    }
    let line = Line {
        url: &record.url,
        range: record.range(),
        out: record.out(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}
