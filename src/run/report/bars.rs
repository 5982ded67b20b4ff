//! Progress on a terminal: a bar for the run, and a line for each worker.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::WorkerLine;
use crate::run::tally::Tally;

/// Redraws a second, at most.
const FRAMES: u8 = 10;

/// The lines of more workers than this would push everything else off the screen.
const MOST_WORKERS: u16 = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    workers: Vec<ProgressBar>,
}

impl Bars {
    pub(super) fn new(workers: u16) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FRAMES));
        let total = all.add(ProgressBar::no_length());
        total.set_style(style(
            "{elapsed_precise} {wide_bar} {pos}/{len} {per_sec} eta {eta} {msg}",
        ));
        let mut bars = Self {
            all,
            total,
            workers: Vec::new(),
        };
        bars.resize(workers);
        bars
    }

    /// A line for each of so many workers.
    pub(super) fn resize(&mut self, workers: u16) {
        let wanted = usize::from(workers.min(MOST_WORKERS));
        for line in self.workers.drain(wanted.min(self.workers.len())..) {
            self.all.remove(&line);
        }
        while self.workers.len() < wanted {
            let line = self.all.add(ProgressBar::no_length());
            line.set_style(style("{prefix:>4.dim} {wide_msg}"));
            self.workers.push(line);
        }
    }

    pub(super) fn line(&self, text: &str) {
        // A terminal that is gone is no reason to stop.
        let _ = self.all.println(text);
    }

    pub(super) fn update(&self, tally: &Tally, workers: &[WorkerLine]) {
        if let Some(expected) = tally.expected() {
            self.total.set_length(expected.max(tally.finished()));
        }
        self.total.set_position(tally.finished());
        let failures = tally.failures() + tally.quarantined;
        if failures > 0 {
            self.total.set_message(format!("{failures} failed"));
        }
        for (bar, line) in self.workers.iter().zip(workers) {
            bar.set_prefix(line.worker.slot.to_string());
            bar.set_message(line.activity());
        }
    }

    pub(super) fn clear(&self) {
        let _ = self.all.clear();
    }
}

/// The templates are constants, and right.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
