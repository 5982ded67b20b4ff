//! The live page: the state as text and drawings.
//!
//! It computes the contents. The template decides how they look, and escapes everything that a
//! list, a server or a worker has named.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::state::{BOUNDS, Download, History, OVER, Phase, State, Worker};
use crate::format;
use crate::page::scale::{Scale, Tick};
use crate::page::{LayoutError, Template};

const TEMPLATE: Template = Template {
    markup: include_str!("page.html"),
    style: include_str!("style.css"),
    script: include_str!("script.js"),
};

/// The block of the template that changes during the run.
const CHANGING: &str = "run";

/// Maximum number of workers that have a lane.
const MOST_LANES: usize = 24;

/// Approximate number of marks on the scale of a rate.
const MARKS: u32 = 4;

/// Number of cells in a lane. A worker that started recently has fewer.
pub(super) const CELLS: usize = 60;

/// Returns the whole page.
pub(super) fn page(state: &State) -> Result<String, LayoutError> {
    TEMPLATE.render(&View::of(state))
}

/// Returns the part of the page that changes.
pub(super) fn fragment(state: &State) -> Result<String, LayoutError> {
    TEMPLATE.render_block(CHANGING, &View::of(state))
}

#[derive(Debug, Serialize)]
struct View<'a> {
    title: String,
    files: &'a str,
    over: Option<String>,
    lead: String,
    /// Percentage of the run that is done.
    done: Option<f64>,
    facts: Vec<(&'static str, String)>,
    charts: Vec<Chart>,
    failures: Vec<Bars<'a>>,
    lanes: Vec<Lane<'a>>,
    more_workers: Option<String>,
    oldest: Vec<Row<'a>>,
    phases: Option<Bars<'a>>,
}

/// A line over the time of the run.
#[derive(Debug, Serialize)]
struct Chart {
    title: &'static str,
    words: String,
    /// Coordinates in percent of both axes, from the top left.
    line: String,
    rows: Vec<Tick>,
    columns: Vec<Tick>,
}

/// Bars with names.
#[derive(Debug, Serialize)]
struct Bars<'a> {
    title: &'static str,
    rows: Vec<Bar<'a>>,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Bar<'a> {
    name: &'a str,
    length: f64,
    value: String,
    note: String,
}

#[derive(Debug, Serialize)]
struct Lane<'a> {
    name: String,
    state: &'static str,
    /// Drawings of [`CELLS`] by 10 units.
    wait: String,
    work: String,
    words: String,
    now: Option<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    host: &'a str,
    path: &'a str,
    phase: &'static str,
    size: String,
    speed: String,
    elapsed: String,
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn number(count: u64) -> String {
    format::number(count as f64)
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn bytes(count: u64) -> String {
    format::bytes(count as f64)
}

fn time(millis: u64) -> String {
    format::duration(Duration::from_millis(millis))
}

impl<'a> View<'a> {
    fn of(state: &'a State) -> Self {
        let progress = &state.progress;
        let over = progress.event == OVER;
        let finished = progress.stored
            + progress.unchanged
            + progress.failed
            + progress.quarantined
            + progress.fenced;
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let share = |all: u64| (finished as f64 / all.max(1) as f64 * 1000.0).round() / 10.0;
        let done = progress.urls.map(|all| share(all).min(100.0));
        let title = match done {
            _ if over => "Over".to_owned(),
            Some(done) => format!("{done:.0} %"),
            None => state.files.clone(),
        };
        Self {
            title,
            files: &state.files,
            over: over.then(|| match progress.exit_code {
                Some(0) => {
                    "The run is over: every URL is stored. This is its last state.".to_owned()
                }
                Some(code) => {
                    format!("The run is over, with exit code {code}. This is its last state.")
                }
                None => "The run is over. This is its last state.".to_owned(),
            }),
            lead: lead(state, over),
            done,
            facts: facts(state),
            charts: charts(&state.history),
            failures: failures(state),
            lanes: state
                .workers
                .iter()
                .take(MOST_LANES)
                .map(Lane::of)
                .collect(),
            more_workers: (state.workers_total > MOST_LANES as u64).then(|| {
                format!(
                    "And {} more workers.",
                    number(state.workers_total - MOST_LANES as u64)
                )
            }),
            oldest: state.oldest.iter().map(Row::of).collect(),
            phases: phases(&state.phases),
        }
    }
}

fn lead(state: &State, over: bool) -> String {
    let progress = &state.progress;
    let mut parts = vec![bytes(progress.bytes)];
    if let Some(rate) = progress.bytes_per_s {
        parts.push(format!("{}/s", bytes(rate)));
    }
    if let Some(rate) = progress.files_per_s {
        parts.push(format!("{} files/s", format::number(rate)));
    }
    let failed = progress.failed + progress.quarantined;
    parts.push(format!("{} failed", number(failed)));
    parts.push(format!("{} so far", time(progress.elapsed_ms)));
    if over {
        parts.pop();
        parts.push(format!("in {}", time(progress.elapsed_ms)));
    } else {
        let left = progress.eta_ms.map_or_else(|| "--".to_owned(), time);
        parts.push(format!("ETA {left}"));
    }
    parts.join(", ")
}

fn facts(state: &State) -> Vec<(&'static str, String)> {
    let (progress, counts, queue) = (&state.progress, &state.counts, &state.queue);
    let mut facts = vec![("Stored", number(progress.stored))];
    for (name, count) in [
        ("Unchanged", progress.unchanged),
        ("Stored earlier", progress.stored_earlier),
        ("Quarantined", progress.quarantined),
        ("Fenced", progress.fenced),
        ("Waiting for a retry", queue.delayed),
        ("Waiting for robots.txt", queue.waiting_for_robots),
        ("Being put in place", queue.placing),
        ("Retries", counts.retries),
        ("Redeliveries", counts.redeliveries),
        ("Worker deaths", counts.worker_deaths),
    ] {
        if count > 0 {
            facts.push((name, number(count)));
        }
    }
    if let Some(running) = progress.running {
        facts.push(("Running", number(running as u64)));
    }
    facts.push(("Workers", number(state.workers_total)));
    if let Some(fleet) = &state.fleet {
        let touch = if fleet.in_touch { "" } else { ", out of touch" };
        facts.push((
            "Fleet",
            format!(
                "{} of 256 partitions, {} members{touch}",
                fleet.partitions, fleet.members
            ),
        ));
        facts.push(("Not published", number(fleet.unpublished)));
    }
    for (name, memory) in [
        ("Memory of the coordinator", state.memory.coordinator_bytes),
        ("Memory of the workers", state.memory.workers_bytes),
    ] {
        if let Some(memory) = memory.filter(|&memory| memory > 0) {
            facts.push((name, bytes(memory)));
        }
    }
    facts
}

/// Returns charts of the rates between the points of the history.
#[allow(clippy::cast_precision_loss, reason = "rates, drawn")]
fn charts(history: &History) -> Vec<Chart> {
    let step = history.step_ms.max(1) as f64 / 1e3;
    let pairs = || history.points.iter().zip(history.points.iter().skip(1));
    let rates = |of: fn(&super::state::Point) -> u64| -> Vec<f64> {
        pairs()
            .map(|(one, other)| of(other).saturating_sub(of(one)) as f64 / step)
            .collect()
    };
    let length = step * history.points.len().saturating_sub(1) as f64;
    let columns = moments(length);
    let chart = |title, rates: Vec<f64>, rows: fn(Scale) -> Vec<Tick>, say: fn(f64) -> String| {
        let scale = Scale::over(rates.iter().copied());
        let most = rates.iter().copied().fold(0.0, f64::max);
        // A rate applies from one point to the next.
        let count = rates.len().max(1) as f64;
        let mut line = String::new();
        for (place, rate) in rates.iter().enumerate() {
            let x = (place as f64 + 0.5) / count * 100.0;
            // Writing to a String does not fail.
            let _ = write!(line, "{x:.2},{:.2} ", 100.0 - scale.at(*rate));
        }
        Chart {
            title,
            words: format!("{title}: {} at most", say(most)),
            line,
            rows: rows(scale),
            columns: columns.clone(),
        }
    };
    if history.points.len() < 3 {
        return Vec::new();
    }
    let files = |scale: Scale| scale.ticks(MARKS, 1.0, format::number);
    let sizes = |scale: Scale| {
        scale.ticks(MARKS, scale.binary_unit(), |rate| match rate {
            0.0 => "0".to_owned(),
            rate => format::bytes(rate),
        })
    };
    vec![
        chart(
            "Files per second",
            rates(|point| point.finished),
            files,
            format::number,
        ),
        chart(
            "Bytes per second",
            rates(|point| point.received),
            sizes,
            format::bytes,
        ),
    ]
}

/// Returns marks for a time in seconds.
fn moments(length: f64) -> Vec<Tick> {
    let (unit, name) = match length {
        ..120.0 => (1.0, "s"),
        ..7200.0 => (60.0, "min"),
        ..172_800.0 => (3600.0, "h"),
        _ => (86_400.0, "d"),
    };
    Scale::over([length]).ticks(4, unit, |at| match at {
        0.0 => "0".to_owned(),
        at => format!("{} {name}", format::number(at / unit)),
    })
}

fn failures(state: &State) -> Vec<Bars<'_>> {
    let mut kinds: Vec<_> = state
        .failed_by_kind
        .iter()
        .map(|(kind, count)| (*kind, *count))
        .collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if kinds.is_empty() {
        return Vec::new();
    }
    let hosts: Vec<_> = state
        .failed_by_host
        .iter()
        .map(|(host, count)| (host.as_str(), *count))
        .collect();
    let elsewhere = state.failed_elsewhere;
    vec![
        bars("By kind", &kinds),
        Bars {
            note: (elsewhere > 0).then(|| format!("And {} at other hosts.", number(elsewhere))),
            ..bars("By host", &hosts)
        },
    ]
}

#[allow(clippy::cast_precision_loss, reason = "lengths of bars")]
fn bars<'a>(title: &'static str, rows: &[(&'a str, u64)]) -> Bars<'a> {
    let scale = Scale::over(rows.iter().map(|(_, count)| *count as f64));
    let bar = |&(name, count): &(&'a str, u64)| Bar {
        name,
        length: scale.at(count as f64),
        value: number(count),
        note: String::new(),
    };
    Bars {
        title,
        rows: rows.iter().map(bar).collect(),
        note: None,
    }
}

/// Returns the mean of each phase, and a bound for 95 % of the URLs.
#[allow(clippy::cast_precision_loss, reason = "means")]
fn phases<'a>(phases: &'a [Phase]) -> Option<Bars<'a>> {
    // The time that a URL waits for its turn only shows how long the list is.
    let phases = phases.iter().filter(|phase| phase.name != "queue");
    let counted = phases.filter_map(|phase| {
        let count = phase.cumulative[BOUNDS.len()];
        (count > 0).then(|| (phase, count, phase.sum_s / count as f64))
    });
    let counted: Vec<_> = counted.collect();
    let scale = Scale::over(counted.iter().map(|(_, _, mean)| *mean));
    let bar = |&(phase, count, mean): &(&'a Phase, u64, f64)| {
        let most = count - count / 20;
        let bound = phase.cumulative.iter().position(|&so_far| so_far >= most);
        let bound = bound.and_then(|place| BOUNDS.get(place));
        let last = BOUNDS[BOUNDS.len() - 1];
        Bar {
            name: said(phase.name),
            length: scale.at(mean),
            value: format::seconds(mean),
            note: bound.map_or_else(
                || format!("some over {}", format::seconds(last)),
                |bound| format!("95 % within {}", format::seconds(*bound)),
            ),
        }
    };
    let rows: Vec<Bar<'_>> = counted.iter().map(bar).collect();
    (!rows.is_empty()).then_some(Bars {
        title: "Mean time of each phase",
        rows,
        note: None,
    })
}

/// Returns the name of a phase for people.
fn said(name: &str) -> &str {
    match name {
        "resolve" => "name",
        "tls" => "TLS",
        "first_byte" => "first byte",
        "exec" => "--exec",
        name => name,
    }
}

impl<'a> Lane<'a> {
    fn of(worker: &'a Worker) -> Self {
        let (mut wait, mut work) = (String::new(), String::new());
        let first = CELLS.saturating_sub(worker.lane.len());
        for (place, &(waited, worked)) in worker.lane.iter().enumerate() {
            let at = first + place;
            // Writing to a String does not fail.
            if waited > 0 {
                let _ = write!(
                    wait,
                    "M{at} 4.3h.{waited:02}v1.4h-.{waited:02}z",
                    waited = waited.min(99)
                );
            }
            if worked > 0 {
                let start = waited.min(99);
                let _ = write!(
                    work,
                    "M{at}.{start:02} 0h.{worked:02}v10h-.{worked:02}z",
                    worked = worked.min(99)
                );
            }
        }
        let cells = worker.lane.len().max(1);
        let mean = |of: fn(&(u8, u8)) -> u8| {
            let sum: usize = worker.lane.iter().map(|cell| usize::from(of(cell))).sum();
            sum / cells
        };
        Self {
            name: format!("{}.{}", worker.slot, worker.epoch),
            state: worker.state,
            words: format!(
                "Worker {}: in the last minute {} % waiting for servers, {} % reading and storing",
                worker.slot,
                mean(|cell| cell.0),
                mean(|cell| cell.1)
            ),
            wait,
            work,
            now: worker.oldest.as_ref().map(Row::of),
        }
    }
}

impl<'a> Row<'a> {
    fn of(download: &'a Download) -> Self {
        let size = match (download.expected, download.bytes) {
            (Some(expected), got) if expected > 0 => {
                let share = got.saturating_mul(100) / expected;
                format!("{}, {} %", bytes(expected), share.min(100))
            }
            (Some(_) | None, 0) => String::new(),
            (Some(_) | None, got) => bytes(got),
        };
        Self {
            host: &download.host,
            path: &download.path,
            phase: download.phase.unwrap_or("connecting"),
            size,
            speed: download
                .bytes_per_s
                .map_or_else(String::new, |speed| format!("{}/s", bytes(speed))),
            // Short times are shown in tenths of a second.
            elapsed: match download.elapsed_ms {
                #[allow(clippy::cast_precision_loss, reason = "below ten thousand")]
                short @ ..10_000 => format::seconds(short as f64 / 1e3),
                long => time(long),
            },
        }
    }
}
