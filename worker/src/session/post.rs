//! Reports on their way out of an event loop: whatever is at hand goes out in one frame.
//!
//! Tasks put their reports down, and one task of the loop sends them together once all others that
//! are ready had their turn and put down no more.
//!
//! It must not know what the reports are about.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use protocol::{Exchange, FromWorker, Report};

use crate::link::Outbox;

/// Most bytes of reports in one frame, by [`weight`], which is never too low. Far enough below
/// the limit of a frame that the rest of it fits.
const CAPACITY: usize = 60 * 1024;

/// Reports on their way out.
#[derive(Debug)]
pub(super) struct Post<O> {
    outbox: Arc<O>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reports: Vec<Report>,
    weight: usize,
    /// How often reports were sent.
    rounds: u64,
    /// Who sends them, while it waits for some.
    sender: Option<Waker>,
    /// Who waits until they are sent.
    waiting: Vec<Waker>,
    /// Nobody listens any more.
    closed: bool,
}

impl<O: Outbox> Post<O> {
    pub(super) fn new(outbox: Arc<O>) -> Self {
        Self {
            outbox,
            state: Mutex::default(),
        }
    }

    /// Puts `report` down, to be sent soon, and in the order of calls.
    pub(super) fn put(&self, report: Report) {
        let mut state = self.lock();
        let weight = weight(&report);
        if state.weight + weight > CAPACITY {
            self.send(&mut state);
        }
        state.weight += weight;
        state.reports.push(report);
        if let Some(sender) = state.sender.take() {
            sender.wake();
        }
    }

    /// Waits until all that was put down before is sent; whether anybody listens.
    pub(super) async fn sent(&self) -> bool {
        let mut round = None;
        poll_fn(|context| {
            let mut state = self.lock();
            let round = *round.get_or_insert(state.rounds);
            if state.closed || state.reports.is_empty() || state.rounds > round {
                return Poll::Ready(!state.closed);
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends what is put down, until nobody listens any more. To be run by one task.
    pub(super) async fn deliver(&self) {
        let mut seen = 0;
        poll_fn(|context| {
            let mut state = self.lock();
            if state.reports.len() > seen {
                // There may be more to come: tasks wake one another.
                seen = state.reports.len();
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            seen = 0;
            if !state.reports.is_empty() {
                self.send(&mut state);
            }
            if state.closed {
                return Poll::Ready(());
            }
            state.sender = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn send(&self, state: &mut State) {
        let reports = std::mem::take(&mut state.reports);
        state.weight = 0;
        state.rounds += 1;
        // A link that fails is seen, and told, by the reader.
        state.closed |= self.outbox.send(FromWorker::Reports(reports)).is_err();
        for waiting in state.waiting.drain(..) {
            waiting.wake();
        }
    }

    /// Every change is whole in itself, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of `report` in a frame, at most.
fn weight(report: &Report) -> usize {
    // Ids, sizes, times, hash and lengths, each at its largest.
    const FIXED: usize = 256;
    const SPAN: usize = 40;
    let exchange = |exchange: &Exchange| {
        exchange.final_url.as_ref().map_or(0, String::len) + exchange.spans.len() * SPAN
    };
    FIXED
        + match report {
            Report::Started { .. } | Report::Released { .. } => 0,
            Report::Finished { stored, .. } => {
                exchange(&stored.exchange)
                    + stored.content_type.as_ref().map_or(0, String::len)
                    + stored.suggested_name.as_ref().map_or(0, String::len)
                    + stored.validators.text_bytes()
            }
            Report::Nacked { failure, .. } => exchange(&failure.exchange) + failure.message.len(),
        }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::{
        Failure, FailureKind, MAX_SPANS, MonotonicNanos, Severity, Span, SpanPhase, TaskId,
        Timestamp, Timing, codec,
    };

    use super::*;
    use crate::link::{LinkError, LocalOutbox, local_link};

    /// The largest failure that there can be.
    fn largest() -> Report {
        let longest = Duration::MAX;
        let span = Span {
            phase: SpanPhase::Store,
            start: MonotonicNanos(u64::MAX),
            wall: longest,
            cpu: longest,
        };
        let timing = Timing {
            resolve: longest,
            connect: longest,
            tls: longest,
            first_byte: longest,
            body: longest,
            store: longest,
            exec: longest,
        };
        let failure = Box::new(Failure {
            exchange: Exchange {
                started: Timestamp(i64::MIN),
                timing,
                status: Some(u16::MAX),
                final_url: Some("u".repeat(16 * 1024)),
                spans: vec![span; MAX_SPANS],
            },
            kind: FailureKind::Internal,
            message: "m".repeat(1024),
            severity: Severity::Transient {
                retry_after: Some(longest),
            },
        });
        Report::Nacked {
            task: TaskId(u64::MAX),
            failure,
        }
    }

    #[test]
    fn a_report_is_never_heavier_than_its_weight() {
        let report = largest();
        let limit = weight(&report);
        let frame = codec::encode(&FromWorker::Reports(vec![report])).expect("it fits");
        assert!(frame.len() <= limit, "{} > {limit}", frame.len());
    }

    /// Counts frames, and refuses what the link between processes would refuse.
    struct Framed(LocalOutbox);

    impl Outbox for Framed {
        fn send(&self, message: FromWorker) -> Result<(), LinkError> {
            codec::encode(&message)?;
            self.0.send(message)
        }
    }

    #[test]
    fn reports_that_do_not_fit_one_frame_go_out_in_more() {
        let (coordinator, _inbox, outbox) = local_link();
        let post = Post::new(Arc::new(Framed(outbox)));
        for _ in 0..7 {
            post.put(largest());
        }
        post.send(&mut post.lock());
        drop(post);
        let sizes: Vec<usize> = coordinator
            .from_worker
            .iter()
            .map(|message| match message {
                FromWorker::Reports(reports) => reports.len(),
                FromWorker::Hello(_) | FromWorker::Ready | FromWorker::Heartbeat(_) => 0,
            })
            .collect();
        assert_eq!(sizes, [3, 3, 1]);
    }
}
