//! The pool as a library: its interface for programs that run jobs in processes that may die.
//!
//! ```text
//!   Pool ──submit──> desk ──> drive: the loop around the core ──> workers ──> session ──> Work
//!    └── handle <──────────────── outcome ─────────────────────────────┘
//! ```
//!
//! Jobs and outcomes are sent in encoded form, so only the ends depend on the type of the work.

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
