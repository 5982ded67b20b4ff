//! The program of `--exec`: run on a file that is in place, and ended with all that it starts.
//!
//! ```text
//!   coordinator: Executor::run(order)          on any thread, several at once
//!       │  a socket: one order, one answer
//!       └──> runner                            this program again; one command at a time; reused
//!               └──> the command, and whatever it starts
//! ```
//!
//! A runner adopts what is orphaned below it, so it can end everything that its command started,
//! and it outlives a coordinator that is killed: then it sees its socket close, and ends the
//! command. If a runner is killed, the kernel ends the command's first process, and the executor
//! ends the rest (`strays`). Each runner leads a process group of its own, which the command
//! inherits; Ctrl-Z in a terminal does not reach it, so [`Executor::stop`] exists.
//!
//! It must not know which files there are, when a command is due, or what its failure costs.

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

/// Exit code of a runner that cannot do its work, for a reason that the next would meet too.
pub const EXIT_UNUSABLE: u8 = 3;

/// Time between SIGTERM and SIGKILL for a command that took too long.
const KILL_AFTER: Duration = Duration::from_secs(1);

/// Longest time in which processes are waited for that were sent SIGKILL.
const DIE_WITHIN: Duration = Duration::from_secs(5);

/// Longest time between two looks at a runner. Of a longer time only so much is counted: the rest
/// this process was stopped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a runner may take beyond the time of its command before it counts as frozen.
const SLACK: Duration = Duration::from_secs(10);

/// Runs one command on files. Dropping it ends what runs.
#[derive(Debug)]
pub struct Executor {
    plan: Plan,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All runners that are not being reaped: their process groups cannot be another's.
    live: Vec<Arc<Runner>>,
    /// Those of them that have nothing to do.
    idle: Vec<Arc<Runner>>,
    is_stopped: bool,
    is_abandoned: bool,
}

/// What became of an order. Nothing that the command started is left, if the system lets it be
/// ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command succeeded.
    Succeeded(Executed),
    /// It did not, or could not be run. The file is as the command left it.
    Failed(Fault),
    /// It was ended, or not begun, because of [`Executor::abandon`]: this says nothing about the
    /// file or the command.
    Abandoned,
}

impl Executor {
    /// For `exec` on files in the folder `output`, an absolute path. Commands get the nice value
    /// `nice`, or that of this process. Nothing is started yet.
    #[must_use]
    pub fn new(exec: Exec, output: PathBuf, nice: Option<i32>) -> Self {
        let plan = Plan { nice, output, exec };
        Self {
            plan,
            state: Mutex::default(),
        }
    }

    /// Runs the command on the file of `order`, and waits for it. There is a runner for each call
    /// that waits, so the caller limits how many commands run at once.
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
            // It was killed while it had nothing to do: the next one runs the command.
        }
    }

    /// Stops runners and commands, until [`resume`](Self::resume). Their time stands still.
    pub fn stop(&self) {
        let mut state = self.state();
        state.is_stopped = true;
        state.signal(Signal::STOP);
    }

    /// The end of [`stop`](Self::stop).
    pub fn resume(&self) {
        let mut state = self.state();
        state.is_stopped = false;
        state.signal(Signal::CONT);
    }

    /// Ends all commands at once; from now on none is begun. Does not wait: whoever waits in
    /// [`run`](Self::run) returns when its command has ended.
    pub fn abandon(&self) {
        let mut state = self.state();
        state.is_abandoned = true;
        state.is_stopped = false;
        for runner in &state.live {
            runner.close();
        }
        // One that is stopped does not see it.
        state.signal(Signal::CONT);
    }

    /// A new runner; its failure is the order's.
    fn start(&self) -> Result<Arc<Runner>, Outcome> {
        if self.state().is_abandoned {
            return Err(Outcome::Abandoned);
        }
        let runner = Runner::start(&self.plan).map_err(|error| {
            // Too few descriptors or processes, most likely.
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

    /// What it means that a runner ended without an answer.
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
        // Once it is reaped, its number can be another's: from here on nobody signals its group.
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
        // Every change is whole in itself, so a panic elsewhere does not matter.
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
        // Nobody waits in `run`, so none of them has a command.
        let live = std::mem::take(&mut self.state().live);
        for runner in live {
            runner.end();
        }
    }
}
