//! Progress for a program: one JSON object per line (`--progress json`), described in
//! docs/progress.md.
//!
//! A separate thread writes the lines. If the reader is slow, lines are dropped, except for the
//! last, and nothing else is delayed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::screen::{View, bytes};
use crate::run::stats::Stats;
use crate::watch::{OVER, Progress};

/// Version of the format, increased when a key changes its meaning.
const VERSION: u32 = 1;

/// Maximum number of lines that wait for the reader.
const WAITING: usize = 64;

/// How long the end of the run waits for the reader.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the objects go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedTarget {
    /// Standard error, which then carries nothing else.
    Stderr,
    /// This descriptor, which the parent process has opened.
    Descriptor(u32),
}

/// Sends progress to a program.
#[derive(Debug)]
pub struct Feed {
    target: FeedTarget,
    lines: SyncSender<String>,
    /// The last line, written after all others. It does not use the queue.
    last: Arc<OnceLock<String>>,
    /// Disconnected when everything is written.
    written: Receiver<()>,
}

#[derive(Serialize)]
struct Message<'a> {
    v: u32,
    event: &'static str,
    text: &'a str,
}

impl Feed {
    /// Opens the target.
    ///
    /// # Errors
    ///
    /// Fails if the descriptor does not exist or cannot be written to.
    pub fn open(target: FeedTarget) -> io::Result<Self> {
        let file: Option<File> = match target {
            FeedTarget::Stderr => None,
            FeedTarget::Descriptor(number) => Some(
                OpenOptions::new()
                    .append(true)
                    .open(format!("/proc/self/fd/{number}"))?,
            ),
        };
        let (lines, incoming) = sync_channel::<String>(WAITING);
        let (done, written) = sync_channel::<()>(0);
        let last = Arc::new(OnceLock::new());
        let told_last = Arc::clone(&last);
        std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || {
                let _done = done;
                let behind = std::iter::from_fn(|| told_last.get().cloned()).take(1);
                for line in incoming.into_iter().chain(behind) {
                    let told = match &file {
                        Some(file) => (&*file).write_all(line.as_bytes()),
                        None => io::stderr().write_all(line.as_bytes()),
                    };
                    // The reader is gone.
                    if told.is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            target,
            lines,
            last,
            written,
        })
    }

    pub(super) fn is_stderr(&self) -> bool {
        self.target == FeedTarget::Stderr
    }

    pub(super) fn progress(&self, now: Instant, view: &View<'_>) {
        // A slow reader misses this line.
        let _ = self.lines.try_send(line(&progress(now, view)));
    }

    pub(super) fn message(&self, text: &str) {
        let message = Message {
            v: VERSION,
            event: "message",
            text,
        };
        let _ = self.lines.try_send(line(&message));
    }

    pub(super) fn finish(self, end: &Progress) {
        // Must be set before the channel closes, because the thread reads it then.
        let _ = self.last.set(line(end));
        drop(self.lines);
        // Disconnected when the thread has written everything.
        let _ = self.written.recv_timeout(PATIENCE);
    }
}

/// Returns the progress of a run.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates, rounded"
)]
pub(super) fn progress(now: Instant, view: &View<'_>) -> Progress {
    Progress {
        running: Some(view.running.len()),
        bytes: bytes(view),
        bytes_per_s: Some(view.rates.bytes.round() as u64),
        files_per_s: Some((view.rates.files * 1000.0).round() / 1000.0),
        eta_ms: view.left.map(millis),
        ..state("progress", now, view.stats)
    }
}

/// Returns the progress of a run that has ended.
#[must_use]
pub fn end(now: Instant, stats: &Stats, code: u8) -> Progress {
    Progress {
        exit_code: Some(code),
        ..state(OVER, now, stats)
    }
}

fn state(event: &'static str, now: Instant, stats: &Stats) -> Progress {
    Progress {
        v: VERSION,
        event,
        elapsed_ms: millis(now.saturating_duration_since(stats.begun)),
        urls: stats.expected(),
        listed: stats.is_counted(),
        stored: stats.stored,
        unchanged: stats.unchanged,
        failed: stats.failures(),
        quarantined: stats.quarantined,
        fenced: stats.fenced,
        stored_earlier: stats.stored_earlier,
        bytes: stats.bytes,
        ..Progress::default()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn line(object: &impl Serialize) -> String {
    // Numbers and text always serialise.
    let mut text = serde_json::to_string(object).unwrap_or_default();
    text.push('\n');
    text
}
