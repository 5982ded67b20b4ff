//! Puts a complete body in place, and classifies the failure if that does not work.
//!
//! This module must not know where a body comes from.

use std::io;

use protocol::FailureKind;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use worker::Fault;

use crate::folder::{Folder, Replace};

/// Prefix of the name under which a body is tried if its own name was refused.
const PROBE: &str = ".coordinator-probe-";

/// The place of a body now, and its final place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move<'a> {
    pub(super) output: &'a Folder,
    /// The folder that contains the body, and its name there.
    pub(super) folder: &'a Folder,
    pub(super) name: &'a str,
    /// Relative to the output folder.
    pub(super) path: &'a str,
    /// Whether an existing file may be replaced.
    pub(super) replace: bool,
}

impl Move<'_> {
    /// Puts the body in place, and replaces an existing file if that is allowed. Creates missing
    /// parent folders, and never follows symbolic links.
    pub(super) fn place(&self) -> Result<(), Errno> {
        let replace = match self.replace {
            true => Replace::Yes,
            false => Replace::No,
        };
        let put = |folder: &Folder, name: &str| {
            let renamed = self.folder.rename(self.name, folder, name, replace);
            renamed.map_err(|error| errno(&error))
        };
        match self.path.rsplit_once('/') {
            None => put(self.output, self.path),
            Some((parents, name)) => {
                let made = self
                    .output
                    .make_folders(parents, Mode::from_raw_mode(0o777));
                put(&made.map_err(|error| errno(&error))?, name)
            }
        }
    }

    /// Returns why the file could not be put in place. This ends the run only if the same file
    /// cannot be put beside it either, because then its name is not the cause.
    pub(super) fn misplaced(&self, errno: Errno) -> Fault {
        let permanent = |why: &str| {
            let text = format!("cannot put in place {}: {why}", self.path);
            Fault::permanent(FailureKind::Store, text)
        };
        match errno {
            Errno::EXIST if !self.replace => permanent(
                "something is there that no run has made; move it away, or replace it with --force",
            ),
            Errno::ISDIR => permanent("a folder is in its place"),
            Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::XDEV | Errno::NOENT
                if self.fits_beside() =>
            {
                let cause = io::Error::from(errno);
                if self.is_folder() {
                    // A sandbox reports this as a lack of permission.
                    permanent("a folder is in its place")
                } else if errno == Errno::NOENT {
                    // The folder was removed just now.
                    let text = format!("cannot put in place {}: {cause}", self.path);
                    Fault::transient(FailureKind::Store, text)
                } else {
                    permanent(&cause.to_string())
                }
            }
            _ => Fault::storing("put in place", self.path, errno),
        }
    }

    /// Returns whether the file can be moved to an unused name in the output folder. Removes it
    /// then.
    fn fits_beside(&self) -> bool {
        let probe = format!("{PROBE}{}", self.name);
        self.folder
            .rename(self.name, self.output, &probe, Replace::Yes)
            .and_then(|()| self.output.remove_file(&probe))
            .is_ok()
    }

    /// Returns whether a folder is in its place.
    fn is_folder(&self) -> bool {
        self.output
            .look(self.path)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Returns whether a file of this size is already in place.
    pub(super) fn is_in_place(&self, bytes: u64) -> bool {
        self.output.look(self.path).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && u64::try_from(stat.st_size) == Ok(bytes)
        })
    }

    /// Removes the file or link in its place. Anything else was put there by another program, and
    /// so was anything that replaced a folder on the way.
    pub(super) fn take_away(&self) {
        // A failure cannot be handled; a file without a record does not count.
        let _ = match self.path.rsplit_once('/') {
            None => self.output.remove_file(self.path),
            Some((parents, name)) => self
                .output
                .folder(parents)
                .and_then(|folder| folder.remove_file(name)),
        };
    }

    /// Removes the body.
    pub(super) fn discard(&self) {
        // The end of the run empties the folder anyway.
        let _ = self.folder.remove_file(self.name);
    }
}

/// Makes the names in the folder `path` of the output folder durable. "" is the output folder.
pub(super) fn sync_folder(output: &Folder, path: &str) -> Result<(), Errno> {
    let synced = match path {
        "" => output.sync(),
        path => output.folder(path).and_then(|folder| folder.sync()),
    };
    synced.map_err(|error| errno(&error))
}

/// Returns the error number of the system.
pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
