//! Reports the results of one or more runs in a folder, from their records.
//!
//! ```text
//!   run log --> latest: which lines count --> filter -+-> summary --> terminal
//!                                                     +-> failed: a list to feed back
//!                                                     +-> stored: URLs and paths
//!                                                     +-> export: CSV, JSON
//! ```
//!
//! The log is read line by line, so that memory does not grow with it: up to three times, or once
//! if no task has two lines and no records are printed. This module must not change or lock
//! anything in the folder, and shares only the format of the log with a run, which may still be in
//! progress.

mod busy;
mod deaths;
mod export;
mod failed;
mod filter;
mod hosts;
mod latest;
mod stored;
mod summary;
mod terminal;

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use terminal_size::{Width, terminal_size_of};

use crate::cli::results::ResultsArgs;
use crate::disk_map::DiskMapError;
use crate::folder::StateError;
use crate::run::log::{Brief, LastRun, Layout, LineProblem, Log, LogError};

use export::{Csv, Exports, Json, Out, Target};
use filter::Filter;
use latest::{Latest, Unreadable};
use summary::Counting;

/// The requested results.
#[derive(Clone, Debug)]
pub struct Plan {
    folder: PathBuf,
    filter: Filter,
    failed: bool,
    stored: bool,
    slowest: usize,
    /// Whether to print the figures as JSON.
    figures: bool,
    csv: Option<Target>,
    json: Option<Target>,
}

/// Reason why a combination of options is invalid.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Two exports have the same destination.
    #[error(
        "--export-csv and --export-json cannot both be standard output (-); name a file for one"
    )]
    StdoutTwice,
}

/// Reason why results cannot be reported or written.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The folder does not exist.
    #[error("there is no folder {}; name the output folder of a run{hint}", .folder.display())]
    NoFolder {
        /// The path that was given.
        folder: PathBuf,
        /// Where a simulated run stored its files, if there was one.
        hint: &'static str,
    },
    /// It is not a folder.
    #[error(
        "{} is not a folder; name the output folder of a run, in which the run log is",
        .folder.display()
    )]
    NotAFolder {
        /// The path that was given.
        folder: PathBuf,
    },
    /// It has no run log.
    #[error(
        "there is no run log in {} (.coordinator/results.jsonl): no run has stored files there; \
         name the output folder of one{hint}",
        .folder.display()
    )]
    NoLog {
        folder: PathBuf,
        /// Where a simulated run stored its files, if there was one.
        hint: &'static str,
    },
    /// The file in the place of the run log is not a run log.
    #[error("{} is not a run log, none of its lines is a record; {first}", .path.display())]
    NotALog {
        /// The path of the file.
        path: PathBuf,
        /// The problem of its first line.
        first: LineProblem,
    },
    /// The run log is not a plain file, or cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// The run log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The run log cannot be read again.
    #[error("cannot read the run log a second time: {0}")]
    Rewind(#[source] io::Error),
    /// There is no room for the map of the URLs.
    #[error(transparent)]
    DiskMap(#[from] DiskMapError),
    /// A result would overwrite the run log.
    #[error("{} is the run log itself, which is not written over; name another file", .path.display())]
    OverLog {
        /// The path that was given.
        path: PathBuf,
    },
    /// A result cannot be written.
    #[error("cannot write {what}: {source}")]
    Write { what: String, source: io::Error },
}

impl ResultsError {
    /// Returns whether the reader of the results has closed the pipe.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Plan {
    /// Validates the arguments.
    ///
    /// # Errors
    ///
    /// Fails if options contradict each other.
    pub fn new(args: ResultsArgs) -> Result<Self, PlanError> {
        let [csv, json] =
            [args.export_csv, args.export_json].map(|argument| argument.map(Target::from_argument));
        if csv == Some(Target::Stdout) && json == Some(Target::Stdout) {
            return Err(PlanError::StdoutTwice);
        }
        Ok(Self {
            folder: args.output.unwrap_or(args.folder),
            filter: Filter {
                kinds: args.kind,
                hosts: args.host,
            },
            failed: args.failed,
            stored: args.stored,
            slowest: args.slowest,
            figures: args.json,
            csv,
            json,
        })
    }
}

/// The message if a filter selects nothing.
const NO_MATCH: &str = "no URL matches --kind and --host; coordinator results without them names the \
                        kinds and hosts of this run";

/// Reports the requested results. A reader that closes the pipe early is not an error.
///
/// # Errors
///
/// Fails if there are no results, or if they cannot be written.
pub fn execute(plan: &Plan) -> Result<(), ResultsError> {
    match tell(plan) {
        Err(error) if error.is_broken_pipe() => Ok(()),
        told => told,
    }
}

fn tell(plan: &Plan) -> Result<(), ResultsError> {
    // Never in the folder itself.
    let scratch = std::env::temp_dir();
    if plan.failed || plan.stored {
        let latest = Latest::open(&plan.folder, scratch, |_| Ok(()))?;
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = match plan.failed {
            true => failed::print(&latest, &plan.filter, &mut out)?,
            false => stored::print(&latest, &plan.filter, &mut out)?,
        };
        out.flush().map_err(to_stdout)?;
        warn(&latest);
        if printed == 0 && !plan.filter.is_empty() {
            say(NO_MATCH);
        }
        return Ok(());
    }
    let (latest, counting) = count(plan, &scratch)?;
    let mut exports = open_exports(plan, &latest)?;
    let mut summary = counting.finish()?;
    // The line of a death does not name the host.
    if plan.filter.is_empty() {
        match Layout::at(plan.folder.clone()).open_log(Log::Deaths) {
            Ok(log) => summary.totals.worker_deaths = Some(deaths::count(log)),
            Err(error) => say(&error.to_string()),
        }
    }
    warn(&latest);
    if !exports.is_empty() {
        exports.begin(&summary)?;
        let unreadable = latest.each_whole(|record| {
            let kind = record.error.as_ref().map(|error| error.kind);
            match plan.filter.admits(&record.url, kind) {
                true => exports.add(record),
                false => Ok(()),
            }
        })?;
        exports.finish()?;
        if unreadable.lines > latest.unreadable().lines {
            warn_of(&unreadable);
        }
    }
    if summary.totals.is_empty() && !plan.filter.is_empty() {
        say(NO_MATCH);
    }
    if plan.figures {
        let mut out = io::stdout().lock();
        let printed = serde_json::to_writer(&mut out, &summary)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out));
        return printed.map_err(to_stdout);
    }
    if [&plan.csv, &plan.json].contains(&&Some(Target::Stdout)) {
        return Ok(());
    }
    let results = std::path::absolute(latest.path());
    let show = terminal::Show {
        results: results.as_deref().unwrap_or(latest.path()),
        width: terminal_size_of(io::stdout()).map(|(Width(width), _)| width),
        last_run: LastRun::read(&Layout::at(plan.folder.clone())).map(|run| run.describe()),
        kinds_only: !plan.filter.kinds.is_empty(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = terminal::print(&mut out, &summary, &show).and_then(|()| out.flush());
    printed.map_err(to_stdout)
}

fn open_exports(plan: &Plan, latest: &Latest) -> Result<Exports, ResultsError> {
    let open = |target: &Target| Out::open(target, latest.file());
    let csv = plan.csv.as_ref().map(open).transpose()?;
    let json = plan.json.as_ref().map(open).transpose()?;
    Ok(Exports {
        csv: csv.map(Csv::begin).transpose()?,
        json: json.map(Json::new),
    })
}

/// Computes the figures of the records that count and are selected.
fn count(plan: &Plan, scratch: &Path) -> Result<(Latest, Counting), ResultsError> {
    let failures_are_slow = !plan.filter.kinds.is_empty();
    let new = || Counting::new(scratch.to_owned(), plan.slowest, failures_are_slow);
    let add = |counting: &mut Counting, record: &Brief<'_>| {
        if plan.filter.admits(&record.url, record.kind()) {
            counting.add(record)?;
        }
        Ok(())
    };
    let mut counting = new();
    let latest = Latest::open(&plan.folder, scratch.to_owned(), |record| {
        add(&mut counting, record)
    })?;
    if !latest.all_count() {
        counting = new();
        latest.each(|record| add(&mut counting, record).map(ControlFlow::Continue))?;
    }
    Ok((latest, counting))
}

/// Reports whether the run was simulated, and which parts of the log were skipped.
fn warn(latest: &Latest) {
    if latest.is_simulated() {
        say("the run was simulated (--simulate): the files do not hold what their URLs name");
    }
    warn_of(latest.unreadable());
    if latest.is_torn() {
        say(
            "the last line of the run log is incomplete, and is skipped: a run is writing it, \
             or was killed; the next run does that URL again",
        );
    }
}

fn warn_of(unreadable: &Unreadable) {
    if let Some(first) = &unreadable.first {
        let lines = unreadable.lines;
        say(&format!(
            "{lines} lines of the run log are not records, and are skipped; {first}"
        ));
    }
}

fn say(text: &str) {
    // A failure to write to standard error cannot be reported.
    let _ = writeln!(io::stderr(), "coordinator: {text}");
}

fn to_stdout(source: io::Error) -> ResultsError {
    let what = "standard output".to_owned();
    ResultsError::Write { what, source }
}

#[cfg(test)]
mod tests;
