//! Connects a worker to its coordinator over ipc-channel: see [`protocol::handshake`].
//!
//! Must not look into the messages, apart from the greeting that it prepares.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, OpaqueIpcReceiver,
    OpaqueIpcSender, channel,
};
use protocol::handshake::{Hello, Secret};
use rustix::fs::{Mode, OFlags, open};
use serde::{Serialize, de::DeserializeOwned};

/// A worker that is connected to its coordinator. It sends [`hello`](Self::hello) next, and then
/// waits for the [`answer`](Self::answer).
pub struct Dialled {
    outbox: IpcBytesSender,
    server: IpcOneShotServer<Secret>,
    hello: Hello,
    /// The folder at which the server's path begins.
    _folder: OwnedFd,
}

/// Connects to the coordinator that listens at the path `socket`, and listens for its answer beside
/// that socket. Works once in a process: ipc-channel then creates its sockets in that folder.
///
/// # Errors
///
/// Fails if no coordinator listens there, or if no other socket can be created in that folder.
pub fn dial(socket: &Path) -> io::Result<Dialled> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::other("that is not the path of a socket"));
    };
    // The path of a socket is limited to 107 bytes (unix(7)), which the folder's path may exceed.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty())?;
    let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let name = name.to_str().filter(|name| !name.contains('\0'));
    let name = name.ok_or_else(|| io::Error::other("the socket's name is not text"))?;
    let sender = IpcSender::<Secret>::connect(format!("{short}/{name}"))?;
    let outbox = converted::<OpaqueIpcSender, IpcBytesSender>(sender.to_opaque())?;
    tempfile::env::override_temp_dir(Path::new(&short))
        .map_err(|_| io::Error::other("this process has dialled before"))?;
    let (server, path) = IpcOneShotServer::new()?;
    let path = path.strip_prefix(&short).unwrap_or_default();
    let mut secret = Secret::default();
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let hello = Hello::new(
        std::process::id(),
        path.trim_start_matches('/').to_owned(),
        secret,
    );
    Ok(Dialled {
        outbox,
        server,
        hello,
        _folder: folder,
    })
}

impl Dialled {
    /// Returns the greeting, which must be sent first.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Returns the sender of messages to the coordinator.
    #[must_use]
    pub const fn outbox(&self) -> &IpcBytesSender {
        &self.outbox
    }

    /// Waits until the coordinator answers the greeting. Returns the receiver of its messages.
    ///
    /// # Errors
    ///
    /// Fails if another process answers, or if a system call fails.
    pub fn answer(self) -> io::Result<IpcBytesReceiver> {
        let (receiver, secret) = self.server.accept().map_err(io::Error::other)?;
        if secret != self.hello.secret {
            return Err(io::Error::other("another process answered in its place"));
        }
        converted::<OpaqueIpcReceiver, IpcBytesReceiver>(receiver.to_opaque())
    }
}

/// Converts an end of a channel to another type. ipc-channel has no other way from an end that was
/// found by name to one for bytes. The end is sent through a channel of this process, and arrives
/// with close-on-exec set, which `accept` leaves out.
fn converted<From, To>(end: From) -> io::Result<To>
where
    From: Serialize + DeserializeOwned,
    To: Serialize + DeserializeOwned,
{
    let (sender, receiver) = channel::<From>()?;
    sender.send(end).map_err(io::Error::other)?;
    let receiver = receiver.to_opaque().to::<To>();
    receiver.recv().map_err(io::Error::other)
}
