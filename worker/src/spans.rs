//! Time of one task by phase: how long each phase took, and how much processor time it used. Both
//! are read from clocks at the start and end of each phase, never estimated.
//!
//! Processor time is that of the thread. It counts while the recorder runs: on a thread that runs
//! one task after the other, for the whole task; in an event loop, while the task is polled.
//!
//! This module does not know what the phases mean.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::{MAX_SPANS, MonotonicNanos, Span, SpanPhase};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Number of spans that are merged at a time when there are too many. Larger than the number of
/// phases, so that merging reduces the number of spans.
const WINDOW: usize = SpanPhase::ALL.len() + 1;

/// Records the phases of one task at a time. Clones share the recording. A recorder that is off
/// does nothing and reads no clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Option<Arc<Mutex<Tape>>>);

#[derive(Debug, Default)]
struct Tape {
    spans: Vec<Span>,
    open: Option<Open>,
    /// The thread's processor time up to which all time is assigned to a span; none during a pause.
    mark: Option<Duration>,
}

#[derive(Debug)]
struct Open {
    phase: SpanPhase,
    start: Duration,
    cpu: Duration,
}

impl Recorder {
    /// Creates a recorder, which records only if `on`.
    pub(crate) fn new(on: bool) -> Self {
        Self(on.then(Arc::default))
    }

    /// Polls `future`, which shares this thread with other tasks, and records processor time only
    /// while it is polled.
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

    /// Starts to count this thread's processor time for the task.
    pub(crate) fn resume(&self) {
        if let Some(mut tape) = self.tape() {
            tape.mark = Some(thread_time());
        }
    }

    /// Stops counting processor time.
    pub(crate) fn pause(&self) {
        if let Some(mut tape) = self.tape() {
            tape.account(thread_time());
            tape.mark = None;
        }
    }

    /// Begins `phase`, unless the task is already in it. Time spent on a request before it turned
    /// out that a connection is needed counts as `Resolve`.
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

    /// Ends the current phase and returns all recorded spans.
    pub(crate) fn take(&self) -> Vec<Span> {
        let Some(mut tape) = self.tape() else {
            return Vec::new();
        };
        tape.close();
        std::mem::take(&mut tape.spans)
    }

    /// Locks the recording. Every update is complete in itself, so a panic elsewhere does no harm.
    fn tape(&self) -> Option<MutexGuard<'_, Tape>> {
        let tape = self.0.as_ref()?;
        Some(tape.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tape {
    /// Ends the open phase and returns the current time.
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
                // The two clocks are not read at the same instant.
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

/// Merges neighbouring spans: each [`WINDOW`] spans become one for each phase, with the total time
/// of that phase. The merged spans follow each other from the start of the window.
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

/// Returns the time on the clock that all processes of the machine share.
pub(crate) fn monotonic() -> Duration {
    time(ClockId::Monotonic)
}

/// Returns the processor time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    time(ClockId::ThreadCPUTime)
}

/// Reads `clock`. Neither clock is ever negative.
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
        // The wait is for another thread's processor time, so this thread uses none.
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
