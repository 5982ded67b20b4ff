//! A timer that is set rarely.
//!
//! Every piece of a body moves the time at which a download counts as stalled. Moving a timer each
//! time would cost more than the time limit is worth; so it is left to fire too early, and set
//! again then.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use crate::transfer::TransportError;

/// Longest time limit: more would be more than a clock can hold. As good as none.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// `limit` from `start`.
pub(super) fn after(start: Instant, limit: Duration) -> Instant {
    start + limit.min(LONGEST)
}

/// Wakes its task when a time has come.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once it is `at`; until then the task is woken when there is need to ask again.
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

/// When a wait ends, and what that means.
pub(super) struct Patience<'a> {
    pub(super) alarm: &'a mut Alarm,
    pub(super) moved: Instant,
    pub(super) stall: Duration,
    pub(super) max: Option<Instant>,
}

impl Patience<'_> {
    /// To be called with each poll of a wait; `moved` if something came in since the last.
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
