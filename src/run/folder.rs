//! Whether a run may go on with what is in its output folder: earlier runs must have been of its
//! kind, real or simulated, and have named files as it does.
//!
//! A run log says of each record whether the run was simulated. A folder without any record has only
//! the mark that a simulated run makes before it creates the run log: with a mark the folder is
//! simulated, with a run log alone it is real, with neither it is free. This module makes the mark,
//! and changes nothing else.

use std::path::PathBuf;

use rustix::fs::OFlags;
use url::Url;

use super::log::{Layout, Log, LogReader, MARK, OutputFolder};
use super::resume::Index;
use crate::folder::StateError;
use crate::input::naming::Naming;
use crate::input::{Excerpt, UrlKey};

/// Why a run must not go on with an output folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The run is real, the folder is not.
    #[error(
        "the files in {} come from a simulated run (--simulate), and a real run cannot use \
         them; name another folder with --output, or remove this one",
        .folder.display()
    )]
    Simulated {
        /// The output folder.
        folder: PathBuf,
    },
    /// The run is simulated, the folder is real.
    #[error(
        "the files in {} come from a real run, and a simulated run (--simulate) cannot use \
         them; leave out --output to simulate in the folder simulated, or name another",
        .folder.display()
    )]
    Real {
        /// The output folder.
        folder: PathBuf,
    },
    /// Files have other names there.
    #[error(
        "the files in {} have other names ({recorded} would now be {named}), and a run \
         would download them again; use the --naming of the earlier run, name another folder with \
         --output, or download them again with --force",
        .folder.display()
    )]
    Naming {
        /// The output folder.
        folder: PathBuf,
        /// The path of a file, as recorded.
        recorded: String,
        /// Its path by the naming of this run.
        named: String,
    },
    /// The mark or the run log is something else, or cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Checks that the folder is free, or belongs to runs of this kind.
///
/// # Errors
///
/// It belongs to runs of the other kind, or that cannot be found out.
pub(super) fn check_kind(layout: &Layout, simulated: bool) -> Result<(), FolderError> {
    let folder = || layout.output().to_owned();
    match (is_simulated(layout)?, simulated) {
        (Some(true), false) => Err(FolderError::Simulated { folder: folder() }),
        (Some(false), true) => Err(FolderError::Real { folder: folder() }),
        (Some(_) | None, _) => Ok(()),
    }
}

/// Marks the folder as one of simulated runs, for the time until the run log has a record; to be
/// done before the run log is created.
///
/// # Errors
///
/// The mark cannot be made.
pub(super) fn mark_simulated(folder: &OutputFolder) -> Result<(), FolderError> {
    folder.own().open(MARK, OFlags::empty())?;
    Ok(())
}

/// The kind of the earlier runs; nothing if there were none.
fn is_simulated(layout: &Layout) -> Result<Option<bool>, StateError> {
    let is_marked = layout.is_marked()?;
    let Some(log) = layout.open_log(Log::Results)? else {
        return Ok(is_marked.then_some(true));
    };
    let mut reader = LogReader::new(log);
    while let Some(record) = reader.next_brief() {
        if let Ok(record) = record {
            return Ok(Some(record.simulated));
        }
    }
    Ok(Some(is_marked))
}

/// Checks that this naming gives the file that was stored last the place it has; of files that
/// their lists named it says nothing.
///
/// # Errors
///
/// It has another place.
pub(super) fn check_naming(
    index: &Index,
    naming: &Naming,
    layout: &Layout,
) -> Result<(), FolderError> {
    let Some(record) = index.last_unnamed() else {
        return Ok(());
    };
    let (Ok(url), Some(recorded)) = (Url::parse(&record.url), &record.path) else {
        return Ok(());
    };
    let key = UrlKey::of_task(&record.url, record.range.as_deref(), None);
    // By its number in the run that stored it: a template may ask for that.
    match naming.place(&url, key, record.task.0) {
        Ok(named) if named != *recorded => Err(FolderError::Naming {
            folder: layout.output().to_owned(),
            recorded: Excerpt::of_name(recorded).to_string(),
            named: Excerpt::of_name(&named).to_string(),
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}
