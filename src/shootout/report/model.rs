//! The contents of the page, ready for the template.
//!
//! This module selects and formats. It must not compute figures.

use serde::Serialize;

use super::charts::{self, Chart};
use super::curve::{self, Curve};
use super::lanes::{self, Timelines};
use crate::shootout::columns::{COLUMNS, Column, ENTRANT};
use crate::shootout::lead::lead;
use crate::shootout::result::{About, Family, Scenario, Shootout, Standing};
use crate::shootout::terminal::work;

/// The whole page.
#[derive(Clone, Debug, Serialize)]
pub struct Page<'a> {
    /// How it was measured.
    pub about: &'a About,
    /// The state of the machine before the start, and whether it was busy.
    pub machine: Option<(String, bool)>,
    /// One section for each kind of work.
    pub sections: Vec<Section<'a>>,
    /// Whether the shootout was ended early.
    pub interrupted: bool,
    /// The entrants.
    pub entrants: Vec<Entrant<'a>>,
    /// The heading above names in the table, and the other columns.
    pub columns: (&'static str, [Column; COLUMNS.len()]),
}

/// An entrant in the list of commands.
#[derive(Clone, Debug, Serialize)]
pub struct Entrant<'a> {
    /// Name.
    pub name: &'a str,
    /// A description in one line.
    pub summary: &'a str,
    /// The command.
    pub command: &'a str,
}

/// One kind of work.
#[derive(Clone, Debug, Serialize)]
pub struct Section<'a> {
    /// Name.
    pub name: &'a str,
    /// A description of the work.
    pub title: String,
    /// The result in a few sentences.
    pub lead: String,
    /// The colours: class and name of each family that takes part.
    pub families: Vec<(&'static str, &'static str)>,
    /// The chart of wall time, if there is data.
    pub speed: Option<Chart>,
    /// The charts of CPU time and memory, if there is data.
    pub resources: Vec<Chart>,
    /// The timelines, if any entrant has one.
    pub timelines: Option<Timelines>,
    /// The scaling curve.
    pub curve: Option<Curve>,
    pub rows: Vec<TableRow>,
    /// The entrants without a time: name, problem, reason.
    pub problems: Vec<(&'a str, &'static str, &'a str)>,
    /// Special conditions of this work.
    pub notes: &'a [String],
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct TableRow {
    pub name: String,
    /// The class of its colour.
    pub family: &'static str,
    /// The cells, in the order of the headings; none without a time.
    pub cells: Vec<String>,
    /// The reason why there is no time.
    pub problem: Option<String>,
}

impl<'a> Page<'a> {
    /// Returns the contents of the page for `shootout`.
    #[must_use]
    pub fn of(shootout: &'a Shootout) -> Self {
        let about = &shootout.about;
        let first = shootout.scenarios.first();
        let standings = first.map_or(&[][..], |scenario| &scenario.standings);
        Self {
            about,
            machine: about.machine().map(|told| (told, about.busy())),
            sections: shootout.scenarios.iter().map(Section::of).collect(),
            interrupted: shootout.interrupted,
            entrants: standings
                .iter()
                .filter(|standing| !standing.command.is_empty())
                .map(|standing| Entrant {
                    name: &standing.name,
                    summary: &standing.summary,
                    command: &standing.command,
                })
                .collect(),
            columns: (ENTRANT, COLUMNS),
        }
    }
}

impl<'a> Section<'a> {
    fn of(scenario: &'a Scenario) -> Self {
        let standings = &scenario.standings;
        let problems = standings.iter().filter_map(|standing| {
            let (what, reason) = standing.problem()?;
            Some((standing.name.as_str(), what, reason))
        });
        let takes_part = |family: &Family| {
            let of_family = |standing: &Standing| standing.family == *family;
            standings.iter().any(of_family)
        };
        let families = Family::ALL.into_iter().filter(takes_part);
        Self {
            name: &scenario.name,
            title: work(scenario),
            lead: lead(scenario),
            families: families
                .map(|family| (family.key(), family.name()))
                .collect(),
            speed: charts::speed(standings),
            resources: [charts::cpu(standings), charts::memory(standings)]
                .into_iter()
                .flatten()
                .collect(),
            timelines: lanes::timelines(standings),
            curve: curve::curve(scenario),
            rows: standings
                .iter()
                .map(|standing| table_row(standing, standings))
                .collect(),
            problems: problems.collect(),
            notes: &scenario.notes,
        }
    }
}

fn table_row(standing: &Standing, all: &[Standing]) -> TableRow {
    let cells = COLUMNS.iter().map(|column| column.cell(standing, all));
    let problem = standing.problem();
    TableRow {
        name: standing.name.clone(),
        family: standing.family.key(),
        cells: match problem {
            Some(_) => Vec::new(),
            None => cells.collect(),
        },
        problem: problem.map(|(what, reason)| format!("{what}: {reason}")),
    }
}
