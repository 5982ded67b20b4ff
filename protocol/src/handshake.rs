//! How the two ends connect, and check that they use the same version of the protocol.
//!
//! ```text
//!   coordinator                                        worker
//!       |  listens on a socket in the sockets folder      |
//!       |  starts the worker with that socket's path ---->|
//!       |<------ connects, from the process that was started
//!       |<------ Hello: version, pid, one-shot server, secret
//!       |  connects to that server, which must be of the same process
//!       |------- the secret ----------------------------->|  it was the coordinator that connected
//!       |------- Setup ---------------------------------->|
//! ```
//!
//! Each direction has its own socket, and no descriptor is ever sent. The kernel reports which
//! process is at the other end of a socket (`SO_PEERCRED` in unix(7)), so no process can take a
//! worker's place. Only the coordinator receives the worker's secret, so no process can take its
//! place either. Both ends are normally the same binary; the version matters when they are not.

use serde::{Deserialize, Serialize};

/// Version of the messages. Incremented with every change to them.
pub const PROTOCOL_VERSION: u32 = 9;

/// First bytes of every [`Hello`]. They tell an unrelated peer from a worker of another version.
pub const MAGIC: [u8; 8] = *b"coordntr";

/// Sent back by the coordinator, to prove that it received [`Hello`].
pub type Secret = [u8; 16];

/// The greeting: the first frame from a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`PROTOCOL_VERSION`] of the worker's binary.
    pub version: u32,
    /// Process id of the worker.
    pub pid: u32,
    /// Where the worker listens for the coordinator: the path of a socket, relative to the folder
    /// of the coordinator's socket.
    pub server: String,
    /// The first message that the worker expects there.
    pub secret: Secret,
}

/// Reasons why the coordinator cannot work with a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer is not a worker.
    #[error("the peer is not a coordinator worker")]
    Magic,
    /// The worker's binary uses another version of the protocol.
    #[error("the worker speaks protocol {theirs}, this coordinator speaks {PROTOCOL_VERSION}")]
    Version {
        /// The worker's version.
        theirs: u32,
    },
    /// The worker is not the process that was started.
    #[error("the worker is process {started} and says that it is {theirs}")]
    Pid {
        /// The process that was started.
        started: u32,
        /// The process id in the greeting.
        theirs: u32,
    },
}

impl Hello {
    /// Creates the greeting of process `pid`, which listens at `server` for `secret`.
    #[must_use]
    pub const fn new(pid: u32, server: String, secret: Secret) -> Self {
        Self {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            pid,
            server,
            secret,
        }
    }

    /// Checks that this is the greeting of the worker that was started as process `pid`, and that
    /// it uses the same version.
    ///
    /// # Errors
    ///
    /// Fails if the peer is not a worker, uses another version, or is another process.
    pub fn check(&self, pid: u32) -> Result<(), HandshakeError> {
        if self.magic != MAGIC {
            return Err(HandshakeError::Magic);
        }
        if self.version != PROTOCOL_VERSION {
            return Err(HandshakeError::Version {
                theirs: self.version,
            });
        }
        if self.pid != pid {
            return Err(HandshakeError::Pid {
                started: pid,
                theirs: self.pid,
            });
        }
        Ok(())
    }
}
