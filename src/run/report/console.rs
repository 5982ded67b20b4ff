//! The destination of lines and progress: drawn lines on a terminal, plain lines otherwise, objects
//! for a program, or nothing.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::bars::Bars;
use super::feed::{self, Feed};
use super::pace::{Pace, time_left};
use super::screen::{self, View};
use super::text::RunningLine;
use crate::format;
use crate::run::stats::Stats;
use crate::terminal::{self, Color};
use crate::watch::Progress;

/// Time between progress updates on a terminal, as objects, in lines; and until the first line.
const BARS_EVERY: Duration = Duration::from_millis(100);
const OBJECTS_EVERY: Duration = Duration::from_secs(1);
const LINES_EVERY: Duration = Duration::from_secs(10);
const FIRST_LINE: Duration = Duration::from_secs(2);

/// Maximum number of unusable lines that are shown, and the first that is not.
const MAX_PROBLEMS: u64 = 100;
const UNSHOWN: u64 = MAX_PROBLEMS + 1;

/// The form of the output.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether to print only errors that concern the whole run.
    pub quiet: bool,
    /// When to use colour.
    pub color: Color,
    /// How to show progress.
    pub progress: terminal::Progress,
}

/// Prints lines and progress.
#[derive(Debug, Default)]
pub struct Console {
    bars: Option<Bars>,
    feed: Option<Feed>,
    /// Whether the feed uses standard error.
    is_fed: bool,
    quiet: bool,
    color: bool,
    pace: Option<Pace>,
    /// When progress is due: on a terminal or in lines, and as objects.
    due: Option<Instant>,
    objects_due: Option<Instant>,
    /// Whether a plain progress line was written.
    spoke: bool,
}

impl Console {
    /// Creates the console of a run that begins at `now`.
    #[must_use]
    pub fn new(how: Manner, feed: Option<Feed>, now: Instant) -> Self {
        let Manner {
            quiet,
            color,
            progress,
        } = how;
        let is_fed = feed.as_ref().is_some_and(Feed::is_stderr);
        let is_terminal = io::stderr().is_terminal();
        let color = color.is_on(is_terminal) && !is_fed;
        let draws = progress != terminal::Progress::Plain && is_terminal && !terminal::is_dumb();
        let bars = draws && !quiet && !is_fed;
        let first = if bars { BARS_EVERY } else { FIRST_LINE };
        Self {
            bars: bars.then(|| Bars::new(color)),
            objects_due: feed.is_some().then(|| now + OBJECTS_EVERY),
            feed,
            is_fed,
            quiet,
            color,
            pace: Some(Pace::new(now)),
            due: (!quiet && !is_fed).then(|| now + first),
            spoke: false,
        }
    }

    /// Creates a console that prints errors only.
    #[must_use]
    pub fn quiet(now: Instant) -> Self {
        let how = Manner {
            quiet: true,
            color: Color::Never,
            progress: terminal::Progress::Auto,
        };
        Self::new(how, None, now)
    }

    /// Prints a message about the whole run.
    pub fn error(&self, text: &str) {
        let text = match text.strip_prefix("warning: ") {
            Some(rest) if self.color => format!("{} {rest}", terminal::yellow("warning:")),
            Some(_) | None => text.to_owned(),
        };
        self.write(&format!("coordinator: {text}"));
    }

    /// Prints the problem of the `count`-th unusable line of the input. Beyond a maximum nothing is
    /// printed, so that a list of such lines does not bury other messages.
    pub fn problem(&self, count: u64, problem: &str) {
        match count {
            ..=MAX_PROBLEMS => self.error(problem),
            UNSHOWN => self.error(&format!(
                "more than {MAX_PROBLEMS} lines cannot be used; the others are counted, and not shown"
            )),
            _ => {}
        }
    }

    /// Prints a message about one task or worker.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            self.write(text);
        }
    }

    /// Prints how a URL failed: a word, then the reason.
    pub fn failure(&self, word: &str, text: &str) {
        match self.color {
            true => self.line(&format!("{} {text}", terminal::red(&format!("{word}:")))),
            false => self.line(&format!("{word}: {text}")),
        }
    }

    fn write(&self, text: &str) {
        match (&self.bars, &self.feed) {
            (Some(bars), _) => bars.line(text),
            (None, Some(feed)) if self.is_fed => feed.message(text),
            (None, _) => {
                // A failure to write to standard error cannot be reported.
                let _ = writeln!(io::stderr(), "{text}");
            }
        }
    }

    /// Returns when progress is due next, if ever.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        [self.due, self.objects_due].into_iter().flatten().min()
    }

    /// Returns the progress for a program, and the number of files as text.
    pub fn figures(
        &mut self,
        now: Instant,
        stats: &Stats,
        running: &[RunningLine],
    ) -> (Progress, String) {
        let rates = self.pace.as_mut().map(|pace| pace.at(now, stats));
        let rates = rates.unwrap_or_default();
        let view = View {
            stats,
            rates,
            left: time_left(stats, rates, running),
            running,
        };
        (feed::progress(now, &view), screen::files(stats))
    }

    /// Takes a sample of the progress, for later rates.
    pub fn keep_pace(&mut self, now: Instant, stats: &Stats) {
        if let Some(pace) = &mut self.pace {
            pace.at(now, stats);
        }
    }

    /// Shows progress if it is due. Calls `running` only if its result is shown.
    pub fn progress(
        &mut self,
        now: Instant,
        stats: &Stats,
        running: impl FnOnce() -> Vec<RunningLine>,
    ) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        let running = running();
        let Some(pace) = &mut self.pace else { return };
        let rates = pace.at(now, stats);
        let view = View {
            stats,
            rates,
            left: time_left(stats, rates, &running),
            running: &running,
        };
        if self.objects_due.is_some_and(|due| due <= now) {
            if let Some(feed) = &self.feed {
                feed.progress(now, &view);
            }
            self.objects_due = Some(now + OBJECTS_EVERY);
        }
        if self.due.is_some_and(|due| due <= now) {
            match &mut self.bars {
                Some(bars) => {
                    bars.update(&view);
                    self.due = Some(now + BARS_EVERY);
                }
                None => {
                    let text = plain(&view);
                    self.write(&text);
                    self.spoke = true;
                    self.due = Some(now + LINES_EVERY);
                }
            }
        }
    }

    /// Runs `what`, which stops this process for a while, with the terminal free for others.
    pub fn suspend<T>(&mut self, stats: &Stats, what: impl FnOnce() -> T) -> T {
        let done = match &mut self.bars {
            Some(bars) => bars.suspend(what),
            None => what(),
        };
        if let Some(pace) = &mut self.pace {
            pace.restart(Instant::now(), stats);
        }
        done
    }

    /// Ends the display: erases the drawn lines, or prints a last line if lines were printed.
    pub fn close(&mut self, stats: &Stats) {
        self.due = None;
        self.objects_due = None;
        if self.bars.take().is_none() && std::mem::take(&mut self.spoke) {
            let rates = self
                .pace
                .as_mut()
                .map(|pace| pace.at(Instant::now(), stats));
            let view = View {
                stats,
                rates: rates.unwrap_or_default(),
                left: None,
                running: &[],
            };
            self.write(&plain(&view));
        }
    }

    /// Sends the end of the run to the feed.
    pub fn finish(&mut self, end: &Progress) {
        if let Some(feed) = self.feed.take() {
            feed.finish(end);
        }
    }
}

/// Returns progress as a line of text.
fn plain(view: &View<'_>) -> String {
    let failed = view.stats.failures() + view.stats.quarantined;
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let bytes = format::bytes(screen::bytes(view) as f64);
    let left = match view.left {
        Some(left) => format!(", ETA {}", format::duration(left)),
        None => String::new(),
    };
    format!(
        "{}, {bytes}, {}/s, {failed} failed{left}",
        screen::files(view.stats),
        format::bytes(view.rates.bytes),
    )
}
