//! Where ipc-channel makes the sockets that workers connect to.
//!
//! It makes each in a new folder below the folder for temporary files, and removes both when the
//! worker has connected. A coordinator that is killed in between leaves them. So the sockets are
//! made in a folder of the run's own, which the next run empties.
//!
//! The name of a socket is limited to 107 bytes (unix(7)), which an output folder may well exceed:
//! it is reached through `/proc/PID/fd/N` instead, whatever its name.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A folder for the sockets of a run. The path is good for as long as it lives.
#[derive(Debug)]
pub struct SocketFolder {
    folder: PathBuf,
    short: PathBuf,
    /// What makes the short path lead there.
    _open: File,
}

impl SocketFolder {
    /// Empties `folder`, which is made if need be, and tries whether sockets can be made in it.
    ///
    /// # Errors
    ///
    /// If not: some file systems have no sockets.
    pub fn open(folder: &Path) -> io::Result<Self> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let open = File::open(folder)?;
        let short = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
        let folder = Self {
            folder: folder.to_owned(),
            short: short.into(),
            _open: open,
        };
        folder.clear()?;
        let probe = folder.short.join("probe");
        UnixListener::bind(&probe)?;
        fs::remove_file(probe)?;
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
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_coordinator_left_is_removed() {
        let output = tempfile::tempdir().unwrap();
        let folder = output.path().join("sockets");
        fs::create_dir_all(folder.join(".tmpAbCdEf")).unwrap();
        UnixListener::bind(folder.join(".tmpAbCdEf/socket")).unwrap();
        SocketFolder::open(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn sockets_can_be_made_however_long_the_name_of_the_folder_is() {
        let output = tempfile::tempdir().unwrap();
        let folder = output.path().join("x".repeat(200));
        let sockets = SocketFolder::open(&folder).unwrap();
        UnixListener::bind(sockets.short.join("socket")).unwrap();
        assert!(folder.join("socket").exists());
    }

    #[test]
    fn a_folder_that_is_none_is_refused() {
        let output = tempfile::tempdir().unwrap();
        let file = output.path().join("sockets");
        fs::write(&file, "").unwrap();
        assert!(SocketFolder::open(&file).is_err());
    }
}
