//! The program of `--exec`: how it is run on a file by a process that takes bytes from strangers
//! and may start no program.
//!
//! ```text
//!   worker (in its sandbox)
//!     │ `Commands` ── control ──> guard        one for each worker, started before the sandbox
//!     │     └─ a slot ─────┐        │ starts a runner when a slot asks for one
//!     │                    └────> runner       runs one command at a time
//!     │                             └──> the command, and whatever it starts
//! ```
//!
//! Guard and runner are this program again. Both know the command since before the worker heard of
//! any URL; a worker says which file, and the runner believes nothing of it (`runner`). Both adopt
//! what is orphaned below them (`PR_SET_CHILD_SUBREAPER` in prctl(2)), so a command's processes can
//! leave their group, their session and their parents, and not their runner; and if any one of
//! worker, guard and runner is killed, another of them ends what it leaves (`tree`).
//!
//! It must not know how files are downloaded.

mod command;
mod fill;
mod leader;
mod plan;
mod runner;
pub mod tree;
pub mod verdict;

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::{Signal, getpid, set_child_subreaper, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::descriptor;
pub use plan::Plan;
pub use runner::run as runner;

/// The hidden command, of whatever program this is, that calls [`runner()`] with what follows it.
pub const RUNNER: &str = "runner";

/// Time between SIGTERM and SIGKILL for a command that took too long.
pub const KILL_AFTER: Duration = Duration::from_secs(1);

/// Longest time in which processes are waited for that were sent SIGKILL.
pub const DIE_WITHIN: Duration = Duration::from_secs(5);

/// Why a guard or a runner cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It was not started by a worker.
    #[error("only a worker starts this: {0}")]
    Arguments(String),
    /// The system refused something.
    #[error("cannot {what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// What comes first in both: nothing inherited but what is meant, and the care for orphans. They
/// end when their ends of sockets and pipes are closed; signals that are meant for a whole group
/// or a whole session must not be quicker.
fn begin(arguments: Vec<OsString>) -> Result<Plan, ExecError> {
    descriptor::close_inherited().map_err(system("close inherited descriptors"))?;
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // A handler, and not SIG_IGN, which the command would inherit.
        signal_hook::flag::register(signal, Arc::clone(&ignored))
            .map_err(system("handle signals"))?;
    }
    set_child_subreaper(Some(getpid()))
        .map_err(|errno| system("adopt what commands leave behind")(errno.into()))?;
    // If the run is suspended when its parent dies, this process must go on to see that. The signal
    // also comes when only the thread ends that started this process; then it changes nothing.
    set_parent_process_death_signal(Some(Signal::CONT))
        .map_err(|errno| system("ask to be told of the parent's death")(errno.into()))?;
    Plan::from_arguments(arguments)
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ExecError {
    move |error| ExecError::System { what, error }
}
