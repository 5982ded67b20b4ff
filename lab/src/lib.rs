//! Test equipment: a server that simulates the network, and faults on request.
//!
//! - [`origin`] answers for every URL over loopback: for `--simulate`, chaos, the shootout and
//!   tests.
//! - [`inject`] plans the faults that `--inject` asks for.
//!
//! Neither knows how a run works.

pub mod inject;
pub mod origin;
