//! The folder for the sockets over which workers connect, so that a killed coordinator leaves none
//! for good.
//!
//! ipc-channel makes such a socket, for each worker, in a folder of its own where temporary files
//! go. One that is killed in the milliseconds before the worker has connected cannot remove it. So
//! they all go into one folder of the run, whose name is noted in the output folder before it is
//! made: the next run there removes what is left, as it does with partial bodies. The folder is not
//! in the output folder itself because the path of a socket has room for 107 bytes (unix(7)).
//! This module must not open a socket.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::log::{Layout, Lock};

/// Where the name is noted, in `.coordinator`.
const NOTE: &str = "sockets";

/// What the folder's name begins with.
const PREFIX: &str = "coordinator-";

/// A folder for sockets, removed when this is dropped.
#[derive(Debug)]
pub struct Sockets {
    folder: PathBuf,
    note: PathBuf,
}

impl Sockets {
    /// Removes what a killed run left, and makes a folder for this one: from now on all temporary
    /// files of this process go there. The lock shows that no other run uses what is removed.
    ///
    /// # Errors
    ///
    /// If something cannot be removed, noted or made, or if this process has done this before.
    pub fn prepare(layout: &Layout, _lock: &Lock) -> io::Result<Self> {
        let note = layout.coordinator().join(NOTE);
        remove_noted(&note)?;
        let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
        let folder = std::path::absolute(std::env::temp_dir())?.join(name);
        fs::write(&note, folder.as_os_str().as_bytes())?;
        let sockets = Self { folder, note };
        // Nobody else is to connect in a worker's place.
        fs::DirBuilder::new().mode(0o700).create(&sockets.folder)?;
        match tempfile::env::override_temp_dir(&sockets.folder) {
            Ok(()) => Ok(sockets),
            Err(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let removed = remove(&self.folder).and_then(|()| fs::remove_file(&self.note));
        if let Err(error) = removed {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "cannot remove the folder for sockets");
        }
    }
}

/// Removes the folder that an earlier run noted, if there is such a note.
fn remove_noted(note: &Path) -> io::Result<()> {
    let noted = match fs::read(note) {
        Ok(noted) => PathBuf::from(OsString::from_vec(noted)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // A note that was torn, or written by somebody else, names nothing of ours.
    let name = noted.file_name().map(|name| name.as_bytes());
    let ours = name
        .is_some_and(|name| name.len() == PREFIX.len() + 8 && name.starts_with(PREFIX.as_bytes()));
    match noted.is_absolute() && ours {
        true => remove(&noted),
        false => Ok(()),
    }
}

/// Removes a folder with what is in it; one that is not there is as good.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let note = folder.path().join("note");
        let left = folder.path().join("coordinator-0123abcd");
        let other = folder.path().join("coordinator-0123abcd-mine");
        for made in [&left, &other] {
            fs::create_dir_all(made.join(".tmpAbCdEf")).expect("writable");
            fs::write(made.join(".tmpAbCdEf/socket"), "").expect("writable");
            fs::write(&note, made.as_os_str().as_bytes()).expect("writable");
            remove_noted(&note).expect("it can be removed");
        }
        assert!(!left.exists());
        assert!(other.join(".tmpAbCdEf/socket").exists());
        // It may be gone already, or there may be no note.
        fs::write(&note, left.as_os_str().as_bytes()).expect("writable");
        remove_noted(&note).expect("nothing is to be done");
        remove_noted(&folder.path().join("none")).expect("nothing is to be done");
        fs::write(&note, "").expect("writable");
        remove_noted(&note).expect("nothing is to be done");
    }
}
