//! How a process becomes a worker.

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

/// The name that a worker is started under: what tells it from any other process of the program. Unlike
/// its environment, nobody inherits that.
pub(super) const NAME: &str = "pool-worker";

/// What it finds in its environment.
pub(super) const KIND: &str = "POOL_WORKER_KIND";
pub(super) const PARENT: &str = "POOL_WORKER_PARENT";
pub(super) const SOCKET: &str = "POOL_WORKER_SOCKET";
/// Set if a test of the default harness becomes the worker.
pub(super) const TEST: &str = "POOL_WORKER_TEST";

/// Exit code of a worker that could not begin.
const EXIT_NOT_BEGUN: i32 = 70;

/// Exit code of a worker whose job took too long, which it said before.
const EXIT_OVERRUN: i32 = 78;

/// A kind of work that this program does.
#[derive(Clone, Copy)]
pub struct Kind {
    name: &'static str,
    work: fn() -> Result<(), Stop>,
}

impl Kind {
    /// The kind `W`.
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

/// The name by which a worker knows what it is for.
pub(super) fn name_of<W: AnyWork>() -> &'static str {
    std::any::type_name::<W>()
}

/// Whether this process was started as a worker.
pub(super) fn is_worker() -> bool {
    env::args_os().next().as_deref() == Some(OsStr::new(NAME))
}

/// Becomes a worker, if this process was started as one: then it works until it is not needed any
/// more, and does not return. Else it returns at once.
///
/// To be called as the first thing that `main` does, before a file is open or a thread runs.
pub fn init<W: AnyWork>() {
    init_one_of(&[Kind::of::<W>()]);
}

/// As [`init`], for a program that has pools of more than one kind.
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
            // What still runs is of no use to anyone.
            std::process::exit(0)
        }
        Err(Stop::Process(error)) => stop(&error.to_string()),
        Err(Stop::Start(failed)) => stop(&format!("it cannot start: {failed}")),
    }
}

/// Ends this process, which says why.
pub(super) fn stop(why: &str) -> ! {
    // Nobody else would hear it.
    let _ = writeln!(std::io::stderr(), "worker: {why}");
    std::process::exit(EXIT_NOT_BEGUN)
}

/// Why a worker cannot work.
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
    // The harness has threads of its own.
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
        // How long a job may take is told by its deadline alone.
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

/// How a worker does its jobs.
pub trait Serve {
    /// How many jobs a worker has under way at once, if nothing is said.
    const AT_ONCE: u16;

    /// Gets ready, says so, and does what comes from then on.
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
                // The one before it panicked.
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

/// A pool that hangs up is the end like any other.
fn into_stop(error: SessionError) -> Stop {
    if let SessionError::Link(error) = error {
        return ProcessError::Link(error).into();
    }
    ProcessError::Session(error).into()
}

/// What a job can know of how it is run.
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

/// What came of a job, to be reported.
fn outcome(done: Result<impl Serialize, Failed>) -> Outcome<Call> {
    let done = done.and_then(|output| Blob::encode(&output).map_err(Failed::from));
    match done {
        Ok(output) => Ok(Box::new(output)),
        Err(failed) => Err(Box::new(failed)),
    }
}

/// Does the calls that come, one after the other.
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

/// Does one of the calls that are under way at once.
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
