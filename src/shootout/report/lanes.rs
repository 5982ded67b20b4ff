//! Timelines in the style of the talk: a lane for each worker, thin while it waits, solid while a
//! processor works.
//!
//! If one entrant takes several times as long as the others, a common scale leaves the others no
//! room. Their timelines are then also drawn on a separate scale, and small on the common one
//! beside it. This module computes positions in percent of the width.

use serde::Serialize;

use crate::format;
use crate::page::scale::{Scale, Tick};
use crate::shootout::result::Standing;
use crate::shootout::timeline::{Lane, Task, Timeline};

/// The most tasks that are drawn of one run. More would be indistinguishable, and make the page
/// heavy.
const MOST_TASKS: usize = 1200;

/// Heights of a lane in pixels, by the number of lanes: the first that fits.
const HEIGHTS: [(usize, u32); 4] = [(8, 20), (16, 14), (40, 10), (usize::MAX, 6)];

/// Height of a small lane in pixels.
const SMALL: u32 = 4;

/// A separate scale must magnify at least this many times.
const MAGNIFIED: f64 = 1.5;

/// All timelines of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Timelines {
    /// All timelines.
    pub common: Panel,
    /// The timelines with several downloads at once, if a separate scale magnifies them enough.
    pub own: Option<Panel>,
}

/// Timelines on one scale.
#[derive(Clone, Debug, Serialize)]
pub struct Panel {
    /// Runs from top to bottom.
    pub strips: Vec<Strip>,
    /// Marks of the scale.
    pub ticks: Vec<Tick>,
}

/// One run of one entrant.
#[derive(Clone, Debug, Serialize)]
pub struct Strip {
    pub name: String,
    /// The class of its colour.
    pub family: &'static str,
    /// Duration of the run.
    pub length: String,
    /// Position of its end.
    pub end: f64,
    /// Share of the time in which a processor worked, in words.
    pub share: String,
    /// Height of a lane in pixels.
    pub height: u32,
    /// Whether it is only an outline, because another panel shows it in full.
    pub small: bool,
    /// Lanes from top to bottom.
    pub rows: Vec<Row>,
    /// Number of tasks that are not drawn, in words.
    pub left_out: Option<String>,
}

/// One lane.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its label, empty for the further lanes of a worker.
    pub label: String,
    /// Tasks in the order of time.
    pub tasks: Vec<Drawn>,
}

/// One task.
#[derive(Clone, Debug, Serialize)]
pub struct Drawn {
    /// Start.
    pub at: f64,
    /// Length.
    pub length: f64,
    /// The parts in which a processor worked: start and length.
    pub work: Vec<(f64, f64)>,
    /// The whole task in words.
    pub words: String,
    /// Whether it ended without a stored or unchanged file.
    pub failed: bool,
}

/// Returns the timelines of the entrants that have one.
#[must_use]
pub fn timelines(standings: &[Standing]) -> Option<Timelines> {
    let all: Vec<(&Standing, &Timeline)> = standings
        .iter()
        .filter(|standing| standing.measured().is_some())
        .filter_map(|standing| Some((standing, standing.timeline.as_ref()?)))
        .filter(|(_, timeline)| timeline.tasks() > 0)
        .collect();
    let parallel = |(_, timeline): &&(&Standing, &Timeline)| timeline.lanes.len() > 1;
    let several: Vec<_> = all.iter().filter(parallel).copied().collect();
    let longest = |drawn: &[(&Standing, &Timeline)]| {
        let lengths = drawn.iter().map(|(_, timeline)| timeline.length_us);
        lengths.fold(0.0, f64::max)
    };
    let apart = !several.is_empty() && longest(&all) >= longest(&several) * MAGNIFIED;
    let panel = |drawn: &[(&Standing, &Timeline)], small: bool| {
        let scale = Scale::over([longest(drawn) / 1e6]);
        let strips = drawn
            .iter()
            .map(|one| strip(*one, scale, small && parallel(&one)));
        Panel {
            strips: strips.collect(),
            ticks: scale.seconds(),
        }
    };
    (!all.is_empty()).then(|| Timelines {
        common: panel(&all, apart),
        own: apart.then(|| panel(&several, false)),
    })
}

fn strip((standing, timeline): (&Standing, &Timeline), scale: Scale, small: bool) -> Strip {
    let (under_way, working) = timeline.under_way_and_working();
    let share = match under_way > 0.0 {
        true => working / under_way * 100.0,
        false => 0.0,
    };
    let lanes = timeline.lanes.len();
    let height = HEIGHTS.iter().find(|(most, _)| lanes <= *most);
    // Each lane is in the order of time, so this leaves out its end.
    let most = MOST_TASKS.div_ceil(lanes.max(1));
    let left_out = |lane: &Lane| lane.tasks.len().saturating_sub(most);
    let left_out: usize = timeline.lanes.iter().map(left_out).sum();
    Strip {
        name: standing.name.clone(),
        family: standing.family.key(),
        length: format::seconds(timeline.length_us / 1e6),
        end: scale.at(timeline.length_us / 1e6),
        share: format!("{share:.1} % work"),
        height: match (small, height) {
            (true, _) => SMALL,
            (false, Some((_, height))) => *height,
            (false, None) => SMALL,
        },
        small,
        rows: timeline
            .lanes
            .iter()
            .map(|lane| row(lane, most, scale))
            .collect(),
        left_out: (left_out > 0).then(|| match left_out {
            1 => "1 later download is not drawn.".to_owned(),
            many => format!("{} are not drawn.", format::count(many, "later download")),
        }),
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
    // It is unknown at which point of a phase the processor worked. This draws it at the end.
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

/// Joins neighbours that no screen could separate, and adds their lengths.
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
