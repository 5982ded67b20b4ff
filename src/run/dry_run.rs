//! The dry run: reports what a run would do. It uses the same intake and the same filter as a run.
//!
//! It must not create, change or lock anything in the output folder, start a worker, or use the
//! network.

use std::io::{self, BufWriter, Write};
use std::time::Instant;

use super::folder::{check_kind, check_naming};
use super::habits::Habits;
use super::intake::{Batch, Item, Plan, Reader};
use super::intents::{self, Standing};
use super::log::{Layout, Log};
use super::report::{Console, print_plan, print_settings};
use super::resume::{self, Index, IndexError};
use super::stats::Stats;
use super::target_filter::{Rules, TargetFilter};
use super::{Outcome, SetUpError, detail, open_lists, rules, system, tell_unreadable};
use crate::config::RunConfig;

/// Prints on standard output the URL and the path of each file that would be downloaded: one line
/// each, separated by a tab, which neither can contain. Prints counts on standard error. With
/// `--refresh` this includes files that would be downloaded only if they changed.
///
/// The outcome is that of a run in which every download succeeds.
///
/// # Errors
///
/// Fails if the run could not begin, or if standard output cannot be written to.
pub fn dry_run(config: &RunConfig) -> Result<Outcome, SetUpError> {
    let begun = Instant::now();
    let console = Console::quiet(begun);
    let mut stats = Stats::new(begun);
    let lists = open_lists(config, &console)?;
    let layout = Layout::look(&config.output)?;
    check_kind(&layout, config.network.is_simulated())?;
    // Not in the output folder, which may not exist.
    let folder = std::env::temp_dir();
    let source = resume::Source {
        results: layout.open_log(Log::Results)?,
        path: &layout.results(),
        folder: folder.clone(),
        kept: layout.open_private(resume::FILE)?,
    };
    let mut index = Index::load(source, detail(config))?;
    index.seal().map_err(IndexError::from)?;
    tell_unreadable(&index, &console);
    if !config.force {
        check_naming(&index, &config.lists.naming, &layout)?;
    }
    let rules = Rules {
        folder,
        habits: Habits::look_at(layout.coordinator()),
        standing: Standing::read(layout.open_private(intents::FILE)?, &index)?,
        ..rules(config, &layout, &lists)
    };
    let filter = TargetFilter::new(index, rules);
    let mut reader = Reader::new(Plan { lists, filter });
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        let mut batch = reader.batch();
        let broken = batch.broken.take();
        stats.input_ended = batch.ended;
        match tell(batch, &mut stats, &console, &mut out) {
            Ok(()) => {}
            // The reader has closed the pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(system("write to standard output")(error)),
        }
        if let Some(reason) = broken {
            console.error(&reason);
            return Ok(Outcome::GivenUp);
        }
        if stats.input_ended {
            break;
        }
    }
    if stats.input_ended && stats.lines() == 0 {
        if let Some(reason) = stats.why_nothing() {
            console.error(reason);
        }
        return Ok(Outcome::NothingToDo);
    }
    if stats.input_ended && !config.quiet {
        // A failure to write to standard error cannot be reported.
        let _ = print_settings(&config.origins, &config.config_files);
        let _ = print_plan(&stats);
    }
    Ok(if stats.is_clean() {
        Outcome::Stored
    } else {
        Outcome::Incomplete
    })
}

fn tell(
    batch: Batch,
    stats: &mut Stats,
    console: &Console,
    out: &mut impl Write,
) -> io::Result<()> {
    stats.stored_earlier += batch.stored_earlier;
    stats.quarantined_earlier += batch.quarantined_earlier;
    for item in batch.items {
        match item {
            Item::Task(_, target, known) => {
                stats.offered += 1;
                stats.unchanged += u64::from(known.is_some());
                writeln!(out, "{}\t{}", target.url, target.path)?;
            }
            Item::Duplicate(..) => stats.duplicates += 1,
            Item::Refused(_, _, problem) | Item::Problem(problem) => {
                stats.unusable += 1;
                console.problem(stats.unusable, &problem);
            }
        }
    }
    // The rest of the list may take long to arrive.
    out.flush()
}
