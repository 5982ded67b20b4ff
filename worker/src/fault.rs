//! Reason why an attempt failed, without the observed exchange.
//!
//! Must not classify what servers do: the code that understands a failure does that.

use std::fmt::Display;

use protocol::{FailureKind, Severity};
use rustix::io::Errno;

/// Longest message of a failure, in bytes. It keeps a frame small, whatever a server or an
/// operating system reports.
const MAX_MESSAGE: usize = 1024;

/// A failure without its [`Exchange`](protocol::Exchange): kind, severity, and one line of at most
/// 1 KiB for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Kind of the failure.
    pub kind: FailureKind,
    /// Whether another attempt could succeed.
    pub severity: Severity,
    /// One line for a person: the operation and its error.
    pub message: String,
}

impl Fault {
    /// Creates a failure that would happen again.
    pub fn permanent(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(kind, Severity::Permanent, message.into())
    }

    /// Creates a failure that may not happen again.
    pub fn transient(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(
            kind,
            Severity::Transient { retry_after: None },
            message.into(),
        )
    }

    /// Creates a failure that would affect every task.
    pub fn fatal(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(kind, Severity::Fatal, message.into())
    }

    /// Creates a failure of `operation` on `object`, a file or a folder of this run. The error
    /// number determines whether it affects only this task or all tasks.
    #[must_use]
    pub fn storing(operation: &str, object: impl Display, errno: Errno) -> Self {
        let text = |way_out: &str| {
            let cause = std::io::Error::from(errno);
            format!("cannot {operation} {object}: {cause}{way_out}")
        };
        match errno {
            Errno::NOSPC | Errno::DQUOT => Self::fatal(
                FailureKind::DiskFull,
                text("; free some space and run again"),
            ),
            Errno::ROFS | Errno::IO | Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::NOENT => {
                Self::fatal(
                    FailureKind::Store,
                    text("; check the output folder and run again"),
                )
            }
            Errno::ISDIR
            | Errno::NOTDIR
            | Errno::NOTEMPTY
            | Errno::EXIST
            | Errno::NAMETOOLONG
            | Errno::LOOP
            | Errno::INVAL
            | Errno::ILSEQ
            | Errno::FBIG => Self::permanent(FailureKind::Store, text("")),
            // Out of descriptors or memory, or a network file system is away: a retry may succeed.
            _ => Self::transient(FailureKind::Store, text("")),
        }
    }

    /// Creates a failure of `severity`. The message is cut to its limit and put on one line.
    #[must_use]
    pub fn new(kind: FailureKind, severity: Severity, mut message: String) -> Self {
        if message.contains(char::is_control) {
            message = message.replace(char::is_control, " ");
        }
        cut(&mut message, MAX_MESSAGE);
        Self {
            kind,
            severity,
            message,
        }
    }
}

/// Cuts `text` to at most `limit` bytes, at the end of a character.
pub(crate) fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters_and_kept_on_one_line() {
        let fault = Fault::permanent(
            FailureKind::Status,
            format!("a\r\n{}", "\u{20ac}".repeat(1000)),
        );
        assert!(fault.message.starts_with("a  \u{20ac}"));
        assert_eq!(fault.message.len(), 1023, "3 + 340 times 3 bytes");
    }
}
