//! The thread of the ear: it waits for all sockets and pipes at once, and reads them in turn.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::handshake::Hello;
use protocol::{Epoch, SlotId, WorkerId};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::pipe::Pipe;
use super::uplink::{Backlog, Received, receive};
use super::{Newcomer, Order};
use crate::job::{FromWorker, Job};
use crate::workers::sockets::{Downlink, SocketFolder};
use crate::workers::{LinkEvent, Message, WorkerEvent, peer};

/// Time over which a worker's writes to standard error are limited. A worker that exceeds the limit
/// waits for the next period.
const PERIOD: Duration = Duration::from_millis(100);

/// Bytes read at once: the default capacity of a pipe (pipe(7)), and more than a packet.
const BUFFER: usize = 2 * protocol::packet::MAX_PACKET;

/// Maximum number of events handled at once.
const EVENTS: usize = 64;

/// Keys of the events that do not belong to a worker.
const WAKE: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// The two sources of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Uplink,
    Stderr,
}

fn key(worker: WorkerId, source: Source) -> epoll::EventData {
    let worker = u64::from(worker.slot.0) << 33 | u64::from(worker.epoch.0) << 1;
    epoll::EventData::new_u64(worker | u64::from(source == Source::Stderr))
}

fn of_key(key: u64) -> (WorkerId, Source) {
    let source = if key & 1 == 0 {
        Source::Uplink
    } else {
        Source::Stderr
    };
    // Each part is masked to its width.
    let worker = WorkerId {
        slot: SlotId((key >> 33 & 0xffff) as u16),
        epoch: Epoch((key >> 1 & 0xffff_ffff) as u32),
    };
    (worker, source)
}

/// How messages are passed on and greetings are answered.
pub(super) struct Voice<J: Job> {
    pub(super) sockets: Arc<SocketFolder>,
    pub(super) setup: Arc<[u8]>,
    pub(super) pass_on: bool,
    pub(super) tell: Box<dyn Fn(Message<J>) + Send>,
}

/// A worker, as this thread knows it.
#[derive(Debug)]
struct Line {
    pid: u32,
    uplink: Uplink,
    pipe: Pipe,
}

#[derive(Debug)]
struct Uplink {
    /// Set from the worker's connection until no more messages can come.
    socket: Option<OwnedFd>,
    greeted: bool,
    backlog: Arc<Backlog>,
    /// Whether the backlog is full, so that the socket is not waited for.
    paused: bool,
    /// Unread bytes among those that were there at the last request to listen.
    owed: usize,
}

/// State of the thread.
pub(super) struct Thread<J: Job> {
    voice: Voice<J>,
    orders: Receiver<Order>,
    wake: Arc<OwnedFd>,
    gate: Arc<Mutex<()>>,
    listener: OwnedFd,
    epoll: OwnedFd,
    lines: BTreeMap<WorkerId, Line>,
    buffer: Box<[u8]>,
    period: Instant,
    /// Whether the listener is ignored until the next period, for lack of a descriptor.
    listener_rests: bool,
    /// Whether a request to listen is pending.
    listening: bool,
}

/// Aborts the process if the thread panics. Without the thread, the coordinator would wait forever;
/// the next run continues where this one ends.
struct OrAbort;

impl Drop for OrAbort {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl<J: Job> Thread<J> {
    pub(super) fn new(
        voice: Voice<J>,
        orders: Receiver<Order>,
        wake: Arc<OwnedFd>,
        gate: Arc<Mutex<()>>,
    ) -> io::Result<Self> {
        let listener = voice.sockets.listen()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64;
        epoll::add(&epoll, &wake, data(WAKE), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &listener, data(LISTENER), epoll::EventFlags::IN)?;
        Ok(Self {
            voice,
            orders,
            wake,
            gate,
            listener,
            epoll,
            lines: BTreeMap::new(),
            buffer: vec![0; BUFFER].into(),
            period: Instant::now(),
            listener_rests: false,
            listening: false,
        })
    }

    /// Runs until the sender of orders is dropped.
    pub(super) fn run(mut self) {
        let _or_abort = OrAbort;
        let mut events = Vec::with_capacity(EVENTS);
        while self.take_orders() {
            self.tell_if_listened();
            let timeout = self.limit_period().map(|timeout| Timespec {
                tv_sec: 0,
                tv_nsec: timeout.subsec_nanos().into(),
            });
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // No other error is possible with these arguments.
                Err(error) => panic!("epoll_wait(2): {error}"),
            }
            for event in &events {
                match event.data.u64() {
                    WAKE => {
                        let mut count = [0; 8];
                        // Orders are sent before their wake, and are handled next.
                        let _ = rustix::io::read(&self.wake, &mut count);
                    }
                    LISTENER => self.accept(),
                    key => match of_key(key) {
                        (worker, Source::Uplink) => self.read_uplink(worker),
                        (worker, Source::Stderr) => self.read_stderr(worker),
                    },
                }
            }
        }
    }

    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Watch(newcomer)) => self.watch(newcomer),
                Ok(Order::Resume(worker)) => self.resume(worker),
                Ok(Order::Listen) => self.listen(),
                Ok(Order::Finish(worker)) => self.finish(worker),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn watch(&mut self, newcomer: Newcomer) {
        let Newcomer {
            worker,
            pid,
            backlog,
            stderr,
        } = newcomer;
        let mut line = Line {
            pid,
            uplink: Uplink {
                socket: None,
                greeted: false,
                backlog,
                paused: false,
                owed: 0,
            },
            pipe: Pipe::new(stderr),
        };
        if let Some(open) = &line.pipe.open
            && !self.wait_for(open, worker, Source::Stderr)
        {
            line.pipe.open = None;
        }
        self.lines.insert(worker, line);
    }

    /// Adds `descriptor` to those waited for. Returns whether it succeeded. It fails only if memory
    /// runs out; then nothing is read from it.
    fn wait_for(&self, descriptor: impl AsFd, worker: WorkerId, source: Source) -> bool {
        let key = key(worker, source);
        epoll::add(&self.epoll, descriptor, key, epoll::EventFlags::IN)
            .inspect_err(|error| tracing::warn!(%worker, %error, "worker cannot be heard"))
            .is_ok()
    }

    /// Accepts pending connections. Keeps those of workers that the pool started, one for each.
    fn accept(&mut self) {
        // While a worker is being started, its process id is not known yet.
        let gate = Arc::clone(&self.gate);
        let _open = gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_orders();
        // A limit, so that other events are handled in between.
        for _ in 0..EVENTS {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted for a moment");
                    let _ = epoll::delete(&self.epoll, &self.listener);
                    self.listener_rests = true;
                    return;
                }
            };
            let pid = peer::process_at(&socket).ok().flatten();
            let line = self.lines.iter_mut().find(|(_, line)| {
                Some(line.pid) == pid && line.uplink.socket.is_none() && !line.uplink.greeted
            });
            let Some((&worker, line)) = line else {
                tracing::info!(
                    ?pid,
                    "a process that is no worker connected, and is ignored"
                );
                continue;
            };
            let key = key(worker, Source::Uplink);
            if epoll::add(&self.epoll, &socket, key, epoll::EventFlags::IN).is_ok() {
                line.uplink.socket = Some(socket);
            }
        }
    }

    /// Reads one packet, so that no worker has to wait for another's flood.
    fn read_uplink(&mut self, worker: WorkerId) {
        let Some(line) = self.lines.get_mut(&worker) else {
            return;
        };
        let Some(socket) = line.uplink.socket.take() else {
            return;
        };
        let received = receive(&socket, &mut self.buffer);
        let turn = self
            .voice
            .hear(worker, line.pid, &mut line.uplink, received);
        if let Turn::Pause | Turn::Last = turn {
            let _ = epoll::delete(&self.epoll, &socket);
        }
        line.uplink.paused = matches!(turn, Turn::Pause);
        if let Turn::Last = turn {
            line.uplink.owed = 0;
        } else {
            line.uplink.socket = Some(socket);
        }
    }

    fn resume(&mut self, worker: WorkerId) {
        let Some(line) = self.lines.get_mut(&worker) else {
            return;
        };
        if std::mem::take(&mut line.uplink.paused)
            && let Some(socket) = &line.uplink.socket
        {
            let key = key(worker, Source::Uplink);
            let _ = epoll::add(&self.epoll, socket, key, epoll::EventFlags::IN);
        }
    }

    fn listen(&mut self) {
        for line in self.lines.values_mut() {
            line.uplink.owed = line.uplink.socket.as_ref().map_or(0, unread);
        }
        self.listening = true;
    }

    fn tell_if_listened(&mut self) {
        if self.listening && self.lines.values().all(|line| line.uplink.owed == 0) {
            self.listening = false;
            (self.voice.tell)(Message::listened());
        }
    }

    /// Starts a new period if it is time. Returns the maximum wait if the next period is needed.
    fn limit_period(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.period);
        let waits = self.listener_rests || self.lines.values().any(|line| line.pipe.waits());
        if elapsed < PERIOD {
            return waits.then(|| PERIOD.saturating_sub(elapsed));
        }
        self.period = now;
        if std::mem::take(&mut self.listener_rests) {
            let data = epoll::EventData::new_u64(LISTENER);
            let added = epoll::add(&self.epoll, &self.listener, data, epoll::EventFlags::IN);
            self.listener_rests = added.is_err();
        }
        for (worker, line) in &mut self.lines {
            if line.pipe.is_throttled()
                && let Some(open) = &line.pipe.open
            {
                let key = key(*worker, Source::Stderr);
                let _ = epoll::add(&self.epoll, open, key, epoll::EventFlags::IN);
            }
            let left_out = line.pipe.begin_period();
            self.voice.wrote(*worker, left_out.into_iter().collect());
        }
        None
    }

    /// Reads once, so that no worker has to wait for another's flood.
    fn read_stderr(&mut self, worker: WorkerId) {
        let Some(Line { pipe, .. }) = self.lines.get_mut(&worker) else {
            return;
        };
        let lines = pipe.read(&mut self.buffer);
        if pipe.is_throttled()
            && let Some(open) = &pipe.open
        {
            let _ = epoll::delete(&self.epoll, open);
        }
        self.voice.wrote(worker, lines);
    }

    /// Reads the rest of a dead worker's messages without blocking, and removes it.
    fn finish(&mut self, worker: WorkerId) {
        let mut last_words = Vec::new();
        if let Some(mut line) = self.lines.remove(&worker) {
            if let Some(socket) = line.uplink.socket.take() {
                let mut left = unread(&socket);
                while left > 0 {
                    let received = receive(&socket, &mut self.buffer);
                    left = match &received {
                        Received::Message(_, length) => left.saturating_sub(*length),
                        Received::Nothing | Received::Closed | Received::Violation(_) => 0,
                    };
                    self.voice
                        .hear(worker, line.pid, &mut line.uplink, received);
                }
            }
            let (passed_on, last) = line.pipe.finish(&mut self.buffer);
            self.voice.wrote(worker, passed_on);
            last_words = last;
        }
        self.voice.say(worker, LinkEvent::Finished(last_words));
    }
}

/// Returns the number of bytes of packets in `socket`.
fn unread(socket: &OwnedFd) -> usize {
    let bytes = rustix::io::ioctl_fionread(socket).unwrap_or_default();
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What follows a read of a socket.
#[derive(Debug)]
enum Turn {
    Over,
    /// The worker's messages have to be digested first.
    Pause,
    /// Nothing more is read from the worker.
    Last,
}

impl<J: Job> Voice<J> {
    fn say(&self, worker: WorkerId, heard: LinkEvent<J>) {
        (self.tell)(Message::of(worker, heard));
    }

    fn wrote(&self, worker: WorkerId, lines: Vec<String>) {
        if self.pass_on && !lines.is_empty() {
            self.say(worker, LinkEvent::Wrote(lines));
        }
    }

    /// Processes a result of reading the uplink of `worker`, which is process `pid`.
    fn hear(&self, worker: WorkerId, pid: u32, uplink: &mut Uplink, received: Received<J>) -> Turn {
        let (message, length) = match received {
            Received::Message(message, length) => (message, length),
            Received::Nothing => {
                uplink.owed = 0;
                return Turn::Over;
            }
            Received::Closed => return Turn::Last,
            Received::Violation(problem) => return self.violated(worker, problem),
        };
        uplink.owed = uplink.owed.saturating_sub(length);
        let news = match message {
            FromWorker::<J>::Hello(_) if uplink.greeted => {
                return self.violated(worker, "it greeted twice".to_owned());
            }
            FromWorker::<J>::Hello(hello) => {
                if let Err(error) = hello.check(pid) {
                    return self.violated(worker, error.to_string());
                }
                uplink.greeted = true;
                match self.answer(&hello) {
                    Ok(to_worker) => {
                        self.say(worker, LinkEvent::Connected(to_worker));
                        return Turn::Over;
                    }
                    Err(error) => {
                        // A dead worker is noticed next; a living one exceeds its start timeout.
                        tracing::info!(%worker, %error, "worker cannot be answered");
                        return Turn::Last;
                    }
                }
            }
            FromWorker::<J>::Ready
            | FromWorker::<J>::Reports(_)
            | FromWorker::<J>::Heartbeat(_)
                if !uplink.greeted =>
            {
                return self.violated(worker, "it did not begin with a greeting".to_owned());
            }
            FromWorker::<J>::Ready => WorkerEvent::Ready,
            FromWorker::<J>::Reports(reports) => WorkerEvent::Reports(reports),
            FromWorker::<J>::Heartbeat(running) => WorkerEvent::Heartbeat(running),
        };
        let full = uplink.backlog.add(length);
        self.say(worker, LinkEvent::Event(news, length));
        if full { Turn::Pause } else { Turn::Over }
    }

    fn violated(&self, worker: WorkerId, problem: String) -> Turn {
        self.say(worker, LinkEvent::Violated(problem));
        Turn::Last
    }

    /// Connects to the socket where worker process `hello.pid` listens, and sends the setup.
    fn answer(&self, hello: &Hello) -> io::Result<Downlink> {
        let below = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !Path::new(&hello.server).components().all(below) {
            return Err(io::Error::other("it names a socket elsewhere"));
        }
        let socket = self.sockets.connect(&hello.server, hello.pid)?;
        let to_worker = Downlink::new(socket);
        to_worker.send(&hello.secret).map_err(io::Error::other)?;
        to_worker.send(&self.setup).map_err(io::Error::other)?;
        Ok(to_worker)
    }
}
