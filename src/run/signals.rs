//! Signals to the coordinator, as messages.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};

use super::inbox::Message;

/// A request by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM, by number: end the run.
    End(i32),
    /// SIGUSR1: print the status.
    Status,
    /// SIGCHLD: a child ended.
    Child,
    /// SIGTSTP (Ctrl-Z): stop this process and all workers until SIGCONT.
    Suspend,
    /// SIGTTIN from a process: add a worker.
    Grow,
    /// SIGTTOU from a process: remove a worker.
    Shrink,
}

impl Signal {
    fn of(origin: &Origin) -> Option<Self> {
        // The terminal sends these two to a background job that reads or writes. They stop a
        // process that does not catch them (termios(3), "Job control").
        let from_terminal = origin.cause == Cause::Kernel;
        match origin.signal {
            SIGUSR1 => Some(Self::Status),
            SIGCHLD => Some(Self::Child),
            SIGTSTP => Some(Self::Suspend),
            SIGTTIN | SIGTTOU if from_terminal => Some(Self::Suspend),
            SIGTTIN => Some(Self::Grow),
            SIGTTOU => Some(Self::Shrink),
            // Caught only so that a write beyond a limit on file sizes (ulimit -f) fails with an
            // error instead of ending the process.
            SIGXFSZ => None,
            number => Some(Self::End(number)),
        }
    }
}

/// Receives signals while it exists.
#[derive(Debug)]
pub struct Listener(Handle);

impl Listener {
    /// Starts to receive signals, and sends them to `inbox`.
    ///
    /// # Errors
    ///
    /// Fails if a handler cannot be installed, or if the thread cannot be started.
    pub fn start(inbox: Sender<Message>) -> io::Result<Self> {
        let mut signals = SignalsInfo::<WithOrigin>::new([
            SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGXFSZ, SIGTSTP, SIGTTIN, SIGTTOU,
        ])?;
        let handle = signals.handle();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for origin in signals.forever() {
                    if let Some(signal) = Signal::of(&origin)
                        && inbox.send(Message::Signal(signal)).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self(handle))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
    }
}
