//! The phases of every task of one run, packed into lanes.
//!
//! The source is the file that `--timeline` writes. All its times were measured where they
//! occurred. This module must not infer any.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The phase in which a task waits for a slot. It takes no lane.
const QUEUE: &str = "queue";

/// One run as lanes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timeline {
    /// Time from the start of the process to its end, in microseconds.
    pub length_us: f64,
    /// Lanes in the order of their slots. Those of one slot are adjacent.
    pub lanes: Vec<Lane>,
}

/// Tasks that one worker, or one place within an event loop, did one after another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lane {
    /// The worker's slot.
    pub slot: u32,
    /// Number of the lane within the slot, from 0.
    pub place: usize,
    /// Tasks in the order of time, without overlap.
    pub tasks: Vec<Task>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    /// Its number in the list.
    pub task: u64,
    /// Its URL.
    pub url: String,
    /// Outcome.
    pub outcome: String,
    /// Time when it left the queue, in microseconds from the start of the process.
    pub start_us: f64,
    /// Time when it was done, in the same unit.
    pub end_us: f64,
    /// Its phases, in the order of time.
    pub spans: Vec<Span>,
}

/// One phase of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// `queue`, `resolve`, `connect`, `tls`, `first_byte`, `body`, `cpu` or `store`.
    pub phase: String,
    /// Start in microseconds: on the monotonic clock in the file, from the start of the process in
    /// a [`Timeline`].
    pub start_us: f64,
    /// Duration in microseconds.
    pub wall_us: f64,
    /// The part of that time in which a processor worked on it.
    pub cpu_us: f64,
}

#[derive(Debug, Deserialize)]
struct Line {
    task: u64,
    url: String,
    outcome: String,
    slot: u32,
    spans: Vec<Span>,
}

impl Timeline {
    /// Reads the timeline of a run that began at `begun_us` on the monotonic clock and took
    /// `length_us`.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or a line is invalid.
    pub fn read(path: &Path, begun_us: f64, length_us: f64) -> io::Result<Self> {
        Self::parse(BufReader::new(File::open(path)?), begun_us, length_us)
    }

    fn parse(reader: impl BufRead, begun_us: f64, length_us: f64) -> io::Result<Self> {
        let mut slots: BTreeMap<u32, Vec<Task>> = BTreeMap::new();
        for line in reader.lines() {
            let line: Line = serde_json::from_str(&line?)?;
            let slot = line.slot;
            if let Some(task) = task(line, begun_us) {
                slots.entry(slot).or_default().push(task);
            }
        }
        let lanes = slots
            .into_iter()
            .flat_map(|(slot, tasks)| {
                let packed = pack(tasks).into_iter().enumerate();
                packed.map(move |(place, tasks)| Lane { slot, place, tasks })
            })
            .collect();
        Ok(Self { length_us, lanes })
    }

    /// Returns the number of tasks.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.lanes.iter().map(|lane| lane.tasks.len()).sum()
    }

    /// Returns the sum of the tasks' times outside the queue, and the part of it in which a
    /// processor worked on them, in microseconds.
    #[must_use]
    pub fn under_way_and_working(&self) -> (f64, f64) {
        let tasks = self.lanes.iter().flat_map(|lane| &lane.tasks);
        tasks.fold((0.0, 0.0), |(wall, cpu), task| {
            (wall + task.end_us - task.start_us, cpu + task.cpu_us())
        })
    }
}

impl Task {
    /// Returns the time in which a processor worked on it, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        let spans = self.spans.iter().filter(|span| span.phase != QUEUE);
        spans.map(|span| span.cpu_us).sum()
    }

    /// Returns all its phases except the queue.
    pub fn under_way(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.phase != QUEUE)
    }
}

/// Returns a task with times from the start of the run, or `None` if it never left the queue.
fn task(line: Line, begun_us: f64) -> Option<Task> {
    let mut spans = line.spans;
    spans.retain(|span| span.start_us.is_finite() && span.wall_us.is_finite());
    for span in &mut spans {
        span.start_us -= begun_us;
        span.wall_us = span.wall_us.max(0.0);
        span.cpu_us = span.cpu_us.clamp(0.0, span.wall_us);
    }
    spans.sort_by(|one, other| one.start_us.total_cmp(&other.start_us));
    let mut task = Task {
        task: line.task,
        url: line.url,
        outcome: line.outcome,
        start_us: f64::INFINITY,
        end_us: f64::NEG_INFINITY,
        spans,
    };
    let bounds = task
        .under_way()
        .fold((task.start_us, task.end_us), |(start, end), span| {
            (
                start.min(span.start_us),
                end.max(span.start_us + span.wall_us),
            )
        });
    (task.start_us, task.end_us) = bounds;
    (task.start_us <= task.end_us).then_some(task)
}

/// Packs tasks into as few lanes as possible without overlap: in the order of their start, each
/// into the first free lane. (For intervals, this gives the least number.)
fn pack(mut tasks: Vec<Task>) -> Vec<Vec<Task>> {
    tasks.sort_by(|one, other| one.start_us.total_cmp(&other.start_us));
    let mut lanes: Vec<Vec<Task>> = Vec::new();
    for task in tasks {
        let free = lanes
            .iter_mut()
            .find(|lane| lane.last().is_none_or(|last| last.end_us <= task.start_us));
        match free {
            Some(lane) => lane.push(task),
            None => lanes.push(vec![task]),
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(start: u32, length: u32) -> Task {
        Task {
            task: 0,
            url: String::new(),
            outcome: String::new(),
            start_us: f64::from(start),
            end_us: f64::from(start + length),
            spans: Vec::new(),
        }
    }

    fn parse(text: &str) -> Timeline {
        Timeline::parse(text.as_bytes(), 1_000.0, 500.0).expect("the lines are right")
    }

    #[test]
    fn a_task_runs_from_the_end_of_the_queue_to_the_end_of_its_last_phase() {
        let timeline = parse(
            r#"{"task":17,"url":"https://h/","outcome":"stored","slot":2,"spans":[
                {"phase":"queue","start_us":1000.0,"wall_us":40.0,"cpu_us":0.0},
                {"phase":"first_byte","start_us":1040.0,"wall_us":100.0,"cpu_us":3.0},
                {"phase":"store","start_us":1150.0,"wall_us":10.0,"cpu_us":99.0}]}"#
                .replace('\n', "")
                .as_str(),
        );
        let lane = &timeline.lanes[0];
        assert_eq!((lane.slot, lane.place), (2, 0));
        let task = &lane.tasks[0];
        assert_eq!((task.start_us, task.end_us), (40.0, 160.0));
        assert_eq!(task.cpu_us(), 13.0, "no more work than time");
        assert_eq!(timeline.under_way_and_working(), (120.0, 13.0));
    }

    #[test]
    fn slots_never_share_a_lane() {
        let line = |slot: u32, start: u32| {
            format!(
                r#"{{"task":1,"url":"u","outcome":"stored","slot":{slot},"spans":[{{"phase":"body","start_us":{start},"wall_us":5,"cpu_us":1}}]}}"#
            )
        };
        let text = [line(1, 1000), line(0, 1100), line(1, 1200), line(1, 1202)].join("\n");
        let timeline = parse(&text);
        let lanes = timeline.lanes.iter();
        let shape: Vec<_> = lanes
            .map(|lane| (lane.slot, lane.place, lane.tasks.len()))
            .collect();
        assert_eq!(shape, [(0, 0, 1), (1, 0, 2), (1, 1, 1)]);
        assert_eq!(timeline.tasks(), 4);
    }

    #[test]
    fn a_line_that_is_not_as_agreed_is_an_error() {
        assert!(Timeline::parse(b"{}\n".as_slice(), 0.0, 1.0).is_err());
    }

    proptest! {
        #[test]
        fn packing_overlaps_nothing_and_wastes_no_lane(
            intervals in prop::collection::vec((0_u32..100, 0_u32..20), 0..60),
        ) {
            let lanes = pack(intervals.iter().map(|&(start, length)| at(start, length)).collect());
            for lane in &lanes {
                for pair in lane.windows(2) {
                    prop_assert!(pair[0].end_us <= pair[1].start_us);
                }
            }
            let packed: usize = lanes.iter().map(Vec::len).sum();
            prop_assert_eq!(packed, intervals.len());
            // There are as many lanes as the most tasks at one moment.
            let most = (0..120).map(|moment| intervals.iter().filter(|&&(start, length)| {
                start <= moment && moment < start + length
            }).count()).max().unwrap_or(0);
            let busy = intervals.iter().filter(|&&(_, length)| length > 0).count();
            if busy == intervals.len() {
                prop_assert_eq!(lanes.len(), most);
            }
        }
    }
}
