//! Faults on request: `--inject SPEC`, for users who test their own setup.
//!
//! ```text
//!   Spec --+--> Faults        sent to workers with their setup: what happens when they start a task
//!          +--> StartFaults   for the pool: which workers never start
//!          +--> Injector      in the shell: which worker to signal, and when; journalled first
//! ```
//!
//! This module decides and writes its journal. It must not reach a worker: only the pool knows
//! whether a process may be signalled.

mod injector;
mod journal;
mod number;
mod spec;
mod start;

pub use injector::Injector;
pub use journal::{Blow, Injected, JOURNAL, Journal, JournalError, Struck};
pub use spec::{Rate, SignalFault, Spec, SpecError};
pub use start::{StartFault, StartFaults};
