//! Where the time of one task goes, phase by phase: how long, and how much of that a processor
//! worked for it. Both are read from clocks at the edges of each phase, never inferred.
//!
//! Processor time is the thread's. It counts while the recorder runs: on a thread that does one
//! task after the other from its beginning to its end, in an event loop while the task is polled.
//!
//! It must not know what the phases are for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::{MAX_SPANS, MonotonicNanos, Span, SpanPhase};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Spans that are put together when there are too many: more than there are phases, so that fewer
/// come out than went in.
const WINDOW: usize = SpanPhase::ALL.len() + 1;

/// Records the phases of one task at a time. Clones share what they record. When switched off it
/// does nothing, and reads no clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Option<Arc<Mutex<Tape>>>);

#[derive(Debug, Default)]
struct Tape {
    spans: Vec<Span>,
    open: Option<Open>,
    /// The thread's processor time up to which all is accounted for; none while it does not run.
    mark: Option<Duration>,
}

#[derive(Debug)]
struct Open {
    phase: SpanPhase,
    start: Duration,
    cpu: Duration,
}

impl Recorder {
    /// A recorder that records if it is `on`.
    pub(crate) fn new(on: bool) -> Self {
        Self(on.then(Arc::default))
    }

    /// Polls `future`, which does the task in turns with others on this thread, and records it
    /// while it has its turn.
    pub(crate) async fn polled<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            self.resume();
            let polled = future.as_mut().poll(context);
            self.pause();
            polled
        })
        .await
    }

    /// From here on this thread works for the task.
    pub(crate) fn resume(&self) {
        if let Some(mut tape) = self.tape() {
            tape.mark = Some(thread_time());
        }
    }

    /// From here on it does not.
    pub(crate) fn pause(&self) {
        if let Some(mut tape) = self.tape() {
            tape.account(thread_time());
            tape.mark = None;
        }
    }

    /// The task is in `phase` from here on. A phase that it is in already goes on; and what was
    /// done for a request before it turned out that a connection is needed belongs to that.
    pub(crate) fn enter(&self, phase: SpanPhase) {
        let Some(mut tape) = self.tape() else {
            return;
        };
        match &mut tape.open {
            Some(open) if open.phase == phase => return,
            Some(open) if open.phase == SpanPhase::FirstByte && phase == SpanPhase::Resolve => {
                open.phase = phase;
                return;
            }
            Some(_) | None => {}
        }
        let now = tape.close();
        tape.open = Some(Open {
            phase,
            start: now,
            cpu: Duration::ZERO,
        });
    }

    /// Ends the phase that the task is in, and hands out all that was recorded.
    pub(crate) fn take(&self) -> Vec<Span> {
        let Some(mut tape) = self.tape() else {
            return Vec::new();
        };
        tape.close();
        std::mem::take(&mut tape.spans)
    }

    /// Every update is whole in itself, so a panic elsewhere does not matter.
    fn tape(&self) -> Option<MutexGuard<'_, Tape>> {
        let tape = self.0.as_ref()?;
        Some(tape.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tape {
    /// Ends the open phase; returns the time.
    fn close(&mut self) -> Duration {
        let now = time(ClockId::Monotonic);
        self.account(thread_time());
        if let Some(open) = self.open.take() {
            if self.spans.len() == MAX_SPANS {
                condense(&mut self.spans);
            }
            let wall = now.saturating_sub(open.start);
            self.spans.push(Span {
                phase: open.phase,
                start: MonotonicNanos(u64::try_from(open.start.as_nanos()).unwrap_or(u64::MAX)),
                wall,
                // The two clocks are not read in the same instant.
                cpu: open.cpu.min(wall),
            });
        }
        now
    }

    fn account(&mut self, cpu: Duration) {
        if let Some(mark) = &mut self.mark {
            if let Some(open) = &mut self.open {
                open.cpu += cpu.saturating_sub(*mark);
            }
            *mark = cpu;
        }
    }
}

/// Puts neighbours together: of each [`WINDOW`] spans one for each phase remains, with all of its
/// time, end to end from where the window began.
fn condense(spans: &mut Vec<Span>) {
    let mut fewer: Vec<Span> = Vec::with_capacity(MAX_SPANS);
    for window in spans.chunks(WINDOW) {
        let first = fewer.len();
        for span in window {
            match fewer[first..]
                .iter_mut()
                .find(|sum| sum.phase == span.phase)
            {
                Some(sum) => {
                    sum.wall += span.wall;
                    sum.cpu += span.cpu;
                }
                None => fewer.push(*span),
            }
        }
        let mut start = window.first().map_or(0, |span| span.start.0);
        for sum in &mut fewer[first..] {
            sum.start = MonotonicNanos(start);
            start += u64::try_from(sum.wall.as_nanos()).unwrap_or(u64::MAX - start);
        }
    }
    *spans = fewer;
}

/// Time on the clock that all processes of a machine share.
pub(crate) fn monotonic() -> Duration {
    time(ClockId::Monotonic)
}

/// Processor time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    time(ClockId::ThreadCPUTime)
}

/// Neither clock can be before zero.
fn time(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(tv_sec)) + Duration::from_nanos(part(tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work;

    const WORK: Duration = Duration::from_millis(20);

    #[test]
    fn working_and_waiting_are_told_apart() {
        let recorder = Recorder::new(true);
        recorder.resume();
        recorder.enter(SpanPhase::FirstByte);
        // Waits for the processor time of another thread, which is none of ours.
        std::thread::spawn(|| work::spend(WORK))
            .join()
            .expect("no panic");
        recorder.enter(SpanPhase::Cpu);
        work::spend(WORK);
        recorder.pause();
        let spans = recorder.take();
        let [waiting, working] = spans.as_slice() else {
            panic!("{spans:?}");
        };
        assert_eq!(waiting.phase, SpanPhase::FirstByte);
        assert!(waiting.wall >= WORK && waiting.cpu < WORK, "{waiting:?}");
        assert_eq!(working.phase, SpanPhase::Cpu);
        assert!(working.cpu >= WORK, "{working:?}");
        assert!(working.start.0 >= waiting.start.0 + 20_000_000);
    }

    #[test]
    fn what_the_thread_does_in_a_pause_is_not_counted() {
        let recorder = Recorder::new(true);
        recorder.resume();
        recorder.enter(SpanPhase::Body);
        recorder.pause();
        work::spend(WORK);
        recorder.resume();
        recorder.pause();
        let spans = recorder.take();
        assert!(spans[0].wall >= WORK && spans[0].cpu < WORK, "{spans:?}");
    }

    #[test]
    fn many_phases_are_condensed_without_losing_time_or_overlapping() {
        let recorder = Recorder::new(true);
        recorder.resume();
        recorder.enter(SpanPhase::FirstByte);
        let begun = time(ClockId::Monotonic);
        for _ in 0..10_000 {
            recorder.enter(SpanPhase::Body);
            recorder.enter(SpanPhase::Store);
        }
        let passed = time(ClockId::Monotonic) - begun;
        let spans = recorder.take();
        assert!(spans.len() > WINDOW && spans.len() <= MAX_SPANS);
        let wall: Duration = spans[1..].iter().map(|span| span.wall).sum();
        assert!(
            wall + Duration::from_millis(1) >= passed,
            "{wall:?} of {passed:?}"
        );
        for pair in spans.windows(2) {
            let end = Duration::from_nanos(pair[0].start.0) + pair[0].wall;
            assert!(end <= Duration::from_nanos(pair[1].start.0), "{pair:?}");
            assert!(pair[0].cpu <= pair[0].wall, "{pair:?}");
        }
    }

    #[test]
    fn all_phases_in_turn_are_condensed_as_well() {
        let recorder = Recorder::new(true);
        recorder.resume();
        for _ in 0..100 {
            for phase in SpanPhase::ALL {
                recorder.enter(phase);
            }
        }
        let spans = recorder.take();
        assert!(spans.len() <= MAX_SPANS, "{}", spans.len());
    }

    #[test]
    fn a_recorder_that_is_off_records_nothing() {
        let recorder = Recorder::new(false);
        recorder.resume();
        recorder.enter(SpanPhase::Body);
        recorder.pause();
        assert_eq!(recorder.take(), []);
    }
}
