//! Timelines, in the talk's manner: a lane for each worker, thin while it waits, solid while a
//! processor works.
//!
//! It computes where things are, in percent of the width.

use serde::Serialize;

use super::charts::{colour, seconds_ticks};
use super::scale::{Scale, Tick};
use crate::format;
use crate::shootout::result::Standing;
use crate::shootout::timeline::{Lane, Task, Timeline};

/// Most tasks drawn of one run: more could not be told apart, and would make the page heavy.
const MOST_TASKS: usize = 1200;

/// Heights of a lane in pixels: as high as fits for so many lanes.
const HEIGHTS: [(usize, u32); 4] = [(8, 22), (16, 16), (40, 10), (usize::MAX, 6)];

/// One run of one entrant.
#[derive(Clone, Debug, Serialize)]
pub struct Strip {
    /// Who.
    pub name: String,
    /// The class of its colour.
    pub colour: String,
    /// How long the run was.
    pub length: String,
    /// Where it ended.
    pub end: f64,
    /// Waiting and working, in words.
    pub shares: String,
    /// Height of a lane in pixels.
    pub height: u32,
    /// From top to bottom.
    pub rows: Vec<Row>,
    /// How many tasks are not drawn.
    pub left_out: usize,
}

/// One lane.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is called; empty for the further lanes of a worker.
    pub label: String,
    /// In the order of time.
    pub tasks: Vec<Drawn>,
}

/// One task.
#[derive(Clone, Debug, Serialize)]
pub struct Drawn {
    /// Where it starts.
    pub at: f64,
    /// How long it is.
    pub length: f64,
    /// Where a processor worked: start and length.
    pub work: Vec<(f64, f64)>,
    /// All of it in words.
    pub words: String,
    /// Whether it did not end well.
    pub failed: bool,
}

/// The timelines of those who have one, on one scale, so that they compare.
#[must_use]
pub fn strips(standings: &[Standing]) -> (Vec<Strip>, Vec<Tick>) {
    let drawn: Vec<(&Standing, &Timeline)> = standings
        .iter()
        .filter(|standing| standing.measured().is_some())
        .filter_map(|standing| Some((standing, standing.timeline.as_ref()?)))
        .filter(|(_, timeline)| timeline.tasks() > 0)
        .collect();
    let scale = Scale::over(drawn.iter().map(|(_, timeline)| timeline.length_us / 1e6));
    let strips = drawn
        .into_iter()
        .map(|(standing, timeline)| strip(standing, timeline, scale))
        .collect();
    (strips, seconds_ticks(scale))
}

fn strip(standing: &Standing, timeline: &Timeline, scale: Scale) -> Strip {
    let (under_way, working) = timeline.under_way_and_working();
    let share = |part: f64| {
        if under_way > 0.0 {
            part / under_way * 100.0
        } else {
            0.0
        }
    };
    let lanes = timeline.lanes.len();
    let height = HEIGHTS.iter().find(|(most, _)| lanes <= *most);
    // By lane and in time: what is left out is the end of each lane.
    let most = MOST_TASKS.div_ceil(lanes.max(1));
    let left_out = |lane: &Lane| lane.tasks.len().saturating_sub(most);
    Strip {
        name: standing.name.clone(),
        colour: colour(standing.place),
        length: format::seconds(timeline.length_us / 1e6),
        end: scale.at(timeline.length_us / 1e6),
        shares: format!(
            "waiting {:.1} %, working {:.1} % of the time that downloads were under way",
            share(under_way - working),
            share(working)
        ),
        height: height.map_or(6, |(_, height)| *height),
        rows: timeline
            .lanes
            .iter()
            .map(|lane| row(lane, most, scale))
            .collect(),
        left_out: timeline.lanes.iter().map(left_out).sum(),
    }
}

fn row(lane: &Lane, most: usize, scale: Scale) -> Row {
    Row {
        label: match lane.place {
            0 => lane.slot.to_string(),
            _ => String::new(),
        },
        tasks: lane
            .tasks
            .iter()
            .take(most)
            .map(|task| drawn(task, scale))
            .collect(),
    }
}

fn drawn(task: &Task, scale: Scale) -> Drawn {
    let at = scale.at(task.start_us / 1e6);
    // Where in a phase the processor worked was not measured: it is drawn at the phase's end.
    let work = task
        .under_way()
        .filter(|span| span.cpu_us > 0.0)
        .map(|span| {
            let start = span.start_us + span.wall_us - span.cpu_us;
            (scale.at(start / 1e6), scale.at(span.cpu_us / 1e6))
        });
    Drawn {
        at,
        length: scale.at(task.end_us / 1e6) - at,
        work: joined(work),
        words: words(task),
        failed: !matches!(task.outcome.as_str(), "stored" | "unchanged"),
    }
}

/// Neighbours that no screen could tell apart become one; their lengths add up.
fn joined(parts: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    const APART: f64 = 0.04;
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for (at, length) in parts {
        match joined.last_mut() {
            Some(last) if at - (last.0 + last.1) < APART => last.1 += length,
            Some(_) | None => joined.push((at, length)),
        }
    }
    joined
}

fn words(task: &Task) -> String {
    let total = (task.end_us - task.start_us) / 1e6;
    let mut words = format!(
        "{}\n{}: {} from {}, of which {} on a processor",
        task.url,
        task.outcome,
        format::seconds(total),
        format::seconds(task.start_us / 1e6),
        format::seconds(task.cpu_us() / 1e6),
    );
    for span in &task.spans {
        let phase = span.phase.replace('_', " ");
        words.push_str(&format!(
            "\n{phase} {}",
            format::seconds(span.wall_us / 1e6)
        ));
        if span.cpu_us >= 1.0 {
            words.push_str(&format!(" ({} CPU)", format::seconds(span.cpu_us / 1e6)));
        }
    }
    words
}
