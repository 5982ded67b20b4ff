//! The program of `--exec`: runs on each placed file, and ends with all processes that it starts.
//!
//! ```text
//!   coordinator: Executor::run(order)          on any thread, several at once
//!       │  a socket: one order, one answer
//!       └──> runner                            this program again; one command at a time; reused
//!               └──> the command, and whatever it starts
//! ```
//!
//! A runner adopts orphans below it, so that it can end every process that its command started. It
//! outlives a coordinator that is killed: its socket closes, and it ends the command. If a runner
//! is killed, the kernel ends the command's first process, and the executor ends the rest
//! (`strays`). Each runner leads its own process group, which the command inherits. Ctrl-Z in a
//! terminal does not reach that group, so [`Executor::stop`] exists.
//!
//! It must not know which files exist, when a command is due, or what a failure means for a task.

mod child;
mod command;
mod fill;
mod leader;
mod order;
mod plan;
mod runner;
mod strays;
mod tree;
mod verdict;
mod words;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::{Executed, FailureKind, codec};
use rustix::process::{Signal, WaitStatus};
use worker::Fault;

use child::{Runner, RunnerEvent};
pub use order::CommandOrder;
use plan::Plan;
pub use runner::{RunnerError, run as run_commands};
pub use words::{CommandError, Exec, Template};

/// Exit code of a runner that cannot work for a reason that affects every runner.
pub const EXIT_UNUSABLE: u8 = 3;

/// Time between SIGTERM and SIGKILL for a command that exceeded its time limit.
const KILL_AFTER: Duration = Duration::from_secs(1);

/// Maximum wait for processes that were sent SIGKILL.
const DIE_WITHIN: Duration = Duration::from_secs(5);

/// Maximum time between two checks of a runner. A longer gap counts only as this much: for the
/// rest, this process was stopped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time that a runner may take beyond the time limit of its command before it counts as frozen.
const SLACK: Duration = Duration::from_secs(10);

/// Runs one command on files. Dropping it ends all running commands.
#[derive(Debug)]
pub struct Executor {
    plan: Plan,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All runners that are not being reaped. The ids of their process groups cannot be reused.
    live: Vec<Arc<Runner>>,
    /// The idle runners among them.
    idle: Vec<Arc<Runner>>,
    is_stopped: bool,
    is_abandoned: bool,
}

/// The outcome of an order. None of the command's processes is left, if the system can end them.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command succeeded.
    Succeeded(Executed),
    /// The command failed, or could not be run. The file is as the command left it.
    Failed(Fault),
    /// The command was ended or not started because of [`Executor::abandon`]. This says nothing
    /// about the file or the command.
    Abandoned,
}

impl Executor {
    /// Creates an executor for `exec` on files in the folder `output`, an absolute path. Commands
    /// get the nice value `nice`, or that of this process. Starts no process yet.
    #[must_use]
    pub fn new(exec: Exec, output: PathBuf, nice: Option<i32>) -> Self {
        let plan = Plan { nice, output, exec };
        Self {
            plan,
            state: Mutex::default(),
        }
    }

    /// Runs the command on the file of `order`, and waits for it. Each waiting call has a runner,
    /// so the caller limits the number of commands that run at once.
    ///
    /// Returns at the latest half a minute after the command's time limit, whatever the command or
    /// the runner does.
    pub fn run(&self, order: &CommandOrder) -> Outcome {
        let frame = match codec::encode(order) {
            Ok(frame) => frame,
            Err(error) => {
                return Outcome::Failed(Fault::permanent(FailureKind::Exec, error.to_string()));
            }
        };
        loop {
            let kept = self.state().idle.pop();
            let is_new = kept.is_none();
            let runner = match kept.map_or_else(|| self.start(), Ok) {
                Ok(runner) => runner,
                Err(outcome) => return outcome,
            };
            if runner.send(&frame) {
                return self.wait_for(&runner, order);
            }
            let status = self.retire(&runner);
            if is_new {
                return self.no_answer(status);
            }
            // It was killed while it was idle. The next one runs the command.
        }
    }

    /// Stops runners and commands until [`resume`](Self::resume). Their time limits are suspended.
    pub fn stop(&self) {
        let mut state = self.state();
        state.is_stopped = true;
        state.signal(Signal::STOP);
    }

    /// Ends [`stop`](Self::stop).
    pub fn resume(&self) {
        let mut state = self.state();
        state.is_stopped = false;
        state.signal(Signal::CONT);
    }

    /// Ends all commands at once, and starts no more. Does not wait: calls of [`run`](Self::run)
    /// return when their commands have ended.
    pub fn abandon(&self) {
        let mut state = self.state();
        state.is_abandoned = true;
        state.is_stopped = false;
        for runner in &state.live {
            runner.close();
        }
        // A stopped runner does not notice this.
        state.signal(Signal::CONT);
    }

    /// Starts a runner. A failure becomes the outcome of the order.
    fn start(&self) -> Result<Arc<Runner>, Outcome> {
        if self.state().is_abandoned {
            return Err(Outcome::Abandoned);
        }
        let runner = Runner::start(&self.plan).map_err(|error| {
            // Probably too few descriptors or processes.
            let message = format!("cannot start a process that runs commands (--exec): {error}");
            Outcome::Failed(Fault::transient(FailureKind::Exec, message))
        })?;
        let runner = Arc::new(runner);
        let mut state = self.state();
        // Both may have changed since.
        if state.is_abandoned {
            runner.close();
        }
        if state.is_stopped {
            runner.signal(Signal::STOP);
        }
        state.live.push(Arc::clone(&runner));
        Ok(runner)
    }

    /// Waits for the answer of a runner that has an order.
    fn wait_for(&self, runner: &Arc<Runner>, order: &CommandOrder) -> Outcome {
        let exec = &self.plan.exec;
        let mut left = exec.timeout.saturating_add(KILL_AFTER + DIE_WITHIN + SLACK);
        let heard = loop {
            if self.state().is_abandoned {
                left = left.min(DIE_WITHIN + SLACK);
            }
            let slice = left.min(LOOK_EVERY);
            let begun = Instant::now();
            let heard = runner.wait(slice);
            left = left.saturating_sub(begun.elapsed().min(slice));
            if heard.is_some() || left.is_zero() {
                break heard;
            }
        };
        match heard {
            Some(RunnerEvent::Answer(answer)) => {
                self.state().idle.push(Arc::clone(runner));
                match verdict::judge(answer, exec) {
                    Ok(executed) => Outcome::Succeeded(executed),
                    Err(fault) => Outcome::Failed(fault),
                }
            }
            Some(RunnerEvent::End) => {
                let status = self.retire(runner);
                self.end_strays(status, order);
                self.no_answer(status)
            }
            None => {
                let status = self.retire(runner);
                self.end_strays(status, order);
                if self.state().is_abandoned {
                    return Outcome::Abandoned;
                }
                Outcome::Failed(verdict::frozen(exec))
            }
        }
    }

    /// Returns the outcome for a runner that ended without an answer.
    fn no_answer(&self, status: Option<WaitStatus>) -> Outcome {
        if self.state().is_abandoned {
            return Outcome::Abandoned;
        }
        let code = status.and_then(WaitStatus::exit_status);
        Outcome::Failed(if code == Some(EXIT_UNUSABLE.into()) {
            let message = "the process that runs commands (--exec) cannot do so, and said why on \
                           standard error; correct that and run again";
            Fault::fatal(FailureKind::Exec, message)
        } else {
            verdict::lost(&self.plan.exec)
        })
    }

    /// Ends `runner` with its process group, and reaps it.
    fn retire(&self, runner: &Arc<Runner>) -> Option<WaitStatus> {
        // Once it is reaped, its process id can be reused, so its group must get no more signals.
        self.state()
            .live
            .retain(|other| !Arc::ptr_eq(other, runner));
        runner.end()
    }

    /// Ends what the command of `order` left, unless its runner has done so.
    fn end_strays(&self, runner: Option<WaitStatus>, order: &CommandOrder) {
        if runner.and_then(WaitStatus::exit_status) != Some(0) {
            strays::end(&self.plan.output.join(&order.path));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change is left half done, so a panic on another thread does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn signal(&self, signal: Signal) {
        for runner in &self.live {
            runner.signal(signal);
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.abandon();
        // No call of `run` is active, so no runner has a command.
        let live = std::mem::take(&mut self.state().live);
        for runner in live {
            runner.end();
        }
    }
}
