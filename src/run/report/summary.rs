//! The table at the end.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use indicatif::{HumanBytes, HumanDuration};

use crate::dispatch::Counts;
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

fn table(tally: &Tally, close: &Close<'_>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |name: &str, count: String, note: String| {
        table.add_row([name.to_owned(), count, note]);
    };
    let rate = tally.rate(close.elapsed);
    row(
        "stored",
        tally.stored.to_string(),
        format!(
            "{} in {}, {rate:.1} files/s",
            HumanBytes(tally.bytes),
            elapsed(close.elapsed)
        ),
    );
    let failed: Vec<_> = tally
        .failed
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    row("failed", tally.failures().to_string(), failed.join(", "));
    row("quarantined", tally.quarantined.to_string(), String::new());
    let optional = [
        ("unchanged", tally.unchanged, "in place, and current"),
        ("stored earlier", tally.stored_earlier, ""),
        (
            "quarantined earlier",
            tally.quarantined_earlier,
            "--retry-quarantined takes them up again",
        ),
        ("duplicates", tally.duplicates, "stored once"),
        ("unusable lines", tally.unusable, "see the messages above"),
        ("retries", close.counts.retries, ""),
    ];
    for (name, count, note) in optional {
        if count > 0 {
            row(name, count.to_string(), note.to_owned());
        }
    }
    match close.left {
        Some(0) => {}
        Some(left) => row("left", left.to_string(), LEFT.to_owned()),
        None => row("left", "?".to_owned(), LEFT.to_owned()),
    }
    row(
        "redeliveries",
        close.counts.redeliveries.to_string(),
        String::new(),
    );
    row(
        "worker deaths",
        close.counts.deaths.to_string(),
        format!(
            "{} workers started{}",
            close.counts.spawned,
            if close.counts.deaths > 0 {
                "; see deaths.jsonl beside the run log"
            } else {
                ""
            }
        ),
    );
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
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
