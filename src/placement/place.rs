//! Putting a whole body in its place, and whose fault it is if that does not work.
//!
//! It must not know how a body came to be.

use std::io;

use protocol::FailureKind;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use worker::Fault;

use crate::folder::{Folder, Replace};

/// Begins the name under which a body is tried where its own name was refused.
const PROBE: &str = ".coordinator-probe-";

/// Where a body is, and where it is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move<'a> {
    pub(super) output: &'a Folder,
    /// The folder of the body, and its name there.
    pub(super) folder: &'a Folder,
    pub(super) name: &'a str,
    /// Relative to the output folder.
    pub(super) path: &'a str,
    /// What is there may be replaced.
    pub(super) replace: bool,
}

impl Move<'_> {
    /// Puts the body in place, over a file that may be there if that may be replaced. Parent folders
    /// are made when missing, and symbolic links never followed.
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

    /// Why the file could not be put in place, and whether that ends the run: only if the same file
    /// cannot be put beside it either, so that it is not for its name.
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
                    // A sandbox takes that for a lack of permission.
                    permanent("a folder is in its place")
                } else if errno == Errno::NOENT {
                    // Somebody removed the folder just now.
                    let text = format!("cannot put in place {}: {cause}", self.path);
                    Fault::transient(FailureKind::Store, text)
                } else {
                    permanent(&cause.to_string())
                }
            }
            _ => Fault::storing("put in place", self.path, errno),
        }
    }

    /// Whether the file can be put into the output folder under a name that is nobody's. It is gone
    /// then.
    fn fits_beside(&self) -> bool {
        let probe = format!("{PROBE}{}", self.name);
        self.folder
            .rename(self.name, self.output, &probe, Replace::Yes)
            .and_then(|()| self.output.remove_file(&probe))
            .is_ok()
    }

    /// Whether a folder is in its place.
    fn is_folder(&self) -> bool {
        self.output
            .look(self.path)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Whether a file of the same size is there already.
    pub(super) fn is_in_place(&self, bytes: u64) -> bool {
        self.output.look(self.path).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && u64::try_from(stat.st_size) == Ok(bytes)
        })
    }

    /// Removes what is in its place, if it is a file or a link. Something else, or a folder on the
    /// way that is none any more, is somebody else's.
    pub(super) fn take_away(&self) {
        // Nothing can be done about a failure; without a record the file counts for nothing.
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

/// Makes the names in the folder `path` of the output folder last; that folder itself is "".
pub(super) fn sync_folder(output: &Folder, path: &str) -> Result<(), Errno> {
    let synced = match path {
        "" => output.sync(),
        path => output.folder(path).and_then(|folder| folder.sync()),
    };
    synced.map_err(|error| errno(&error))
}

/// What the system said.
pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
