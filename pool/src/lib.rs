//! A pool of worker processes for jobs that may crash, hang, eat all memory or be hostile.
//!
#![doc = include_str!("../README.md")]
//!
//! # For programs that drive the core themselves
//!
//! `coordinator`, a bulk downloader, has a loop of its own around the same core. What it needs for that is
//! hidden in these pages, and may change with any version:
//!
//! ```text
//!   api        the library: Work, Pool, Handle, and the loop around the core
//!   dispatch   the core: decides which worker gets which task, what is tried again, who is ended, and
//!              whose fault a death is; pure
//!   workers    how workers are made, reached, heard and ended
//!   process    what the process of a worker does first; dial reaches the coordinator
//!   confine    what a worker may use: memory, niceness, and its sandbox
//!   session    what a worker does with its tasks: slots, reports, heartbeats
//!   link       the worker's end of the link: messages in, messages out
//!   page       what a worker runs, in memory that outlives it
//! ```
#![warn(missing_docs)]

mod allocator;
mod api;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod confine;
mod descriptor;
#[doc(hidden)]
pub mod dial;
#[doc(hidden)]
pub mod dispatch;
mod job;
mod lines;
#[doc(hidden)]
pub mod link;
#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod page;
#[doc(hidden)]
pub mod process;
#[doc(hidden)]
pub mod process_memory;
#[doc(hidden)]
pub mod reap;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod workers;

pub use allocator::Allocator;
pub use api::{
    AnyWork, Async, AsyncWork, Builder, Context, Ended, Failed, Handle, Kind, Ordered, Outcome,
    Pool, Progress, Redeliver, Run, StartError, SubmitError, Work, init, init_one_of,
};
pub use confine::{ConfineError, Network, Sandbox};
#[doc(hidden)]
pub use descriptor::close_inherited;
pub use dispatch::{Counts, Exit, MemoryCause};
#[doc(hidden)]
pub use job::{Broken, FromWorker, Job, TaskReport, ToWorker, Travels};
#[doc(hidden)]
pub use lines::Lines;
pub use protocol::codec::EncodeError;
pub use workers::Death;

/// Exit code of a worker that reached its limit on memory.
#[doc(hidden)]
pub const EXIT_OUT_OF_MEMORY: i32 = 77;
