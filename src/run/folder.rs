//! Checks whether a run may use the contents of its output folder. Earlier runs must have been of
//! the same kind, real or simulated, and must have named files in the same way.
//!
//! Each record of a run log says whether the run was simulated. A simulated run creates a mark
//! before it creates the run log. If the log has no record yet, the mark decides: with a mark the
//! folder is simulated, with a run log alone it is real, with neither it is free. This module
//! creates the mark and changes nothing else.

use std::path::PathBuf;

use rustix::fs::OFlags;
use url::Url;

use super::log::{Layout, Log, LogReader, MARK, OutputFolder};
use super::resume::Index;
use crate::folder::StateError;
use crate::input::naming::Naming;
use crate::input::{Excerpt, UrlKey};

/// Reason why a run must not use an output folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The run is real, and the folder is simulated.
    #[error(
        "the files in {} come from a simulated run (--simulate), and a real run cannot use \
         them; name another folder with --output, or remove this one",
        .folder.display()
    )]
    Simulated {
        /// The output folder.
        folder: PathBuf,
    },
    /// The run is simulated, and the folder is real.
    #[error(
        "the files in {} come from a real run, and a simulated run (--simulate) cannot use \
         them; leave out --output to simulate in the folder simulated, or name another",
        .folder.display()
    )]
    Real {
        /// The output folder.
        folder: PathBuf,
    },
    /// Files in the folder were named in another way.
    #[error(
        "the files in {} have other names ({recorded} would now be {named}), and a run \
         would download them again; use the --naming of the earlier run, name another folder with \
         --output, or download them again with --force",
        .folder.display()
    )]
    Naming {
        /// The output folder.
        folder: PathBuf,
        /// Path of a file, as recorded.
        recorded: String,
        /// Path of the same file with the naming of this run.
        named: String,
    },
    /// The mark or the run log is not a plain file, or cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Checks that the folder is free or belongs to runs of this kind.
///
/// # Errors
///
/// Fails if the folder belongs to runs of the other kind, or if its kind cannot be determined.
pub(super) fn check_kind(layout: &Layout, simulated: bool) -> Result<(), FolderError> {
    let folder = || layout.output().to_owned();
    match (is_simulated(layout)?, simulated) {
        (Some(true), false) => Err(FolderError::Simulated { folder: folder() }),
        (Some(false), true) => Err(FolderError::Real { folder: folder() }),
        (Some(_) | None, _) => Ok(()),
    }
}

/// Marks the folder as simulated until the run log has a record. Call it before creating the log.
///
/// # Errors
///
/// Fails if the mark cannot be created.
pub(super) fn mark_simulated(folder: &OutputFolder) -> Result<(), FolderError> {
    folder.own().open(MARK, OFlags::empty())?;
    Ok(())
}

/// Returns whether earlier runs were simulated, or `None` if there were none.
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

/// Checks that this naming gives the file that was stored last its recorded path. Files that their
/// lists named are not checked.
///
/// # Errors
///
/// Fails if the path differs.
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
    // Use the number from the run that stored it, because a template may contain the number.
    match naming.place(&url, key, record.task.0) {
        Ok(named) if named != *recorded => Err(FolderError::Naming {
            folder: layout.output().to_owned(),
            recorded: Excerpt::of_name(recorded).to_string(),
            named: Excerpt::of_name(&named).to_string(),
        }),
        Ok(_) | Err(_) => Ok(()),
    }
}
