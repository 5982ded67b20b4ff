//! Whose files are ours, found out by making one.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::{Mode, OFlags, Stat, fchmod, fstat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Folder;

/// Whose files a run takes for its own in a folder.
///
/// That of a file which it has just made there is the measure, and not the user id of the process:
/// some file systems have no owners (exFAT, SMB) and show one for all, others have one for all
/// (NFS that squashes root).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    own: u32,
    /// Root, who may change everybody's files anyway, accepts those of the folder's owner.
    accepted: u32,
    modes: bool,
}

impl Owner {
    /// Makes a file in a folder, and removes it: permissions, read-only mounts, quotas and security
    /// modules all have a say, so only trying tells whether that can be done.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub fn probe(folder: &Folder) -> io::Result<Self> {
        let file = folder.nameless()?;
        let own = fstat(&file)?.st_uid;
        let accepted = match geteuid().is_root() {
            true => fstat(folder)?.st_uid,
            false => own,
        };
        Ok(Self {
            own,
            accepted,
            modes: keeps_modes(&file),
        })
    }

    /// Whether something of that description was made by who runs this.
    #[must_use]
    pub const fn owns(&self, stat: &Stat) -> bool {
        stat.st_uid == self.own || stat.st_uid == self.accepted
    }

    /// Whether the file system keeps the mode of a file.
    #[must_use]
    pub const fn keeps_modes(&self) -> bool {
        self.modes
    }
}

impl Folder {
    /// A new file in this folder, under no name, to write to.
    ///
    /// # Errors
    ///
    /// None can be made.
    pub fn nameless(&self) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = openat(self, ".", flags, mode) {
            return Ok(file.into());
        }
        // Not every file system can; and if it is something else, this fails as well.
        loop {
            let name = format!(".coordinator-probe-{:016x}", fastrand::u64(..));
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            match self.open(&name, flags, mode) {
                Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
                made => {
                    let file = made?;
                    self.remove_file(&name)?;
                    return Ok(file);
                }
            }
        }
    }
}

fn keeps_modes(file: &File) -> bool {
    [Mode::RWXU | Mode::RGRP, Mode::RUSR | Mode::WUSR]
        .into_iter()
        .all(|mode| {
            fchmod(file.as_fd(), mode).is_ok()
                && fstat(file).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode) == mode)
        })
}
