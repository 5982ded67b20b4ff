//! The coordinator's ear for the standard error of all workers: one thread that reads their pipes.
//!
//! A worker may write as much as it likes: what is kept of it is bounded ([`Lines`]), and so is what
//! is passed on and how much is read in a period; a worker that writes faster waits. Nothing waits
//! for a worker: when it is dead, everything it wrote is in its pipe already, so that much is read
//! and no more, whoever else may hold the pipe open.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::WorkerId;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use worker::Lines;

use super::link::Heard;

/// Time in which a worker may write so much before it has to wait for the next period.
const PERIOD: Duration = Duration::from_millis(100);

/// Bytes that are read of one worker in a period, about: some 2.5 MiB a second.
const READ_PER_PERIOD: usize = 256 * 1024;

/// Lines of one worker that are passed on in a period.
const LINES_PER_PERIOD: usize = 100;

/// Bytes read at once: as much as a pipe holds by default (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// What the thread is asked for.
#[derive(Debug)]
enum Order {
    /// Listen to this worker.
    Watch { worker: WorkerId, pipe: OwnedFd },
    /// It is dead: read what it left, say its last words, forget it.
    Finish { worker: WorkerId },
}

/// The thread, as its owner sees it. Dropping this ends it.
#[derive(Debug)]
pub(super) struct StderrReader {
    orders: Option<Sender<Order>>,
    /// Wakes the thread from its wait for pipes.
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl StderrReader {
    /// Starts the thread. It says [`Heard::LastWords`] once for each worker that is finished, and
    /// before that, if `pass_on` is set, [`Heard::Wrote`] of what is written meanwhile.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor or thread for it.
    pub(super) fn start(
        pass_on: bool,
        tell: impl Fn(WorkerId, Heard) + Send + 'static,
    ) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, incoming) = channel();
        let thread = std::thread::Builder::new()
            .name("stderr of workers".to_owned())
            .spawn({
                let wake = Arc::clone(&wake);
                move || Listener::new(pass_on, tell).listen(&incoming, &wake)
            })?;
        Ok(Self {
            orders: Some(orders),
            wake,
            thread: Some(thread),
        })
    }

    /// Listens to `worker`, which writes to the other end of `pipe`.
    ///
    /// # Errors
    ///
    /// If the pipe cannot be read without waiting for it.
    pub(super) fn watch(&self, worker: WorkerId, pipe: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        self.order(Order::Watch { worker, pipe });
        Ok(())
    }

    /// Has the last words of `worker` said, which is dead and reaped; `false` if nobody is there to
    /// say them.
    #[must_use]
    pub(super) fn finish(&self, worker: WorkerId) -> bool {
        self.order(Order::Finish { worker })
    }

    fn order(&self, order: Order) -> bool {
        let heard = self
            .orders
            .as_ref()
            .is_some_and(|orders| orders.send(order).is_ok());
        // Fails only when there are 2^64 wakes ahead (eventfd(2)), and then it wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        heard
    }
}

impl Drop for StderrReader {
    fn drop(&mut self) {
        self.orders = None;
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // Only sends and reads what is there: it never waits for anything but the wake above.
            let _ = thread.join();
        }
    }
}

/// One worker's pipe, in the thread.
#[derive(Debug)]
struct Pipe {
    /// Until its end is seen.
    open: Option<OwnedFd>,
    lines: Lines,
    /// In this period: bytes read, lines passed on, lines left out.
    read: usize,
    passed_on: usize,
    left_out: usize,
}

impl Pipe {
    const fn is_throttled(&self) -> bool {
        self.read >= READ_PER_PERIOD
    }

    /// Takes in what was read; what is to be passed on of it is added to `passed_on`.
    fn feed(&mut self, bytes: &[u8], passed_on: &mut Vec<String>) {
        let (count, left_out) = (&mut self.passed_on, &mut self.left_out);
        self.read += bytes.len();
        self.lines.feed(bytes, |line| {
            if *count < LINES_PER_PERIOD {
                *count += 1;
                passed_on.push(line.to_owned());
            } else {
                *left_out += 1;
            }
        });
    }

    /// A new period begins. Says how much of the last one is missing.
    fn begin_period(&mut self) -> Option<String> {
        (self.read, self.passed_on) = (0, 0);
        match std::mem::take(&mut self.left_out) {
            0 => None,
            count => Some(format!("({count} lines left out)")),
        }
    }
}

/// The thread's own view.
struct Listener<T> {
    pass_on: bool,
    tell: T,
    pipes: BTreeMap<WorkerId, Pipe>,
    buffer: Box<[u8]>,
    period: Instant,
}

impl<T: Fn(WorkerId, Heard)> Listener<T> {
    fn new(pass_on: bool, tell: T) -> Self {
        Self {
            pass_on,
            tell,
            pipes: BTreeMap::new(),
            buffer: vec![0; CHUNK].into(),
            period: Instant::now(),
        }
    }

    /// Ends when nobody gives orders any more.
    fn listen(mut self, orders: &Receiver<Order>, wake: &OwnedFd) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(Order::Watch { worker, pipe }) => self.watch(worker, pipe),
                    Ok(Order::Finish { worker }) => self.finish(worker),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let timeout = self.limit_period();
            for worker in self.wait(wake, timeout) {
                self.read(worker);
            }
        }
    }

    fn watch(&mut self, worker: WorkerId, pipe: OwnedFd) {
        self.pipes.insert(
            worker,
            Pipe {
                open: Some(pipe),
                lines: Lines::default(),
                read: 0,
                passed_on: 0,
                left_out: 0,
            },
        );
    }

    /// Begins a new period if it is time; how long to wait at most, if somebody waits for the next.
    fn limit_period(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.period);
        if elapsed >= PERIOD {
            self.period = now;
            for (worker, pipe) in &mut self.pipes {
                let left_out = pipe.begin_period();
                if self.pass_on
                    && let Some(line) = left_out
                {
                    (self.tell)(*worker, Heard::Wrote(vec![line]));
                }
            }
            return None;
        }
        self.pipes
            .values()
            .any(|pipe| pipe.is_throttled() || pipe.left_out > 0)
            .then(|| PERIOD.saturating_sub(elapsed))
    }

    /// Waits until there is something to read or to do; returns who can be read.
    fn wait(&self, wake: &OwnedFd, timeout: Option<Duration>) -> Vec<WorkerId> {
        let mut workers = Vec::with_capacity(self.pipes.len());
        let mut polled = Vec::with_capacity(self.pipes.len() + 1);
        polled.push(PollFd::new(wake, PollFlags::IN));
        for (worker, pipe) in &self.pipes {
            if let Some(open) = &pipe.open
                && !pipe.is_throttled()
            {
                workers.push(*worker);
                polled.push(PollFd::new(open, PollFlags::IN));
            }
        }
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: 0,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        if poll(&mut polled, timeout.as_ref()).is_err() {
            // Interrupted by a signal; there is no other error for what is asked here.
            return Vec::new();
        }
        if !polled[0].revents().is_empty() {
            let mut count = [0; 8];
            // Whoever wakes again has given an order before, which is looked for next.
            let _ = rustix::io::read(wake, &mut count);
        }
        let ready = polled[1..].iter().map(|fd| !fd.revents().is_empty());
        let mut ready = ready.collect::<Vec<_>>().into_iter();
        workers.retain(|_| ready.next().unwrap_or(false));
        workers
    }

    /// Reads once, so that nobody has to wait for another's flood.
    fn read(&mut self, worker: WorkerId) {
        let Some(pipe) = self.pipes.get_mut(&worker) else {
            return;
        };
        let mut passed_on = Vec::new();
        if let Ended::Yes = read_once(pipe, &mut self.buffer, &mut passed_on).1 {
            pipe.open = None;
        }
        self.pass_on(worker, passed_on);
    }

    /// Reads what is in the pipe of a dead worker. Nothing of its own can be added to that; if
    /// another process writes there, that is not waited for.
    fn finish(&mut self, worker: WorkerId) {
        let Some(mut pipe) = self.pipes.remove(&worker) else {
            return (self.tell)(worker, Heard::LastWords(Vec::new()));
        };
        let mut passed_on = Vec::new();
        let mut left = pipe.open.as_ref().map_or(0, |open| {
            rustix::io::ioctl_fionread(open.as_fd()).unwrap_or_default()
        });
        while left > 0 {
            let most = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(CHUNK));
            let (count, ended) = read_once(&mut pipe, &mut self.buffer[..most], &mut passed_on);
            left = left.saturating_sub(count as u64);
            if count == 0 || matches!(ended, Ended::Yes) {
                break;
            }
        }
        passed_on.extend(pipe.begin_period());
        let last_words = pipe.lines.finish(|line| passed_on.push(line.to_owned()));
        self.pass_on(worker, passed_on);
        (self.tell)(worker, Heard::LastWords(last_words));
    }

    fn pass_on(&self, worker: WorkerId, lines: Vec<String>) {
        if self.pass_on && !lines.is_empty() {
            (self.tell)(worker, Heard::Wrote(lines));
        }
    }
}

/// Whether nothing will ever come of a pipe any more.
#[derive(Debug)]
enum Ended {
    Yes,
    No,
}

/// Reads once without waiting; how many bytes that were.
fn read_once(pipe: &mut Pipe, buffer: &mut [u8], passed_on: &mut Vec<String>) -> (usize, Ended) {
    let Some(open) = &pipe.open else {
        return (0, Ended::Yes);
    };
    match rustix::io::read(open, &mut *buffer) {
        Ok(0) => (0, Ended::Yes),
        Ok(count) => {
            pipe.feed(&buffer[..count], passed_on);
            (count, Ended::No)
        }
        Err(Errno::AGAIN | Errno::INTR) => (0, Ended::No),
        Err(_) => (0, Ended::Yes),
    }
}
