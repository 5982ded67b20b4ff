//! How workers are made, reached, heard and ended.
//!
//! The run asks for deeds (spawn, assign, revoke, dismiss, kill) and gets [`News`] back. A pool
//! decides nothing: which worker gets which task, who is ended and who is blamed is the core's
//! business.

mod descriptors;
mod link;
mod process;

use protocol::{Report, Running};

use crate::dispatch::Exit;

pub use descriptors::{DescriptorError, make_room};
pub use link::contain_panics;
pub use process::{Message, ProcessPool};

/// What a worker did.
#[derive(Debug)]
pub enum News {
    /// It is set up.
    Ready,
    /// It has news of tasks.
    Reports(Vec<Report>),
    /// It lives, and these of its tasks move.
    Heartbeat(Vec<Running>),
    /// It said something that is not of the protocol.
    Violated {
        /// What is wrong with it.
        problem: String,
    },
    /// It is gone, and this is the last that is heard of it.
    Exited(Exit),
}
