//! The traits that a user of the library implements, and their types.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use protocol::{JobFailure, Severity};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::worker::Serve;
use crate::session::Activity;

/// Maximum length of a failure's message, in bytes.
const MAX_TEXT: usize = 1024;

/// Work done in worker processes. Each has a value of the type, and runs one job at a time.
pub trait Work: Sized + Send + 'static {
    /// Configuration that each worker receives before its first job.
    type Setup: Serialize + DeserializeOwned;
    /// Input of a job, at most 48 KiB when encoded. For larger input, pass a path.
    type Job: Serialize + DeserializeOwned;
    /// Output of a job, at most 48 KiB when encoded.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Prepares a worker. Runs in the worker process, with its sandbox and limits already in force.
    ///
    /// # Errors
    ///
    /// Fails if the worker cannot work. It then ends; the pool gives up if this happens too often.
    fn start(setup: Self::Setup) -> Result<Self, Failed>;

    /// Runs a job. If the job crashes, hangs or panics, no other worker is affected.
    ///
    /// # Errors
    ///
    /// Returns [`Failed`] if the job failed: with a final, a transient or a fatal error.
    fn run(&mut self, job: Self::Job, context: &Context) -> Result<Self::Output, Failed>;
}

/// Work whose jobs mostly wait, for the network or other programs. Like [`Work`], but a process
/// runs many jobs at once, on a thread with a tokio event loop. Its pool is `Pool<Async<Self>>`.
///
/// If the process dies, its running jobs are run again, each alone: none is blamed for another.
pub trait AsyncWork: Sized + Send + Sync + 'static {
    /// Configuration that each worker receives before its first job.
    type Setup: Serialize + DeserializeOwned;
    /// Input of a job, at most 48 KiB when encoded. For larger input, pass a path.
    type Job: Serialize + DeserializeOwned + Send;
    /// Output of a job, at most 48 KiB when encoded.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Prepares a worker. Runs in the worker process, with its sandbox and limits already in force,
    /// but before the event loop starts.
    ///
    /// # Errors
    ///
    /// Fails if the worker cannot work. It then ends; the pool gives up if this happens too often.
    fn start(setup: Self::Setup) -> Result<Self, Failed>;

    /// Runs a job. It must not block the thread: implement [`Work`] for jobs that compute. A panic
    /// affects only this job. If the job exceeds its deadline, it is dropped.
    ///
    /// # Errors
    ///
    /// Returns [`Failed`] if the job failed: with a final, a transient or a fatal error.
    fn run(
        &self,
        job: Self::Job,
        context: &Context<'_>,
    ) -> impl Future<Output = Result<Self::Output, Failed>> + Send;
}

/// Makes [`AsyncWork`] the work of a pool: `Pool<Async<W>>`. The type has no values.
#[derive(Debug)]
pub struct Async<W>(PhantomData<fn() -> W>);

/// Work that a pool can do: [`Work`], or [`AsyncWork`] in [`Async`]. This trait is sealed.
pub trait AnyWork: Serve + 'static {
    /// Configuration that each worker receives before its first job.
    type Setup: Serialize + DeserializeOwned;
    /// Input of a job.
    type Job: Serialize + DeserializeOwned;
    /// Output of a job.
    type Output: Serialize + DeserializeOwned + Send + 'static;
}

impl<W: Work> AnyWork for W {
    type Setup = W::Setup;
    type Job = W::Job;
    type Output = W::Output;
}

impl<W: AsyncWork> AnyWork for Async<W> {
    type Setup = W::Setup;
    type Job = W::Job;
    type Output = W::Output;
}

/// What a running job knows about its delivery, and how it reports its progress.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context<'a> {
    /// Number of this delivery, from 1. It is higher if workers died in earlier deliveries.
    pub delivery: u32,
    /// Time at which the process is ended if the job still runs. An async job is dropped instead.
    pub deadline: Option<Instant>,
    pub(super) activity: &'a Activity<Option<Progress>>,
}

impl Context<'_> {
    /// Reports that `done` of `total` is done; `total` is `None` if it is not known.
    /// [`Handle::progress`](super::Handle::progress) returns the last report. However often a job
    /// calls this, at most ten reports a second are sent.
    pub fn progress(&self, done: u64, total: Option<u64>) {
        let progress = Progress { done, total };
        self.activity.show(|shown| *shown = Some(progress));
    }
}

/// Progress of a job, as reported with [`Context::progress`]: in steps, bytes or any other unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Amount done.
    pub done: u64,
    /// Total amount, if it is known.
    pub total: Option<u64>,
}

/// The error of a job.
///
/// `?` converts any error to a final one, as [`Failed::new`] does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    message: String,
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    Final,
    MayPass { after: Option<Duration> },
    Fatal,
    Overran { limit: Duration },
}

impl Failed {
    /// Creates a final error: the job would fail again, and is not retried.
    #[must_use]
    pub fn new(message: impl fmt::Display) -> Self {
        Self::of(How::Final, message)
    }

    /// Creates a transient error: the job is retried up to
    /// [`Builder::retries`](super::Builder::retries) times, `after` this time if one is given.
    #[must_use]
    pub fn may_pass(message: impl fmt::Display, after: Option<Duration>) -> Self {
        Self::of(How::MayPass { after }, message)
    }

    /// Creates a fatal error: no job can succeed until someone intervenes. The pool ends.
    #[must_use]
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::of(How::Fatal, message)
    }

    pub(super) fn overran(limit: Duration, message: impl fmt::Display) -> Self {
        Self::of(How::Overran { limit }, message)
    }

    fn of(how: How, message: impl fmt::Display) -> Self {
        let mut message = message.to_string();
        message.truncate(message.floor_char_boundary(MAX_TEXT));
        Self { message, how }
    }

    /// Returns the message: one line for people to read.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the time limit, if the job failed because it exceeded it.
    pub(super) const fn limit(&self) -> Option<Duration> {
        match self.how {
            How::Overran { limit } => Some(limit),
            How::Final | How::MayPass { .. } | How::Fatal => None,
        }
    }

    /// Truncates the message and replaces harmful characters: it may come from a compromised
    /// worker, and is written to terminals and logs.
    pub(super) fn make_harmless(&mut self) {
        let end = self.message.floor_char_boundary(MAX_TEXT);
        self.message.truncate(end);
        if self.message.contains(protocol::is_harmful) {
            self.message = self.message.replace(protocol::is_harmful, " ");
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl JobFailure for Failed {
    fn severity(&self) -> Severity {
        match self.how {
            How::Final | How::Overran { .. } => Severity::Permanent,
            How::MayPass { after } => Severity::Transient { retry_after: after },
            How::Fatal => Severity::Fatal,
        }
    }
}
