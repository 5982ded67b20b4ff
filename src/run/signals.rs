//! Signals to the coordinator, as messages.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};

use super::inbox::Message;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM, by number: the run is to end.
    End(i32),
    /// SIGUSR1: say what is going on.
    Status,
    /// SIGCHLD: a child ended.
    Child,
    /// SIGTSTP (Ctrl-Z): stop until SIGCONT, and everybody with us.
    Suspend,
    /// SIGTTIN that somebody sent: one worker more.
    Grow,
    /// SIGTTOU that somebody sent: one worker less.
    Shrink,
}

impl Signal {
    fn of(origin: &Origin) -> Option<Self> {
        // The terminal sends these two to a job in the background that reads or writes: that
        // stops a process that does not catch them (termios(3), "Job control").
        let from_terminal = origin.cause == Cause::Kernel;
        match origin.signal {
            SIGUSR1 => Some(Self::Status),
            SIGCHLD => Some(Self::Child),
            SIGTSTP => Some(Self::Suspend),
            SIGTTIN | SIGTTOU if from_terminal => Some(Self::Suspend),
            SIGTTIN => Some(Self::Grow),
            SIGTTOU => Some(Self::Shrink),
            // Only caught, so that a write beyond a limit on file sizes (ulimit -f) fails with an
            // error instead of ending the process.
            SIGXFSZ => None,
            number => Some(Self::End(number)),
        }
    }
}

/// Listens while it exists.
#[derive(Debug)]
pub struct Listener(Handle);

impl Listener {
    /// Starts to listen; signals go to `inbox`.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed, or the thread not be started.
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
