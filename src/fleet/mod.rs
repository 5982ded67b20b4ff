//! A fleet: several machines that work on one list, with a queue between them.
//!
//! [`lease`] decides who owns which partition, and is pure: it is simulated as the core of a run is.
//! So are [`frame`], the form of targets on their way, and [`chain`], what an owner knows of its
//! partition.

pub mod chain;
pub mod frame;
pub mod lease;
