//! The place of a target in a fleet's list, for its record.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fence::FencedTarget;

/// The place of a target in a fleet's list. As text: its parts in this order, with spaces between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The fleet's run.
    pub run: String,
    /// The member that accepted it.
    pub machine: String,
    /// The partition of its host.
    pub partition: u16,
    /// The epoch of the partition's owner when it was accepted.
    pub epoch: u64,
    /// The number of the task in the partition, from 0.
    pub task: u64,
}

impl Ticket {
    /// Parses a ticket. Returns `None` if the text is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let ticket = Self {
            run: parts.next()?.to_owned(),
            machine: parts.next()?.to_owned(),
            partition: parts.next()?.parse().ok()?,
            epoch: parts.next()?.parse().ok()?,
            task: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(ticket)
    }

    /// The target, whoever has taken it on.
    #[must_use]
    pub const fn target(&self) -> FencedTarget {
        (self.partition, self.task)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            run,
            machine,
            partition,
            epoch,
            task,
        } = self;
        write!(f, "{run} {machine} {partition} {epoch} {task}")
    }
}
