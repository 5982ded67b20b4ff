//! The main job, from settings to exit code.
//!
//! ```text
//!   lists --- intake thread ---+
//!   workers - ear thread ------+--> inbox --> shell --> core: what now?
//!   signals - signal thread ---+                |
//!                                               +--> pool, run log, progress
//! ```
//!
//! This module sets a run up and reports its outcome. The run itself is in `shell`.

mod claims;
mod descriptors;
mod dry_run;
mod folder;
mod habits;
mod hosts;
mod inbox;
mod intake;
mod intents;
pub mod log;
mod outcome;
mod partials;
mod recheck;
mod report;
pub mod resume;
mod robots;
mod scout;
mod setup;
mod shell;
mod signals;
mod stats;
mod target_filter;
mod timeline;
mod watching;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use lab::inject::{self, Injector, JournalError};
use lab::origin::{Origin, SpawnError};
use protocol::{Sandbox, Setup};
use rustix::fs::OFlags;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::config::{Network, PoolKind, RunConfig};
use crate::disk_map::DiskMapError;
use crate::dispatch::{Dispatcher, Ending, Policy};
use crate::folder::StateError;
use crate::input::{self, InputError, Source};
use crate::isolation::ground;
use crate::placement::{LOCAL, Tidied, has_leases};
use crate::terminal::Progress;
use crate::watch::{Reserved, State, WatchError};
use crate::whole_file::WholeFile;
use crate::workers::{self, Launcher, LimitsError, WorkersError, try_limits};

use descriptors::{DescriptorError, make_room};
pub use folder::FolderError;
use folder::{check_kind, check_naming, mark_simulated};
use habits::Habits;
use inbox::Message;
use intake::{Intake, OpenList, Plan};
use intents::{IntentError, Intents, Standing};
use log::{LastEnding, LastRun, Layout, LayoutError, LockError, LogError, LogWriter, OutputFolder};
use partials::{KeyError, PartialNames};
use recheck::Refresh;
pub use report::LogLines;
use report::{Console, Feed, FeedTarget, Manner, end_of_run};
use resume::{Detail, Index, IndexError, Keeper};
use robots::RobotsGate;
use setup::{placement, setup};
use shell::{Parts, SharedRate, Shell};
use stats::Stats;
use target_filter::{Rules, TargetFilter};
use timeline::Timeline;
use watching::Watching;

pub use dry_run::dry_run;
pub use outcome::Outcome;
use outcome::Told;

/// Maximum time between two heartbeats, and so the maximum age of the byte counts in a status.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Number of heartbeats that may be lost before a lease ends.
const HEARTBEATS_PER_LEASE: u32 = 4;

/// Bytes of text in unfinished tasks above which no more of the input is read: the core counts
/// tasks, and a URL can be long.
const MAX_TEXT: usize = 16 * 1024 * 1024;

/// Reason why a run did not begin. Nothing was started, and nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A list cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The output folder cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// One of the run's own files in it cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another run uses it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its contents do not fit this run.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The run log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The records of earlier runs cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The intents or leftovers of earlier runs cannot be looked up.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
    /// Intents cannot be written.
    #[error(transparent)]
    Intents(#[from] IntentError),
    /// There is no key for the names of partial bodies.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The limit on file descriptors is too low.
    #[error(transparent)]
    Descriptors(#[from] DescriptorError),
    /// The limits of workers cannot be set as requested.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The built-in origin does not start.
    #[error("cannot start the built-in origin (--simulate): {0}")]
    Origin(#[from] SpawnError),
    /// Workers cannot be started.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// The journal of faults cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The system refused something that every run needs.
    #[error("cannot {what}: {error}")]
    System {
        what: &'static str,
        #[source]
        error: io::Error,
    },
}

/// Runs the main job to its end, and prints the outcome.
///
/// # Errors
///
/// Fails if the run could not begin.
pub fn execute(config: RunConfig) -> Result<Outcome, SetUpError> {
    let begun = Instant::now();
    let workers = config.limits.workers;
    let mut console = console(&config, begun)?;
    let reserved = reserve(&config, &console)?;
    let stats = Stats::new(begun);
    let lists = open_lists(&config, &console)?;
    make_room(workers)?;
    let folder = OutputFolder::prepare(&config.output)?;
    let layout = folder.layout();
    let lock = match config.no_lock {
        true => folder.do_not_lock(),
        false => folder.lock()?,
    };
    let simulated = config.network.is_simulated();
    check_kind(layout, simulated)?;
    if simulated {
        mark_simulated(&folder)?;
    }
    let boot = boot_id();
    let resumed = boot.as_deref().filter(|_| folder.trusts_partials());
    let tidied = folder.remove_leftovers(&lock, resumed)?;
    tracing::debug!(?tidied, "leftovers of an earlier run");
    tell_exposed(&folder, &tidied, &console);
    if let Some(lacks) = lock.lacks() {
        console.error(&lacks);
    }
    if tidied.guessable > 0 {
        console.line(&format!(
            "{} partial bodies of an earlier version are dropped, since anybody can guess their \
             names; those downloads start over",
            tidied.guessable
        ));
    }
    let partial_names = PartialNames::open(folder.own())?;
    let robots = match &config.robots {
        Some(token) => Some((folder.make_robots()?, token.clone())),
        None => {
            folder.remove_robots()?;
            None
        }
    };
    for note in &config.notes {
        console.error(note);
    }
    if let Some(path) = &config.cookie_jar {
        // Check now that the jar can be written, not after all downloads.
        WholeFile::create_private(path)
            .map(drop)
            .map_err(system("write the file for cookies (--cookie-jar)"))?;
    }
    if config.http.insecure {
        console
            .line("warning: certificates are not checked (--insecure); anybody can pretend to be the server");
    }
    let mut log = LogWriter::open(folder.own())?;
    if config.fsync {
        log.make_durable()?;
        folder.sync()?;
    }
    if log.cut() > 0 {
        tracing::info!(bytes = log.cut(), "cut a torn line off the run log");
    }
    let this_run = LastRun::begin();
    note_run(&this_run, &folder);
    let deaths = LogWriter::open(folder.own())?;
    if deaths.cut() > 0 {
        tracing::info!(
            bytes = deaths.cut(),
            "cut a torn line off the log of deaths"
        );
    }
    // Temporary files of this run are created beside the run log, which needs room anyway.
    let source = resume::Source {
        results: folder.results()?,
        path: &layout.results(),
        folder: layout.coordinator().to_owned(),
        kept: folder.own().read_private(resume::FILE),
    };
    let mut index = Index::load(source, detail(&config))?;
    if let Err(error) = index.keep_if_long(folder.own()) {
        tracing::warn!(%error, "the next run will read all of the run log again");
    }
    index.seal().map_err(IndexError::from)?;
    let keeper = Keeper::new(
        &index,
        folder
            .own()
            .try_clone()
            .map_err(system("open the output folder"))?,
    );
    tell_unreadable(&index, &console);
    if !config.force {
        check_naming(&index, &config.lists.naming, layout)?;
    }
    let timeline = config
        .timeline
        .as_deref()
        .map(|path| Timeline::create(path, &folder))
        .transpose()
        .map_err(system("create the file for the timeline (--timeline)"))?;
    check_limits(&config, layout, &console)?;
    tell_unleased(&config, &folder, &console);
    // The origin ends with the run, if it was started for it.
    let origin = match &config.network {
        Network::Simulated(spec) => Some(Origin::spawn("/proc/self/exe".as_ref(), spec)?),
        Network::Real | Network::SimulatedBy(_) => None,
    };

    let (sender, inbox) = channel();
    let watching = reserved
        .map(|reserved| {
            let asked = sender.clone();
            reserved.start(move || {
                // The run may have ended.
                let _ = asked.send(Message::Watched);
            })
        })
        .transpose()?
        .map(|watch| Watching::new(watch, config.limits.concurrency, begun));
    let _signals = signals::Listener::start(sender.clone()).map_err(system("listen to signals"))?;
    let setup = Setup {
        boot: boot.clone(),
        ..setup(&config, layout, origin.as_ref())
    };
    let injector = injector(&config, &folder, begun)?;
    let placement = placement(&config, &folder, boot.clone(), sender.clone())
        .map_err(system("open the output folder"))?;
    let pool = match config.pool {
        PoolKind::Processes => {
            let faults = config.inject.as_ref();
            let launcher = Launcher::new(
                &setup,
                config.verbose,
                faults.and_then(inject::Spec::start_faults),
                config.attempt.map(|attempt| attempt.id),
            )
            .map_err(WorkersError::Memory)?;
            workers::processes(launcher, setup, folder.sockets()?, sender.clone())?
        }
        PoolKind::Local => {
            if let Some(attempt) = config.attempt {
                let (output, own) = (config.output.clone(), layout.partial().join(LOCAL));
                std::thread::spawn(move || ground::play_in_coordinator(attempt, &output, own));
            }
            workers::threads(setup, sender.clone())
        }
    };
    let standing = Standing::read(folder.own().read_private(intents::FILE), &index)?;
    let intents = Intents::open(folder.own(), &standing, config.fsync)?;
    let rules = Rules {
        habits: Habits::try_in(layout.coordinator()),
        standing,
        ..rules(&config, layout, &lists)
    };
    if index.is_empty() {
        count_ahead(&config, sender.clone());
    }
    let filter = TargetFilter::new(index, rules);
    let plan = Plan { lists, filter };
    let intake = Intake::start(plan, sender).map_err(system("start a thread"))?;
    let shell = Shell::new(
        Parts {
            max_text: max_text(config.limits.policy),
            grace: config.limits.grace,
            core: Dispatcher::new(config.limits, begun),
            pool,
            log,
            keeper,
            force: config.force,
            recorded: config.recorded.clone(),
            share: config.share.clone(),
            shared_rate: config.share.clone().zip(config.limit_rate).map(
                |(share, bytes_per_second)| SharedRate {
                    bytes_per_second,
                    share,
                },
            ),
            simulated,
            deaths,
            timeline,
            intents,
            partial_names,
            partials_left: tidied.kept,
            placement,
            origin,
            injector,
            robots_gate: robots.map(|(robots, token)| {
                RobotsGate::new(robots, layout.coordinator().to_owned(), token)
            }),
            logins: config.logins,
            intake,
            inbox,
            console,
            stats,
            watching,
        },
        workers,
    );
    let mut finished = shell.run();
    // Every worker has exited. If tasks are left, the next run can resume their partial bodies.
    let boot = boot.filter(|_| finished.ending != Ending::Completed);
    if let Err(error) = folder.remove_leftovers(&lock, boot.as_deref()) {
        tracing::warn!(%error, "partial bodies are left");
    }
    if let Err(error) = folder.remove_robots() {
        tracing::warn!(%error, "what hosts allow is left");
    }
    console = std::mem::take(&mut finished.console);
    if let Some(path) = &config.cookie_jar
        && let Err(error) = finished.logins.jar.store(path)
    {
        let path = path.display();
        console.error(&format!(
            "cannot write the cookies to {path} (--cookie-jar): {error}"
        ));
    }
    let ending = match finished.ending {
        Ending::Completed => LastEnding::Completed,
        Ending::Interrupted => LastEnding::Interrupted,
        Ending::GivenUp(_) => LastEnding::GivenUp,
    };
    let left = finished.stats.input_ended.then_some(finished.unfinished);
    note_run(&this_run.end(ending, left), &folder);
    let stats = finished.stats.clone();
    let told = Told {
        quiet: config.quiet,
        output: config.output,
        may_be_empty: config.fence.is_some(),
    };
    let watched = finished.watched.take();
    let outcome = outcome::conclude(finished, &mut console, layout, &told);
    let end = end_of_run(Instant::now(), &stats, outcome.code());
    if let Some((watching, last)) = watched {
        watching.watch.finish(State {
            progress: end.clone(),
            ..last
        });
    }
    console.finish(&end);
    Ok(outcome)
}

/// Notes for `results` when the run began, and how it ended.
fn note_run(run: &LastRun, folder: &OutputFolder) {
    if let Err(error) = run.write(folder.own()) {
        tracing::warn!(%error, "results will not tell how this run ended");
    }
}

/// Returns how much the index must tell about stored files.
fn detail(config: &RunConfig) -> Detail {
    match config.refresh {
        Some(_) => Detail::Place,
        None => Detail::Size,
    }
}

/// Reports lines of the run log that are ignored, if there are any.
fn tell_unreadable(index: &Index, console: &Console) {
    if let Some(problem) = index.first_problem() {
        let unreadable = index.unreadable();
        console.error(&format!(
            "{unreadable} lines of the run log are not records, and are ignored; {problem}"
        ));
    }
}

/// Returns an id of the current boot (random(4)). Without it, nothing is resumed.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Tries the limits that every worker sets for itself, once and before any worker starts. Reports
/// which are in force and which are missing.
fn check_limits(config: &RunConfig, layout: &Layout, console: &Console) -> Result<(), LimitsError> {
    match config.pool {
        PoolKind::Processes => {
            let in_force = try_limits(&setup(config, layout, None))?;
            tracing::info!("sandbox: {in_force}");
            if in_force.reaches_memory_of_others() {
                // Then only root can access this process's files in /proc. It also leaves no core
                // dump any more, which is why this is not always done.
                let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
                if let Err(error) = hidden {
                    tracing::warn!(%error, "this process's memory is not kept from workers");
                }
            }
            if let Some(missing) = in_force.lacks() {
                console.error(&format!(
                    "warning: this machine cannot confine workers in full: {missing} (--sandbox off \
                     hides this, --sandbox on insists)"
                ));
            }
        }
        PoolKind::Local => {
            tracing::info!(
                "sandbox: off; workers are threads of this process, which cannot be confined"
            );
        }
    }
    Ok(())
}

/// Reports what other users can do, or could do, in the folder that the run keeps for itself.
fn tell_exposed(folder: &OutputFolder, tidied: &Tidied, console: &Console) {
    let own = folder.own().as_folder().path().display();
    if !folder.own().owner().keeps_modes() {
        console.error(&format!(
            "warning: the file system keeps no modes: nothing keeps other users from reading and \
             changing what this run keeps in {own}"
        ));
    }
    if folder.own().is_tightened() {
        console.line(&format!(
            "other users could look into {own} until now; the run log, which may hold passwords in \
             URLs, is this user's alone from now on"
        ));
    }
    if !folder.trusts_partials() && tidied.removed > 0 {
        console.error(&format!(
            "other users could write to {own}: {} files of unfinished downloads in it are not \
             trusted, and are removed",
            tidied.removed
        ));
    }
}

/// Warns if the run cannot detect that a confined worker can still write to a finished file.
fn tell_unleased(config: &RunConfig, folder: &OutputFolder, console: &Console) {
    let confined = config.worker_limits.sandbox != Sandbox::Off;
    if config.pool == PoolKind::Processes
        && confined
        && has_leases(folder.partial()).is_ok_and(|leases| !leases)
    {
        console.error(
            "warning: the file system of the output folder has no leases: a worker that was taken \
             over can change a file for as long as that worker runs, also after it was recorded",
        );
    }
}

fn rules(config: &RunConfig, layout: &Layout, lists: &[OpenList]) -> Rules {
    Rules {
        output: layout.output().to_owned(),
        folder: layout.coordinator().to_owned(),
        naming: config.lists.naming.clone(),
        lists: lists
            .iter()
            .map(|list| list.lines.name().to_owned())
            .collect(),
        lists_may_name_files: lists.iter().any(|list| list.lines.may_name_files()),
        retry_quarantined: config.retry_quarantined,
        refresh: config.refresh.map(|age| Refresh {
            age,
            now: log::now(),
        }),
        habits: Habits::default(),
        standing: Standing::default(),
        force: config.force,
        of_fleet: config.fence.is_some(),
    }
}

/// Returns the limit on text. Chunks are cut from the whole input, so they have no limit.
const fn max_text(policy: Policy) -> usize {
    match policy {
        Policy::Shared => MAX_TEXT,
        Policy::Chunked => usize::MAX,
    }
}

/// Creates the console.
fn console(config: &RunConfig, begun: Instant) -> Result<Console, SetUpError> {
    let target = match config.progress {
        Progress::Json => Some(FeedTarget::Stderr),
        Progress::JsonTo(number) => Some(FeedTarget::Descriptor(number)),
        Progress::Auto | Progress::Plain => None,
    };
    let feed = target.map(Feed::open);
    let feed = feed
        .transpose()
        .map_err(system("write progress to that descriptor (--progress)"))?;
    let how = Manner {
        quiet: config.quiet,
        color: config.color,
        progress: config.progress,
    };
    Ok(Console::new(how, feed, begun))
}

/// Reserves the address at which the run can be watched, if there is one, and prints it.
fn reserve(config: &RunConfig, console: &Console) -> Result<Option<Reserved>, WatchError> {
    let Some(address) = &config.listen else {
        return Ok(None);
    };
    let reserved = Reserved::new(address, config.listen_token.as_deref())?;
    if reserved.is_open() {
        console.error(
            "warning: everybody who can reach this machine can watch the run; --listen-token requires a secret",
        );
    }
    console.line(&format!("the run can be watched at {}", reserved.place()));
    Ok(Some(reserved))
}

/// Creates the injector of the requested faults, if there are any.
fn injector(
    config: &RunConfig,
    folder: &OutputFolder,
    begun: Instant,
) -> Result<Option<Injector>, SetUpError> {
    let Some(spec) = &config.inject else {
        return Ok(None);
    };
    tracing::info!(%spec, "faults will be injected");
    let injector = Injector::new(spec.clone(), begun, || {
        let own = folder.own();
        let file = own.open(inject::JOURNAL, OFlags::APPEND)?;
        let path = own.as_folder().path().join(inject::JOURNAL);
        Ok::<_, SetUpError>(inject::Journal::new(path, file)?)
    })?;
    Ok(Some(injector))
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> SetUpError {
    move |error| SetUpError::System { what, error }
}

/// Opens every list, so that a mistyped name is reported before anything starts. All lists that
/// cannot be opened are reported.
fn open_lists(config: &RunConfig, console: &Console) -> Result<Vec<OpenList>, SetUpError> {
    let mut lists = Vec::new();
    let mut last_error = None;
    for source in &config.sources {
        match input::read(source, &config.lists) {
            Ok(lines) => lists.push(OpenList {
                lines,
                size: size_of(source),
            }),
            Err(error) => {
                if let Some(earlier) = last_error.replace(error) {
                    console.error(&earlier.to_string());
                }
            }
        }
    }
    match last_error {
        Some(error) => Err(error.into()),
        None => Ok(lists),
    }
}

/// Counts the entries of the lists on its own thread if that is possible without reading them,
/// because the intake reads no further than it must. The count includes what earlier runs did.
fn count_ahead(config: &RunConfig, inbox: Sender<Message>) {
    let (sources, options) = (config.sources.clone(), Arc::clone(&config.lists));
    let count = move || {
        let entries: Option<u64> = sources
            .iter()
            .map(|source| input::count(source, &options))
            .sum();
        if let Some(entries) = entries {
            // The run may have ended.
            let _ = inbox.send(Message::Counted(entries));
        }
    };
    let thread = std::thread::Builder::new().name("count".to_owned());
    if let Err(error) = thread.spawn(count) {
        tracing::debug!(%error, "the lists are not counted");
    }
}

/// Returns the size of a plain file. Pipes have none, and other inputs need none.
fn size_of(source: &Source) -> Option<u64> {
    match source {
        Source::File(path) => std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|metadata| metadata.len()),
        Source::Stdin | Source::Urls(_) | Source::BuiltIn | Source::Fed(_) => None,
    }
}
