//! Sends reports, usually several in one frame.
//!
//! | report | sent |
//! | --- | --- |
//! | the start of a task | with the next message, at most [`START`] later: the [page](crate::page) records it, so only a display of running tasks waits for it. If there are several slots, which may take more tasks than a socket holds, at most [`HOLD`] later: the coordinator waits for it to hand out more |
//! | an outcome, if at least as many outcomes are held as tasks wait; so always when a slot is idle | immediately |
//! | a failure, or the first outcome of a group after one of another | immediately |
//! | an outcome, if none was sent for [`HOLD`] | immediately |
//! | any other outcome | at most [`HOLD`] later |
//! | a revoked task that was not started | immediately |
//! | the progress that a task shows | with a heartbeat: immediately if the last one was more than [`SHOW`] ago, otherwise after that time |
//!
//! Only the tasks that wait here matter for this decision. The coordinator hands out tasks ahead
//! only for a group that the worker already works on, while there are enough tasks for all workers
//! and no rate limit applies. The next task then takes the place of a finished one, so nothing
//! waits for that place. Anything else that needs a place (a group at its cap, a suspect, an idle
//! worker) gets it by a revocation, or from an idle slot.
//!
//! Must not know what a task is for.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use protocol::message::{Report, Running};
use protocol::{MonotonicNanos, TaskId};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::job::{FromWorker, Job, TaskReport};
use crate::link::Outbox;

/// How long an outcome may wait for others. Long compared with a frame, too short to be noticed.
const HOLD: Duration = Duration::from_millis(20);

/// How long the start of a task may wait if there is one slot. Most tasks end within this time, so
/// that the start is sent with the outcome.
pub(super) const START: Duration = Duration::from_millis(200);

/// Minimum time between two heartbeats that are sent because a task shows its progress.
pub(super) const SHOW: Duration = Duration::from_millis(100);

/// Maximum size of the reports in one frame, in bytes by [`Job::weight`], which is never too low.
/// It leaves room for the rest of the frame.
pub(super) const CAPACITY: usize = 60 * 1024;

/// A report, and its maximum size in a frame in bytes.
pub(super) struct Weighed<J: Job> {
    pub(super) report: TaskReport<J>,
    pub(super) weight: usize,
}

impl<J: Job> Weighed<J> {
    pub(super) fn new(report: TaskReport<J>) -> Self {
        let weight = J::weight(&report);
        Self { report, weight }
    }
}

/// Reports that are still to be sent.
#[derive(Debug)]
pub(super) struct Post<J: Job, O> {
    outbox: Arc<O>,
    state: Mutex<State<J>>,
    courier: Courier,
    /// [`HOLD`], except in tests.
    hold: Duration,
    /// Whether there is more than one slot.
    several: bool,
}

/// Sends reports that have been held for long enough. A post has only one kind, because each
/// notification costs a system call.
#[derive(Debug)]
enum Courier {
    /// A thread in [`Post::wait`]. The caller that adds an urgent report sends it.
    Thread(Condvar),
    /// A task of the event loop, in [`Post::deliver`].
    Task,
}

#[derive(Debug)]
struct State<J: Job> {
    reports: Vec<TaskReport<J>>,
    weight: usize,
    /// Number of outcomes among the reports.
    outcomes: usize,
    /// When the reports have to be sent, if there are any.
    due: Option<Instant>,
    /// When outcomes were last sent.
    sent: Instant,
    /// Group of the latest outcome.
    group: String,
    /// When a heartbeat has to be sent because a task shows its progress.
    shows: Option<Instant>,
    /// When the last heartbeat was sent.
    beaten: Option<Instant>,
    /// When the courier looks next unless it is woken.
    looks: Option<Instant>,
    /// Whether a report has been held since the courier last looked.
    gathered: bool,
    /// Wakes the courier, if it is a task that waits.
    waiting: Option<Waker>,
    /// Whether the link has failed or the session has ended. Nothing more is sent then.
    closed: bool,
}

/// Reasons to wake the courier thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Held reports have to be sent.
    Due,
    /// A regular heartbeat is due.
    Beat,
    /// An earlier heartbeat is due.
    Show,
}

impl<J: Job, O: Outbox<J>> Post<J, O> {
    /// Creates a post for `slots` slots that are threads.
    pub(super) fn for_threads(outbox: Arc<O>, slots: u16) -> Self {
        Self::new(outbox, slots, Courier::Thread(Condvar::new()))
    }

    /// Creates a post for `slots` slots that are tasks of an event loop.
    pub(super) fn for_tasks(outbox: Arc<O>, slots: u16) -> Self {
        Self::new(outbox, slots, Courier::Task)
    }

    fn new(outbox: Arc<O>, slots: u16, courier: Courier) -> Self {
        let state = State {
            reports: Vec::new(),
            weight: 0,
            outcomes: 0,
            due: None,
            sent: Instant::now(),
            group: String::new(),
            shows: None,
            beaten: None,
            looks: None,
            gathered: false,
            waiting: None,
            closed: false,
        };
        Self {
            outbox,
            state: Mutex::new(state),
            courier,
            hold: HOLD,
            several: slots > 1,
        }
    }

    /// Adds the start of `task`.
    pub(super) fn begin(&self, task: TaskId) {
        let at = MonotonicNanos(monotonic());
        let mut state = self.lock();
        self.put(&mut state, Weighed::new(Report::Started { task, at }));
        let wait = if self.several { self.hold } else { START };
        self.hold(&mut state, Instant::now() + wait);
    }

    /// Adds an outcome of `group`, while `waiting` tasks wait. Returns whether the post is open.
    pub(super) fn end(&self, outcome: Weighed<J>, group: &str, waiting: usize) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let failed = matches!(outcome.report, Report::Nacked { .. });
        self.put(&mut state, outcome);
        state.outcomes += 1;
        let is_first = state.group != group;
        if is_first {
            state.group.clear();
            state.group.push_str(group);
        }
        let rested = now.saturating_duration_since(state.sent) >= self.hold;
        if failed || is_first || rested || state.outcomes >= waiting {
            self.hurry(&mut state, now);
        } else {
            self.hold(&mut state, now + self.hold);
        }
        !state.closed
    }

    /// Adds that `tasks` were not started, and has the reports sent immediately.
    pub(super) fn release(&self, tasks: Vec<TaskId>) {
        let mut state = self.lock();
        for task in tasks {
            self.put(&mut state, Weighed::new(Report::Released { task }));
        }
        self.hurry(&mut state, Instant::now());
    }

    /// Has all outcomes sent, because a slot is idle. Returns whether the post is still open.
    pub(super) fn flush(&self) -> bool {
        let mut state = self.lock();
        if state.outcomes > 0 {
            self.hurry(&mut state, Instant::now());
        }
        !state.closed
    }

    /// Sends the held reports, then a heartbeat with the result of `running`, so that the heartbeat
    /// agrees with all starts and ends reported before it. Returns whether the post is still open.
    pub(super) fn beat(&self, running: impl FnOnce() -> Vec<Running<J::Progress>>) -> bool {
        let mut state = self.lock();
        self.send(&mut state);
        state.shows = None;
        state.beaten = Some(Instant::now());
        let beat = FromWorker::<J>::Heartbeat(running());
        state.closed |= self.outbox.send(beat).is_err();
        !state.closed
    }

    /// Schedules a heartbeat for the progress that a task shows, at most one in each [`SHOW`].
    pub(super) fn show(&self) {
        let mut state = self.lock();
        if state.shows.is_none() {
            let now = Instant::now();
            let at = state.beaten.map_or(now, |beaten| now.max(beaten + SHOW));
            state.shows = Some(at);
            if state.is_before_the_next_look(at) {
                self.wake(&mut state);
            }
        }
    }

    /// Sends the held reports.
    pub(super) fn send_held(&self) {
        self.send(&mut self.lock());
    }

    /// Sends the held reports if the link still works, and stops the courier.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if !state.closed {
            self.send(&mut state);
        }
        state.closed = true;
        self.wake(&mut state);
    }

    /// Waits until something is due, at most until `beat`. Returns `None` once the post is closed.
    /// For the courier thread.
    ///
    /// While reports are being added, the thread wakes by itself at least every [`HOLD`], so that
    /// slots do not have to wake it, however many tasks there are in that time.
    pub(super) fn wait(&self, beat: Instant) -> Option<Call> {
        let Courier::Thread(bell) = &self.courier else {
            return None;
        };
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.closed {
                return None;
            }
            if state.is_due() {
                return Some(Call::Due);
            }
            if beat <= now {
                return Some(Call::Beat);
            }
            if state.is_to_show() {
                return Some(Call::Show);
            }
            let until = state
                .next_look(now, self.hold)
                .map_or(beat, |at| at.min(beat));
            state.looks = Some(until);
            let waited = bell.wait_timeout(state, until.saturating_duration_since(now));
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends what is due, and heartbeats with the result of `running` when a task shows its
    /// progress, until the post is closed. Must be run by one task of the event loop.
    pub(super) async fn deliver(&self, running: impl Fn() -> Vec<Running<J::Progress>>) {
        loop {
            let now = Instant::now();
            let look = {
                let mut state = self.lock();
                let look = state.next_look(now, self.hold);
                state.looks = look;
                look
            };
            let due = poll_fn(|context| {
                let mut state = self.lock();
                if state.closed || state.is_called_before_the_next_look() {
                    return Poll::Ready(());
                }
                state.waiting = Some(context.waker().clone());
                Poll::Pending
            });
            match look {
                // Whether the wait ended early does not matter.
                Some(at) => drop(timeout(at.saturating_duration_since(now), due).await),
                None => due.await,
            }
            if self.lock().is_due() {
                self.let_others_put_more().await;
                self.send_held();
            }
            if self.lock().is_to_show() {
                self.beat(&running);
            }
            if self.lock().closed {
                return;
            }
        }
    }

    /// Yields while other tasks add reports, because tasks wake one another.
    async fn let_others_put_more(&self) {
        let mut seen = None;
        loop {
            let count = self.lock().reports.len();
            if seen.replace(count) == Some(count) {
                return;
            }
            yield_now().await;
        }
    }

    /// Keeps the reports until `due` at the latest, so that others can join them.
    fn hold(&self, state: &mut State<J>, due: Instant) {
        if state.due.is_some_and(|earlier| earlier <= due) {
            return;
        }
        state.due = Some(due);
        state.gathered = true;
        if state.is_before_the_next_look(due) {
            self.wake(state);
        }
    }

    /// Has the reports sent now.
    fn hurry(&self, state: &mut State<J>, now: Instant) {
        match &self.courier {
            Courier::Thread(_) => self.send(state),
            Courier::Task => {
                state.due = Some(now);
                self.wake(state);
            }
        }
    }

    fn wake(&self, state: &mut State<J>) {
        match &self.courier {
            Courier::Thread(bell) => bell.notify_all(),
            Courier::Task => {
                if let Some(waker) = state.waiting.take() {
                    waker.wake();
                }
            }
        }
    }

    fn put(&self, state: &mut State<J>, Weighed { report, weight }: Weighed<J>) {
        if state.weight + weight > CAPACITY {
            self.send(state);
        }
        state.weight += weight;
        state.reports.push(report);
    }

    fn send(&self, state: &mut State<J>) {
        state.due = None;
        if state.reports.is_empty() {
            return;
        }
        if std::mem::take(&mut state.outcomes) > 0 {
            state.sent = Instant::now();
        }
        state.weight = 0;
        let reports = std::mem::take(&mut state.reports);
        // The reader notices and reports that a link has failed.
        state.closed |= self.outbox.send(FromWorker::<J>::Reports(reports)).is_err();
    }

    /// Ignores poisoning: each change leaves a consistent state, so a panic elsewhere does no harm.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J: Job> State<J> {
    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    fn is_to_show(&self) -> bool {
        self.shows.is_some_and(|at| at <= Instant::now())
    }

    /// Returns whether the courier would look too late for what is due at `moment`.
    fn is_before_the_next_look(&self, moment: Instant) -> bool {
        self.looks.is_none_or(|at| at > moment)
    }

    /// Returns whether the courier has something to do, now or before it would look by itself.
    fn is_called_before_the_next_look(&self) -> bool {
        let now = Instant::now();
        let moments = [self.due, self.shows];
        let mut moments = moments.into_iter().flatten();
        moments.any(|at| at <= now || self.is_before_the_next_look(at))
    }

    /// Returns when the courier has to look next. `None` if it will be woken in time.
    fn next_look(&mut self, now: Instant, hold: Duration) -> Option<Instant> {
        let goes_on = std::mem::take(&mut self.gathered);
        let due = self.due.or_else(|| goes_on.then(|| now + hold));
        due.into_iter().chain(self.shows).min()
    }
}

/// Returns the time of the clock that all processes share, in nanoseconds.
fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let time = Duration::try_from(time).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use protocol::codec;

    use super::*;
    use crate::job::ToWorker;
    use crate::link::{CoordinatorEnd, LinkError, LocalOutbox, local_link};
    use crate::session::tests::{Failed, Text};

    const FAILURE: usize = 24 * 1024;

    /// Returns a failure of about [`FAILURE`] bytes.
    fn large(task: u64) -> Weighed<Text> {
        Weighed::new(Report::Nacked {
            task: TaskId(task),
            failure: Box::new(Failed("m".repeat(FAILURE))),
        })
    }

    fn done(task: u64) -> Weighed<Text> {
        Weighed::new(Report::Finished {
            task: TaskId(task),
            output: Box::default(),
        })
    }

    /// Refuses messages that the link between processes would refuse.
    struct Framed(LocalOutbox<FromWorker<Text>>);

    impl Outbox<Text> for Framed {
        fn send(&self, message: FromWorker<Text>) -> Result<(), LinkError> {
            codec::encode(&message)?;
            Outbox::<Text>::send(&self.0, message)
        }
    }

    #[test]
    fn reports_that_do_not_fit_one_frame_are_sent_in_several() {
        let (coordinator, _inbox, outbox) = local_link::<ToWorker<Text>, _>();
        let post = Post::<Text, _>::for_threads(Arc::new(Framed(outbox)), 1);
        for _ in 0..7 {
            post.put(&mut post.lock(), large(1));
        }
        post.send_held();
        drop(post);
        let sizes: Vec<usize> = coordinator
            .from_worker
            .iter()
            .map(|message| match message {
                FromWorker::<Text>::Reports(reports) => reports.len(),
                FromWorker::<Text>::Hello(_)
                | FromWorker::<Text>::Ready
                | FromWorker::<Text>::Heartbeat(_) => 0,
            })
            .collect();
        assert_eq!(sizes, [2, 2, 2, 1]);
    }

    const NEVER: Duration = Duration::from_secs(3600);

    /// A post without a courier, and the other end of its link. `frames` returns the number of
    /// reports in each new frame.
    struct Desk {
        post: Post<Text, LocalOutbox<FromWorker<Text>>>,
        coordinator: CoordinatorEnd<ToWorker<Text>, FromWorker<Text>>,
    }

    impl Desk {
        fn new() -> Self {
            let (coordinator, _inbox, outbox) = local_link::<ToWorker<Text>, _>();
            let mut post = Post::for_threads(Arc::new(outbox), 1);
            post.hold = NEVER;
            Self { post, coordinator }
        }

        fn does(&self, task: u64, group: &str, waiting: usize) {
            self.post.begin(TaskId(task));
            assert!(self.post.end(done(task), group, waiting));
        }

        fn frames(&self) -> Vec<usize> {
            let frames = self.coordinator.from_worker.try_iter();
            frames
                .map(|frame| {
                    let FromWorker::<Text>::Reports(reports) = frame else {
                        panic!("{frame:?}");
                    };
                    reports.len()
                })
                .collect()
        }
    }

    #[test]
    fn a_task_with_none_queued_after_it_is_reported_at_once_with_its_start() {
        let desk = Desk::new();
        for task in 1..=3 {
            desk.post.begin(TaskId(task));
            assert_eq!(desk.frames(), [0; 0], "nobody waits for a start");
            desk.post.end(done(task), "h", 0);
            assert_eq!(desk.frames(), [2]);
        }
    }

    #[test]
    fn more_waiting_tasks_mean_larger_batches() {
        let desk = Desk::new();
        desk.does(0, "h", 0);
        desk.frames();
        for task in 1..=33 {
            desk.does(task, "h", 33 - task as usize);
        }
        let told: Vec<usize> = desk.frames().iter().map(|reports| reports / 2).collect();
        assert_eq!(told, [17, 8, 4, 2, 1, 1]);
    }

    #[test]
    fn first_reports_of_a_host_are_sent_at_once() {
        let desk = Desk::new();
        desk.does(1, "a", 9);
        assert_eq!(desk.frames(), [2], "the first of a host");
        desk.does(2, "a", 9);
        assert_eq!(desk.frames(), [0; 0]);
        desk.does(3, "b", 9);
        assert_eq!(
            desk.frames(),
            [4],
            "the first of another one, and what came before"
        );
        desk.does(4, "b", 9);
        desk.post.end(large(5), "b", 9);
        assert_eq!(desk.frames(), [3], "a failure");
        desk.does(6, "b", 9);
        desk.post.release(vec![TaskId(7), TaskId(8)]);
        assert_eq!(desk.frames(), [4], "what is given back");
        desk.does(9, "b", 9);
        assert!(desk.post.flush());
        assert_eq!(desk.frames(), [2], "a slot has nothing to do");
        desk.post.begin(TaskId(10));
        assert!(desk.post.flush());
        assert_eq!(desk.frames(), [0; 0], "nobody waits for a start");
        desk.does(11, "b", 9);
        assert!(desk.post.beat(Vec::new));
        let frames: Vec<_> = desk.coordinator.from_worker.try_iter().collect();
        let [
            FromWorker::<Text>::Reports(reports),
            FromWorker::<Text>::Heartbeat(_),
        ] = &frames[..]
        else {
            panic!("{frames:?}");
        };
        assert_eq!(reports.len(), 3, "before a sign of life");
    }

    #[test]
    fn with_several_slots_a_start_is_due_soon() {
        let mut desk = Desk::new();
        desk.post.hold = Duration::ZERO;
        desk.post.begin(TaskId(1));
        assert!(!desk.post.lock().is_due());
        desk.post.several = true;
        desk.post.begin(TaskId(2));
        assert!(desk.post.lock().is_due());
    }

    #[test]
    fn a_start_is_reported_with_its_time() {
        let now = || {
            let time = Duration::try_from(clock_gettime(ClockId::Monotonic));
            time.expect("it is after the start of the machine")
                .as_nanos()
        };
        let desk = Desk::new();
        let before = now();
        desk.post.begin(TaskId(1));
        let after = now();
        desk.post.send_held();
        let Ok(FromWorker::<Text>::Reports(reports)) = desk.coordinator.from_worker.try_recv()
        else {
            panic!("one frame was sent");
        };
        let [Report::Started { at, .. }] = reports[..] else {
            panic!("{reports:?}");
        };
        assert!((before..=after).contains(&at.0.into()));
    }

    #[test]
    fn reports_of_long_tasks_are_sent_at_once() {
        let mut desk = Desk::new();
        desk.does(1, "h", 0);
        desk.post.hold = Duration::ZERO;
        desk.does(2, "h", 9);
        assert_eq!(desk.frames(), [2, 2]);
    }

    #[test]
    fn held_reports_are_sent_in_time_and_the_sender_is_woken_once() {
        let mut desk = Desk::new();
        desk.does(1, "h", 0);
        let far = Instant::now() + NEVER + NEVER;
        desk.post.lock().looks = Some(far);
        let due = || desk.post.lock().due.expect("it is to go");
        desk.post.begin(TaskId(9));
        let start = due();
        desk.does(2, "h", 9);
        assert_eq!(due(), start, "it waits from the first");
        assert!(desk.post.lock().gathered);
        desk.post.hold = Duration::ZERO;
        desk.post.lock().due = Some(Instant::now());
        assert_eq!(desk.post.wait(far), Some(Call::Due));
        desk.post.send_held();
        assert_eq!(desk.frames(), [2, 3]);
        assert_eq!(desk.post.wait(Instant::now()), Some(Call::Beat));
        desk.post.close();
        assert_eq!(desk.post.wait(far), None);
    }
}
