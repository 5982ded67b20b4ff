//! Where things are in an output folder.
//!
//! This module looks, and changes nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lab::inject::JOURNAL;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::last_run::RUN;
use super::lock::{EXCLUSIVE, LOCK};
use super::{DEATHS, Log, RESULTS};
use crate::folder::{Folder, Kind, StateError, expect};

/// The folder for what the run needs, in the output folder. No file name starts with a dot.
pub(super) const COORDINATOR: &str = ".coordinator";
pub(super) const PARTIAL: &str = "partial";
pub(super) const SOCKETS: &str = "sockets";
pub(super) const ROBOTS: &str = "robots";
/// Marks the folder of simulated runs.
pub(in crate::run) const MARK: &str = "simulated";

/// What is in there, and what it must be.
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

/// The places in an output folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    output: PathBuf,
    coordinator: PathBuf,
    partial: PathBuf,
}

/// Why an output folder cannot be worked in.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The path has no absolute form: it is empty, or the working directory is gone.
    #[error("cannot tell where the output folder {} is: {source}; name it with --output", .path.display())]
    Nowhere {
        /// The path, as given.
        path: PathBuf,
        source: io::Error,
    },
    /// Something that is not a folder is in its place.
    #[error(
        "{} is not a folder, and files are to be stored in it; move it away, or name another \
         folder with --output",
        .path.display()
    )]
    NotAFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// It cannot be created.
    #[error(
        "cannot create the folder {}: {source}; create it, or name another with --output",
        .path.display()
    )]
    Create { path: PathBuf, source: io::Error },
    /// It is there, but files cannot be created in it.
    #[error(
        "cannot write to the output folder {}: {source}; check its permissions and free space, \
         or name another with --output",
        .path.display()
    )]
    Unwritable { path: PathBuf, source: io::Error },
    /// It cannot be made safe from the loss of power.
    #[error(
        "cannot sync the folder {} (--fsync): {source}; check the disk, or run without --fsync",
        .path.display()
    )]
    Sync { path: PathBuf, source: io::Error },
    /// Something in it that is the run's own cannot be used.
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
    /// What [`prepare`](super::OutputFolder::prepare) would find, as far as looking tells: nothing
    /// is created, and nothing tried.
    ///
    /// # Errors
    ///
    /// A file is in the way; a folder could not be created, or not be written to.
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

    /// Opens one of the logs to read it; nothing if it is not there.
    ///
    /// # Errors
    ///
    /// Something else is in the place of it or of its folder, or it cannot be opened.
    pub fn open_log(&self, log: Log) -> Result<Option<File>, StateError> {
        match self.open_own()? {
            Some(own) => own.read(log.name()),
            None => Ok(None),
        }
    }

    /// Opens a file that only this user can have written or read, to read it; nothing if it is not
    /// there, or not such a file.
    ///
    /// # Errors
    ///
    /// Something else is in the place of its folder.
    pub fn open_private(&self, name: &str) -> Result<Option<File>, StateError> {
        let own = self.open_own()?;
        Ok(own.and_then(|own| own.read_private(name, None)))
    }

    /// Whether simulated runs have marked the folder as theirs.
    ///
    /// # Errors
    ///
    /// Something else is in the place of the mark or of its folder, or it cannot be looked at.
    pub fn is_marked(&self) -> Result<bool, StateError> {
        match self.open_own()? {
            Some(own) => own.read(MARK).map(|mark| mark.is_some()),
            None => Ok(false),
        }
    }

    /// Opens the folder for what runs keep; nothing if it is not there.
    ///
    /// # Errors
    ///
    /// It is something else, or cannot be opened.
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

    /// Where things are in an output folder, whether or not it is there.
    #[must_use]
    pub fn at(output: PathBuf) -> Self {
        let coordinator = output.join(COORDINATOR);
        Self {
            partial: coordinator.join(PARTIAL),
            coordinator,
            output,
        }
    }

    /// Where files are stored; absolute.
    #[must_use]
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Where the run log and the lock are; absolute.
    #[must_use]
    pub fn coordinator(&self) -> &Path {
        &self.coordinator
    }

    /// Where bodies are written until they are whole; absolute, and on the output folder's file
    /// system, since it is a folder of ours within it.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Where each robots.txt of a run is; absolute. It may not be there.
    #[must_use]
    pub fn robots(&self) -> PathBuf {
        self.coordinator.join(ROBOTS)
    }

    /// The path of the file `name` in there, relative to the output folder.
    #[must_use]
    pub fn robots_path(name: &str) -> String {
        format!("{COORDINATOR}/{ROBOTS}/{name}")
    }

    /// The run log; absolute.
    #[must_use]
    pub fn results(&self) -> PathBuf {
        self.coordinator.join(RESULTS)
    }

    /// The log of deaths; absolute.
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
    // The kernel's message does not say which part of the path is in the way.
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
