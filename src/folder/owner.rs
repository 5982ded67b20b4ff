//! Determines which files belong to this user, by creating one.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::{Mode, OFlags, Stat, fchmod, fstat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Folder;

/// The owner of the files that a run accepts as its own in a folder.
///
/// This is the owner of a file that was just created there, not the user id of the process: some
/// file systems have no owners (exFAT, SMB) and report the same one for all files, others map all
/// users to one (NFS that squashes root).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    own: u32,
    /// Root can change all files anyway, so it also accepts those of the folder's owner.
    accepted: u32,
    modes: bool,
}

impl Owner {
    /// Creates a file in a folder and removes it: permissions, read-only mounts, quotas and
    /// security modules all affect this, so only a test shows whether it is possible.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created.
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

    /// Returns whether the described file was created by this user.
    #[must_use]
    pub const fn owns(&self, stat: &Stat) -> bool {
        stat.st_uid == self.own || stat.st_uid == self.accepted
    }

    /// Returns whether the file system keeps the mode of a file.
    #[must_use]
    pub const fn keeps_modes(&self) -> bool {
        self.modes
    }
}

impl Folder {
    /// Creates a file without a name in this folder, for writing.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be created.
    pub fn nameless(&self) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = openat(self, ".", flags, mode) {
            return Ok(file.into());
        }
        // Not every file system supports this. If there is another cause, the following fails too.
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
