//! Where ipc-channel makes the sockets that workers connect to.
//!
//! It makes each in a new folder below the folder for temporary files, and removes both when the
//! worker has connected. A coordinator that is killed in between leaves them. So the sockets are
//! made in a folder of the run's own, which the next run empties.
//!
//! The name of a socket is limited to 107 bytes (unix(7)), which an output folder may well exceed:
//! it is reached through `/proc/PID/fd/N` instead, whatever its name.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::folder::Folder;

/// The name of a socket that is only tried.
const PROBE: &str = "probe";

/// A folder for the sockets of a run. The path is good for as long as it lives.
#[derive(Debug)]
pub struct SocketFolder {
    /// What makes the short path lead there.
    folder: Folder,
    short: PathBuf,
}

impl SocketFolder {
    /// Empties a folder, and tries whether sockets can be made in it.
    ///
    /// # Errors
    ///
    /// If not: some file systems have no sockets.
    pub fn open(folder: Folder) -> io::Result<Self> {
        let number = folder.as_fd().as_raw_fd();
        let short = format!("/proc/{}/fd/{number}", std::process::id());
        let folder = Self {
            folder,
            short: short.into(),
        };
        folder.clear().map_err(|(_, error)| error)?;
        UnixListener::bind(folder.short.join(PROBE))?;
        folder.folder.remove_file(PROBE)?;
        Ok(folder)
    }

    /// Lets ipc-channel make its sockets here. For the whole process, and once.
    ///
    /// # Errors
    ///
    /// If another folder was set before.
    pub fn use_for_all(&self) -> io::Result<()> {
        tempfile::env::override_temp_dir(&self.short).map_err(|other| {
            let other = other.display();
            io::Error::other(format!("temporary files are made in {other} already"))
        })
    }

    /// Removes the sockets that are left. No worker may be about to connect.
    ///
    /// # Errors
    ///
    /// If something is there that cannot be removed.
    pub fn clear(&self) -> Result<(), (PathBuf, io::Error)> {
        self.folder.clear(|_| false).map(|_| ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> SocketFolder {
        SocketFolder::open(Folder::named(path).unwrap()).unwrap()
    }

    #[test]
    fn what_a_killed_coordinator_left_is_removed() {
        let output = tempfile::tempdir().unwrap();
        let folder = output.path().join("sockets");
        fs::create_dir_all(folder.join(".tmpAbCdEf")).unwrap();
        UnixListener::bind(folder.join(".tmpAbCdEf/socket")).unwrap();
        open(&folder);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn sockets_can_be_made_however_long_the_name_of_the_folder_is() {
        let output = tempfile::tempdir().unwrap();
        let folder = output.path().join("x".repeat(200));
        fs::create_dir(&folder).unwrap();
        let sockets = open(&folder);
        UnixListener::bind(sockets.short.join("socket")).unwrap();
        assert!(folder.join("socket").exists());
    }
}
