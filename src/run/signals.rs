//! Signals to the coordinator, as messages.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};

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
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGXFSZ])?;
        let handle = signals.handle();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for number in signals.forever() {
                    let signal = match number {
                        SIGUSR1 => Signal::Status,
                        SIGCHLD => Signal::Child,
                        // Only caught, so that a write beyond a limit on file sizes (ulimit -f)
                        // fails with an error instead of ending the process.
                        SIGXFSZ => continue,
                        _ => Signal::End(number),
                    };
                    if inbox.send(Message::Signal(signal)).is_err() {
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
