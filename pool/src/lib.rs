//! A pool of worker processes that loses no task when any of them dies.
//!
//! ```text
//!   dispatch   the core: decides which worker gets which task, what is tried again, who is ended, and
//!              whose fault a death is; pure
//!   workers    how workers are made, reached, heard and ended
//!   link       the worker's end: messages in, messages out; dial makes it
//!   session    what a worker does with its tasks: slots, reports, heartbeats
//!   confine    what a worker may use: memory, niceness, and its sandbox
//!   page       what a worker runs, in memory that outlives it
//! ```
//!
//! What the work is, is a [`Job`]: the types that travel. This crate knows nothing of it.

mod allocator;
mod api;
pub mod clock;
pub mod confine;
mod descriptor;
pub mod dial;
pub mod dispatch;
mod job;
mod lines;
pub mod link;
pub mod memory;
pub mod page;
pub mod process;
pub mod process_memory;
pub mod reap;
pub mod session;
pub mod workers;

pub use allocator::Allocator;
pub use api::{
    Builder, Context, Ended, Failed, Handle, Kind, Ordered, Outcome, Pool, Redeliver, Run,
    StartError, SubmitError, Work, init, init_one_of,
};
pub use descriptor::close_inherited;
pub use dispatch::{Counts, Exit, MemoryCause};
pub use job::{Broken, FromWorker, Job, TaskReport, ToWorker, Travels};
pub use lines::Lines;
pub use workers::Death;

/// Exit code of a worker that reached its limit on memory.
pub const EXIT_OUT_OF_MEMORY: i32 = 77;
