//! Reports and records the deaths of workers.
//!
//! The core has already decided what the death means; this module collects what is known about it.

use protocol::{TaskId, WorkerId};

use super::Shell;
use crate::dispatch::{Exit, KillReason};
use crate::run::log::{
    DeathRecord, FormatVersion, MAX_DEATHS, RecordedDeath, RecordedExit, RecordedRunning,
    RecordedWorker, exit_text, now,
};
use crate::workers::Death;

/// Maximum number of running tasks that the line about a worker's death names.
const NAMED_TASKS: usize = 8;

/// Maximum number of a dead worker's last lines that are quoted in the line about its death, and
/// their maximum length together.
const QUOTED_LINES: usize = 3;
const QUOTED_BYTES: usize = 300;

/// Maximum length of these lines in the record of a quarantined task.
const RECORDED_BYTES: usize = 2048;

/// Separator of quoted lines.
const BETWEEN: &str = " | ";

impl Shell {
    /// Handles the death of a worker that was not told to leave.
    pub(super) fn on_death(
        &mut self,
        worker: WorkerId,
        exit: &Exit,
        killed: Option<&KillReason>,
        running: &[TaskId],
        queued: usize,
    ) {
        let death = match &self.dead {
            Some((dead, death)) if *dead == worker => death.clone(),
            Some(_) | None => exit.clone().into(),
        };
        let recorded = RecordedWorker::new(worker, self.pid(worker));
        let mut doing = Vec::new();
        for task in running {
            let sign = self.heard.remove(task).filter(|sign| sign.worker == worker);
            let Some(entry) = self.tasks.get_mut(task) else {
                continue;
            };
            if entry.deaths.len() == MAX_DEATHS {
                entry.deaths.remove(0);
            }
            entry.deaths.push(RecordedDeath {
                worker: recorded,
                exit: exit_text(exit),
                phase: sign.map(|sign| sign.heard.phase),
            });
            doing.push(RecordedRunning {
                task: *task,
                url: entry.target.url.clone(),
                phase: sign.map(|sign| sign.heard.phase),
                bytes: sign.map(|sign| sign.heard.bytes),
            });
        }
        let record = DeathRecord {
            v: FormatVersion,
            time: now(),
            worker: recorded,
            exit: RecordedExit::new(exit),
            killed: killed.map(ToString::to_string),
            running: doing,
            queued,
            stderr: death.last_words,
            peak_memory: death.peak_memory,
            oom: death.oom,
        };
        self.tell_of(worker, &record);
        let deaths = &mut self.parts.deaths;
        // Write it at once: deaths are rare, and the coordinator may die next.
        let written = deaths.append(&record).and_then(|()| deaths.flush());
        self.check_log(written);
    }

    fn tell_of(&self, worker: WorkerId, death: &DeathRecord) {
        let urls: Vec<_> = death.running.iter().map(|task| task.url.as_str()).collect();
        let doing = named(&urls);
        let from = death.stderr.len().saturating_sub(QUOTED_LINES);
        let last_words = quoted(&death.stderr[from..], QUOTED_BYTES);
        let text = &death.exit.text;
        self.parts.console.line(&match death.worker.pid {
            // No process was started.
            0 => format!("worker {worker} was {text}"),
            pid => format!(
                "worker {worker} (pid {pid}) died with {text}; it was running {doing}{last_words}"
            ),
        });
        tracing::info!(
            %worker,
            killed = death.killed.as_deref().unwrap_or("by nobody here"),
            queued = death.queued,
            peak_memory = death.peak_memory,
            oom = death.oom,
            "what is known of the death"
        );
        for task in &death.running {
            let phase = task.phase.map_or("not heard of", |phase| phase.name());
            tracing::info!(%worker, task = %task.task, phase, bytes = task.bytes, url = task.url,
                "it was running");
        }
        for line in &death.stderr {
            tracing::info!(%worker, "it last wrote: {line}");
        }
    }

    /// Returns why the `deliveries`-th delivery of a task, which ended with this death, quarantines
    /// it: in short, and with the worker's last lines.
    pub(super) fn blame(&self, worker: WorkerId, exit: &Exit, deliveries: u32) -> (String, String) {
        let short = format!(
            "its worker died with {} (delivery {deliveries})",
            exit_text(exit)
        );
        let last_words = match &self.dead {
            Some((dead, Death { last_words, .. })) if *dead == worker => last_words.as_slice(),
            Some(_) | None => &[],
        };
        let long = format!("{short}{}", quoted(last_words, RECORDED_BYTES));
        (short, long)
    }
}

/// Returns the names of the running tasks, at most the first few.
fn named(urls: &[&str]) -> String {
    let (first, others) = urls.split_at(urls.len().min(NAMED_TASKS));
    match (first, others.len()) {
        ([], _) => "nothing".to_owned(),
        (_, 0) => first.join(", "),
        (_, more) => format!("{} and {more} more", first.join(", ")),
    }
}

/// Returns the last of `lines` that fit into `limit` bytes, as the end of a line, or an empty text
/// if there are none. A single line that is too long is cut at its end.
fn quoted(lines: &[String], limit: usize) -> String {
    let mut left = limit;
    let mut from = lines.len();
    while from > 0 && lines[from - 1].len() + BETWEEN.len() <= left {
        from -= 1;
        left -= lines[from].len() + BETWEEN.len();
    }
    match (&lines[from..], lines.last()) {
        ([], None) => String::new(),
        ([], Some(long)) => {
            let cut = &long[..long.floor_char_boundary(limit)];
            format!("; it last wrote: {cut}\u{2026}")
        }
        (fitting, _) => format!("; it last wrote: {}", fitting.join(BETWEEN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_tasks_are_named_as_a_line_has_room_for() {
        assert_eq!(named(&[]), "nothing");
        assert_eq!(named(&["a", "b"]), "a, b");
        assert_eq!(named(&["a"; NAMED_TASKS]), "a, a, a, a, a, a, a, a");
        assert_eq!(
            named(&["a"; NAMED_TASKS + 2]),
            "a, a, a, a, a, a, a, a and 2 more"
        );
    }

    #[test]
    fn the_last_lines_are_quoted_as_far_as_they_fit() {
        let lines = |lines: &[&str]| lines.iter().map(|&line| line.into()).collect::<Vec<_>>();
        assert_eq!(quoted(&[], 20), "");
        assert_eq!(quoted(&lines(&["a", "b"]), 20), "; it last wrote: a | b");
        assert_eq!(
            quoted(&lines(&["aaaa", "bbbb", "cccc"]), 15),
            "; it last wrote: bbbb | cccc"
        );
        assert_eq!(
            quoted(&lines(&["a", "\u{20ac}\u{20ac}\u{20ac}"]), 8),
            "; it last wrote: \u{20ac}\u{20ac}\u{2026}"
        );
    }
}
