//! Where the time of each task went: a line of JSON for each finished task, for the shootout.
//!
//! Not the run log: nothing is resumed from it, and it is there only when asked for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use protocol::{Exchange, SlotId, Span, TaskId};
use serde::Serialize;

use super::log::OutputFolder;

/// A timeline on its way to its file.
#[derive(Debug)]
pub(in crate::run) struct Timeline {
    file: BufWriter<File>,
    /// The first line that could not be written; none is tried after it.
    failed: Option<io::Error>,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    task: TaskId,
    url: &'a str,
    outcome: &'static str,
    slot: SlotId,
    spans: Vec<LineSpan>,
}

#[derive(Serialize)]
struct LineSpan {
    phase: &'static str,
    /// On `CLOCK_MONOTONIC`.
    start_us: f64,
    wall_us: f64,
    cpu_us: f64,
}

impl Timeline {
    /// Creates the file; one that is there is written over. In the output folder, which somebody
    /// may have prepared, it must not lead elsewhere.
    pub(in crate::run) fn create(path: &Path, folder: &OutputFolder) -> io::Result<Self> {
        let opened = match folder.name_within(path) {
            Some(name) => folder.open_file(&name),
            None => File::create(path),
        };
        let file = opened.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Self {
            file: BufWriter::new(file),
            failed: None,
        })
    }

    /// Adds a task that waited for `queued` before the first span of `exchange`.
    pub(in crate::run) fn add(
        &mut self,
        task: TaskId,
        url: &str,
        outcome: &'static str,
        slot: SlotId,
        queued: Duration,
        exchange: &Exchange,
    ) {
        if self.failed.is_some() {
            return;
        }
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let mut spans = Vec::with_capacity(exchange.spans.len() + 1);
        if let Some(first) = exchange.spans.first() {
            let begun = Duration::from_nanos(first.start.0);
            spans.push(LineSpan {
                phase: "queue",
                start_us: micros(begun.saturating_sub(queued)),
                wall_us: micros(queued.min(begun)),
                cpu_us: 0.0,
            });
        }
        spans.extend(exchange.spans.iter().map(
            |&Span {
                 phase,
                 start,
                 wall,
                 cpu,
             }| LineSpan {
                phase: phase.name(),
                start_us: micros(Duration::from_nanos(start.0)),
                wall_us: micros(wall),
                cpu_us: micros(cpu),
            },
        ));
        let line = Line {
            task,
            url,
            outcome,
            slot,
            spans,
        };
        let written = serde_json::to_writer(&mut self.file, &line)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"));
        self.failed = written.err();
    }

    /// Writes what is left.
    pub(in crate::run) fn finish(mut self) -> io::Result<()> {
        match self.failed {
            Some(error) => Err(error),
            None => self.file.flush(),
        }
    }
}
