//! The time that the phases of each task took: a line of JSON per finished task, for the shootout.
//!
//! It is separate from the run log: nothing is resumed from it, and it is written only on request.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use protocol::{Exchange, SlotId, Span, TaskId};
use serde::Serialize;

use super::log::OutputFolder;

/// A timeline that is being written to its file.
#[derive(Debug)]
pub(in crate::run) struct Timeline {
    file: BufWriter<File>,
    /// The first error; nothing is written after it.
    failed: Option<io::Error>,
}

/// One line of the timeline.
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
    /// Creates the file, or overwrites it. In the output folder, which another user may have
    /// prepared, it must not follow links.
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

    /// Writes the rest of the buffer.
    pub(in crate::run) fn finish(mut self) -> io::Result<()> {
        match self.failed {
            Some(error) => Err(error),
            None => self.file.flush(),
        }
    }
}
