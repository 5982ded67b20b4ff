//! A pool of worker processes for jobs that may crash, hang, use up all memory or be hostile.
//!
#![doc = include_str!("../README.md")]
//!
//! # Hidden modules
//!
//! `coordinator`, a bulk downloader, runs its own loop around the same core. The modules that it
//! needs for this are hidden in these pages, and may change with any version:
//!
//! ```text
//!   api        the library: Work, Pool, Handle, and the loop around the core
//!   dispatch   the core, a pure state machine: assigns and retries tasks, ends workers, and determines
//!              which task caused a death
//!   workers    starts workers, connects to them, reads their messages and ends them
//!   process    start of a worker process; dial connects it to the coordinator
//!   confine    limits of a worker: memory, niceness, and its sandbox
//!   session    runs the tasks of a worker: slots, reports, heartbeats
//!   link       the worker's end of the link: receives and sends messages
//!   page       records the tasks that a worker runs, in memory that outlives it
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

/// Exit code of a worker that reached its memory limit.
#[doc(hidden)]
pub const EXIT_OUT_OF_MEMORY: i32 = 77;
