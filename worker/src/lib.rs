//! What a worker does.
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
//! A [session](pool::session) takes tasks from a [link](pool::link), runs each on a slot with its own [`engine`], and
//! reports what became of it. The same session runs in a [`process`] of its own or on a thread of
//! the coordinator. What to do about a response is decided in [`transfer`], which does no I/O, so
//! that redirects, limits and the classes of failure exist once for every engine.
//!
//! This crate knows nothing of the coordinator: not how tasks are chosen, retried or recorded.

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
