//! The state of workers: for the screen, and as text for SIGUSR1.

use std::time::Duration;

use protocol::{Phase, WorkerId};

use crate::format;

/// The state of one worker.
#[derive(Clone, Debug)]
pub struct WorkerLine {
    pub worker: WorkerId,
    /// The id of its process.
    pub pid: Option<u32>,
    /// Its state, as a word.
    pub state: &'static str,
    /// Its running tasks.
    pub running: Vec<RunningLine>,
    /// Number of tasks it holds beyond those.
    pub queued: usize,
}

/// One running task.
#[derive(Clone, Debug)]
pub struct RunningLine {
    /// Its URL.
    pub url: String,
    /// Time since it started.
    pub elapsed: Duration,
    /// Its latest progress, as its worker reported it.
    pub heard: Option<Activity>,
}

/// Progress of a running task, as reported by its worker.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// The current phase.
    pub phase: Phase,
    /// Bytes of body received.
    pub bytes: u64,
    /// Announced size of the body, if the server sent it.
    pub expected: Option<u64>,
    /// Bytes per second, if known.
    pub speed: Option<f64>,
}

/// Returns a line for every worker and each of its running tasks.
#[must_use]
pub fn status_lines(workers: &[WorkerLine]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in workers {
        let pid = line
            .pid
            .map_or_else(|| "no process".to_owned(), |pid| format!("pid {pid}"));
        lines.push(format!(
            "worker {} ({pid}): {}, {} running, {} queued",
            line.worker,
            line.state,
            line.running.len(),
            line.queued
        ));
        for task in &line.running {
            #[allow(clippy::cast_precision_loss, reason = "for people")]
            let heard = task.heard.map_or_else(String::new, |heard| {
                let bytes = format::bytes(heard.bytes as f64);
                format!(", {}, {bytes} received", heard.phase.name())
            });
            lines.push(format!(
                "  {}: for {:.1} s{heard}",
                task.url,
                task.elapsed.as_secs_f64()
            ));
        }
    }
    lines
}
