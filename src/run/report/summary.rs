//! The table at the end.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::Table;
use indicatif::{HumanBytes, HumanDuration};

use protocol::FailureKind;

use crate::dispatch::Counts;
use crate::format::counts;
use crate::run::tally::Tally;

/// What the summary tells beyond the tally.
#[derive(Debug)]
pub struct Close<'a> {
    /// Of the core.
    pub counts: &'a Counts,
    /// How long the run took.
    pub elapsed: Duration,
    /// Tasks left for the next run; `None` when the input was not read to its end, so that
    /// nobody knows.
    pub left: Option<u64>,
    /// Where the run log is.
    pub results: &'a Path,
    /// What was injected, if anything was.
    pub injected: Option<&'a str>,
}

/// Prints the summary on standard output.
///
/// # Errors
///
/// If it cannot be written.
pub fn print(tally: &Tally, close: &Close<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", table(tally, close))?;
    if let Some(injected) = close.injected {
        writeln!(out, "{injected}")?;
    }
    writeln!(out, "run log: {}", close.results.display())
}

/// Prints what a run would do on standard error, as if nothing that it checks had changed.
///
/// # Errors
///
/// If it cannot be written.
pub fn print_plan(tally: &Tally) -> io::Result<()> {
    let mut rows = vec![Row::new("to download", tally.offered - tally.unchanged, "")];
    if tally.unchanged > 0 {
        let note = "downloaded if they have changed (--refresh)";
        rows.push(Row::new("to check", tally.unchanged, note));
    }
    rows.extend(of_lists(tally));
    let mut out = io::stderr().lock();
    writeln!(
        out,
        "{}",
        counts(rows.into_iter().map(Row::cells)).trim_fmt()
    )?;
    writeln!(out, "dry run: nothing is downloaded, and nothing written")
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

fn table(tally: &Tally, close: &Close<'_>) -> Table {
    let rate = tally.rate(close.elapsed);
    let files = format!(
        "{} in {}, {rate:.1} files/s",
        HumanBytes(tally.bytes),
        elapsed(close.elapsed)
    );
    let failed: Vec<_> = tally
        .failed
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let mut rows = vec![
        Row::new("stored", tally.stored, files),
        Row::new("failed", tally.failures(), failed.join(", ")),
        Row::new("quarantined", tally.quarantined, ""),
    ];
    rows.extend(forbidden(tally));
    if tally.unchanged > 0 {
        let current = "in place, and current";
        rows.push(Row::new("unchanged", tally.unchanged, current));
    }
    rows.extend(of_lists(tally));
    if close.counts.retries > 0 {
        rows.push(Row::new("retries", close.counts.retries, ""));
    }
    match close.left {
        Some(0) => {}
        Some(left) => rows.push(Row::new("left", left, LEFT)),
        None => rows.push(Row::new("left", "?", LEFT)),
    }
    let deaths = format!(
        "{} workers started{}",
        close.counts.spawned,
        if close.counts.deaths > 0 {
            "; see deaths.jsonl beside the run log"
        } else {
            ""
        }
    );
    rows.push(Row::new("redeliveries", close.counts.redeliveries, ""));
    rows.push(Row::new("worker deaths", close.counts.deaths, deaths));
    counts(rows.into_iter().map(Row::cells))
}

/// What robots.txt forbade, if anything.
fn forbidden(tally: &Tally) -> Option<Row> {
    let of = |kind| tally.failed.get(&kind).copied().unwrap_or_default();
    let unreachable = of(FailureKind::RobotsUnreachable);
    let count = of(FailureKind::Robots) + unreachable;
    let why = match unreachable {
        0 => "of the failed, by robots.txt",
        _ => "of the failed, by robots.txt, or because it is out of reach",
    };
    (count > 0).then(|| Row::new("forbidden", count, why))
}

/// What there is to say of the lists, beyond what is to be done.
fn of_lists(tally: &Tally) -> impl Iterator<Item = Row> {
    [
        ("stored earlier", tally.stored_earlier, ""),
        (
            "quarantined earlier",
            tally.quarantined_earlier,
            "--retry-quarantined takes them up again",
        ),
        ("duplicates", tally.duplicates, "stored once"),
        ("unusable lines", tally.unusable, "see the messages above"),
    ]
    .into_iter()
    .filter(|(_, count, _)| *count > 0)
    .map(|(name, count, note)| Row::new(name, count, note))
}

const LEFT: &str = "run the same command again to finish";

/// Tenths of seconds while they matter.
fn elapsed(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        HumanDuration(duration).to_string()
    }
}
