//! What the program is tried with: a server that simulates the network, and faults on request.
//!
//! - [`origin`] answers for every URL over loopback: `--simulate`, chaos, the shootout and tests.
//! - [`inject`] plans the faults that `--inject` asks for.
//!
//! Neither knows how a run works.

pub mod inject;
pub mod origin;
