//! What is on the page, ready for the template.
//!
//! It chooses and words; it must not compute figures.

use serde::Serialize;

use super::charts::{self, Chart, colour};
use super::curve::{self, Curve};
use super::lanes::{self, Strip};
use super::scale::Tick;
use crate::format;
use crate::shootout::result::{About, Scenario, Shootout, Standing};
use crate::shootout::statistics::Statistics;
use crate::shootout::terminal::work;

/// The whole page.
#[derive(Clone, Debug, Serialize)]
pub struct Page<'a> {
    /// How it was measured.
    pub about: &'a About,
    /// One for each kind of work.
    pub sections: Vec<Section<'a>>,
    /// It was ended early.
    pub interrupted: bool,
    /// Commands by name, of those that have one.
    pub commands: Vec<(&'a str, &'a str)>,
    /// What each entrant is: name, colour, summary.
    pub legend: Vec<(&'a str, String, &'a str)>,
}

/// One kind of work.
#[derive(Clone, Debug, Serialize)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the work was.
    pub title: String,
    /// What came of it, in a sentence.
    pub lead: Option<String>,
    /// Bar charts, those with data.
    pub speed: Option<Chart>,
    /// Likewise.
    pub resources: Vec<Chart>,
    /// Timelines, of those who have one.
    pub strips: Vec<Strip>,
    /// Marks below the timelines.
    pub ticks: Vec<Tick>,
    /// The scaling curve.
    pub curve: Option<Curve>,
    /// The table.
    pub rows: Vec<TableRow>,
    /// Who has no time: name, what, why.
    pub problems: Vec<(&'a str, &'static str, &'a str)>,
    /// What was particular.
    pub notes: &'a [String],
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct TableRow {
    /// Who.
    pub name: String,
    /// The class of its colour.
    pub colour: String,
    /// The cells, in the order of the head; none if there is no time.
    pub cells: Vec<String>,
    /// Why there is no time.
    pub problem: Option<String>,
}

impl<'a> Page<'a> {
    /// Of what was found.
    #[must_use]
    pub fn of(shootout: &'a Shootout) -> Self {
        let first = shootout.scenarios.first();
        let standings = first.map_or(&[][..], |scenario| &scenario.standings);
        Self {
            about: &shootout.about,
            sections: shootout.scenarios.iter().map(Section::of).collect(),
            interrupted: shootout.interrupted,
            commands: standings
                .iter()
                .filter(|standing| !standing.command.is_empty())
                .map(|standing| (standing.name.as_str(), standing.command.as_str()))
                .collect(),
            legend: standings
                .iter()
                .filter(|standing| !standing.summary.is_empty())
                .map(|standing| (&*standing.name, colour(standing.place), &*standing.summary))
                .collect(),
        }
    }
}

impl<'a> Section<'a> {
    fn of(scenario: &'a Scenario) -> Self {
        let standings = &scenario.standings;
        let (strips, ticks) = lanes::strips(standings);
        let problems = standings.iter().filter_map(|standing| {
            let (what, reason) = standing.problem()?;
            Some((standing.name.as_str(), what, reason))
        });
        Self {
            name: &scenario.name,
            title: work(scenario),
            lead: lead(standings),
            speed: charts::speed(standings),
            resources: [charts::cpu(standings), charts::memory(standings)]
                .into_iter()
                .flatten()
                .collect(),
            strips,
            ticks,
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

/// The fastest and the slowest, if they are two, and whom the spread does not tell from the
/// fastest.
fn lead(standings: &[Standing]) -> Option<String> {
    let mut timed: Vec<(&str, &Statistics)> = standings
        .iter()
        .filter_map(|standing| Some((&*standing.name, &standing.measured()?.wall)))
        .collect();
    timed.sort_by(|one, other| one.1.median.total_cmp(&other.1.median));
    let (&(fast, least), &(slow, most)) = (timed.first()?, timed.last()?);
    if timed.len() < 2 {
        return None;
    }
    let alike: Vec<&str> = timed
        .iter()
        .skip(1)
        .filter(|(_, wall)| wall.min <= least.max)
        .map(|(name, _)| *name)
        .collect();
    let alike = match alike.is_empty() {
        true => String::new(),
        false => format!(" (the rounds of {} overlap with it)", alike.join(", ")),
    };
    Some(format!(
        "Fastest: {fast}, {}{alike}. Slowest: {slow}, {}, {} as long.",
        format::seconds(least.median),
        format::seconds(most.median),
        format::factor(least.median, most.median)
    ))
}

fn table_row(standing: &Standing, standings: &[Standing]) -> TableRow {
    TableRow {
        name: standing.name.clone(),
        colour: colour(standing.place),
        cells: cells(standing, standings).unwrap_or_default(),
        problem: standing
            .problem()
            .map(|(what, reason)| format!("{what}: {reason}")),
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn cells(standing: &Standing, standings: &[Standing]) -> Option<Vec<String>> {
    let figures = standing.measured()?;
    let wall = &figures.wall;
    let first = standings.iter().find_map(Standing::measured)?;
    let ideal = standing.ideal_s;
    Some(vec![
        format::seconds(wall.median),
        format::seconds(wall.mean),
        wall.deviation.map(format::seconds).unwrap_or_default(),
        format::seconds(wall.min),
        format::seconds(wall.max),
        wall.outliers.len().to_string(),
        format::factor(wall.median, first.wall.median),
        ideal.map(format::seconds).unwrap_or_default(),
        ideal
            .map(|ideal| format!("{:+.1} %", (wall.median / ideal - 1.0) * 100.0))
            .filter(|_| ideal.is_some_and(|ideal| ideal > 0.0))
            .unwrap_or_default(),
        format::number(figures.files_per_s.median),
        format::number(figures.bytes_per_s.median / f64::from(1 << 20)),
        format::seconds(figures.user.median),
        format::seconds(figures.system.median),
        standing
            .memory
            .map(|memory| format::bytes(memory.bytes as f64))
            .unwrap_or_default(),
        standing
            .memory
            .map(|memory| format::bytes(memory.largest as f64))
            .unwrap_or_default(),
        format::number(figures.voluntary.median),
        format::number(figures.involuntary.median),
        figures
            .origin_load
            .map(|load| format!("{:.0} %", load * 100.0))
            .unwrap_or_default(),
    ])
}
