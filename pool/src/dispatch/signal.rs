//! The signals that can end a process: their names and their senders (signal(7)).

/// Who sends a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// The kernel, because of what the process itself did.
    Own,
    /// Another process, or possibly one.
    Other,
}

const SIGNALS: [(i32, &str, Sender); 22] = [
    (libc::SIGABRT, "SIGABRT", Sender::Own),
    (libc::SIGALRM, "SIGALRM", Sender::Other),
    (libc::SIGBUS, "SIGBUS", Sender::Own),
    (libc::SIGFPE, "SIGFPE", Sender::Own),
    (libc::SIGHUP, "SIGHUP", Sender::Other),
    (libc::SIGILL, "SIGILL", Sender::Own),
    (libc::SIGINT, "SIGINT", Sender::Other),
    (libc::SIGIO, "SIGIO", Sender::Other),
    (libc::SIGKILL, "SIGKILL", Sender::Other),
    (libc::SIGPIPE, "SIGPIPE", Sender::Own),
    (libc::SIGPROF, "SIGPROF", Sender::Other),
    (libc::SIGPWR, "SIGPWR", Sender::Other),
    (libc::SIGQUIT, "SIGQUIT", Sender::Other),
    (libc::SIGSEGV, "SIGSEGV", Sender::Own),
    (libc::SIGSYS, "SIGSYS", Sender::Own),
    (libc::SIGTERM, "SIGTERM", Sender::Other),
    (libc::SIGTRAP, "SIGTRAP", Sender::Own),
    (libc::SIGUSR1, "SIGUSR1", Sender::Other),
    (libc::SIGUSR2, "SIGUSR2", Sender::Other),
    (libc::SIGVTALRM, "SIGVTALRM", Sender::Other),
    (libc::SIGXCPU, "SIGXCPU", Sender::Own),
    (libc::SIGXFSZ, "SIGXFSZ", Sender::Own),
];

/// Returns the name of the signal with this number.
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    let signal = SIGNALS.iter().find(|(signal, ..)| *signal == number);
    signal.map(|&(_, name, _)| name)
}

/// Returns whether another process may have sent it.
pub(super) fn may_be_from_outside(number: i32) -> bool {
    let signal = SIGNALS.iter().find(|(signal, ..)| *signal == number);
    signal.is_none_or(|&(.., sender)| sender == Sender::Other)
}
