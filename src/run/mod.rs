//! The main job, from settings to exit code.
//!
//! ```text
//!   lists --- intake thread ---+
//!   workers - ear thread ------+--> inbox --> shell --> core: what now?
//!   signals - signal thread ---+                |
//!                                               +--> pool, run log, progress
//! ```
//!
//! This module sets a run up, and says how it went. What happens in between is in `shell`.

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

/// Longest time between two heartbeats; also how old the bytes in a status may be.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Heartbeats that may be lost before a lease ends.
const HEARTBEATS_PER_LEASE: u32 = 4;

/// Bytes of text in unfinished tasks above which no more of the input is read: the core counts
/// tasks, and a URL can be long.
const MAX_TEXT: usize = 16 * 1024 * 1024;

/// Why a run did not begin. Nothing was started, nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// There is no list to read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The output folder is of no use.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Something in it that is the run's own cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another run works in it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What is in it is not for this run.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The run log is of no use.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What earlier runs recorded cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// What they may have left without a record cannot be.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
    /// What is about to be stored cannot be kept track of.
    #[error(transparent)]
    Intents(#[from] IntentError),
    /// Partial bodies cannot be given names.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Too few descriptors.
    #[error(transparent)]
    Descriptors(#[from] DescriptorError),
    /// What workers may use cannot be limited as asked.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The built-in origin does not come up.
    #[error("cannot start the built-in origin (--simulate): {0}")]
    Origin(#[from] SpawnError),
    /// There are no workers to be had.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// Faults cannot be written down.
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

/// Runs the main job to its end, and prints how it went.
///
/// # Errors
///
/// If it could not begin.
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
        // Found out before anything is downloaded, and not in the end.
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
    // Temporary files of this run are made beside the run log, where there must be room anyway.
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
    // Ends with the run, if it was started for it.
    let origin = match &config.network {
        Network::Simulated(spec) => Some(Origin::spawn("/proc/self/exe".as_ref(), spec)?),
        Network::Real | Network::SimulatedBy(_) => None,
    };

    let (sender, inbox) = channel();
    let watching = reserved
        .map(|reserved| {
            let asked = sender.clone();
            reserved.start(move || {
                // Nobody hears it when the run is over.
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
    // Every worker is gone. Where something is left to do, the next run can go on with what is
    // there of it.
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

/// Notes for people when the run began, and how it ended.
fn note_run(run: &LastRun, folder: &OutputFolder) {
    if let Err(error) = run.write(folder.own()) {
        tracing::warn!(%error, "results will not tell how this run ended");
    }
}

/// What is to be known of the files that earlier runs stored.
fn detail(config: &RunConfig) -> Detail {
    match config.refresh {
        Some(_) => Detail::Place,
        None => Detail::Size,
    }
}

/// Says that lines of the run log count for nothing, if some do.
fn tell_unreadable(index: &Index, console: &Console) {
    if let Some(problem) = index.first_problem() {
        let unreadable = index.unreadable();
        console.error(&format!(
            "{unreadable} lines of the run log are not records, and are ignored; {problem}"
        ));
    }
}

/// Which boot of the machine this is (random(4)). Where that cannot be known, nothing is resumed.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Tries what every worker would do to itself, and says what is in force and what is missing: once,
/// before any of them.
fn check_limits(config: &RunConfig, layout: &Layout, console: &Console) -> Result<(), LimitsError> {
    match config.pool {
        PoolKind::Processes => {
            let in_force = try_limits(&setup(config, layout, None))?;
            tracing::info!("sandbox: {in_force}");
            if in_force.reaches_memory_of_others() {
                // Then nobody but root reaches what is this process's own in /proc. It leaves no
                // memory image any more either, which is why this is not always done.
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

/// Says what others may do, or could, in the folder that the run keeps for itself.
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

/// Says so if nothing tells whether a worker that is confined can still write to what it finished.
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

/// Chunks are cut from the whole of the input.
const fn max_text(policy: Policy) -> usize {
    match policy {
        Policy::Shared => MAX_TEXT,
        Policy::Chunked => usize::MAX,
    }
}

/// Where things are said.
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

/// Takes the address at which the run can be watched, if it is to be, and says where that is.
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

/// Who brings about the faults that are asked for, if any are.
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

/// Opens every list, so that a mistyped name shows before anything is started. All that are wrong
/// are named.
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

/// Counts the entries of the lists on a thread of its own, if that can be done without reading them:
/// the intake reads no further than it must. Of what earlier runs did, it would not know.
fn count_ahead(config: &RunConfig, inbox: Sender<Message>) {
    let (sources, options) = (config.sources.clone(), Arc::clone(&config.lists));
    let count = move || {
        let entries: Option<u64> = sources
            .iter()
            .map(|source| input::count(source, &options))
            .sum();
        if let Some(entries) = entries {
            // The run may be over.
            let _ = inbox.send(Message::Counted(entries));
        }
    };
    let thread = std::thread::Builder::new().name("count".to_owned());
    if let Err(error) = thread.spawn(count) {
        tracing::debug!(%error, "the lists are not counted");
    }
}

/// The size of a plain file; a pipe has none, and what is not read from a file needs none.
fn size_of(source: &Source) -> Option<u64> {
    match source {
        Source::File(path) => std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|metadata| metadata.len()),
        Source::Stdin | Source::Urls(_) | Source::BuiltIn | Source::Fed(_) => None,
    }
}
