//! Workers in words: for the bars, and for SIGUSR1.

use std::time::Duration;

use indicatif::HumanBytes;
use protocol::{Phase, WorkerId};

/// One worker, as it is now.
#[derive(Clone, Debug)]
pub struct WorkerLine {
    /// Which.
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
    /// What its worker last said of it: the phase, and bytes of body received.
    pub heard: Option<(Phase, u64)>,
}

impl WorkerLine {
    /// What it does, without who it is, in one line.
    #[must_use]
    pub fn activity(&self) -> String {
        let mut text = match self.running.as_slice() {
            [] => self.state.to_owned(),
            [first, others @ ..] => {
                let mut text = first.url.clone();
                if let Some((phase, bytes @ 1..)) = first.heard {
                    text.push_str(&format!(" {}, {}", phase.name(), HumanBytes(bytes)));
                }
                if !others.is_empty() {
                    text.push_str(&format!(" and {} more", others.len()));
                }
                text
            }
        };
        if self.queued > 0 {
            text.push_str(&format!(" (+{})", self.queued));
        }
        text
    }
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
            let heard = task.heard.map_or_else(String::new, |(phase, bytes)| {
                format!(", {}, {} received", phase.name(), HumanBytes(bytes))
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
