//! Folders that other users may have prepared, and their contents, accessed by descriptor.
//!
//! A path leads elsewhere as soon as another user puts a symbolic link into it. So the output
//! folder is opened once, by the name that the user typed. Everything below it is opened relative
//! to that descriptor, and no symbolic link is followed there. [`Folder`] is such a descriptor.
//! [`OwnFolder`] is a folder that the run keeps for itself: other users must not be able to write
//! to it, and its contents must belong to this user.
//!
//! This module must not know what the files are for, and must not print.

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

/// Flags for holding a folder to access its contents. To be listed or synced, it is opened again.
const HELD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// A folder, held open.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    how: How,
    /// For messages, and for access that is only possible by name.
    path: PathBuf,
}

/// What a rename does if the new name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Replaces it.
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
    /// Opens a folder by the name that the user gave, and follows links on the way.
    ///
    /// # Errors
    ///
    /// Fails if it does not exist, is not a folder, or cannot be accessed.
    pub fn named(path: &Path) -> io::Result<Self> {
        let fd = openat(CWD, path, HELD | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            how: How::find(fd.as_fd()),
            fd,
            path: path.to_owned(),
        })
    }

    /// Returns another descriptor of it.
    ///
    /// # Errors
    ///
    /// Fails if there are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            how: self.how,
            path: self.path.clone(),
        })
    }

    /// Returns its name, for messages and for access that is only possible by name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file below this folder. Follows no link, and does not wait for a fifo or a device:
    /// adds `CLOEXEC`, `NOFOLLOW`, `NONBLOCK` and `NOCTTY` to the flags. The caller must check its
    /// type.
    ///
    /// # Errors
    ///
    /// Returns the error of open(2). A link on the way gives `ELOOP` or `ENOTDIR`, and a path that
    /// could lead out of the folder gives `EINVAL`.
    pub fn open(&self, path: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> io::Result<File> {
        let fd = beneath::open(self.as_fd(), path.as_ref(), flags, mode, self.how)?;
        Ok(fd.into())
    }

    /// Opens a folder below this one.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
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

    /// Opens a folder below this one, after creating it and the folders on the way if necessary.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), and the errors of mkdir(2).
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

    /// Returns the metadata of a file below this folder, or of a link itself.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn look(&self, path: impl AsRef<OsStr>) -> io::Result<Stat> {
        match single(path.as_ref()) {
            Ok(name) => Ok(statat(self, name, AtFlags::SYMLINK_NOFOLLOW)?),
            Err(_) => Ok(fstat(self.open(path, OFlags::PATH, Mode::empty())?)?),
        }
    }

    /// Moves `name` in this folder to `new` in another one.
    ///
    /// With [`Replace::No`], on a file system that supports neither this flag nor hard links (FAT),
    /// a file that gets the new name at the same moment may be replaced.
    ///
    /// # Errors
    ///
    /// Returns the error of rename(2).
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
    /// Returns the error of unlink(2), which is `EISDIR` for a folder.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(self, single(name.as_ref())?, AtFlags::empty())?)
    }

    /// Returns the names in this folder, in no order.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
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

    /// Makes the names in this folder safe from a loss of power.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read or synced.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.readable()?)?)
    }

    /// Returns another descriptor of it, for operations that [`HELD`] does not allow.
    fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A folder always contains itself under this name, which cannot be replaced by a link.
        Ok(openat(self, ".", flags, Mode::empty())?)
    }
}

/// Returns `name` if it is a single name and not a path.
fn single(name: &OsStr) -> io::Result<&OsStr> {
    let mut parts = beneath::parts(name)?;
    match (parts.next(), parts.next()) {
        (Some(name), None) => Ok(name),
        _ => Err(Errno::INVAL.into()),
    }
}

#[cfg(test)]
mod tests;
