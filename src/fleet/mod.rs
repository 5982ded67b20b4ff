//! A fleet: several machines that work on one list, with NATS JetStream between them.
//!
//! ```text
//!   feed ---> tasks (stream) ---> member: its own run ---> chains (stream) ---> results
//!                                   |
//!                                   +--- table: who is there, who owns which partition
//! ```
//!
//! [`lease`] decides who owns which partition, and is pure: it is simulated as the core of a run is.
//! So are [`frame`], the form of targets on their way, and [`chain`], what an owner knows of its
//! partition. The rest takes the feature `fleet`. What was chosen, and what is promised after each
//! kind of loss, is in `docs/decisions/fleet.md`.

pub mod chain;
pub mod frame;
pub mod lease;

#[cfg(feature = "fleet")]
mod error;
#[cfg(feature = "fleet")]
mod feed;
#[cfg(feature = "fleet")]
mod member;
#[cfg(feature = "fleet")]
mod monitor;
#[cfg(feature = "fleet")]
mod queue;
#[cfg(feature = "fleet")]
mod results;
#[cfg(feature = "fleet")]
mod status;

#[cfg(feature = "fleet")]
pub use error::FleetError;
#[cfg(feature = "fleet")]
pub use feed::{Feed, FeedEnding, feed};
#[cfg(feature = "fleet")]
pub use member::{Join, join};
#[cfg(feature = "fleet")]
pub use queue::Place;
#[cfg(feature = "fleet")]
pub use results::{Results, results};
#[cfg(feature = "fleet")]
pub use status::{Drain, drain, status};
