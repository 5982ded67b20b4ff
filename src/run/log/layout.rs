//! The paths in an output folder.
//!
//! This module reads, and changes nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lab::inject::JOURNAL;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::last_run::RUN;
use super::lock::{EXCLUSIVE, LOCK};
use super::{DEATHS, Log, RESULTS};
use crate::folder::{Folder, Kind, StateError, expect};

/// The folder for the run's own files, in the output folder. No file name starts with a dot.
pub(super) const COORDINATOR: &str = ".coordinator";
pub(super) const PARTIAL: &str = "partial";
pub(super) const SOCKETS: &str = "sockets";
pub(super) const ROBOTS: &str = "robots";
/// Marks the folder of simulated runs.
pub(in crate::run) const MARK: &str = "simulated";

/// The entries of that folder, and their types.
pub(super) const HOLDS: [(&str, Kind); 10] = [
    (MARK, Kind::File),
    (RUN, Kind::File),
    (LOCK, Kind::File),
    (EXCLUSIVE, Kind::File),
    (RESULTS, Kind::File),
    (DEATHS, Kind::File),
    (JOURNAL, Kind::File),
    (PARTIAL, Kind::Folder),
    (SOCKETS, Kind::Folder),
    (ROBOTS, Kind::Folder),
];

/// The paths in an output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    output: PathBuf,
    coordinator: PathBuf,
    partial: PathBuf,
}

/// Reason why an output folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The path has no absolute form: it is empty, or the working directory is gone.
    #[error("cannot tell where the output folder {} is: {source}; name it with --output", .path.display())]
    Nowhere {
        /// The path, as given.
        path: PathBuf,
        source: io::Error,
    },
    /// Something in its place is not a folder.
    #[error(
        "{} is not a folder, and files are to be stored in it; move it away, or name another \
         folder with --output",
        .path.display()
    )]
    NotAFolder {
        /// The path of that entry.
        path: PathBuf,
    },
    /// It cannot be created.
    #[error(
        "cannot create the folder {}: {source}; create it, or name another with --output",
        .path.display()
    )]
    Create { path: PathBuf, source: io::Error },
    /// It exists, but files cannot be created in it.
    #[error(
        "cannot write to the output folder {}: {source}; check its permissions and free space, \
         or name another with --output",
        .path.display()
    )]
    Unwritable { path: PathBuf, source: io::Error },
    /// It cannot be made safe from a loss of power.
    #[error(
        "cannot sync the folder {} (--fsync): {source}; check the disk, or run without --fsync",
        .path.display()
    )]
    Sync { path: PathBuf, source: io::Error },
    /// One of the run's own files in it cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The partial bodies of an earlier run cannot be removed.
    #[error("cannot remove what an earlier run left in {}: {source}; remove it yourself", .path.display())]
    Leftovers {
        /// The folder or file.
        path: PathBuf,
        source: io::Error,
    },
}

impl Layout {
    /// Returns the paths that [`prepare`](super::OutputFolder::prepare) would use, as far as
    /// reading shows. Creates and writes nothing.
    ///
    /// # Errors
    ///
    /// Fails if a file is in the way, or if a folder could not be created or written to.
    pub fn look(output: &Path) -> Result<Self, LayoutError> {
        let layout = Self::at(absolute(output)?);
        let there = |path: &&Path| fs::symlink_metadata(path).is_ok();
        let path = layout.output.ancestors().find(there);
        let path = path.unwrap_or(&layout.output).to_owned();
        if !path.is_dir() {
            return Err(LayoutError::NotAFolder { path });
        }
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        if let Err(error) = accessat(CWD, &path, wanted, AtFlags::EACCESS) {
            let source = error.into();
            let path = layout.output;
            return Err(if path.is_dir() {
                LayoutError::Unwritable { path, source }
            } else {
                LayoutError::Create { path, source }
            });
        }
        if let Some(own) = layout.open_own()? {
            for (name, kind) in HOLDS {
                expect(&own, name, kind, None)?;
            }
        }
        Ok(layout)
    }

    /// Opens one of the logs for reading. Returns `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the log or its folder has another type, or cannot be opened.
    pub fn open_log(&self, log: Log) -> Result<Option<File>, StateError> {
        match self.open_own()? {
            Some(own) => own.read(log.name()),
            None => Ok(None),
        }
    }

    /// Opens a file for reading that only this user can have written or read. Returns `None` if it
    /// does not exist or is not private.
    ///
    /// # Errors
    ///
    /// Fails if its folder has another type.
    pub fn open_private(&self, name: &str) -> Result<Option<File>, StateError> {
        let own = self.open_own()?;
        Ok(own.and_then(|own| own.read_private(name, None)))
    }

    /// Returns whether a simulated run has marked the folder.
    ///
    /// # Errors
    ///
    /// Fails if the mark or its folder has another type, or cannot be read.
    pub fn is_marked(&self) -> Result<bool, StateError> {
        match self.open_own()? {
            Some(own) => own.read(MARK).map(|mark| mark.is_some()),
            None => Ok(false),
        }
    }

    /// Opens the folder for the run's own files. Returns `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if it has another type, or cannot be opened.
    fn open_own(&self) -> Result<Option<Folder>, StateError> {
        let open = |path: &Path, opened: io::Result<Folder>| match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(|source| StateError::System {
                doing: "open the folder",
                path: path.to_owned(),
                source,
            }),
        };
        let Some(output) = open(&self.output, Folder::named(&self.output))? else {
            return Ok(None);
        };
        expect(&output, COORDINATOR, Kind::Folder, None)?;
        open(&self.coordinator, output.folder(COORDINATOR))
    }

    /// Returns the paths in an output folder, whether or not it exists.
    #[must_use]
    pub fn at(output: PathBuf) -> Self {
        let coordinator = output.join(COORDINATOR);
        Self {
            partial: coordinator.join(PARTIAL),
            coordinator,
            output,
        }
    }

    /// Returns the absolute path of the folder where files are stored.
    #[must_use]
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Returns the absolute path of the folder with the run log and the lock.
    #[must_use]
    pub fn coordinator(&self) -> &Path {
        &self.coordinator
    }

    /// Returns the absolute path of the folder where bodies are written until they are complete. It
    /// is on the output folder's file system, because it is a folder of the run within it.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Returns the absolute path of the folder with each robots.txt of a run. It may not exist.
    #[must_use]
    pub fn robots(&self) -> PathBuf {
        self.coordinator.join(ROBOTS)
    }

    /// Returns the path of the file `name` in that folder, relative to the output folder.
    #[must_use]
    pub fn robots_path(name: &str) -> String {
        format!("{COORDINATOR}/{ROBOTS}/{name}")
    }

    /// Returns the absolute path of the run log.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.coordinator.join(RESULTS)
    }

    /// Returns the absolute path of the log of deaths.
    #[must_use]
    pub fn deaths(&self) -> PathBuf {
        self.coordinator.join(DEATHS)
    }
}

pub(super) fn absolute(output: &Path) -> Result<PathBuf, LayoutError> {
    std::path::absolute(output).map_err(|source| LayoutError::Nowhere {
        path: output.to_owned(),
        source,
    })
}

pub(super) fn cannot_create(path: &Path, source: io::Error) -> LayoutError {
    // The kernel's error does not say which part of the path is in the way.
    let in_the_way = path
        .ancestors()
        .find(|ancestor| fs::symlink_metadata(ancestor).is_ok());
    match (source.kind(), in_the_way) {
        (io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory, Some(ancestor)) => {
            LayoutError::NotAFolder {
                path: ancestor.to_owned(),
            }
        }
        _ => LayoutError::Create {
            path: path.to_owned(),
            source,
        },
    }
}
