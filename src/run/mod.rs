//! The main job, from settings to exit code.
//!
//! ```text
//!   lists --- intake thread ---+
//!   worker -- link thread -----+--> inbox --> shell --> core: what now?
//!   signals - signal thread ---+                |
//!                                               +--> pool, run log, progress
//! ```
//!
//! This module sets a run up, and says how it went. What happens in between is in `shell`.

mod hosts;
mod inbox;
mod intake;
pub mod log;
mod outcome;
mod report;
pub mod resume;
mod shell;
mod signals;
mod tally;

use std::io;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use protocol::codec::EncodeError;
use protocol::{Engine, Setup, Simulated, Trust};

use crate::config::RunConfig;
use crate::dispatch::Dispatcher;
use crate::input::{self, InputError, Source};
use crate::origin::{Origin, SpawnError};
use crate::pool::{DescriptorError, ProcessPool, make_room};

use intake::{Intake, OpenList, Plan};
use log::{Layout, LayoutError, LockError, LogError, LogWriter};
use report::{Console, Verbosity};
use resume::Index;
use shell::{Parts, Shell};
use tally::Tally;

pub use outcome::Outcome;

/// Longest time between two heartbeats; also how old the bytes in a status may be.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Heartbeats that may be lost before a lease ends.
const HEARTBEATS_PER_LEASE: u32 = 4;

/// Why a run did not begin. Nothing was started, nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// There is no list to read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The output folder is of no use.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Another run works in it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The run log is of no use.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Too few descriptors.
    #[error(transparent)]
    Descriptors(#[from] DescriptorError),
    /// The built-in origin does not come up.
    #[error("cannot start the built-in origin (--simulate): {0}")]
    Origin(#[from] SpawnError),
    /// The options are too long for the workers to be told.
    #[error("the options for HTTP are too long to hand to a worker: {0}; give fewer headers")]
    Options(#[from] EncodeError),
    /// The system refused something that every run needs.
    #[error("cannot {what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// Runs the main job to its end, and prints how it went.
///
/// # Errors
///
/// If it could not begin.
pub fn execute(config: RunConfig) -> Result<Outcome, SetUpError> {
    let begun = Instant::now();
    let workers = config.limits.workers;
    let mut console = Console::new(verbosity(&config), workers, begun);
    let mut tally = Tally::new(begun);
    let lists = open_lists(&config.sources, &console, &mut tally)?;
    make_room(workers)?;
    let layout = Layout::prepare(&config.output)?;
    let lock = layout.lock()?;
    let removed = layout.remove_leftovers(&lock)?;
    tracing::debug!(removed, "partial bodies of an earlier run");
    let log = LogWriter::open(layout.coordinator())?;
    if log.cut() > 0 {
        tracing::info!(bytes = log.cut(), "cut a torn line off the run log");
    }
    let index = Index::load(&layout.results())?;
    if let Some(problem) = index.first_problem() {
        let unreadable = index.unreadable();
        console.error(&format!(
            "{unreadable} lines of the run log are not records, and are ignored; {problem}"
        ));
    }
    let origin = config
        .simulate
        .as_ref()
        .map(|spec| Origin::spawn("/proc/self/exe".as_ref(), spec))
        .transpose()?;

    let (sender, inbox) = channel();
    let _signals = signals::Listener::start(sender.clone()).map_err(system("listen to signals"))?;
    let pool = ProcessPool::new(
        setup(&config, &layout, origin.as_ref()),
        config.verbose,
        sender.clone(),
    )?;
    let plan = Plan {
        lists,
        index,
        output: layout.output().to_owned(),
        retry_quarantined: config.retry_quarantined,
    };
    let intake = Intake::start(plan, sender).map_err(system("start a thread"))?;
    let shell = Shell::new(
        Parts {
            core: Dispatcher::new(config.limits, begun),
            pool,
            log,
            intake,
            inbox,
            console,
            tally,
        },
        workers,
    );
    let mut finished = shell.run();
    drop(origin);
    // Every worker is gone. What those that were killed left is of no use to anyone.
    if let Err(error) = layout.remove_leftovers(&lock) {
        tracing::warn!(%error, "partial bodies are left");
    }
    console = std::mem::take(&mut finished.console);
    Ok(outcome::conclude(finished, console, &layout, config.quiet))
}

fn verbosity(config: &RunConfig) -> Verbosity {
    match config {
        RunConfig { quiet: true, .. } => Verbosity::Quiet,
        RunConfig { verbose: 0, .. } => Verbosity::Normal,
        RunConfig { .. } => Verbosity::Logging,
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> SetUpError {
    move |error| SetUpError::System { what, error }
}

/// Opens every list, so that a mistyped name shows before anything is started. The others run.
fn open_lists(
    sources: &[Source],
    console: &Console,
    tally: &mut Tally,
) -> Result<Vec<OpenList>, SetUpError> {
    let mut lists = Vec::new();
    let mut first_error = None;
    for source in sources {
        match input::read(source) {
            Ok(lines) => lists.push(OpenList {
                lines,
                size: size_of(source),
            }),
            Err(error) => {
                tally.unusable += 1;
                if let Some(earlier) = first_error.replace(error) {
                    console.error(&earlier.to_string());
                }
            }
        }
    }
    match first_error {
        Some(error) if lists.is_empty() => Err(error.into()),
        Some(error) => {
            console.error(&error.to_string());
            Ok(lists)
        }
        None => Ok(lists),
    }
}

/// The size of a plain file; a pipe has none.
fn size_of(source: &Source) -> Option<u64> {
    match source {
        Source::File(path) => std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|metadata| metadata.len()),
        Source::Stdin => None,
    }
}

fn setup(config: &RunConfig, layout: &Layout, origin: Option<&Origin>) -> Setup {
    let mut http = config.http.clone();
    if let Some(origin) = origin {
        http.simulated = Some(Simulated {
            http: origin.http,
            https: origin.https,
        });
        http.trust = Trust::Pem(origin.ca_pem.clone());
    }
    Setup {
        output: layout.output().as_os_str().to_owned(),
        partial: layout.partial().as_os_str().to_owned(),
        concurrency: config.limits.concurrency,
        heartbeat: (config.limits.lease_timeout / HEARTBEATS_PER_LEASE).min(HEARTBEAT),
        engine: Engine::Blocking,
        spans: false,
        cpu_per_task: Duration::ZERO,
        http,
    }
}
