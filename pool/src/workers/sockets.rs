//! Sockets through which workers and the coordinator connect to each other.
//!
//! A killed coordinator would leave its sockets in the temporary folder forever. They are therefore
//! in a folder of the run, which the next run empties. If that folder cannot hold sockets, a new
//! temporary folder is used.
//!
//! The name of a socket is limited to 107 bytes (unix(7)), which an output folder may exceed. The
//! folder is therefore reached through `/proc/self/fd/N`, whatever its name.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use protocol::packet::MAX_PACKET;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::socket_send_buffer_size;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tempfile::TempDir;

use super::peer;

/// The name of the socket that workers connect to.
const LISTENER: &str = "coordinator";

/// Maximum number of connections that wait to be accepted. The kernel limits it too (listen(2)).
const BACKLOG: i32 = 4096;

/// Bytes of a socket's buffer that ipc-channel does not fill with one packet, with a margin.
const RESERVED: usize = 1024;

/// Empties a folder.
type Clear = dyn Fn() -> io::Result<()> + Send + Sync;

/// A folder for the sockets of a run. Dropping it empties the folder.
pub struct SocketFolder {
    path: PathBuf,
    folder: OwnedFd,
    clear: Box<Clear>,
    /// Set if the folder is temporary. Removed on drop.
    _temporary: Option<TempDir>,
}

impl fmt::Debug for SocketFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SocketFolder").field(&self.path).finish()
    }
}

impl SocketFolder {
    /// Uses the folder at `path`, which is open as `folder`, and empties it with `clear`. If that
    /// folder cannot hold sockets, a temporary folder is used.
    ///
    /// # Errors
    ///
    /// Fails if neither folder can be used.
    pub fn open(
        path: PathBuf,
        folder: OwnedFd,
        clear: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let beside = Self {
            path,
            folder,
            clear: Box::new(clear),
            _temporary: None,
        };
        let tried = (beside.clear)().and_then(|()| beside.listen());
        match tried.and_then(|_| (beside.clear)()) {
            Ok(()) => Ok(beside),
            Err(error) => {
                tracing::debug!(%error, "workers connect in the folder for temporary files");
                Self::temporary()
            }
        }
    }

    /// Creates a folder in the system's folder for temporary files.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be created.
    pub fn temporary() -> io::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let path = temporary.path().to_owned();
        Ok(Self {
            folder: open_folder(&path)?,
            path,
            // The temporary folder is removed with its contents.
            clear: Box::new(|| Ok(())),
            _temporary: Some(temporary),
        })
    }

    /// Returns the path of the socket that workers connect to.
    pub(super) fn listener_path(&self) -> PathBuf {
        self.path.join(LISTENER)
    }

    /// Listens at that socket. Can be called once.
    pub(super) fn listen(&self) -> io::Result<OwnedFd> {
        let socket = new_socket()?;
        peer::refuse_descriptors(&socket);
        bind(&socket, &self.address(LISTENER)?)?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// Connects to the socket of process `pid` at `name`, relative to this folder. Does not block.
    ///
    /// # Errors
    ///
    /// Fails if there is no such socket, if another process listens there, or if too many
    /// connections wait to be accepted.
    pub(super) fn connect(&self, name: &str, pid: u32) -> io::Result<OwnedFd> {
        let socket = new_socket()?;
        connect(&socket, &self.address(name)?)?;
        // The other process controls what the name leads to.
        if peer::process_at(&socket)? != Some(pid) {
            return Err(io::Error::other("another process listens there"));
        }
        Ok(socket)
    }

    fn address(&self, name: &str) -> io::Result<SocketAddrUnix> {
        let path = format!("/proc/self/fd/{}/{name}", self.folder.as_fd().as_raw_fd());
        Ok(SocketAddrUnix::new(path)?)
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        if let Err(error) = (self.clear)() {
            tracing::warn!(%error, "sockets are left");
        }
    }
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Creates a socket like ipc-channel's, which never blocks this process and accepts a whole frame.
fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (room, needed) = (socket_send_buffer_size(&socket)?, MAX_PACKET + RESERVED);
    if room < needed {
        return Err(io::Error::other(format!(
            "sockets have buffers of {room} bytes, and {needed} are needed; raise the system's \
             default (sysctl net.core.wmem_default)"
        )));
    }
    Ok(socket)
}

/// Sends messages to one worker, without blocking. A worker that does not read them breaks the
/// protocol: the core keeps unread bytes well below the size of the socket's buffer.
#[derive(Debug)]
pub(super) struct Downlink(OwnedFd);

/// Reasons why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The socket is full.
    #[error("it does not read what it is sent")]
    Unread,
    /// The worker has ended, or is about to end.
    #[error("it cannot be reached: {0}")]
    Gone(#[source] io::Error),
}

impl Downlink {
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends `message`, which must fit a frame, in the format of ipc-channel.
    pub(super) fn send(&self, message: &[u8]) -> Result<(), SendError> {
        use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
        let header = protocol::packet::header(message.len());
        let parts = [io::IoSlice::new(&header), io::IoSlice::new(message)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            let mut nothing = SendAncillaryBuffer::default();
            match sendmsg(&self.0, &parts, &mut nothing, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(SendError::Unread),
                Err(error) => return Err(SendError::Gone(error.into())),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> SocketFolder {
        let own = path.to_owned();
        let clear = move || {
            for entry in fs::read_dir(&own)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => fs::remove_dir_all(entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
            Ok(())
        };
        SocketFolder::open(path.to_owned(), open_folder(path).unwrap(), clear).unwrap()
    }

    #[test]
    fn what_a_killed_coordinator_left_is_removed_and_so_is_all_in_the_end() {
        let output = tempfile::tempdir().unwrap();
        let folder = output.path().join("sockets");
        fs::create_dir_all(folder.join(".tmpAbCdEf")).unwrap();
        UnixListener::bind(folder.join(".tmpAbCdEf/socket")).unwrap();
        let sockets = open(&folder);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let _listener = sockets.listen().unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        drop(sockets);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn sockets_can_be_made_however_long_the_name_of_the_folder_is() {
        let output = tempfile::tempdir().unwrap();
        let folder = output.path().join("x".repeat(200));
        fs::create_dir(&folder).unwrap();
        let sockets = open(&folder);
        let _listener = sockets.listen().unwrap();
        assert_eq!(sockets.listener_path(), folder.join(LISTENER));
        assert!(sockets.listener_path().exists());
    }

    #[test]
    fn where_there_can_be_none_a_temporary_folder_takes_them() {
        // No socket can be created there.
        let sockets = open(Path::new("/proc/self"));
        let _listener = sockets.listen().unwrap();
        let path = sockets.listener_path();
        assert!(path.exists() && !path.starts_with("/proc"));
        drop(sockets);
        assert!(!path.parent().unwrap().exists(), "it is gone in the end");
    }

    #[test]
    fn only_the_process_that_is_meant_is_connected_to() {
        let output = tempfile::tempdir().unwrap();
        let sockets = open(output.path());
        let _listener = sockets.listen().unwrap();
        let own = std::process::id();
        assert!(sockets.connect(LISTENER, own).is_ok());
        assert!(sockets.connect(LISTENER, own + 1).is_err());
    }

    #[test]
    fn nothing_is_waited_for_where_nobody_reads() {
        let output = tempfile::tempdir().unwrap();
        let sockets = open(output.path());
        let listener = sockets.listen().unwrap();
        let downlink = Downlink(sockets.connect(LISTENER, std::process::id()).unwrap());
        let worker = rustix::net::accept(&listener).unwrap();
        let full = (0..10_000).find_map(|_| downlink.send(&[0; 1000]).err());
        assert!(matches!(full, Some(SendError::Unread)), "{full:?}");
        drop(worker);
        let gone = downlink.send(&[0; 1000]);
        assert!(matches!(gone, Err(SendError::Gone(_))), "{gone:?}");
    }
}
