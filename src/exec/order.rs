//! Messages between the executor and a runner: an order and its answer, one frame each.

use protocol::Executed;
use protocol::codec::Message;
use serde::{Deserialize, Serialize};

/// An order from the executor: run the command on this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOrder {
    /// Path of the file, relative to the output folder, with `/` between its parts.
    pub path: String,
    /// URL of the file, without user name and password.
    pub url: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// `Content-Type` of the response.
    pub content_type: Option<String>,
}

/// The answer of the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CommandAnswer {
    /// Exit code 0.
    Succeeded(Executed),
    /// Any other end.
    Failed {
        /// How it ended.
        end: CommandEnd,
        /// The last line on its standard error, cut, and without control characters.
        last_line: Option<String>,
    },
    /// It could not be started.
    NotStarted {
        /// The system's error number.
        errno: i32,
    },
}

/// How a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CommandEnd {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended because it exceeded its time limit.
    TimedOut,
}

impl Message for CommandOrder {}
impl Message for CommandAnswer {}
