//! Faults on request: `--inject SPEC`, for people who test their own set-up.
//!
//! ```text
//!   Spec --+--> Faults        to workers, with their setup: what happens when they take up a task
//!          +--> StartFaults   to the pool: which workers never begin
//!          +--> Injector      in the shell: whom to signal, and when; told to the journal first
//! ```
//!
//! It decides and writes its journal. It must not reach a worker: whether a process may be
//! signalled at all is known to the pool alone.

mod injector;
mod journal;
mod number;
mod spec;
mod start;

pub use injector::Injector;
pub use journal::{Blow, Injected, JOURNAL, Journal, JournalError, Struck};
pub use spec::{Rate, SignalFault, Spec, SpecError};
pub use start::{StartFault, StartFaults};
