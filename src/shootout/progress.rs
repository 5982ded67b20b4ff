//! The display during the measurement: one line that names the current entrant, on a terminal only.
//!
//! It is drawn between runs, never during one.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::contest::{Round, Step};

/// Progress through all contests of a shootout.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Draws on standard error if that is a terminal and `quiet` is not set.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant, and valid.
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows the next run.
    pub fn step(&self, scenario: &str, step: Step<'_>) {
        let round = match step.round {
            Round::WarmUp => "warm-up".to_owned(),
            Round::Observed => "watched round".to_owned(),
            Round::Timed(round) => format!("round {round}"),
        };
        self.0.set_length(step.total as u64);
        self.0.set_position(step.done as u64);
        self.0.set_message(format!(
            "{scenario}, {round}: {} with {} in flight",
            step.case.entrant.name(),
            step.case.in_flight
        ));
        self.0.tick();
    }

    /// Removes the line from the screen.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
