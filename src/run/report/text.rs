//! Workers in words: for the bars, and for SIGUSR1.

use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
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
    /// What it runs: URL, for how long, and what was last heard of it.
    pub running: Vec<(String, Duration, Option<(Phase, u64)>)>,
    /// Tasks it holds beyond those.
    pub queued: usize,
}

impl WorkerLine {
    /// What it does, without who it is, in one line.
    #[must_use]
    pub fn activity(&self) -> String {
        let mut text = match self.running.as_slice() {
            [] => self.state.to_owned(),
            [(url, _, Some((phase, bytes)))] if *bytes > 0 => {
                format!("{url} {}, {}", phase.name(), HumanBytes(*bytes))
            }
            [(url, _, _)] => url.clone(),
            [(url, _, _), others @ ..] => format!("{url} and {} more", others.len()),
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
        for (url, elapsed, heard) in &line.running {
            let heard = heard.map_or_else(String::new, |(phase, bytes)| {
                format!(", {}, {} received", phase.name(), HumanBytes(bytes))
            });
            lines.push(format!("  {url}: for {}{heard}", HumanDuration(*elapsed)));
        }
    }
    lines
}
