//! The summary table at the end of a run.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use protocol::FailureKind;
use terminal_size::{Width, terminal_size_of};

use crate::dispatch::Counts;
use crate::format::{self, counts_within, duration};
use crate::input::Excerpt;
use crate::run::stats::Stats;

/// Facts for the summary beyond the counts.
#[derive(Debug)]
pub struct Close<'a> {
    /// The counts of the core.
    pub counts: &'a Counts,
    /// How long the run took.
    pub elapsed: Duration,
    /// Tasks left for the next run; `None` if the input was not read to its end.
    pub left: Option<u64>,
    /// The output folder, as the user named it.
    pub output: &'a Path,
    /// Where the run log is.
    pub results: &'a Path,
    /// The faults that were injected, if any.
    pub injected: Option<&'a str>,
}

/// Prints the summary on standard output.
///
/// # Errors
///
/// Fails if it cannot be written.
pub fn print(stats: &Stats, close: &Close<'_>) -> io::Result<()> {
    let width = terminal_size_of(io::stdout()).map(|(Width(width), _)| width);
    let mut out = io::stdout().lock();
    match nothing_to_do(stats, close) {
        Some(text) => writeln!(out, "{text}")?,
        None => {
            let rows = rows(stats, close).into_iter().map(Row::cells);
            writeln!(out, "{}", counts_within(rows.collect(), width))?;
        }
    }
    if let Some(injected) = close.injected {
        writeln!(out, "{injected}")?;
    }
    writeln!(out, "run log: {}", close.results.display())
}

/// Prints on standard error what a run would do if nothing that it checks changed.
///
/// # Errors
///
/// Fails if it cannot be written.
pub fn print_plan(stats: &Stats) -> io::Result<()> {
    let mut rows = vec![Row::new("to download", stats.offered - stats.unchanged, "")];
    if stats.unchanged > 0 {
        let note = "downloaded if they have changed (--refresh)";
        rows.push(Row::new("to check", stats.unchanged, note));
    }
    rows.extend(of_lists(stats));
    let mut out = io::stderr().lock();
    let width = terminal_size_of(io::stderr()).map(|(Width(width), _)| width);
    let rows = rows.into_iter().map(Row::cells).collect();
    writeln!(out, "{}", counts_within(rows, width))?;
    writeln!(out, "dry run: nothing is downloaded, and nothing written")
}

/// Prints where each setting that is not the default comes from, one line each.
///
/// # Errors
///
/// Fails if standard error cannot be written to.
pub fn print_settings(origins: &[[String; 3]], files: &[String]) -> io::Result<()> {
    let mut out = io::stderr().lock();
    let width = |column: usize| {
        let cells = origins.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let (names, values) = (width(0), width(1).min(40));
    for [name, value, origin] in origins {
        writeln!(out, "{name:names$}  {value:values$}  ({origin})")?;
    }
    match files {
        [] => Ok(()),
        files => writeln!(out, "config files: {}", files.join(", ")),
    }
}

/// One line of a summary.
struct Row {
    name: &'static str,
    count: String,
    note: String,
}

impl Row {
    fn new(name: &'static str, count: impl ToString, note: impl Into<String>) -> Self {
        Self {
            name,
            count: count.to_string(),
            note: note.into(),
        }
    }

    fn cells(self) -> [String; 3] {
        [self.name.to_owned(), self.count, self.note]
    }
}

/// Returns the message for a run that had nothing to do.
fn nothing_to_do(stats: &Stats, close: &Close<'_>) -> Option<String> {
    let is_idle = stats.offered == 0 && close.left == Some(0);
    let parts: Vec<String> = of_lists(stats)
        .map(|row| match row.name {
            "unusable lines" if row.count == "1" => "1 unusable line".to_owned(),
            "duplicates" if row.count == "1" => "1 duplicate".to_owned(),
            name if row.note.starts_with("--") => format!("{} {name} ({})", row.count, row.note),
            name => format!("{} {name}", row.count),
        })
        .collect();
    (is_idle && !parts.is_empty()).then(|| format!("nothing to do: {}", parts.join(", ")))
}

fn rows(stats: &Stats, close: &Close<'_>) -> Vec<Row> {
    let failed: Vec<_> = stats
        .failed
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let mut rows = vec![
        Row::new("stored", stats.stored, stored(stats, close)),
        Row::new("failed", stats.failures(), failed.join(", ")),
    ];
    if stats.quarantined > 0 {
        rows.push(Row::new("quarantined", stats.quarantined, ""));
    }
    if stats.fenced > 0 {
        let why = "not put in place: their partitions were lost to other members";
        rows.push(Row::new("fenced", stats.fenced, why));
    }
    rows.extend(forbidden(stats));
    if stats.unchanged > 0 {
        let current = "in place and current";
        rows.push(Row::new("unchanged", stats.unchanged, current));
    }
    rows.extend(of_lists(stats));
    match close.left {
        Some(0) => {}
        Some(left) => rows.push(Row::new("left", left, LEFT)),
        None => rows.push(Row::new("left", "?", LEFT)),
    }
    for (name, count) in [
        ("retries", close.counts.retries),
        ("redeliveries", close.counts.redeliveries),
    ] {
        if count > 0 {
            rows.push(Row::new(name, count, ""));
        }
    }
    if close.counts.deaths > 0 {
        let note = "see deaths.jsonl beside the run log";
        rows.push(Row::new("worker deaths", close.counts.deaths, note));
    }
    rows
}

/// Returns the size of the stored files, the time that they took, and the name of a single file.
fn stored(stats: &Stats, close: &Close<'_>) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let bytes = format::bytes(stats.bytes as f64);
    let time = elapsed(close.elapsed);
    match &stats.first_stored {
        Some(path) if stats.stored == 1 => {
            let path = close.output.join(path).display().to_string();
            format!("{}, {bytes} in {time}", Excerpt::of_name(&path))
        }
        Some(_) | None => {
            let rate = format::number(stats.rate(close.elapsed));
            format!("{bytes} in {time}, {rate} files/s")
        }
    }
}

/// Returns the row for URLs that robots.txt forbade, if any.
fn forbidden(stats: &Stats) -> Option<Row> {
    let of = |kind| stats.failed.get(&kind).copied().unwrap_or_default();
    let unreachable = of(FailureKind::RobotsUnreachable);
    let count = of(FailureKind::Robots) + unreachable;
    let why = match unreachable {
        0 => "of the failed, by robots.txt",
        _ => "of the failed, by robots.txt, or because it could not be read",
    };
    (count > 0).then(|| Row::new("forbidden", count, why))
}

/// Returns the rows about the lists that are not about tasks of this run.
fn of_lists(stats: &Stats) -> impl Iterator<Item = Row> {
    [
        ("stored earlier", stats.stored_earlier, ""),
        (
            "quarantined earlier",
            stats.quarantined_earlier,
            "--retry-quarantined tries them again",
        ),
        ("duplicates", stats.duplicates, "stored once"),
        ("unusable lines", stats.unusable, "see the messages above"),
    ]
    .into_iter()
    .filter(|(_, count, _)| *count > 0)
    .map(|(name, count, note)| Row::new(name, count, note))
}

const LEFT: &str = "the same command continues; partial files are kept";

/// Shows tenths of a second for short times.
fn elapsed(time: Duration) -> String {
    if time < Duration::from_secs(60) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        duration(time)
    }
}
