//! Shows progress to a person: one line, on a terminal only.
//!
//! This module must not decide anything.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::supervise::Story;

/// The progress of a chaos run, or of another long operation.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Draws on standard error if that is a terminal and `quiet` is off.
    #[must_use]
    pub fn new(steps: usize, quiet: bool) -> Self {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
        // The template is a valid constant.
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows the URLs that the origin has served, and the faults of the coordinator.
    pub fn show(&self, urls: u64, story: &Story) {
        let injections: u32 = story.injections.values().sum();
        self.tell(
            urls,
            format!("run {}, {injections} faults injected", story.starts),
        );
    }

    /// Shows how many steps are done, and the current one.
    pub fn tell(&self, done: u64, doing: String) {
        self.0.set_position(done);
        self.0.set_message(doing);
    }

    /// Removes the line from the screen.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
