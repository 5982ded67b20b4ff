//! A fleet: several machines that share one list through NATS JetStream.
//!
//! ```text
//!   feed ---> tasks (stream) ---> member: its own run ---> chains (stream) ---> results
//!                                   |
//!                                   +--- table: the members and the owner of each partition
//! ```
//!
//! [`lease`] decides which member owns which partition. It is pure, and is simulated like the core
//! of a run. [`frame`], the format of targets in the queue, and [`chain`], an owner's knowledge of
//! its partition, are also pure. The rest needs the feature `fleet`. `docs/decisions/fleet.md`
//! explains the design, and the guarantees after each kind of loss.

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
