//! The columns of the results. The terminal, the page, Markdown and CSV show them in this order and
//! with these headings.
//!
//! This module must not compute figures. It only selects and formats them.

use serde::Serialize;

use super::result::{Standing, fastest};
use crate::format;

/// The heading above the names.
pub const ENTRANT: &str = "entrant";

/// A figure of an entrant.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Column {
    /// The heading that people read.
    pub heading: &'static str,
    /// The heading in CSV: a name with the unit.
    pub key: &'static str,
    /// An explanation, if the heading is not enough.
    pub meaning: &'static str,
    /// If there is no room for all columns, those with the lowest rank are left out first.
    #[serde(skip)]
    pub rank: u8,
    #[serde(skip)]
    value: fn(&Standing, &[Standing]) -> Option<f64>,
    #[serde(skip)]
    text: fn(f64) -> String,
}

/// All columns, in their order.
pub const COLUMNS: [Column; 11] = [
    Column {
        heading: "median",
        key: "median_s",
        meaning: "time for the whole list, from the start of the process to its end",
        rank: 11,
        value: |standing, _| Some(standing.measured()?.wall.median),
        text: format::seconds,
    },
    Column {
        heading: "sd",
        key: "sd_s",
        meaning: "standard deviation of that time over the rounds",
        rank: 6,
        value: |standing, _| standing.measured()?.wall.deviation,
        text: format::seconds,
    },
    Column {
        heading: "min",
        key: "min_s",
        meaning: "",
        rank: 1,
        value: |standing, _| Some(standing.measured()?.wall.min),
        text: format::seconds,
    },
    Column {
        heading: "max",
        key: "max_s",
        meaning: "",
        rank: 1,
        value: |standing, _| Some(standing.measured()?.wall.max),
        text: format::seconds,
    },
    Column {
        heading: "relative",
        key: "relative",
        meaning: "how many times as long as the fastest",
        rank: 7,
        value: |standing, all| {
            let fastest = fastest(all)?.wall.median;
            Some(standing.measured()?.wall.median / fastest)
        },
        text: |ratio| format::factor(1.0, ratio),
    },
    Column {
        heading: "ideal",
        key: "ideal_s",
        meaning: "least time that latency and CPU work leave, where it is known",
        rank: 3,
        value: |standing, _| standing.measured().and(standing.ideal_s),
        text: format::seconds,
    },
    Column {
        heading: "files/s",
        key: "files_per_s",
        meaning: "",
        rank: 5,
        value: |standing, _| Some(standing.measured()?.files_per_s.median),
        text: format::number,
    },
    Column {
        heading: "MiB/s",
        key: "mib_per_s",
        meaning: "",
        rank: 2,
        value: |standing, _| Some(standing.measured()?.bytes_per_s.median / f64::from(1 << 20)),
        text: format::number,
    },
    Column {
        heading: "CPU",
        key: "cpu_s",
        meaning: "CPU time of all processes, median",
        rank: 9,
        value: |standing, _| Some(standing.measured()?.cpu_s()),
        text: format::seconds,
    },
    Column {
        heading: "memory",
        key: "memory_bytes",
        meaning: "peak of the PSS of all processes together",
        rank: 8,
        value: |standing, _| {
            let memory = standing.measured().and(standing.memory)?;
            #[allow(clippy::cast_precision_loss, reason = "for people")]
            Some(memory.bytes as f64)
        },
        text: format::bytes,
    },
    Column {
        heading: "switches",
        key: "switches",
        meaning: "context switches of all processes, median",
        rank: 4,
        value: |standing, _| {
            let figures = standing.measured()?;
            Some(figures.voluntary.median + figures.involuntary.median)
        },
        text: format::number,
    },
];

impl Column {
    /// Returns the figure of `standing`, which is one of `all` with the same work, if it has one.
    #[must_use]
    pub fn value(&self, standing: &Standing, all: &[Standing]) -> Option<f64> {
        (self.value)(standing, all)
    }

    /// Returns the formatted figure, or an empty text if there is none.
    #[must_use]
    pub fn cell(&self, standing: &Standing, all: &[Standing]) -> String {
        let value = self.value(standing, all);
        value.map(self.text).unwrap_or_default()
    }
}
