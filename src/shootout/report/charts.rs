//! Bar charts: time, CPU, memory. All bars start at zero.
//!
//! This module computes positions in percent of the width, so that a chart fits any screen. The
//! template writes text and markup.

use serde::Serialize;

use crate::format;
use crate::page::scale::{Scale, Tick};
use crate::shootout::result::{Figures, Standing};

/// A chart with a row for each entrant that has data.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// The kind, for its class in the markup.
    pub kind: &'static str,
    /// Title.
    pub title: &'static str,
    /// Legend: class and text.
    pub legend: Vec<(&'static str, &'static str)>,
    /// Rows from top to bottom.
    pub rows: Vec<Row>,
    /// Marks along the bottom.
    pub ticks: Vec<Tick>,
}

/// The row of one entrant.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    /// The class of its colour.
    pub family: &'static str,
    /// The bars, one after another from zero.
    pub bars: Vec<Bar>,
    /// The least and the greatest value.
    pub range: Option<(f64, f64)>,
    /// Single runs: position, and whether it is an outlier.
    pub dots: Vec<(f64, bool)>,
    /// A mark across the row.
    pub mark: Option<f64>,
    /// The figure.
    pub value: String,
    /// An addition to the figure.
    pub note: String,
    /// The whole row in words.
    pub words: String,
}

/// A part of a bar.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// Start.
    pub at: f64,
    /// Length.
    pub length: f64,
    /// The class of its style.
    pub part: &'static str,
}

fn measured(standings: &[Standing]) -> Vec<(&Standing, &Figures)> {
    let with_figures = |standing| Some((standing, Standing::measured(standing)?));
    standings.iter().filter_map(with_figures).collect()
}

/// Returns the chart of wall time, or `None` if there is no time.
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
        ("dot", "one round"),
        ("range", "fastest to slowest round"),
    ];
    if rows.iter().any(|row| row.mark.is_some()) {
        legend.push(("mark", "ideal: what latency and CPU work alone would take"));
    }
    if rows.iter().any(|row| row.dots.iter().any(|(_, far)| *far)) {
        legend.push(("far", "outlier"));
    }
    chart(
        "speed",
        "Time for the whole list, fastest first",
        legend,
        rows,
        scale.seconds(),
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

/// Returns the chart of CPU time, or `None` if there is none.
#[must_use]
pub fn cpu(standings: &[Standing]) -> Option<Chart> {
    let measured = measured(standings);
    let scale = Scale::over(measured.iter().map(|(_, figures)| figures.cpu_s()));
    let split = |(_, figures): &(&Standing, &Figures)| figures.cpu_split_s().is_some();
    let legend = match measured.iter().any(split) {
        true => vec![
            ("user", "user mode"),
            ("system", "kernel"),
            ("", "less than 50 ms is not split"),
        ],
        false => Vec::new(),
    };
    let rows = measured.into_iter().map(|(standing, figures)| {
        let value = format::seconds(figures.cpu_s());
        let share = figures.cpu_s() / figures.wall.median * 100.0;
        let (parts, split) = match figures.cpu_split_s() {
            Some((user, system)) => (
                vec![(user, "user"), (system, "system")],
                format!(
                    ", {} in user mode and {} in the kernel",
                    format::seconds(user),
                    format::seconds(system)
                ),
            ),
            None => (vec![(figures.cpu_s(), "whole")], String::new()),
        };
        let words = format!(
            "{}: {value} of CPU time{split}; {share:.0} % of one processor on average",
            standing.name,
        );
        Row {
            bars: stacked(scale, &parts),
            ..row(standing, value, format!("{share:.0} % of a CPU"), words)
        }
    });
    let rows = rows.collect();
    chart("cpu", "CPU time", legend, rows, scale.seconds())
}

/// Returns the chart of memory, or `None` if none was measured.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn memory(standings: &[Standing]) -> Option<Chart> {
    let seen: Vec<_> = measured(standings)
        .into_iter()
        .filter_map(|(standing, _)| Some((standing, standing.memory?)))
        .collect();
    let scale = Scale::over(seen.iter().map(|(_, memory)| memory.bytes as f64));
    let rows = seen.into_iter().map(|(standing, memory)| {
        let value = format::bytes(memory.bytes as f64);
        let note = match memory.processes {
            1 => "1 process".to_owned(),
            many => format!("{many} processes"),
        };
        let words = format!("{}: {value} over {note} at the peak", standing.name);
        Row {
            bars: stacked(scale, &[(memory.bytes as f64, "whole")]),
            ..row(standing, value, note, words)
        }
    });
    let rows = rows.collect();
    let title = "Peak memory: PSS of all processes";
    chart("memory", title, Vec::new(), rows, scale.bytes())
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
        family: standing.family.key(),
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
