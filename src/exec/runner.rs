//! The runner: a process that runs the command on one file at a time, and ends all its processes.
//!
//! It adopts orphans below it (`PR_SET_CHILD_SUBREAPER` in prctl(2)). So a command's processes can
//! leave their group, their session and their parents, but not their runner.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use protocol::{Executed, codec};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{
    Signal, getpid, set_child_subreaper, set_parent_process_death_signal, setpriority_process,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::command::{self, Outcome};
use super::fill;
use super::order::{CommandAnswer, CommandOrder};
use super::plan::Plan;
use super::words::Template;
use crate::folder::Folder;

/// Reason why a runner cannot work.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// It was not started by a coordinator.
    #[error("only a coordinator starts this: {0}")]
    Arguments(String),
    /// The system refused something.
    #[error("cannot {what}: {error}")]
    System {
        what: &'static str,
        #[source]
        error: io::Error,
    },
}

/// Runs this process as a runner. Orders arrive on standard input, a socket, which also carries the
/// answers. Returns when the socket is closed, or when the command was ended for that reason.
///
/// Must be called first in `main`, like [`worker::process::run`].
///
/// # Errors
///
/// Fails if it cannot start, or if it receives an invalid order.
pub fn run(arguments: Vec<OsString>) -> Result<(), RunnerError> {
    let runner = Runner::new(begin(arguments)?)?;
    let stdin = io::stdin();
    let owner = stdin.as_fd();
    let mut buffer = vec![0; codec::MAX_FRAME];
    loop {
        let size = match recv(owner, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(()),
            Ok((_, size)) => size,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(system("hear the coordinator")(errno.into())),
        };
        let order = codec::decode(&buffer[..size])
            .map_err(|error| RunnerError::Arguments(error.to_string()))?;
        let Some(answer) = runner.answer(&order, owner) else {
            return Ok(());
        };
        let frame =
            codec::encode(&answer).map_err(|error| RunnerError::Arguments(error.to_string()))?;
        if send(owner, &frame, SendFlags::NOSIGNAL).is_err() {
            return Ok(());
        }
    }
}

/// Prepares this process: closes inherited descriptors and adopts orphans. A runner ends when its
/// socket is closed; signals to a whole group or session must not end it earlier.
fn begin(arguments: Vec<OsString>) -> Result<Plan, RunnerError> {
    pool::close_inherited().map_err(system("close inherited descriptors"))?;
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // A handler, because the command would inherit SIG_IGN.
        signal_hook::flag::register(signal, Arc::clone(&ignored))
            .map_err(system("handle signals"))?;
    }
    set_child_subreaper(Some(getpid()))
        .map_err(|errno| system("adopt what commands leave behind")(errno.into()))?;
    // If the run is suspended when its parent dies, this process must continue in order to notice.
    // If only the thread that started this process ends, the signal arrives too, and has no effect.
    set_parent_process_death_signal(Some(Signal::CONT))
        .map_err(|errno| system("ask to be told of the parent's death")(errno.into()))?;
    let plan = Plan::from_arguments(arguments)?;
    if let Some(nice) = plan.nice {
        setpriority_process(None, nice).map_err(|errno| {
            system("give commands the nice value of --worker-nice")(errno.into())
        })?;
    }
    Ok(plan)
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunnerError {
    move |error| RunnerError::System { what, error }
}

struct Runner {
    plan: Plan,
    template: Template,
    output: Folder,
}

impl Runner {
    fn new(plan: Plan) -> Result<Self, RunnerError> {
        Ok(Self {
            output: Folder::named(&plan.output).map_err(system("open the output folder"))?,
            template: plan.template()?,
            plan,
        })
    }

    /// Runs `order`. Returns `None` if the owner no longer waits.
    fn answer(&self, order: &CommandOrder, owner: BorrowedFd<'_>) -> Option<CommandAnswer> {
        let Plan { exec, output, .. } = &self.plan;
        let mut command = Command::new(&exec.program);
        command
            .arg0(&self.template.name)
            .args(fill::arguments(&self.template, output, order))
            .envs(fill::environment(output, order));
        Some(match command::run(&mut command, exec.timeout, owner) {
            Outcome::Succeeded => CommandAnswer::Succeeded(Executed {
                left: self.size(&order.path),
            }),
            Outcome::Failed(end, last_line) => CommandAnswer::Failed { end, last_line },
            Outcome::NotStarted(errno) => CommandAnswer::NotStarted {
                errno: errno.raw_os_error(),
            },
            Outcome::Abandoned => return None,
        })
    }

    /// Returns the size of the plain file at `path`, if there is one. Does not follow links.
    fn size(&self, path: &str) -> Option<u64> {
        let stat = self.output.look(path).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        u64::try_from(stat.st_size).ok().filter(|_| is_file)
    }
}
