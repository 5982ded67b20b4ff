//! How the two ends find each other, and make sure that they speak the same protocol.
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
//! Each direction has a socket of its own, and no descriptor ever travels. The kernel says which
//! process is at the other end of a socket (`SO_PEERCRED` in unix(7)), so nobody can take a worker's
//! place; and only the coordinator hears the worker's secret, so nobody can take the coordinator's.
//! Both ends are normally the same binary; the version guards the day when they are not.

use serde::{Deserialize, Serialize};

/// The version of the messages. Raised with every change to them.
pub const PROTOCOL_VERSION: u32 = 9;

/// First bytes of every [`Hello`]: tells a stray peer from one of another version.
pub const MAGIC: [u8; 8] = *b"coordntr";

/// What the coordinator repeats to show that it is the one that heard [`Hello`].
pub type Secret = [u8; 16];

/// Who is there: the first frame from a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`PROTOCOL_VERSION`] of the worker's binary.
    pub version: u32,
    /// Process id of the worker.
    pub pid: u32,
    /// Where the worker listens for the coordinator: the path of a socket, relative to the folder
    /// of the coordinator's own socket.
    pub server: String,
    /// The first message that the worker expects there.
    pub secret: Secret,
}

/// Why a worker cannot be talked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Something else than a worker connected.
    #[error("the peer is not a coordinator worker")]
    Magic,
    /// The worker's binary is of another version.
    #[error("the worker speaks protocol {theirs}, this coordinator speaks {PROTOCOL_VERSION}")]
    Version {
        /// What the worker speaks.
        theirs: u32,
    },
    /// It is another process than the one that was started.
    #[error("the worker is process {started} and says that it is {theirs}")]
    Pid {
        /// The process that was started.
        started: u32,
        /// What it says.
        theirs: u32,
    },
}

impl Hello {
    /// The greeting of this binary, running as process `pid`, which listens at `server` for `secret`.
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

    /// Checks that this is what the worker that was started as process `pid` says, and that it can
    /// be talked to.
    ///
    /// # Errors
    ///
    /// If it is not a worker, speaks another version, or is another process.
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
