//! The pool as a library: what a program says that wants work done by processes that may die.
//!
//! ```text
//!   Pool ──submit──> desk ──> drive: the loop around the core ──> workers ──> session ──> Work
//!    └── handle <──────────────── outcome ─────────────────────────────┘
//! ```
//!
//! Jobs and outcomes travel encoded, so that all of this but its two ends exists once, whatever the
//! work is.

mod blob;
mod builder;
mod call;
mod desk;
mod drive;
mod handle;
mod outcome;
mod pool;
mod run;
mod work;
mod worker;

pub use builder::{Builder, Redeliver, StartError};
pub use handle::Handle;
pub use outcome::{Ended, Outcome};
pub use pool::{Pool, SubmitError};
pub use run::{Ordered, Run};
pub use work::{AnyWork, Async, AsyncWork, Context, Failed, Progress, Work};
pub use worker::{Kind, init, init_one_of};
