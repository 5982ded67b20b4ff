//! The core of the pool, for downloads.

use protocol::{Failure, Stored};

pub use pool::dispatch::{
    Counts, Deadline, DeadlineCause, Exit, GroupId as HostId, Intensity, KillReason, Limits,
    MaxFailures, MemoryCause, Policy, RetryDelay, SlotView, TaskView,
};

/// The core of a run.
pub type Dispatcher = pool::dispatch::Dispatcher<Stored, Failure>;

pub type Event = pool::dispatch::Event<Stored, Failure>;

/// An action for the shell to carry out.
pub type Action = pool::dispatch::Action<Stored, Failure>;

/// A decision that has no effect outside.
pub type Notice = pool::dispatch::Notice<Failure>;

/// The result of a download.
pub type Verdict = pool::dispatch::Verdict<Stored, Failure>;

/// How a run ended.
pub type Ending = pool::dispatch::Ending<Failure>;

/// Why a run could not continue.
pub type GiveUp = pool::dispatch::GiveUp<Failure>;
