//! The timelines in the Chrome trace event format, which Perfetto opens.
//!
//! Each approach is a process, and each lane is a thread. Each task is a complete event (`X`) that
//! contains one for each phase.

use serde_json::{Value, json};

use crate::shootout::ShootoutError;
use crate::shootout::result::{Scenario, Shootout};
use crate::shootout::timeline::{Lane, Task, Timeline};

pub(super) fn text(shootout: &Shootout) -> Result<String, ShootoutError> {
    let mut events = Vec::new();
    let mut process = 0;
    for scenario in &shootout.scenarios {
        for standing in &scenario.standings {
            let timeline = standing.timeline.as_ref();
            if let Some(timeline) = timeline.filter(|_| standing.measured().is_some()) {
                process += 1;
                let name = process_name(shootout, scenario, &standing.name);
                events.push(meta("process_name", process, 0, &name));
                events.extend(lanes(process, timeline));
            }
        }
    }
    let trace = json!({ "displayTimeUnit": "ms", "traceEvents": events });
    let text = serde_json::to_string(&trace).map_err(|error| ShootoutError::Write {
        what: "the trace".to_owned(),
        source: error.into(),
    })?;
    Ok(text + "\n")
}

fn process_name(shootout: &Shootout, scenario: &Scenario, name: &str) -> String {
    match shootout.scenarios.len() {
        1 => name.to_owned(),
        _ => format!("{name}, {}", scenario.name),
    }
}

fn lanes(process: usize, timeline: &Timeline) -> Vec<Value> {
    let mut events = Vec::new();
    for (number, lane) in timeline.lanes.iter().enumerate() {
        // Thread 0 would represent the process as a whole.
        let thread = number + 1;
        events.push(meta("thread_name", process, thread, &lane_name(lane)));
        for task in &lane.tasks {
            events.extend(task_events(process, thread, task));
        }
    }
    events
}

fn lane_name(lane: &Lane) -> String {
    match lane.place {
        0 => format!("worker {}", lane.slot),
        place => format!("worker {}, place {place}", lane.slot),
    }
}

fn task_events(process: usize, thread: usize, task: &Task) -> Vec<Value> {
    let mut events = vec![json!({
        "ph": "X", "cat": "task", "name": task.url, "pid": process, "tid": thread,
        "ts": task.start_us, "dur": task.end_us - task.start_us,
        "args": { "task": task.task, "outcome": task.outcome, "cpu_us": task.cpu_us() },
    })];
    events.extend(task.under_way().map(|span| {
        json!({
            "ph": "X", "cat": "phase", "name": span.phase, "pid": process, "tid": thread,
            "ts": span.start_us, "dur": span.wall_us, "args": { "cpu_us": span.cpu_us },
        })
    }));
    events
}

fn meta(name: &str, process: usize, thread: usize, value: &str) -> Value {
    json!({
        "ph": "M", "name": name, "pid": process, "tid": thread, "args": { "name": value },
    })
}
