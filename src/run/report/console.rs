//! Where lines and progress go: bars on a terminal, plain lines otherwise, or nothing.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration};

use super::bars::Bars;
use super::text::WorkerLine;
use crate::run::tally::Tally;

/// Time between two progress updates: of the bars, and of plain lines.
const BARS_EVERY: Duration = Duration::from_millis(100);
const LINES_EVERY: Duration = Duration::from_secs(10);

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors that concern the whole run, and nothing else.
    Quiet,
    /// Progress, and a line for everything that goes wrong.
    Normal,
    /// The same, among log lines: never bars.
    Logging,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Console {
    bars: Option<Bars>,
    quiet: bool,
    due: Option<Instant>,
}

impl Console {
    /// A console for a run with so many workers, from the moment `now`.
    #[must_use]
    pub fn new(verbosity: Verbosity, workers: u16, now: Instant) -> Self {
        let bars = verbosity == Verbosity::Normal && io::stderr().is_terminal();
        Self {
            bars: bars.then(|| Bars::new(workers)),
            quiet: verbosity == Verbosity::Quiet,
            due: (verbosity != Verbosity::Quiet)
                .then(|| now + if bars { BARS_EVERY } else { LINES_EVERY }),
        }
    }

    /// Says something that concerns the whole run.
    pub fn error(&self, text: &str) {
        self.write(&format!("coordinator: {text}"));
    }

    /// Says something that concerns one task or worker.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            self.write(text);
        }
    }

    fn write(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.line(text),
            None => {
                // Nobody to tell it to if that fails.
                let _ = writeln!(io::stderr(), "{text}");
            }
        }
    }

    /// When progress is to be shown again, if ever.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Shows progress if it is due. `workers` is asked for only if its answer is shown.
    pub fn progress(
        &mut self,
        now: Instant,
        tally: &Tally,
        workers: impl FnOnce() -> Vec<WorkerLine>,
    ) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        if let Some(bars) = &self.bars {
            bars.update(tally, &workers());
            self.due = Some(now + BARS_EVERY);
            return;
        }
        let elapsed = now.saturating_duration_since(tally.begun);
        let mut text = format!("{} of ", tally.finished());
        match tally.expected() {
            Some(expected) if tally.input_ended => text.push_str(&expected.to_string()),
            Some(expected) => text.push_str(&format!("about {expected}")),
            None => text.push_str("an unknown number"),
        }
        text.push_str(&format!(
            " finished, {} stored ({}), ",
            tally.stored,
            HumanBytes(tally.bytes)
        ));
        if tally.unchanged > 0 {
            text.push_str(&format!("{} unchanged, ", tally.unchanged));
        }
        text.push_str(&format!(
            "{} failed, {:.1} files/s",
            tally.failures() + tally.quarantined,
            tally.rate(elapsed),
        ));
        if let Some(left) = time_left(tally, elapsed) {
            text.push_str(&format!(", {} left", HumanDuration(left)));
        }
        self.write(&text);
        self.due = Some(now + LINES_EVERY);
    }

    /// Shows a line for each of so many workers from now on.
    pub fn resize(&mut self, workers: u16) {
        if let Some(bars) = &mut self.bars {
            bars.resize(workers);
        }
    }

    /// Takes the bars off the screen.
    pub fn clear(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.clear();
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn time_left(tally: &Tally, elapsed: Duration) -> Option<Duration> {
    let finished = tally.finished();
    let left = tally.expected()?.saturating_sub(finished);
    if finished == 0 || left == 0 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * left as f64 / finished as f64).ok()
}
