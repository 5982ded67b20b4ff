//! Empties a folder, whatever is in it.
//!
//! It uses the descriptor of the folder, so nothing outside is touched. It never follows links.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::{Folder, Replace, single};

impl Folder {
    /// Removes everything in this folder for which `keeps` returns false. Returns the number of
    /// removed names. Folders are removed with their contents.
    ///
    /// # Errors
    ///
    /// Fails with the path and the reason if the folder cannot be read or an entry not removed.
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

    /// Removes the entry with this name, if it exists. A folder is removed with its contents.
    ///
    /// # Errors
    ///
    /// Fails with the path and the reason if something cannot be removed.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), (PathBuf, io::Error)> {
        // Folders within a folder are first moved up beside it. So this needs neither deep
        // recursion nor many descriptors, however deeply another user has nested them.
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
            // Linux returns EISDIR for a folder, POSIX specifies EPERM.
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

    /// Moves a folder within `from` to a free name in this folder.
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
