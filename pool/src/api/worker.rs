//! The start of a worker process.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::time::timeout;

use super::blob::Blob;
use super::call::{Call, Order};
use super::work::{AnyWork, Async, AsyncWork, Context, Failed, Progress, Work};
use crate::close_inherited;
use crate::job::{Broken, Job};
use crate::link::{IpcOutbox, LinkError};
use crate::process::{self, ProcessError, Reached};
use crate::session::{
    Activity, Engine, EventEngine, Options, Outcome, Overrun, Session, SessionError,
};

/// The name (`argv[0]`) of a worker process, which distinguishes it from other processes of the
/// program. Unlike environment variables, it is not inherited by child processes.
pub(super) const NAME: &str = "pool-worker";

/// Environment variables of a worker.
pub(super) const KIND: &str = "POOL_WORKER_KIND";
pub(super) const PARENT: &str = "POOL_WORKER_PARENT";
pub(super) const SOCKET: &str = "POOL_WORKER_SOCKET";
/// Set if the worker is a test of the default harness.
pub(super) const TEST: &str = "POOL_WORKER_TEST";

/// Exit code of a worker that could not start.
const EXIT_NOT_BEGUN: i32 = 70;

/// Exit code of a worker whose job exceeded its deadline, after the worker has reported this.
const EXIT_OVERRUN: i32 = 78;

/// A kind of work that this program does, for [`init_one_of`].
#[derive(Clone, Copy)]
pub struct Kind {
    name: &'static str,
    work: fn() -> Result<(), Stop>,
}

impl Kind {
    /// Returns the kind for `W`.
    #[must_use]
    pub fn of<W: AnyWork>() -> Self {
        Self {
            name: name_of::<W>(),
            work: work::<W>,
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kind").field(&self.name).finish()
    }
}

/// Returns the name that tells a worker which kind of work to do.
pub(super) fn name_of<W: AnyWork>() -> &'static str {
    std::any::type_name::<W>()
}

/// Returns whether this process was started as a worker.
pub(super) fn is_worker() -> bool {
    env::args_os().next().as_deref() == Some(OsStr::new(NAME))
}

/// Turns this process into a worker if it was started as one: it runs jobs until it is no longer
/// needed, then exits, and the call does not return. In any other process, it returns immediately.
///
/// Call this first in `main`, before any file is open and any other thread runs.
pub fn init<W: AnyWork>() {
    init_one_of(&[Kind::of::<W>()]);
}

/// Like [`init`], for a program whose pools do several kinds of work.
pub fn init_one_of(kinds: &[Kind]) {
    if !is_worker() {
        return;
    }
    let wanted = env::var(KIND).unwrap_or_default();
    let Some(kind) = kinds.iter().find(|kind| kind.name == wanted) else {
        stop(&format!(
            "{wanted} is missing from what `pool::init` is told"
        ));
    };
    match (kind.work)() {
        Ok(()) | Err(Stop::Process(ProcessError::Link(LinkError::Closed))) => {
            // The results of jobs that still run are not needed.
            std::process::exit(0)
        }
        Err(Stop::Process(error)) => stop(&error.to_string()),
        Err(Stop::Start(failed)) => stop(&format!("it cannot start: {failed}")),
    }
}

/// Reports `why` on standard error and ends this process.
pub(super) fn stop(why: &str) -> ! {
    // If standard error is closed, there is no other place to report to.
    let _ = writeln!(std::io::stderr(), "worker: {why}");
    std::process::exit(EXIT_NOT_BEGUN)
}

/// Reason why a worker cannot work.
pub enum Stop {
    Process(ProcessError),
    Start(Failed),
}

impl<E: Into<ProcessError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Process(error.into())
    }
}

fn work<W: AnyWork>() -> Result<(), Stop> {
    // The threads of the test harness may use open descriptors.
    if env::var_os(TEST).is_none() {
        close_inherited().map_err(ProcessError::Descriptors)?;
    }
    let parent = env::var(PARENT).ok().and_then(|text| text.parse().ok());
    if !process::begin(parent.unwrap_or(0))? {
        return Ok(());
    }
    let socket = PathBuf::from(env::var_os(SOCKET).unwrap_or_default());
    let Reached::<Call> {
        mut inbox,
        outbox,
        setup: terms,
    } = process::reach(&socket)?;
    let page = process::page(terms.at_once)?;
    let in_force = terms.confinement.apply().map_err(ProcessError::Confine)?;
    tracing::debug!(%in_force, "sandbox");
    let options = Options {
        slots: terms.at_once,
        heartbeat: terms.heartbeat,
        // Only the deadline limits the time of a job.
        rest: Duration::MAX,
        overrun: None,
        compute: true,
        page: Some(page),
        learn: Box::new(drop),
    };
    let session = W::serve(Arc::new(outbox), options, terms.setup, terms.deadline)?;
    session.read(&mut inbox).map_err(into_stop)?;
    Ok(())
}

/// How a worker runs its jobs.
pub trait Serve {
    /// Default number of jobs that a worker runs at once.
    const AT_ONCE: u16;

    /// Prepares the worker, reports that it is ready, and returns the session that runs its jobs.
    fn serve(
        outbox: Arc<IpcOutbox<Call>>,
        options: Options<Call>,
        setup: Blob,
        deadline: Option<Duration>,
    ) -> Result<Session<Call, IpcOutbox<Call>>, Stop>;
}

impl<W: Work> Serve for W {
    const AT_ONCE: u16 = 1;

    fn serve(
        outbox: Arc<IpcOutbox<Call>>,
        options: Options<Call>,
        setup: Blob,
        deadline: Option<Duration>,
    ) -> Result<Session<Call, IpcOutbox<Call>>, Stop> {
        let start = |setup: &Blob| W::start(setup.decode()?);
        let first = Mutex::new(Some(start(&setup).map_err(Stop::Start)?));
        let make_engine = move || {
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let work = match first {
                Some(work) => work,
                // The previous engine panicked.
                None => start(&setup)
                    .unwrap_or_else(|failed| stop(&format!("it cannot start again: {failed}"))),
            };
            Caller { work, deadline }
        };
        let options = Options {
            overrun: deadline.map(|limit| Overrun {
                limit,
                then: || std::process::exit(EXIT_OVERRUN),
            }),
            ..options
        };
        Session::on_threads(outbox, options, make_engine).map_err(into_stop)
    }
}

impl<W: AsyncWork> Serve for Async<W> {
    const AT_ONCE: u16 = 64;

    fn serve(
        outbox: Arc<IpcOutbox<Call>>,
        options: Options<Call>,
        setup: Blob,
        deadline: Option<Duration>,
    ) -> Result<Session<Call, IpcOutbox<Call>>, Stop> {
        let work = setup.decode().map_err(Failed::from).and_then(W::start);
        let work = Arc::new(work.map_err(Stop::Start)?);
        let make_engine = move || AsyncCaller {
            work: Arc::clone(&work),
            deadline,
        };
        Session::on_event_loop(outbox, options, make_engine).map_err(into_stop)
    }
}

/// Reports a failed link as such: if the pool closed it, the worker exits without an error.
fn into_stop(error: SessionError) -> Stop {
    if let SessionError::Link(error) = error {
        return ProcessError::Link(error).into();
    }
    ProcessError::Session(error).into()
}

/// Returns the context of a job that starts now.
fn context<'a>(
    order: &Order,
    deadline: Option<Duration>,
    activity: &'a Activity<Option<Progress>>,
) -> Context<'a> {
    Context {
        delivery: order.delivery,
        deadline: deadline.and_then(|limit| Instant::now().checked_add(limit)),
        activity,
    }
}

/// Encodes the result of a job for its report.
fn outcome(done: Result<impl Serialize, Failed>) -> Outcome<Call> {
    let done = done.and_then(|output| Blob::encode(&output).map_err(Failed::from));
    match done {
        Ok(output) => Ok(Box::new(output)),
        Err(failed) => Err(Box::new(failed)),
    }
}

/// Runs one call at a time.
struct Caller<W> {
    work: W,
    deadline: Option<Duration>,
}

impl<W: Work> Engine<Call> for Caller<W> {
    fn run(&mut self, order: &Order, activity: &Activity<Option<Progress>>) -> Outcome<Call> {
        let context = context(order, self.deadline, activity);
        let job = order.job.decode().map_err(Failed::from);
        outcome(job.and_then(|job| self.work.run(job, &context)))
    }
}

/// Runs one of several calls at once.
struct AsyncCaller<W> {
    work: Arc<W>,
    deadline: Option<Duration>,
}

impl<W: AsyncWork> EventEngine<Call> for AsyncCaller<W> {
    async fn run(&mut self, order: &Order, activity: &Activity<Option<Progress>>) -> Outcome<Call> {
        let context = context(order, self.deadline, activity);
        let job = match order.job.decode() {
            Ok(job) => job,
            Err(error) => return Err(Box::new(error.into())),
        };
        let done = self.work.run(job, &context);
        outcome(match self.deadline {
            None => done.await,
            Some(limit) => match timeout(limit, done).await {
                Ok(done) => done,
                Err(_) => Err(Call::broken(Broken::Overran(limit), SystemTime::now())),
            },
        })
    }
}
