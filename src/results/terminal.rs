//! Prints the figures as tables, for people.
//!
//! This module must not compute figures. Text in a log comes from servers and lists, so it is
//! escaped before it is printed.

use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

use super::hosts::HostCount;
use super::summary::{KindCount, Slow, Summary, Totals};
use crate::format;
use crate::input::Excerpt;
use crate::run::log::{Moment, Outcome};

/// Options for printing the figures.
#[derive(Clone, Debug)]
pub struct Show<'a> {
    /// Where the run log is.
    pub results: &'a Path,
    /// How the last run ended, if known.
    pub last_run: Option<String>,
    /// Characters per line of the terminal; `None` if the output is not a terminal.
    pub width: Option<u16>,
    /// Whether only failures of some kinds are counted, so that all URLs of a host are failures.
    pub kinds_only: bool,
}

/// Prints the figures.
///
/// # Errors
///
/// Fails if they cannot be written.
pub fn print(out: &mut impl Write, summary: &Summary, show: &Show<'_>) -> io::Result<()> {
    let totals = &summary.totals;
    writeln!(out, "{}", format::counts(rows(totals)).trim_fmt())?;
    if let (Some(first), Some(last)) = (totals.first, totals.last) {
        writeln!(out, "{}", times(totals, first, last))?;
    }
    if !summary.errors_by_kind.is_empty() {
        let table = kinds(&summary.errors_by_kind, show.width);
        writeln!(out, "\nerrors by kind\n{}", table.trim_fmt())?;
    }
    if !summary.errors_by_host.is_empty() {
        let table = hosts(&summary.errors_by_host, show.kinds_only);
        writeln!(out, "\nerrors by host\n{}", table.trim_fmt())?;
        let more = summary.hosts_with_errors - summary.errors_by_host.len() as u64;
        if more > 0 {
            writeln!(out, " and {more} more, with no more errors than the last")?;
        }
    }
    if !summary.slowest.is_empty() {
        let table = slowest(&summary.slowest);
        writeln!(out, "\nslowest downloads\n{}", table.trim_fmt())?;
    }
    writeln!(out)?;
    if let Some(last_run) = &show.last_run {
        writeln!(out, "{last_run}")?;
    }
    writeln!(out, "run log: {}", show.results.display())
}

fn rows(totals: &Totals) -> Vec<[String; 3]> {
    let row = |name: &str, count: u64, note: String| [name.to_owned(), count.to_string(), note];
    let nothing = String::new;
    let stored = match totals.stored {
        0 => nothing(),
        _ => bytes(totals.bytes),
    };
    let mut rows = vec![row("stored", totals.stored, stored)];
    if totals.unchanged > 0 {
        rows.push(row("unchanged", totals.unchanged, nothing()));
    }
    rows.push(row("failed", totals.failed, nothing()));
    rows.push(row("quarantined", totals.quarantined, nothing()));
    for (name, count, note) in [
        ("duplicates", totals.duplicates, "stored once"),
        ("fenced", totals.fenced, "another member's"),
        ("retries", totals.retries, ""),
    ] {
        if count > 0 {
            rows.push(row(name, count, note.to_owned()));
        }
    }
    rows.push(row("redeliveries", totals.redeliveries, nothing()));
    if let Some(deaths) = &totals.worker_deaths {
        let mut causes: Vec<_> = deaths.iter().collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let causes: Vec<_> = causes
            .into_iter()
            .map(|(cause, count)| format!("{} {count}", Excerpt::of(cause)))
            .collect();
        rows.push(row(
            "worker deaths",
            deaths.values().sum(),
            causes.join(", "),
        ));
    }
    rows
}

#[allow(clippy::cast_precision_loss, reason = "rates, for people")]
fn times(totals: &Totals, first: Moment, last: Moment) -> String {
    let (begin, end) = (first.to_string(), last.to_string());
    // The day is printed once if both are equal.
    let end = match (begin.split_once(' '), end.split_once(' ')) {
        (Some((day, _)), Some((same, time))) if day == same => time.to_owned(),
        (_, _) => end,
    };
    let mut text = format!("{begin} to {end} UTC");
    let span = (last.as_millis() - first.as_millis()) as f64 / 1000.0;
    if totals.busy_s < span {
        text.push_str(&format!(
            ", {} of it at work",
            format::seconds(totals.busy_s)
        ));
    } else {
        text.push_str(&format!(", {}", format::seconds(span)));
    }
    if totals.busy_s > 0.0 && totals.stored > 0 {
        text.push_str(&format!(
            ": {} files/s, {}/s",
            format::number(totals.stored as f64 / totals.busy_s),
            format::bytes(totals.bytes as f64 / totals.busy_s)
        ));
    }
    text
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Returns a table of the errors by kind, with one message each, wrapped to `width`.
fn kinds(kinds: &[KindCount], width: Option<u16>) -> Table {
    let mut table = plain_table();
    for kind in kinds {
        let name = match kind.status {
            Some(status) => format!("{} {status}", kind.kind),
            None => kind.kind.to_string(),
        };
        let message = Excerpt::of_name(&kind.message);
        table.add_row([name, kind.urls.to_string(), message]);
    }
    align_right(&mut table, [1]);
    if let Some(width) = width {
        table.set_width(width);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        for column in [0, 1] {
            if let Some(column) = table.column_mut(column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
    table
}

fn hosts(hosts: &[HostCount], kinds_only: bool) -> Table {
    let mut table = plain_table();
    for host in hosts {
        let name = match host.host.as_str() {
            "" => "(none)".to_owned(),
            name => Excerpt::of_name(name),
        };
        let mut row = vec![name, host.failed.to_string()];
        if !kinds_only {
            row.push(format!("of {}", host.urls));
        }
        table.add_row(row);
    }
    align_right(&mut table, [1, 2]);
    table
}

/// Returns a table of the slowest downloads. URLs are not wrapped, so that they can be copied.
fn slowest(slowest: &[Slow]) -> Table {
    let mut table = plain_table();
    for slow in slowest {
        let size = match (slow.outcome, slow.bytes) {
            (Outcome::Stored | Outcome::Unchanged, Some(size)) => bytes(size),
            (Outcome::Failed, _) => "failed".to_owned(),
            (Outcome::Quarantined, _) => "quarantined".to_owned(),
            (Outcome::Fenced, _) => "fenced".to_owned(),
            (Outcome::Stored | Outcome::Unchanged | Outcome::Duplicate, _) => String::new(),
        };
        let url = Excerpt::of_name(&slow.url);
        table.add_row([
            format::seconds(slow.total_ms / 1000.0),
            size,
            format!("{url}\n{}", whereabouts(slow)),
        ]);
    }
    align_right(&mut table, [0, 1]);
    table
}

/// Returns the phases that took a hundredth of the time or more.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn whereabouts(slow: &Slow) -> String {
    let phases = slow.timing_ms.phases().into_iter();
    let parts: Vec<_> = phases
        .map(|(name, millis)| (name.replace('_', " "), millis.as_micros() as f64 / 1e6))
        .filter(|(_, seconds)| *seconds > 0.0 && *seconds * 1e5 >= slow.total_ms)
        .map(|(name, seconds)| format!("{name} {}", format::seconds(seconds)))
        .collect();
    parts.join(", ")
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn bytes(bytes: u64) -> String {
    format::bytes(bytes as f64)
}
