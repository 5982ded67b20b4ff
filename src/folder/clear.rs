//! Emptying a folder, whatever is in it.
//!
//! Through its own descriptor, so that nothing outside of it is touched: links are removed, and
//! never followed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::{Folder, Replace, single};

impl Folder {
    /// Removes what is in this folder, except what `keeps` says yes to; how many names that were.
    /// Folders go with all that is in them.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or something not be removed: which, and why.
    pub fn clear(&self, keeps: impl Fn(&OsStr) -> bool) -> Result<usize, (PathBuf, io::Error)> {
        let names = self
            .names()
            .map_err(|error| (self.path().to_owned(), error))?;
        let mut removed = 0;
        for name in names.into_iter().filter(|name| !keeps(name)) {
            self.remove(&name)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes what has this name, if anything has: a folder with all that is in it.
    ///
    /// # Errors
    ///
    /// It cannot be removed: what, and why.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), (PathBuf, io::Error)> {
        // What a folder holds in folders is moved up beside it first: so it takes neither deep
        // recursion nor many descriptors, however deep somebody has made it.
        let mut rest = vec![name.as_ref().to_owned()];
        let mut number = 0;
        while let Some(name) = rest.pop() {
            self.remove_level(&name, &mut rest, &mut number)
                .map_err(|error| (self.path().join(name), error))?;
        }
        Ok(())
    }

    fn remove_level(
        &self,
        name: &OsStr,
        rest: &mut Vec<OsString>,
        number: &mut u64,
    ) -> io::Result<()> {
        let name = single(name)?;
        match unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Linux, and what POSIX says of a folder.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        match unlinkat(self, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let folder = self.folder(name)?;
        for inner in folder.names()? {
            match unlinkat(&folder, &inner, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => rest.push(self.take(&folder, &inner, number)?),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(unlinkat(self, name, AtFlags::REMOVEDIR)?)
    }

    /// Moves a folder within `from` to a free name here.
    fn take(&self, from: &Self, name: &OsStr, number: &mut u64) -> io::Result<OsString> {
        loop {
            *number += 1;
            let new = OsString::from(format!(".removed-{number}"));
            match from.rename(name, self, &new, Replace::No) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => return renamed.map(|()| new),
            }
        }
    }
}
