//! What workers do: for the screen, and in words for SIGUSR1.

use std::time::Duration;

use protocol::{Phase, WorkerId};

use crate::format;

/// One worker, as it is now.
#[derive(Clone, Debug)]
pub struct WorkerLine {
    pub worker: WorkerId,
    /// Its process.
    pub pid: Option<u32>,
    /// What it is up to, as a word.
    pub state: &'static str,
    /// What it runs.
    pub running: Vec<RunningLine>,
    /// Tasks it holds beyond those.
    pub queued: usize,
}

/// One running task.
#[derive(Clone, Debug)]
pub struct RunningLine {
    /// Its URL.
    pub url: String,
    /// For how long.
    pub elapsed: Duration,
    /// What its worker last said of it.
    pub heard: Option<Activity>,
}

/// What a worker said of a task that it runs.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes of body received.
    pub bytes: u64,
    /// How many there will be, if the server has said so.
    pub expected: Option<u64>,
    /// Bytes a second, if that can be told.
    pub speed: Option<f64>,
}

/// Every worker and each task it runs, a line each.
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
