//! The work of a worker.
//!
//! ```text
//!   process ──> limits      (memory, nice value, sandbox: before there is a second thread)
//!      |
//!      +──────> session ──> slot threads ──> engine ──> transfer   (sans-I/O: says what to do)
//!      |           |                            |
//!     link <───────┘                            ├────> resolver   (shared by all slots)
//!                                               └────> store      (the body, its hash, its note)
//! ```
//!
//! A [session](pool::session) takes tasks from a [link](pool::link), runs each in a slot with its
//! own [`engine`], and reports the result. The same session runs in a [`process`] of its own or on
//! a thread of the coordinator. [`transfer`] decides what to do about a response. It does no I/O,
//! so redirects, limits and classes of failure exist once for all engines.
//!
//! This crate knows nothing about the coordinator: how tasks are chosen, retried or recorded.

mod activity;
mod decode;
mod descriptor;
pub mod engine;
mod fault;
pub mod faults;
mod job;
pub mod limits;
mod login;
pub mod process;
mod reserved;
mod resolver;
mod robots;
mod route;
pub mod session;
mod spans;
mod store;
#[cfg(test)]
mod testing;
mod throttle;
pub mod transfer;
mod tunnel;
mod work;

pub use engine::{
    Activity, AsyncEngine, BlockingEngine, Connections, Downloading, SetupError, Shared,
};
pub use fault::Fault;
pub use job::{Download, IpcInbox, IpcOutbox};
pub use login::Logins;
pub use resolver::{ResolveError, Resolver};
pub use session::{End, SessionError, serve};
pub use store::{Committed, Partial, Site, Store};
pub use throttle::Throttle;
pub use transfer::{Coding, Head, Next, Transfer, TransportError};
