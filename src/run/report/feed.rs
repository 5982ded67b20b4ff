//! Progress for a program: a JSON object a line (`--progress json`), described in
//! docs/progress.md.
//!
//! The lines are written by a thread of their own: a reader that does not read holds up nothing but
//! its own lines, which are then dropped, but for the last.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::screen::{View, bytes};
use crate::run::stats::Stats;
use crate::watch::{OVER, Progress};

/// Version of the format: counts up if a key changes its meaning.
const VERSION: u32 = 1;

/// Lines that wait for the reader.
const WAITING: usize = 64;

/// How long the end of the run waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the objects go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedTarget {
    /// Standard error, which then has nothing else.
    Stderr,
    /// This descriptor, which whoever started the program has opened.
    Descriptor(u32),
}

/// See the module.
#[derive(Debug)]
pub struct Feed {
    target: FeedTarget,
    lines: SyncSender<String>,
    /// Written behind all lines, and needs no place among those that wait.
    last: Arc<OnceLock<String>>,
    /// Disconnected when all is written.
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
    /// If there is no such descriptor, or it cannot be written to.
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
                    // Nobody reads any more.
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
        // A reader that is late misses it.
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
        // Before the channel ends, which is when the thread looks for it.
        let _ = self.last.set(line(end));
        drop(self.lines);
        // Disconnected when the thread has written everything.
        let _ = self.written.recv_timeout(PATIENCE);
    }
}

/// How far a run is.
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

/// How far a run came that is over.
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
    // Numbers and text: it cannot fail.
    let mut text = serde_json::to_string(object).unwrap_or_default();
    text.push('\n');
    text
}
