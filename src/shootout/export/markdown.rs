//! The tables as Markdown, for a README or an issue.

use std::fmt::Write as _;

use crate::format;
use crate::shootout::columns::{COLUMNS, ENTRANT};
use crate::shootout::lead::lead;
use crate::shootout::result::{Scenario, Shootout, Standing};
use crate::shootout::terminal::title;

/// Returns the tables. Write errors are ignored: writing to a string never fails.
pub(super) fn text(shootout: &Shootout) -> String {
    let mut text = overview(shootout);
    for scenario in &shootout.scenarios {
        let _ = writeln!(text, "### {}\n", escaped(&title(scenario)));
        let _ = writeln!(text, "{}\n\n{}", escaped(&lead(scenario)), table(scenario));
        for note in &scenario.notes {
            let _ = writeln!(text, "{}\n", escaped(note));
        }
    }
    if let Some(machine) = shootout.about.machine() {
        let _ = writeln!(text, "{machine}\n");
    }
    let _ = writeln!(
        text,
        "`{}`, {}\n",
        shootout.about.command, shootout.about.begun
    );
    for (name, value) in &shootout.about.facts {
        let _ = writeln!(text, "- {}: {}", escaped(name), escaped(value));
    }
    text
}

/// Returns one table of all kinds of work, with the medians of each entrant, or an empty text if
/// there is only one kind.
fn overview(shootout: &Shootout) -> String {
    let [first, _, ..] = shootout.scenarios.as_slice() else {
        return String::new();
    };
    let names: Vec<&str> = first.standings.iter().map(|one| &*one.name).collect();
    let headings: Vec<String> = names.iter().map(|name| escaped(name)).collect();
    let mut text = format!(
        "| wall / CPU | {} |\n| --- |{}\n",
        headings.join(" | "),
        " ---: |".repeat(names.len())
    );
    for scenario in &shootout.scenarios {
        let cells: Vec<String> = names
            .iter()
            .map(|name| {
                let mut standings = scenario.standings.iter();
                let figures = standings.find(|one| one.name == *name)?.measured()?;
                let [wall, cpu] = [figures.wall.median, figures.cpu_s()].map(format::seconds);
                Some(format!("{wall} / {cpu}"))
            })
            .map(|cell| cell.unwrap_or_else(|| "–".to_owned()))
            .collect();
        let name = escaped(&scenario.name);
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text.push('\n');
    text
}

fn table(scenario: &Scenario) -> String {
    let headings: Vec<&str> = COLUMNS.iter().map(|column| column.heading).collect();
    let mut text = format!(
        "| {ENTRANT} | {} |\n| --- |{}\n",
        headings.join(" | "),
        " ---: |".repeat(COLUMNS.len())
    );
    for standing in &scenario.standings {
        let cells = cells(standing, &scenario.standings).join(" | ");
        let _ = writeln!(text, "| {} | {cells} |", escaped(&standing.name));
    }
    text
}

fn cells(standing: &Standing, all: &[Standing]) -> Vec<String> {
    match standing.problem() {
        Some((what, reason)) => {
            let mut cells = vec![format!("{what}: {}", escaped(reason))];
            cells.resize(COLUMNS.len(), String::new());
            cells
        }
        None => COLUMNS
            .iter()
            .map(|column| column.cell(standing, all))
            .collect(),
    }
}

/// Returns `text` as a cell: one line, with escaped bars.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ")
}
