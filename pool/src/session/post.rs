//! Reports on their way out: several go out in one frame.
//!
//! | what | goes out |
//! | --- | --- |
//! | the start of a task | with whatever is sent next, [`START`] after it at the latest: the [page](crate::page) tells it, so only who asks what is being done waits for it. Where several slots may take more tasks than a socket holds, [`HOLD`] after it: the coordinator waits for it to hand out more |
//! | an outcome, when at least as many are held as tasks wait; so whenever a slot has nothing to do | at once |
//! | a failure, or the first outcome of a group after one of another | at once |
//! | an outcome when none was sent for [`HOLD`] | at once |
//! | any other outcome | [`HOLD`] after it at the latest |
//! | what was revoked and not started | at once |
//! | the progress that a task shows | with a heartbeat, at once if the last was more than [`SHOW`] ago, else when it is |
//!
//! It is enough to look at what waits here. The coordinator hands out ahead only tasks of a group that
//! the worker is asking already, while there is plenty for everybody and nobody has to keep a rate:
//! then the place of a task that has ended is taken by the next one, and nobody waits for it. Whatever
//! else needs a place (a group at its cap, a suspect, an idle worker) gets it by a revocation, or from a
//! slot that has nothing to do.
//!
//! It must not know what a task is for.

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

/// How long an outcome may wait for others. Long beside what a frame costs, and short beside what
/// anybody notices.
const HOLD: Duration = Duration::from_millis(20);

/// How long the start of a task may wait, where there is one slot. Most tasks have ended by then, and
/// it goes out with that.
pub(super) const START: Duration = Duration::from_millis(200);

/// Time between two heartbeats that are sent because a task shows its progress.
pub(super) const SHOW: Duration = Duration::from_millis(100);

/// Most bytes of reports in one frame, by [`Job::weight`], which is never too low. Far enough below
/// the limit of a frame that the rest of it fits.
pub(super) const CAPACITY: usize = 60 * 1024;

/// A report, and how many bytes it takes of a frame at most.
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

/// Reports on their way out.
#[derive(Debug)]
pub(super) struct Post<J: Job, O> {
    outbox: Arc<O>,
    state: Mutex<State<J>>,
    courier: Courier,
    /// [`HOLD`], but in tests.
    hold: Duration,
    /// There is more than one slot.
    several: bool,
}

/// Who sends what has been held for long enough. One kind only: ringing for nobody costs a system
/// call.
#[derive(Debug)]
enum Courier {
    /// A thread, which waits in [`Post::wait`]. What is due at once is sent by who puts it down.
    Thread(Condvar),
    /// A task of the event loop, in [`Post::deliver`].
    Task,
}

#[derive(Debug)]
struct State<J: Job> {
    reports: Vec<TaskReport<J>>,
    weight: usize,
    /// How many of them are outcomes.
    outcomes: usize,
    /// When they are to go, if there are any.
    due: Option<Instant>,
    /// When outcomes were last sent.
    sent: Instant,
    /// Whose the latest outcome was.
    group: String,
    /// When a heartbeat is to go because a task shows its progress.
    shows: Option<Instant>,
    /// When the last heartbeat went.
    beaten: Option<Instant>,
    /// When the courier looks next, if nobody wakes it.
    looks: Option<Instant>,
    /// Something was held since it last looked.
    gathered: bool,
    /// The courier, where it is a task, while it waits.
    waiting: Option<Waker>,
    /// Nobody listens any more, or is to be told anything.
    closed: bool,
}

/// What the courier of threads is woken for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// What is held is to go.
    Due,
    /// It is time for a heartbeat.
    Beat,
    /// A heartbeat is to go before its time.
    Show,
}

impl<J: Job, O: Outbox<J>> Post<J, O> {
    /// For so many slots that are threads.
    pub(super) fn for_threads(outbox: Arc<O>, slots: u16) -> Self {
        Self::new(outbox, slots, Courier::Thread(Condvar::new()))
    }

    /// For so many slots that are tasks of an event loop.
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

    /// Puts down that `task` is taken up.
    pub(super) fn begin(&self, task: TaskId) {
        let at = MonotonicNanos(monotonic());
        let mut state = self.lock();
        self.put(&mut state, Weighed::new(Report::Started { task, at }));
        let wait = if self.several { self.hold } else { START };
        self.hold(&mut state, Instant::now() + wait);
    }

    /// Puts down what became of a task of `group`, while `waiting` others wait. Whether anybody
    /// listens.
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

    /// Puts down that these were not started, and has it sent.
    pub(super) fn release(&self, tasks: Vec<TaskId>) {
        let mut state = self.lock();
        for task in tasks {
            self.put(&mut state, Weighed::new(Report::Released { task }));
        }
        self.hurry(&mut state, Instant::now());
    }

    /// Has all outcomes sent, because a slot has nothing to do; whether anybody listens.
    pub(super) fn flush(&self) -> bool {
        let mut state = self.lock();
        if state.outcomes > 0 {
            self.hurry(&mut state, Instant::now());
        }
        !state.closed
    }

    /// Sends what is held, and then a heartbeat with what `running` finds: whatever starts and ends
    /// were told before it, it agrees with them. Whether anybody listens.
    pub(super) fn beat(&self, running: impl FnOnce() -> Vec<Running<J::Progress>>) -> bool {
        let mut state = self.lock();
        self.send(&mut state);
        state.shows = None;
        state.beaten = Some(Instant::now());
        let beat = FromWorker::<J>::Heartbeat(running());
        state.closed |= self.outbox.send(beat).is_err();
        !state.closed
    }

    /// A task shows its progress: a heartbeat is to tell of it, but not too many.
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

    /// Sends what is held.
    pub(super) fn send_held(&self) {
        self.send(&mut self.lock());
    }

    /// Sends what is held, if anybody still listens, and lets the courier go.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if !state.closed {
            self.send(&mut state);
        }
        state.closed = true;
        self.wake(&mut state);
    }

    /// Waits until something is due, or until `beat`; nothing once this is closed. For the courier of
    /// threads.
    ///
    /// While reports are gathered it wakes by itself, every [`HOLD`] at most, so that nobody has to
    /// wake it: however many tasks there are in that time.
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

    /// Sends what is due, and heartbeats with what `running` finds where a task shows its progress, until nobody listens any more.
    /// To be run by one task of the event loop.
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
                // The time alone is enough.
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

    /// Lets tasks have their turn as long as they put down more: they wake one another.
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

    /// What is held may wait for more, until `due` at the latest.
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

    /// What is held is to go now.
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
        // A link that fails is seen, and told, by the reader.
        state.closed |= self.outbox.send(FromWorker::<J>::Reports(reports)).is_err();
    }

    /// Every change is whole in itself, so a panic elsewhere does not matter.
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

    /// The courier would come too late by itself for what is due at `moment`.
    fn is_before_the_next_look(&self, moment: Instant) -> bool {
        self.looks.is_none_or(|at| at > moment)
    }

    /// The courier has something to do, now or before it would come by itself.
    fn is_called_before_the_next_look(&self) -> bool {
        let now = Instant::now();
        let moments = [self.due, self.shows];
        let mut moments = moments.into_iter().flatten();
        moments.any(|at| at <= now || self.is_before_the_next_look(at))
    }

    /// When the courier has to look next: nothing if it is woken in time.
    fn next_look(&mut self, now: Instant, hold: Duration) -> Option<Instant> {
        let goes_on = std::mem::take(&mut self.gathered);
        let due = self.due.or_else(|| goes_on.then(|| now + hold));
        due.into_iter().chain(self.shows).min()
    }
}

/// The clock that all processes share.
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

    /// A failure of about [`FAILURE`] bytes.
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

    /// Counts frames, and refuses what the link between processes would refuse.
    struct Framed(LocalOutbox<FromWorker<Text>>);

    impl Outbox<Text> for Framed {
        fn send(&self, message: FromWorker<Text>) -> Result<(), LinkError> {
            codec::encode(&message)?;
            Outbox::<Text>::send(&self.0, message)
        }
    }

    #[test]
    fn reports_that_do_not_fit_one_frame_go_out_in_more() {
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

    /// A post that nobody empties but those who put something down, and a count of the reports in
    /// each frame since it was last asked.
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
    fn a_task_with_none_behind_it_is_told_at_once_and_whole() {
        let desk = Desk::new();
        for task in 1..=3 {
            desk.post.begin(TaskId(task));
            assert_eq!(desk.frames(), [0; 0], "nobody waits for a start");
            desk.post.end(done(task), "h", 0);
            assert_eq!(desk.frames(), [2]);
        }
    }

    #[test]
    fn as_many_are_told_together_as_wait() {
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
    fn what_matters_at_once_is_told_at_once() {
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
    fn a_start_is_due_soon_where_there_are_several_slots() {
        let mut desk = Desk::new();
        desk.post.hold = Duration::ZERO;
        desk.post.begin(TaskId(1));
        assert!(!desk.post.lock().is_due());
        desk.post.several = true;
        desk.post.begin(TaskId(2));
        assert!(desk.post.lock().is_due());
    }

    #[test]
    fn what_took_long_is_told_at_once() {
        let mut desk = Desk::new();
        desk.does(1, "h", 0);
        desk.post.hold = Duration::ZERO;
        desk.does(2, "h", 9);
        assert_eq!(desk.frames(), [2, 2]);
    }

    #[test]
    fn what_is_held_is_due_in_time_and_the_courier_is_woken_once() {
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
