//! What the executor and a runner say to each other: an order, and its answer, each a frame.

use protocol::Executed;
use protocol::codec::Message;
use serde::{Deserialize, Serialize};

/// What the executor asks a runner for: the command, on this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandOrder {
    /// The file, relative to the output folder, with `/` between its parts.
    pub path: String,
    /// The URL that it came from, without user name and password.
    pub url: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// `Content-Type` of the response.
    pub content_type: Option<String>,
}

/// What the runner answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CommandAnswer {
    /// Exit code 0.
    Succeeded(Executed),
    /// Anything else.
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

/// How a command ended that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CommandEnd {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended, since it took too long.
    TimedOut,
}

impl Message for CommandOrder {}
impl Message for CommandAnswer {}
