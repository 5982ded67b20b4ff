//! Folders that others may have prepared, and what is in them, reached by descriptor.
//!
//! A path leads elsewhere as soon as somebody puts a symbolic link into it. So the output folder is
//! opened once, by the name that the user typed, and everything below it is opened relative to that
//! descriptor; no symbolic link is followed there. [`Folder`] is such a descriptor. [`OwnFolder`]
//! is one that the run keeps for itself: nobody else may write to it, and what is in it must be
//! this user's.
//!
//! This module must not know what the files are for, and not print.

mod beneath;
mod clear;
mod own;
mod owner;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, Stat, fstat, linkat, mkdirat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use beneath::How;
pub use own::{Kind, OwnFolder, StateError, expect};
pub use owner::Owner;

/// How a folder is held: to reach what is in it. It is opened again to be listed or synced.
const HELD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// A folder, held open.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    how: How,
    /// For messages, and for what can only be reached by name.
    path: PathBuf,
}

/// What a rename does about something that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Takes its place.
    Yes,
    /// Fails with `EEXIST`.
    No,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Folder {
    /// Opens a folder by the name that the user gave it, and follows links on the way.
    ///
    /// # Errors
    ///
    /// It is not there, is not a folder, or cannot be reached.
    pub fn named(path: &Path) -> io::Result<Self> {
        let fd = openat(CWD, path, HELD | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            how: How::find(fd.as_fd()),
            fd,
            path: path.to_owned(),
        })
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            how: self.how,
            path: self.path.clone(),
        })
    }

    /// Its name, for messages and for what can only be reached by name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file below this folder. No link is followed, and a fifo or a device is not waited
    /// for: `CLOEXEC`, `NOFOLLOW`, `NONBLOCK` and `NOCTTY` are added to the flags. Which kind of
    /// file it is, the caller must look at.
    ///
    /// # Errors
    ///
    /// What open(2) says; a link on the way is `ELOOP` or `ENOTDIR`, and a path that could lead out
    /// of the folder is `EINVAL`.
    pub fn open(&self, path: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> io::Result<File> {
        let fd = beneath::open(self.as_fd(), path.as_ref(), flags, mode, self.how)?;
        Ok(fd.into())
    }

    /// Opens a folder below this one.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn folder(&self, path: impl AsRef<OsStr>) -> io::Result<Self> {
        let path = path.as_ref();
        let fd = beneath::open(self.as_fd(), path, HELD, Mode::empty(), self.how)?;
        Ok(self.child(fd, path))
    }

    fn child(&self, fd: OwnedFd, path: &OsStr) -> Self {
        Self {
            fd,
            how: self.how,
            path: self.path.join(path),
        }
    }

    /// Opens a folder below this one, and makes what is missing of it and of the folders on the
    /// way.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and what mkdir(2) says.
    pub fn make_folders(&self, path: impl AsRef<OsStr>, mode: Mode) -> io::Result<Self> {
        let path = path.as_ref();
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let mut folder: Option<OwnedFd> = None;
        for part in beneath::parts(path)? {
            let parent = folder.as_ref().map_or(self.as_fd(), AsFd::as_fd);
            match mkdirat(parent, part, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            folder = Some(beneath::open(parent, part, HELD, Mode::empty(), self.how)?);
        }
        let fd = folder.ok_or(Errno::INVAL)?;
        Ok(self.child(fd, path))
    }

    /// What there is below this folder: of a link, the link itself.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn look(&self, path: impl AsRef<OsStr>) -> io::Result<Stat> {
        match single(path.as_ref()) {
            Ok(name) => Ok(statat(self, name, AtFlags::SYMLINK_NOFOLLOW)?),
            Err(_) => Ok(fstat(self.open(path, OFlags::PATH, Mode::empty())?)?),
        }
    }

    /// Moves `name` in this folder to `new` in another one.
    ///
    /// With [`Replace::No`] on a file system that can neither do that by itself nor make hard links
    /// (FAT), something that gets the new name at the same moment may be replaced.
    ///
    /// # Errors
    ///
    /// What rename(2) says.
    pub fn rename(
        &self,
        name: impl AsRef<OsStr>,
        to: &Self,
        new: impl AsRef<OsStr>,
        replace: Replace,
    ) -> io::Result<()> {
        let (name, new) = (single(name.as_ref())?, single(new.as_ref())?);
        if replace == Replace::Yes {
            return Ok(renameat(self, name, to, new)?);
        }
        match renameat_with(self, name, to, new, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {}
            renamed => return Ok(renamed?),
        }
        match linkat(self, name, to, new, AtFlags::empty()) {
            Ok(()) => return Ok(unlinkat(self, name, AtFlags::empty())?),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
            Err(errno) => return Err(errno.into()),
        }
        match statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(Errno::NOENT) => Ok(renameat(self, name, to, new)?),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a file of this folder, or a link itself.
    ///
    /// # Errors
    ///
    /// What unlink(2) says: of a folder, `EISDIR`.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(self, single(name.as_ref())?, AtFlags::empty())?)
    }

    /// The names in this folder, in no order.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.readable()?)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Makes what is in this folder by name safe from the loss of power.
    ///
    /// # Errors
    ///
    /// It cannot be read, or not be synced.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.readable()?)?)
    }

    /// Another descriptor of it, for what [`HELD`] is not enough for.
    fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A folder is in itself under this name, and nobody can put a link in its place.
        Ok(openat(self, ".", flags, Mode::empty())?)
    }
}

/// A name within a folder, and not a way to another one.
fn single(name: &OsStr) -> io::Result<&OsStr> {
    let mut parts = beneath::parts(name)?;
    match (parts.next(), parts.next()) {
        (Some(name), None) => Ok(name),
        _ => Err(Errno::INVAL.into()),
    }
}

#[cfg(test)]
mod tests;
