//! How the two ends find each other, and make sure that they speak the same protocol.
//!
//! The coordinator listens on an ipc-channel one-shot server and starts the worker with the
//! server's name. The worker connects and sends a [`Connection`]: the far ends of two fresh
//! channels, one each way. From then on the bootstrap socket is not used any more, and is dropped
//! on both sides: the coordinator's end of it lacks close-on-exec (ipc-channel 0.23 accepts it
//! without), so it must not outlive the moment. Descriptors that travel *inside* a message do
//! get close-on-exec on arrival.
//!
//! The first frame from the worker is [`Hello`], and the coordinator answers with
//! [`ToWorker::Setup`](crate::ToWorker::Setup) only if [`Hello::check`] agrees. Both ends are
//! normally the same binary; the check guards the day when they are not.

use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender};
use serde::{Deserialize, Serialize};

/// The version of the messages. Raised with every change to them.
pub const PROTOCOL_VERSION: u32 = 8;

/// First bytes of every [`Hello`]: tells a stray peer from one of another version.
pub const MAGIC: [u8; 8] = *b"coordntr";

/// The coordinator's ends of a worker's two channels, as the worker sends them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Connection {
    /// For frames of [`ToWorker`](crate::ToWorker).
    pub to_worker: IpcBytesSender,
    /// For frames of [`FromWorker`](crate::FromWorker).
    pub from_worker: IpcBytesReceiver,
}

/// Who is there: the first frame from a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`PROTOCOL_VERSION`] of the worker's binary.
    pub version: u32,
    /// Process id of the worker.
    pub pid: u32,
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
}

impl Hello {
    /// The greeting of this binary, running as process `pid`.
    #[must_use]
    pub const fn new(pid: u32) -> Self {
        Self {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            pid,
        }
    }

    /// Checks that the worker can be talked to.
    ///
    /// # Errors
    ///
    /// If it is not a worker, or speaks another version.
    pub fn check(&self) -> Result<(), HandshakeError> {
        if self.magic != MAGIC {
            return Err(HandshakeError::Magic);
        }
        if self.version != PROTOCOL_VERSION {
            return Err(HandshakeError::Version {
                theirs: self.version,
            });
        }
        Ok(())
    }
}
