//! Bar charts: time, CPU, memory. All bars start at zero.
//!
//! It computes where things are, in percent of the width, so that a chart fits any screen. Text
//! and markup are the template's.

use serde::Serialize;

use super::scale::{Scale, Tick};
use crate::format;
use crate::shootout::result::{Figures, Standing};

/// A chart with a row for each entrant that has data.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// For its class in the markup.
    pub kind: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// How to read it.
    pub legend: Vec<(&'static str, &'static str)>,
    /// Rows from top to bottom.
    pub rows: Vec<Row>,
    /// Marks along the bottom.
    pub ticks: Vec<Tick>,
}

/// One entrant.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who.
    pub name: String,
    /// The class of its colour.
    pub colour: String,
    /// What is drawn as bars, one after another from zero.
    pub bars: Vec<Bar>,
    /// From the least to the greatest value.
    pub range: Option<(f64, f64)>,
    /// Single runs: where, and whether far from the others.
    pub dots: Vec<(f64, bool)>,
    /// A mark across the row.
    pub mark: Option<f64>,
    /// The figure.
    pub value: String,
    /// What belongs to it.
    pub note: String,
    /// All of it in words.
    pub words: String,
}

/// A part of a bar.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// Where it starts.
    pub at: f64,
    /// How long it is.
    pub length: f64,
    /// The class of its look.
    pub part: &'static str,
}

/// The class of an entrant's colour: the same in every chart.
#[must_use]
pub fn colour(place: usize) -> String {
    const COLOURS: usize = 12;
    format!("c{}", place % COLOURS)
}

fn measured(standings: &[Standing]) -> Vec<(&Standing, &Figures)> {
    let with_figures = |standing| Some((standing, Standing::measured(standing)?));
    standings.iter().filter_map(with_figures).collect()
}

/// Wall time; `None` if nobody has one.
#[must_use]
pub fn speed(standings: &[Standing]) -> Option<Chart> {
    let measured = measured(standings);
    let scale = Scale::over(
        measured
            .iter()
            .flat_map(|(standing, figures)| [figures.wall.max, standing.ideal_s.unwrap_or(0.0)]),
    );
    let rows: Vec<Row> = measured
        .into_iter()
        .map(|(standing, figures)| speed_row(standing, figures, scale))
        .collect();
    let mut legend = vec![
        ("bar", "median"),
        ("dot", "one run"),
        ("range", "fastest to slowest"),
    ];
    if rows.iter().any(|row| row.mark.is_some()) {
        legend.push(("mark", "ideal"));
    }
    if rows.iter().any(|row| row.dots.iter().any(|(_, far)| *far)) {
        legend.push(("far", "outlier"));
    }
    chart(
        "speed",
        "Time for the whole list",
        legend,
        rows,
        seconds_ticks(scale),
    )
}

fn speed_row(standing: &Standing, figures: &Figures, scale: Scale) -> Row {
    let wall = &figures.wall;
    let value = format::seconds(wall.median);
    let note = wall.deviation.map_or_else(String::new, |deviation| {
        format!("± {}", format::seconds(deviation))
    });
    let ideal = standing.ideal_s.map_or_else(String::new, |ideal| {
        format!(", ideal {}", format::seconds(ideal))
    });
    let words = format!(
        "{}: median {value} {note}, from {} to {} in {} rounds{ideal}",
        standing.name,
        format::seconds(wall.min),
        format::seconds(wall.max),
        wall.count,
    );
    let dots = standing.runs.iter().enumerate();
    Row {
        bars: vec![Bar {
            at: 0.0,
            length: scale.at(wall.median),
            part: "whole",
        }],
        range: Some((scale.at(wall.min), scale.at(wall.max))),
        dots: dots
            .map(|(place, run)| (scale.at(run.wall_s), wall.outliers.contains(&place)))
            .collect(),
        mark: standing.ideal_s.map(|ideal| scale.at(ideal)),
        ..row(standing, value, note, words)
    }
}

/// CPU time; `None` if nobody has one.
#[must_use]
pub fn cpu(standings: &[Standing]) -> Option<Chart> {
    let measured = measured(standings);
    let total = |figures: &Figures| figures.user.median + figures.system.median;
    let scale = Scale::over(measured.iter().map(|(_, figures)| total(figures)));
    let rows = measured.into_iter().map(|(standing, figures)| {
        let (user, system) = (figures.user.median, figures.system.median);
        let value = format::seconds(user + system);
        let share = (user + system) / figures.wall.median * 100.0;
        let words = format!(
            "{}: {value} of CPU time, {} in user mode and {} in the kernel; {share:.0} % of one \
             processor on average",
            standing.name,
            format::seconds(user),
            format::seconds(system)
        );
        Row {
            bars: stacked(scale, &[(user, "user"), (system, "system")]),
            ..row(standing, value, format!("{share:.0} % of one"), words)
        }
    });
    let rows = rows.collect();
    let legend = vec![("user", "user mode"), ("system", "kernel")];
    chart("cpu", "CPU time", legend, rows, seconds_ticks(scale))
}

/// Memory; `None` if nobody was seen with any.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn memory(standings: &[Standing]) -> Option<Chart> {
    let seen: Vec<_> = measured(standings)
        .into_iter()
        .filter_map(|(standing, _)| Some((standing, standing.memory?)))
        .collect();
    let scale = Scale::over(
        seen.iter()
            .flat_map(|(_, memory)| [memory.bytes as f64, memory.largest as f64]),
    );
    let rows = seen.into_iter().map(|(standing, memory)| {
        let value = format::bytes(memory.bytes as f64);
        let note = match memory.processes {
            1 => "1 process".to_owned(),
            count => format!("{count} processes"),
        };
        let largest = format::bytes(memory.largest as f64);
        let words = format!(
            "{}: {value} over {note}; resident in the largest process: {largest}",
            standing.name
        );
        Row {
            bars: stacked(scale, &[(memory.bytes as f64, "whole")]),
            mark: Some(scale.at(memory.largest as f64)),
            ..row(standing, value, note, words)
        }
    });
    let rows = rows.collect();
    let ticks = scale.ticks(4, f64::from(1 << 20), |bytes| match bytes {
        0.0 => "0".to_owned(),
        some => format!("{} MiB", format::number(some / f64::from(1 << 20))),
    });
    let legend = vec![
        ("bar", "the whole process tree"),
        ("mark", "largest process, shared pages included"),
    ];
    chart("memory", "Peak memory", legend, rows, ticks)
}

fn chart(
    kind: &'static str,
    title: &'static str,
    legend: Vec<(&'static str, &'static str)>,
    rows: Vec<Row>,
    ticks: Vec<Tick>,
) -> Option<Chart> {
    (!rows.is_empty()).then_some(Chart {
        kind,
        title,
        legend,
        rows,
        ticks,
    })
}

fn row(standing: &Standing, value: String, note: String, words: String) -> Row {
    Row {
        name: standing.name.clone(),
        colour: colour(standing.place),
        bars: Vec::new(),
        range: None,
        dots: Vec::new(),
        mark: None,
        value,
        note,
        words,
    }
}

fn stacked(scale: Scale, parts: &[(f64, &'static str)]) -> Vec<Bar> {
    let mut sum = 0.0;
    let mut bars = Vec::new();
    for (value, part) in parts {
        bars.push(Bar {
            at: scale.at(sum),
            length: scale.at(*value),
            part,
        });
        sum += value;
    }
    bars
}

/// Marks for a scale in seconds.
pub(super) fn seconds_ticks(scale: Scale) -> Vec<Tick> {
    scale.ticks(4, 1.0, |seconds| match seconds {
        0.0 => "0".to_owned(),
        small if small < 1e-3 => format!("{} µs", round(small * 1e6)),
        small if small < 0.9995 => format!("{} ms", round(small * 1e3)),
        large => format!("{} s", round(large)),
    })
}

/// Without the dust of binary fractions.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
