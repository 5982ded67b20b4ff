//! Differences when fetching a robots.txt (RFC 9309 section 2.3.1) instead of a URL of the list.
//!
//! Must not decide what follows from its content or absence: the coordinator does.

use protocol::robots::{MAX_ROBOTS, MIN_ROBOTS_REDIRECTS, ROBOTS_WITHIN};
use protocol::{FailureKind, TaskKind};

use super::Transfer;
use crate::decode::Room;
use crate::fault::Fault;

impl Transfer<'_> {
    /// Returns whether this fetches a robots.txt, which no robots.txt can forbid.
    #[must_use]
    pub fn is_robots(&self) -> bool {
        self.kind == TaskKind::RobotsTxt
    }

    /// Limits the time to that for a robots.txt.
    pub(super) fn hurry(&mut self) {
        if self.is_robots() {
            let latest = self.taken_up.checked_add(ROBOTS_WITHIN);
            self.deadline = [self.deadline, latest].into_iter().flatten().min();
        }
    }

    /// Returns how large the file may become, decoded.
    pub(crate) fn room(&self) -> Room {
        match self.options.max_filesize {
            _ if self.is_robots() => Room::Cut(MAX_ROBOTS),
            Some(limit) if !self.codings.is_empty() => Room::AtMost(limit),
            // A body that is not decoded is measured by the transfer.
            Some(_) | None => Room::Any,
        }
    }

    /// Returns whether `fault` means that as many bytes have come as are stored of a robots.txt.
    pub(crate) fn is_enough(&self, fault: &Fault) -> bool {
        self.is_robots() && fault.kind == FailureKind::TooLarge
    }

    /// Returns the largest number of redirects that are followed.
    pub(super) fn max_redirects(&self) -> u32 {
        let most = self.options.max_redirects;
        if self.is_robots() {
            return most.max(MIN_ROBOTS_REDIRECTS);
        }
        most
    }

    /// Returns whether `fault` is a valid result, not to be retried even on request: for a
    /// robots.txt, any failure; for other URLs, that robots.txt forbids them.
    pub(super) fn is_answer(&self, fault: &Fault) -> bool {
        self.is_robots() || fault.kind == FailureKind::Robots
    }

    /// Returns whether another attempt may continue the body. A robots.txt is fetched as a whole.
    pub(super) fn can_be_resumed(&self) -> bool {
        self.codings.is_empty() && !self.is_robots()
    }
}
