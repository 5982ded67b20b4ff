//! What a user of the library implements.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use protocol::{JobFailure, Severity};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::worker::Serve;
use crate::session::Activity;

/// Most bytes of the text of a failure.
const MAX_TEXT: usize = 1024;

/// Work that is done in processes of its own. A value of the type is made in each of them, and does
/// one job after the other.
pub trait Work: Sized + Send + 'static {
    /// What every worker is told before its first job.
    type Setup: Serialize + DeserializeOwned;
    /// What is to be done: at most 48 KiB when it is encoded; of what is larger, hand over the path.
    type Job: Serialize + DeserializeOwned;
    /// What comes of it, at most 48 KiB as well.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Gets ready to work, in the worker. A sandbox and limits are in force already.
    ///
    /// # Errors
    ///
    /// If it cannot work. The worker ends then, and the pool gives up if that happens too often.
    fn start(setup: Self::Setup) -> Result<Self, Failed>;

    /// Does a job. It may crash, hang or panic: that costs this worker and nothing else.
    ///
    /// # Errors
    ///
    /// If the job failed.
    fn run(&mut self, job: Self::Job, context: &Context) -> Result<Self::Output, Failed>;
}

/// Work whose jobs wait: for the network, for other programs. As [`Work`], but each process does many jobs at
/// once, on one thread with an event loop (tokio's). Its pool is a `Pool<Async<Self>>`.
///
/// If the process dies, all jobs that it had begun are begun again, each alone; so none is blamed for another.
pub trait AsyncWork: Sized + Send + Sync + 'static {
    /// What every worker is told before its first job.
    type Setup: Serialize + DeserializeOwned;
    /// What is to be done: at most 48 KiB when it is encoded; of what is larger, hand over the path.
    type Job: Serialize + DeserializeOwned + Send;
    /// What comes of it, at most 48 KiB as well.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Gets ready to work, in the worker. A sandbox and limits are in force already; there is no event loop yet.
    ///
    /// # Errors
    ///
    /// If it cannot work. The worker ends then, and the pool gives up if that happens too often.
    fn start(setup: Self::Setup) -> Result<Self, Failed>;

    /// Does a job. It must not keep the thread: jobs that compute are for [`Work`]. If it panics, that costs this
    /// job alone. When it has had its time, it is dropped.
    ///
    /// # Errors
    ///
    /// If the job failed.
    fn run(
        &self,
        job: Self::Job,
        context: &Context<'_>,
    ) -> impl Future<Output = Result<Self::Output, Failed>> + Send;
}

/// [`AsyncWork`], as the work of a pool. There are no values of it.
#[derive(Debug)]
pub struct Async<W>(PhantomData<fn() -> W>);

/// What a pool can work at: [`Work`], or [`Async`]. Nothing else implements it.
pub trait AnyWork: Serve + 'static {
    /// What every worker is told before its first job.
    type Setup: Serialize + DeserializeOwned;
    /// What is to be done.
    type Job: Serialize + DeserializeOwned;
    /// What comes of it.
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

/// What a job can know of how it is run, and tell of how far it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Context<'a> {
    /// Which delivery this is: 1, unless workers died of the job or while it ran.
    pub delivery: u32,
    /// When the process is ended if the job still runs; the job is dropped, if it is async.
    pub deadline: Option<Instant>,
    pub(super) activity: &'a Activity<Option<Progress>>,
}

impl Context<'_> {
    /// The job has done so much, of so much in all if that is known. [`Handle::progress`](super::Handle::progress)
    /// tells it to who waits for the job. However often this is called, it is sent ten times a second at most.
    pub fn progress(&self, done: u64, total: Option<u64>) {
        let progress = Progress { done, total };
        self.activity.show(|shown| *shown = Some(progress));
    }
}

/// How far a job is, as it says itself with [`Context::progress`]: in steps, bytes, or whatever it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// So much is done.
    pub done: u64,
    /// So much there is to do in all, if that is known.
    pub total: Option<u64>,
}

/// Why a job failed, as it says itself.
///
/// Any error becomes one with `?`: it is final then.
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
    /// It would fail again.
    #[must_use]
    pub fn new(message: impl fmt::Display) -> Self {
        Self::of(How::Final, message)
    }

    /// It may pass: the job is tried again, as often as [`Builder::retries`](super::Builder::retries) says; after
    /// this time, if there is one.
    #[must_use]
    pub fn may_pass(message: impl fmt::Display, after: Option<Duration>) -> Self {
        Self::of(How::MayPass { after }, message)
    }

    /// No job can succeed until someone intervenes: the pool ends.
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

    /// One line for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The limit on its time that the job overran, if it did.
    pub(super) const fn limit(&self) -> Option<Duration> {
        match self.how {
            How::Overran { limit } => Some(limit),
            How::Final | How::MayPass { .. } | How::Fatal => None,
        }
    }

    /// A worker may have been taken over, and its words go to terminals and logs.
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
