//! The outcome of a run: as an exit code and in words.

use std::path::PathBuf;

use super::log::{Layout, exit_text};
use super::report::{Close, Console, print_summary};
use super::shell::Finished;
use crate::dispatch::{Ending, GiveUp};

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every URL is stored.
    Stored,
    /// Some URLs failed, are quarantined, or could not be read.
    Incomplete,
    /// The input contained no URL.
    NothingToDo,
    /// The run stopped because it could not continue.
    GivenUp,
    /// A signal, with this number, ended it.
    Interrupted(i32),
}

impl Outcome {
    /// Returns the exit code of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Incomplete => 1,
            Self::NothingToDo => 3,
            Self::GivenUp => 4,
            // As shells report death by a signal.
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(130),
        }
    }
}

/// What to report to the user.
#[derive(Debug)]
pub(super) struct Told {
    /// Whether to report errors only.
    pub(super) quiet: bool,
    /// The output folder, as the user named it.
    pub(super) output: PathBuf,
    /// Whether the input is a share of a fleet's list, which may be empty.
    pub(super) may_be_empty: bool,
}

/// Reports the outcome of the run.
pub(super) fn conclude(
    finished: Finished,
    console: &mut Console,
    layout: &Layout,
    config: &Told,
) -> Outcome {
    let stats = &finished.stats;
    console.close(stats);
    if stats.input_ended && stats.lines() == 0 && !config.may_be_empty {
        if let Some(reason) = stats.why_nothing() {
            console.error(reason);
        }
        return Outcome::NothingToDo;
    }
    let mut outcome = match &finished.ending {
        Ending::Completed if stats.is_clean() => Outcome::Stored,
        Ending::Completed => Outcome::Incomplete,
        Ending::Interrupted => {
            Outcome::Interrupted(finished.signal.unwrap_or(signal_hook::consts::SIGINT))
        }
        Ending::GivenUp(reason) => {
            console.error(&format!("the run gave up: {}", explain(reason, layout)));
            Outcome::GivenUp
        }
    };
    if let Err(error) = &finished.log {
        console.error(&error.to_string());
        outcome = Outcome::GivenUp;
    }
    if let Err(error) = &finished.intents {
        console.error(&error.to_string());
    }
    if let Err(error) = &finished.timeline {
        console.error(&format!("the timeline is incomplete: {error}"));
    }
    if !config.quiet {
        let close = Close {
            counts: &finished.counts,
            elapsed: stats.begun.elapsed(),
            left: stats.input_ended.then_some(finished.unfinished),
            output: &config.output,
            results: &layout.results(),
            injected: finished.injected.as_deref(),
        };
        if let Err(error) = print_summary(stats, &close) {
            console.error(&format!("cannot print the summary: {error}"));
        }
    }
    outcome
}

fn explain(reason: &GiveUp, layout: &Layout) -> String {
    match reason {
        GiveUp::RestartIntensity {
            deaths,
            period,
            last,
        } => format!(
            "{deaths} workers died within {} without having done anything, the last with {}; \
             their last output is above, and -v shows more (--restart-intensity)",
            humantime::format_duration(*period),
            exit_text(last)
        ),
        GiveUp::TooManyFailures { failed } => format!(
            "{failed} URLs failed, more than --max-failures allows; run the same command again to \
             try them again and do the rest"
        ),
        GiveUp::TimeIsUp => {
            "the time limit was reached (--run-time); run the same command again to do the \
                             rest"
                .to_owned()
        }
        GiveUp::AllRetired { last } => format!(
            "in every slot, workers died one after another without having done anything, the \
             last with {}; their last output is above, and -v shows more",
            exit_text(last)
        ),
        GiveUp::Fatal(failure) => format!(
            "{}; files go to {}; nothing is lost; run the same command again when that is fixed",
            failure.message,
            layout.output().display()
        ),
        GiveUp::Other(reason) => reason.clone(),
    }
}
