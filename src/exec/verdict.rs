//! How a command ended, and what that means for the task.

use std::io;

use protocol::{Executed, FailureKind};
use rustix::io::Errno;
use worker::Fault;

use super::order::{CommandAnswer, CommandEnd};
use super::words::Exec;

/// Exit code of a command that may succeed later (`EX_TEMPFAIL` in sysexits.h).
const EX_TEMPFAIL: i32 = 75;

/// Interprets the answer of a runner of `exec`.
///
/// # Errors
///
/// Returns the fault of the task if the command did not succeed.
pub(super) fn judge(answer: CommandAnswer, exec: &Exec) -> Result<Executed, Fault> {
    let name = &exec.words[0];
    match answer {
        CommandAnswer::Succeeded(executed) => Ok(executed),
        CommandAnswer::Failed { end, last_line } => {
            let end_text = match end {
                CommandEnd::Code(code) => format!("failed with exit code {code}"),
                CommandEnd::Signal(signal) => format!("was ended by {}", signal_text(signal)),
                CommandEnd::TimedOut => format!(
                    "did not end within {:?} (--exec-timeout), and was killed",
                    exec.timeout
                ),
            };
            let last = last_line.map_or_else(String::new, |line| format!(": {line}"));
            let message = format!("{name} {end_text}{last}");
            Err(match end {
                CommandEnd::Code(EX_TEMPFAIL) => Fault::transient(FailureKind::Exec, message),
                CommandEnd::Code(_) | CommandEnd::Signal(_) | CommandEnd::TimedOut => {
                    Fault::permanent(FailureKind::Exec, message)
                }
            })
        }
        CommandAnswer::NotStarted { errno } => Err(not_started(name, errno)),
    }
}

/// Returns the fault for a runner that has died with its command.
pub(super) fn lost(exec: &Exec) -> Fault {
    let name = &exec.words[0];
    Fault::transient(
        FailureKind::Exec,
        format!("{name} was killed, with the process that ran it"),
    )
}

/// Returns the fault for a runner that was killed because it stayed silent after the time limit.
pub(super) fn frozen(exec: &Exec) -> Fault {
    let name = &exec.words[0];
    Fault::transient(
        FailureKind::Exec,
        format!("{name} was killed: the process that runs it does not answer"),
    )
}

/// Returns the fault for a program that could not be started. The cause affects every file, except
/// for causes in the arguments of this file and temporary shortages.
fn not_started(name: &str, errno: i32) -> Fault {
    let errno = Errno::from_raw_os_error(errno);
    let message = format!("cannot start {name}: {}", io::Error::from(errno));
    match errno {
        Errno::TOOBIG | Errno::INVAL => Fault::permanent(FailureKind::Exec, message),
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TXTBSY | Errno::INTR => {
            Fault::transient(FailureKind::Exec, message)
        }
        _ => Fault::fatal(
            FailureKind::Exec,
            format!("{message}; correct that and run again"),
        ),
    }
}

fn signal_text(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("signal {signal} ({name})"),
        None => format!("signal {signal}"),
    }
}
