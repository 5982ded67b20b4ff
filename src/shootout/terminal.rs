//! The results on a terminal: a table with bars for each kind of work.
//!
//! This module must not compute figures. It only shows them.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use terminal_size::{Width, terminal_size_of};

use super::columns::{COLUMNS, Column, ENTRANT};
use super::lead::lead;
use super::result::{Scenario, Shootout, Standing};
use crate::format;

/// The longest bar, in characters.
const BAR: f64 = 24.0;

/// The bars are the last to be left out except for the median, see [`Column::rank`].
const BAR_RANK: u8 = 10;

/// Prints the tables on standard output, at most as wide as its terminal.
///
/// # Errors
///
/// Fails if standard output cannot be written.
pub fn print(shootout: &Shootout) -> io::Result<()> {
    let width = terminal_size_of(io::stdout());
    let width = width.map_or(usize::MAX, |(Width(width), _)| width.into());
    let mut out = io::stdout().lock();
    write(&mut out, shootout, width)?;
    out.flush()
}

/// Writes the tables. Leaves out columns so that lines have at most `width` characters, if
/// possible.
///
/// # Errors
///
/// Fails if `out` cannot be written.
pub fn write(out: &mut impl Write, shootout: &Shootout, width: usize) -> io::Result<()> {
    for scenario in &shootout.scenarios {
        write_prose(out, &title(scenario), width)?;
        write_prose(out, &lead(scenario), width)?;
        writeln!(out)?;
        write_table(out, &table(scenario, width))?;
        for standing in &scenario.standings {
            if let Some((what, reason)) = standing.problem() {
                write_prose(out, &format!("{} {what}: {reason}", standing.name), width)?;
            }
            if let Some(outliers) = outliers(standing) {
                write_prose(out, &outliers, width)?;
            }
        }
        for note in &scenario.notes {
            write_prose(out, note, width)?;
        }
        if !scenario.scan.is_empty() {
            writeln!(out, "\nfiles/s by downloads in flight")?;
            write_table(out, &scan(scenario))?;
        }
        writeln!(out)?;
    }
    if let Some(machine) = shootout.about.machine() {
        write_prose(out, &machine, width)?;
    }
    if shootout.interrupted {
        let told = "interrupted: the figures are of the rounds that were complete";
        write_prose(out, told, width)?;
    }
    Ok(())
}

/// Writes text, with line breaks between words.
fn write_prose(out: &mut impl Write, text: &str, width: usize) -> io::Result<()> {
    let mut table = plain();
    table.add_row([text]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 0));
    }
    // A width above the maximum of a table is treated as unlimited.
    if let Ok(width) = u16::try_from(width) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    write_table(out, &table)
}

/// Writes a table without the spaces at the end of each line.
fn write_table(out: &mut impl Write, table: &Table) -> io::Result<()> {
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Returns the name of the work and its description.
#[must_use]
pub fn title(scenario: &Scenario) -> String {
    format!("{}: {}", scenario.name, work(scenario))
}

/// Describes the work in one line.
#[must_use]
pub fn work(scenario: &Scenario) -> String {
    let mut parts = vec![
        format::count(scenario.urls, "URL"),
        match scenario.latency_s {
            Some(latency) => format!("latency {}", format::seconds(latency)),
            None => "the real network".to_owned(),
        },
    ];
    if scenario.cpu_per_task_s > 0.0 {
        let work = format::seconds(scenario.cpu_per_task_s);
        parts.push(format!("{work} of CPU work on each body"));
    }
    if scenario.rewritten {
        let scheme = if scenario.tls { "TLS" } else { "plain http" };
        parts.push(scheme.to_owned());
    }
    parts.push(format!("{} in flight", scenario.in_flight));
    parts.join(", ")
}

/// A column of the table: figures, or the bars.
enum Shown<'a> {
    Figures(&'a Column),
    Bars,
}

impl Shown<'_> {
    const fn rank(&self) -> u8 {
        match self {
            Self::Figures(column) => column.rank,
            Self::Bars => BAR_RANK,
        }
    }
}

/// Returns the table, without the columns that do not fit.
fn table(scenario: &Scenario, width: usize) -> Table {
    let mut columns: Vec<Shown<'_>> = COLUMNS.iter().map(Shown::Figures).collect();
    columns.insert(1, Shown::Bars);
    loop {
        let table = table_of(scenario, &columns);
        let fits = table
            .lines()
            .all(|line| line.trim_end().chars().count() <= width);
        if fits || columns.len() < 2 {
            return table;
        }
        let least = columns.iter().map(Shown::rank).min();
        columns.retain(|column| Some(column.rank()) != least);
    }
}

fn table_of(scenario: &Scenario, columns: &[Shown<'_>]) -> Table {
    let mut table = plain();
    let headings = columns.iter().map(|column| match column {
        Shown::Figures(column) => column.heading,
        Shown::Bars => "",
    });
    table.set_header(std::iter::once(ENTRANT).chain(headings));
    let medians = scenario.standings.iter().filter_map(median);
    let longest = medians.fold(0.0, f64::max);
    for standing in &scenario.standings {
        let mut row = vec![standing.name.clone()];
        match standing.problem() {
            Some((what, _)) => row.push(what.to_owned()),
            None => row.extend(columns.iter().map(|column| match column {
                Shown::Figures(column) => column.cell(standing, &scenario.standings),
                Shown::Bars => bar(median(standing).unwrap_or(0.0), longest),
            })),
        }
        table.add_row(row);
    }
    for (place, column) in columns.iter().enumerate() {
        if let (Shown::Figures(_), Some(cells)) = (column, table.column_mut(place + 1)) {
            cells.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn median(standing: &Standing) -> Option<f64> {
    Some(standing.measured()?.wall.median)
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Returns a bar from zero, with a precision of an eighth of a character.
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
    let mut table = plain();
    let counts = scenario
        .scan
        .iter()
        .map(|point| point.in_flight.to_string());
    table.set_header(std::iter::once(ENTRANT.to_owned()).chain(counts));
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
