//! A timer that is seldom reset.
//!
//! Every piece of a body moves the time at which a download counts as stalled. To move a timer each
//! time would be expensive. Instead it fires too early and is then set again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use crate::transfer::TransportError;

/// Longest time limit; a longer one could overflow the clock. In practice no limit.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Returns the time `limit` after `start`.
pub(super) fn after(start: Instant, limit: Duration) -> Instant {
    start + limit.min(LONGEST)
}

/// Wakes its task at a given time.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Is ready at time `at`. Until then it wakes the task when it must be polled again.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(at.into())));
        if sleep.deadline() > at.into() {
            sleep.as_mut().reset(at.into());
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at.into());
        }
    }
}

/// Time limits of a wait, and the error of each.
pub(super) struct Patience<'a> {
    pub(super) alarm: &'a mut Alarm,
    pub(super) moved: Instant,
    pub(super) stall: Duration,
    pub(super) max: Option<Instant>,
}

impl Patience<'_> {
    /// Checks the limits at each poll of a wait. `moved` says whether data came since the last.
    pub(super) fn tick(
        &mut self,
        context: &mut Context<'_>,
        moved: bool,
    ) -> Result<(), TransportError> {
        if moved {
            self.moved = Instant::now();
        }
        let stalled = after(self.moved, self.stall);
        let (at, over) = match self.max {
            Some(max) if max < stalled => (max, TransportError::Timeout),
            Some(_) | None => (stalled, TransportError::Stalled),
        };
        match self.alarm.poll(context, at) {
            Poll::Ready(()) => Err(over),
            Poll::Pending => Ok(()),
        }
    }
}
