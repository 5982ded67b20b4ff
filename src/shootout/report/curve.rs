//! The scaling curve: files a second by downloads in flight.
//!
//! This module computes both axes, in the units of a fixed drawing that scrolls on a small screen.

use serde::Serialize;

use crate::format;
use crate::page::scale::{Scale, Tick};
use crate::shootout::result::{ScanPoint, Scenario, Standing};

/// The size of the drawing in its own units, and the room for labels around the plot.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// Room between a line's end and its label.
const GAP: f64 = 44.0;

/// Room for a character of a label: more than most fonts need.
const CHARACTER: f64 = 7.6;

/// Longest label in characters. Longer ones are cut.
const LABEL: usize = 30;

/// Least distance between two labels.
const LINE: f64 = 15.0;

/// The drawing of the curve.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Its size.
    pub size: (f64, f64),
    /// The plot: left, top, right, bottom.
    pub plot: (f64, f64, f64, f64),
    /// Marks on the left, with `at` from the top of the drawing.
    pub rows: Vec<Tick>,
    /// Marks along the bottom, with `at` from the left of the drawing.
    pub columns: Vec<Tick>,
    /// One line for each entrant.
    pub lines: Vec<Line>,
    /// The bound, if it is the same for all entrants.
    pub ideal: Option<Line>,
}

/// The line of one entrant.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub name: String,
    /// The class of its colour.
    pub family: &'static str,
    /// The points: position, and a description in words.
    pub points: Vec<(f64, f64, String)>,
    /// The points for `polyline`.
    pub path: String,
    /// Text of its label.
    pub text: String,
    /// Position of the label, from the top.
    pub label: f64,
}

/// Returns the curve, if there are at least two numbers of downloads in flight.
#[must_use]
pub fn curve(scenario: &Scenario) -> Option<Curve> {
    let scan = &scenario.scan;
    let (first, last) = (scan.first()?, scan.last()?);
    if scan.len() < 2 {
        return None;
    }
    let rates = scan.iter().flat_map(|point| &point.standings);
    let rates = rates.filter_map(|standing| Some(standing.measured()?.files_per_s.median));
    let bound = bound(scenario);
    let scale = Scale::over(rates.chain(bound.iter().flatten().map(|(_, rate)| *rate)));
    let (low, high) = (log(first.in_flight), log(last.in_flight));
    let longest = first
        .standings
        .iter()
        .map(|one| label(&one.name).chars().count());
    #[allow(clippy::cast_precision_loss, reason = "a few characters")]
    let right = WIDTH - GAP - longest.max().unwrap_or(0) as f64 * CHARACTER;
    let x = |n: u16| round(LEFT + (log(n) - low) / (high - low) * (right - LEFT));
    let y = |rate: f64| round(HEIGHT - BOTTOM - scale.at(rate) / 100.0 * (HEIGHT - BOTTOM - TOP));
    let mut lines: Vec<Line> = first
        .standings
        .iter()
        .enumerate()
        .map(|(index, standing)| {
            let points =
                points(scan, index).map(|(n, rate)| (x(n), y(rate), words(standing, n, rate)));
            line(&standing.name, standing.family.key(), points.collect())
        })
        .filter(|line| line.points.len() > 1)
        .collect();
    let ideal = bound.map(|bound| {
        let points = bound
            .into_iter()
            .map(|(n, rate)| (x(n), y(rate), String::new()));
        line("ideal", "ideal", points.collect())
    });
    spread(&mut lines);
    let rows = scale.ticks(5, 1.0, format::number).into_iter();
    (!lines.is_empty()).then_some(Curve {
        size: (WIDTH, HEIGHT),
        plot: (LEFT, TOP, right, HEIGHT - BOTTOM),
        rows: rows
            .map(|tick| Tick {
                at: round(HEIGHT - BOTTOM - tick.at / 100.0 * (HEIGHT - BOTTOM - TOP)),
                ..tick
            })
            .collect(),
        columns: scan
            .iter()
            .map(|point| Tick {
                at: x(point.in_flight),
                label: point.in_flight.to_string(),
            })
            .collect(),
        lines,
        ideal,
    })
}

fn points(scan: &[ScanPoint], index: usize) -> impl Iterator<Item = (u16, f64)> {
    scan.iter().filter_map(move |point| {
        let figures = point.standings.get(index)?.measured()?;
        Some((point.in_flight, figures.files_per_s.median))
    })
}

/// Returns the highest possible rate at each point, if it is the same for all entrants.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn bound(scenario: &Scenario) -> Option<Vec<(u16, f64)>> {
    let at = |point: &ScanPoint| {
        let mut ideals = point
            .standings
            .iter()
            .filter_map(|standing| standing.ideal_s);
        let first = ideals.next().filter(|ideal| *ideal > 0.0)?;
        let same = ideals.all(|ideal| (ideal - first).abs() < 1e-9);
        same.then_some((point.in_flight, scenario.urls as f64 / first))
    };
    scenario.scan.iter().map(at).collect()
}

fn line(name: &str, family: &'static str, points: Vec<(f64, f64, String)>) -> Line {
    let path: Vec<String> = points.iter().map(|(x, y, _)| format!("{x},{y}")).collect();
    Line {
        name: name.to_owned(),
        family,
        text: label(name),
        label: points.last().map_or(0.0, |(_, y, _)| *y),
        path: path.join(" "),
        points,
    }
}

fn label(name: &str) -> String {
    match name.char_indices().nth(LABEL) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// Moves overlapping labels down from the top, as little as possible, then up from the bottom.
fn spread(lines: &mut [Line]) {
    let mut order: Vec<&mut Line> = lines.iter_mut().collect();
    order.sort_by(|one, other| one.label.total_cmp(&other.label));
    let mut free = TOP;
    for line in &mut order {
        line.label = line.label.max(free);
        free = line.label + LINE;
    }
    let mut free = HEIGHT - BOTTOM;
    for line in order.iter_mut().rev() {
        line.label = line.label.min(free);
        free = line.label - LINE;
    }
}

fn words(standing: &Standing, in_flight: u16, rate: f64) -> String {
    format!(
        "{} with {in_flight} in flight: {} files/s",
        standing.name,
        format::number(rate)
    )
}

fn log(n: u16) -> f64 {
    f64::from(n.max(1)).log2()
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
