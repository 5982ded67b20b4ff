//! Putting a whole body in its place, and whose fault it is if that does not work.
//!
//! It must not know how a body came to be.

use std::os::fd::OwnedFd;

use protocol::FailureKind;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fsync, linkat, mkdirat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use worker::Fault;

/// Begins the name under which a body is tried where its own name was refused.
const PROBE: &str = ".coordinator-probe-";

/// Where a body is, and where it is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move<'a> {
    pub(super) output: &'a OwnedFd,
    /// The folder of the body, and its name there.
    pub(super) folder: &'a OwnedFd,
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
        let Self { output, .. } = *self;
        let put = |folder: &OwnedFd, name: &str| {
            if self.replace {
                renameat(self.folder, self.name, folder, name)
            } else {
                rename_beside_others(self.folder, self.name, folder, name)
            }
        };
        match self.path.rsplit_once('/') {
            None => put(output, self.path),
            Some((parents, name)) => put(&enter(output, parents, Missing::Make)?, name),
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
                let cause = std::io::Error::from(errno);
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
        renameat(self.folder, self.name, self.output, &probe)
            .and_then(|()| unlinkat(self.output, &probe, AtFlags::empty()))
            .is_ok()
    }

    /// Whether a folder is in its place.
    fn is_folder(&self) -> bool {
        self.look()
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Whether a file of the same size is there already.
    pub(super) fn is_in_place(&self, bytes: u64) -> bool {
        self.look().is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && u64::try_from(stat.st_size) == Ok(bytes)
        })
    }

    /// What is in its place.
    fn look(&self) -> Result<Stat, Errno> {
        let look = |folder: &OwnedFd, name| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        match self.path.rsplit_once('/') {
            None => look(self.output, self.path),
            Some((parents, name)) => {
                enter(self.output, parents, Missing::Fail).and_then(|folder| look(&folder, name))
            }
        }
    }

    /// Removes what is in its place, if it is a file or a link. Something else, or a folder on the
    /// way that is none any more, is somebody else's.
    pub(super) fn take_away(&self) {
        // Nothing can be done about a failure; without a record the file counts for nothing.
        let _ = match self.path.rsplit_once('/') {
            None => unlinkat(self.output, self.path, AtFlags::empty()),
            Some((parents, name)) => enter(self.output, parents, Missing::Fail)
                .and_then(|folder| unlinkat(folder, name, AtFlags::empty())),
        };
    }

    /// Removes the body.
    pub(super) fn discard(&self) {
        // The end of the run empties the folder anyway.
        let _ = unlinkat(self.folder, self.name, AtFlags::empty());
    }
}

/// Makes the names in the folder `path` of the output folder last; that folder itself is "".
pub(super) fn sync_folder(output: &OwnedFd, path: &str) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.is_empty() { "." } else { path };
    fsync(openat(output, path, flags, Mode::empty())?)
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Missing {
    Make,
    Fail,
}

/// Opens the folder `path` below `top`. A symbolic link on the way could lead anywhere: it is
/// refused, with `ENOTDIR`.
pub(super) fn enter(top: &OwnedFd, path: &str, missing: Missing) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder: Option<OwnedFd> = None;
    for part in path.split('/') {
        let parent = folder.as_ref().unwrap_or(top);
        let open = || openat(parent, part, flags, Mode::empty());
        let opened = match (open(), missing) {
            (Err(Errno::NOENT), Missing::Make) => {
                match mkdirat(parent, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
                open()
            }
            (opened, _) => opened,
        };
        folder = Some(opened?);
    }
    folder.ok_or(Errno::INVAL)
}

/// Moves the file `name` of one folder to another folder, and fails with `EXIST` if something has
/// its new name already.
fn rename_beside_others(
    from: &OwnedFd,
    name: &str,
    folder: &OwnedFd,
    to: &str,
) -> Result<(), Errno> {
    match renameat_with(from, name, folder, to, RenameFlags::NOREPLACE) {
        // The file system does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return renamed,
    }
    match linkat(from, name, folder, to, AtFlags::empty()) {
        Ok(()) => return unlinkat(from, name, AtFlags::empty()),
        Err(Errno::EXIST) => return Err(Errno::EXIST),
        // Nor has it links; what is wrong with the name itself shows once more.
        Err(_) => {}
    }
    match statat(folder, to, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => renameat(from, name, folder, to),
        Ok(_) => Err(Errno::EXIST),
        Err(errno) => Err(errno),
    }
}
