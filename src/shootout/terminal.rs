//! The results on a terminal: a table with bars for each kind of work.
//!
//! It must not compute figures, only show them.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::result::{Figures, Scenario, Shootout, Standing};
use crate::format;

/// The longest bar, in characters.
const BAR: f64 = 24.0;

/// Prints the tables on standard output.
///
/// # Errors
///
/// If it cannot be written.
pub fn print(shootout: &Shootout) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write(&mut out, shootout)?;
    out.flush()
}

fn write(out: &mut impl Write, shootout: &Shootout) -> io::Result<()> {
    for scenario in &shootout.scenarios {
        writeln!(out, "{}", title(scenario))?;
        writeln!(out, "{}", table(&scenario.standings))?;
        for standing in &scenario.standings {
            if let Some((what, reason)) = standing.problem() {
                writeln!(out, "{} {what}: {reason}", standing.name)?;
            }
            if let Some(outliers) = outliers(standing) {
                writeln!(out, "{}", outliers)?;
            }
        }
        for note in &scenario.notes {
            writeln!(out, "{note}")?;
        }
        if !scenario.scan.is_empty() {
            writeln!(out, "\nfiles/s by downloads in flight")?;
            writeln!(out, "{}", scan(scenario))?;
        }
        writeln!(out)?;
    }
    if shootout.interrupted {
        writeln!(out, "interrupted: what is above was complete")?;
    }
    Ok(())
}

/// The name of the work, and what it was.
#[must_use]
pub fn title(scenario: &Scenario) -> String {
    format!("{}: {}", scenario.name, work(scenario))
}

/// What the work was, in a line.
#[must_use]
pub fn work(scenario: &Scenario) -> String {
    let mut text = format!("{} URLs, ", scenario.urls);
    match scenario.latency_s {
        Some(latency) => text.push_str(&format!("latency {}", format::seconds(latency))),
        None => text.push_str("the real network"),
    }
    if scenario.cpu_per_task_s > 0.0 {
        let work = format::seconds(scenario.cpu_per_task_s);
        text.push_str(&format!(", {work} of CPU work on each body"));
    }
    if scenario.rewritten {
        text.push_str(", plain http");
    }
    text.push_str(&format!(", {} in flight", scenario.in_flight));
    text
}

fn table(standings: &[Standing]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "", "median", "± sd", "", "ideal", "files/s", "MiB/s", "CPU", "memory", "switches",
    ]);
    let longest = standings
        .iter()
        .filter_map(|standing| Some(standing.measured()?.wall.median))
        .fold(0.0, f64::max);
    for standing in standings {
        table.add_row(match standing.measured() {
            Some(figures) => row(standing, figures, longest),
            None => vec![
                standing.name.clone(),
                standing.problem().map_or("", |(what, _)| what).to_owned(),
            ],
        });
    }
    for column in [1, 2, 4, 5, 6, 7, 8, 9] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(standing: &Standing, figures: &Figures, longest: f64) -> Vec<String> {
    let cpu = figures.user.median + figures.system.median;
    let mib = figures.bytes_per_s.median / f64::from(1 << 20);
    let memory = standing.memory.map(|memory| memory.bytes);
    vec![
        standing.name.clone(),
        format::seconds(figures.wall.median),
        figures
            .wall
            .deviation
            .map_or_else(String::new, format::seconds),
        bar(figures.wall.median, longest),
        standing.ideal_s.map_or_else(String::new, format::seconds),
        format::number(figures.files_per_s.median),
        format::number(mib),
        format::seconds(cpu),
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        memory.map_or_else(String::new, |bytes| format::bytes(bytes as f64)),
        format::number(figures.voluntary.median + figures.involuntary.median),
    ]
}

/// A bar from zero, to an eighth of a character.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a short bar"
)]
fn bar(value: f64, longest: f64) -> String {
    if longest <= 0.0 {
        return String::new();
    }
    let eighths = (value / longest * BAR * 8.0).round() as usize;
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(parts.get(eighths % 8).copied().unwrap_or_default());
    bar
}

fn outliers(standing: &Standing) -> Option<String> {
    let wall = &standing.measured()?.wall;
    let far: Vec<String> = wall
        .outliers
        .iter()
        .filter_map(|&place| standing.runs.get(place))
        .map(|run| format!("round {} with {}", run.round, format::seconds(run.wall_s)))
        .collect();
    (!far.is_empty()).then(|| format!("{}: outlier in {}", standing.name, far.join(", ")))
}

fn scan(scenario: &Scenario) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let counts = scenario
        .scan
        .iter()
        .map(|point| point.in_flight.to_string());
    table.set_header(std::iter::once(String::new()).chain(counts));
    let Some(first) = scenario.scan.first() else {
        return table;
    };
    for (index, standing) in first.standings.iter().enumerate() {
        let rates = scenario.scan.iter().map(|point| {
            let figures = point.standings.get(index).and_then(Standing::measured);
            figures.map_or_else(|| "–".to_owned(), |f| format::number(f.files_per_s.median))
        });
        table.add_row(std::iter::once(standing.name.clone()).chain(rates));
    }
    for column in 1..=scenario.scan.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_start_at_zero() {
        assert_eq!(bar(3.0, 3.0).chars().count(), 24);
        assert_eq!(bar(1.5, 3.0), "█".repeat(12));
        assert_eq!(bar(0.0, 3.0), "");
        assert_eq!(bar(1.0, 192.0), "▏");
        assert_eq!(bar(1.0, 0.0), "");
    }
}
