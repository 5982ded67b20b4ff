//! What is different when a robots.txt is fetched (RFC 9309 section 2.3.1), and not a URL of the list.
//!
//! It must not decide what follows from one, or from that there is none: that is the coordinator's.

use protocol::robots::{MAX_ROBOTS, MIN_ROBOTS_REDIRECTS, ROBOTS_WITHIN};
use protocol::{FailureKind, TaskKind};

use super::Transfer;
use crate::decode::Room;
use crate::fault::Fault;

impl Transfer<'_> {
    /// Whether this fetches a robots.txt. No robots.txt has a say in that.
    #[must_use]
    pub fn is_robots(&self) -> bool {
        self.kind == TaskKind::RobotsTxt
    }

    /// Gives it no more time than there is for one.
    pub(super) fn hurry(&mut self) {
        if self.is_robots() {
            let latest = self.taken_up.checked_add(ROBOTS_WITHIN);
            self.deadline = [self.deadline, latest].into_iter().flatten().min();
        }
    }

    /// How large the file may become, decoded.
    pub(crate) fn room(&self) -> Room {
        match self.options.max_filesize {
            _ if self.is_robots() => Room::Cut(MAX_ROBOTS),
            Some(limit) if !self.codings.is_empty() => Room::AtMost(limit),
            // What is not decoded is measured here.
            Some(_) | None => Room::Any,
        }
    }

    /// Whether `fault` says that as much came as is stored of such a body.
    pub(crate) fn is_enough(&self, fault: &Fault) -> bool {
        self.is_robots() && fault.kind == FailureKind::TooLarge
    }

    /// Most redirects that are followed.
    pub(super) fn max_redirects(&self) -> u32 {
        let most = self.options.max_redirects;
        if self.is_robots() {
            return most.max(MIN_ROBOTS_REDIRECTS);
        }
        most
    }

    /// Whether `fault` is what was asked for: no robots.txt is an answer to who asks for one, and to
    /// ask again for what one forbids is what the user does not want.
    pub(super) fn is_answer(&self, fault: &Fault) -> bool {
        self.is_robots() || fault.kind == FailureKind::Robots
    }

    /// Whether another attempt may go on with the body. A robots.txt is short, and must be of one piece.
    pub(super) fn can_be_resumed(&self) -> bool {
        self.codings.is_empty() && !self.is_robots()
    }
}
