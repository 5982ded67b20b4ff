//! The coordinator's ear: one thread that hears all workers, on their sockets and their standard
//! error. It believes nothing and waits for nobody.
//!
//! ```text
//!   listener --accept--> only from a process that the pool started
//!   uplinks  --packet--> greeting: answered here; news --> inbox
//!   stderr   --bytes---> lines ----------------------------> inbox
//! ```
//!
//! - Every packet is read into the same buffer, and is one whole message or a violation.
//! - A worker whose news wait in the inbox is not read on until they are digested; so memory is
//!   bounded whatever workers say. Each that has something to say is read once a turn.
//! - When a worker is dead, everything it said is in its socket and its pipe already. So much is read
//!   and no more, whoever else may hold the other end.

mod pipe;
mod thread;
mod uplink;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use protocol::WorkerId;
use rustix::event::{EventfdFlags, eventfd};

use super::Message;
use super::sockets::SocketFolder;
use crate::job::Job;
use thread::Thread;

pub(super) use uplink::Backlog;

/// What the thread is asked for.
#[derive(Debug)]
enum Order {
    /// Hear this worker.
    Watch(Newcomer),
    /// What it said is digested: go on reading.
    Resume(WorkerId),
    /// Say when all that workers have said by now is in the inbox.
    Listen,
    /// It is dead: hear it out, and forget it.
    Finish(WorkerId),
}

/// A worker that was just started.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) worker: WorkerId,
    pub(super) pid: u32,
    pub(super) backlog: Arc<Backlog>,
    pub(super) stderr: Option<OwnedFd>,
}

/// The thread, as its owner sees it. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Ear {
    orders: Option<Sender<Order>>,
    /// Held while a worker is started: its connection can come before it is known whose that is.
    gate: Arc<Mutex<()>>,
    /// Wakes the thread.
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Starts the thread. Workers connect in `sockets`, and hear `setup` when they have greeted. Lines
    /// of their standard error are told as they come if `pass_on` is set.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor, thread or socket for it.
    pub(super) fn start<J: Job>(
        sockets: Arc<SocketFolder>,
        setup: Arc<[u8]>,
        pass_on: bool,
        tell: impl Fn(Message<J>) + Send + 'static,
    ) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let gate = Arc::default();
        let (orders, incoming) = channel();
        let voice = thread::Voice {
            sockets,
            setup,
            pass_on,
            tell: Box::new(tell),
        };
        let thread = Thread::new(voice, incoming, Arc::clone(&wake), Arc::clone(&gate))?;
        let thread = std::thread::Builder::new()
            .name("ear".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self {
            orders: Some(orders),
            gate,
            wake,
            thread: Some(thread),
        })
    }

    /// Lets no connection in until the worker that is started meanwhile can be
    /// [watched](Self::watch).
    pub(super) fn close_gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears a new worker. The gate must be closed since before it was started.
    ///
    /// # Errors
    ///
    /// If its standard error cannot be read without waiting for it.
    pub(super) fn watch(&self, newcomer: Newcomer) -> io::Result<()> {
        if let Some(pipe) = &newcomer.stderr {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        self.order(Order::Watch(newcomer));
        Ok(())
    }

    /// Goes on reading `worker`, whose backlog is low again.
    pub(super) fn resume(&self, worker: WorkerId) {
        self.order(Order::Resume(worker));
    }

    /// Says when everything that workers have said by now is in the inbox.
    pub(super) fn listen(&self) {
        self.order(Order::Listen);
    }

    /// Has the last of `worker` said, which is dead and reaped.
    pub(super) fn finish(&self, worker: WorkerId) {
        self.order(Order::Finish(worker));
    }

    fn order(&self, order: Order) {
        // The thread lives as long as this, or the process ends with it: see `Thread::run`.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
        // Fails only when there are 2^64 wakes ahead (eventfd(2)), and then it wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.orders = None;
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // Only sends and reads what is there: it never waits for anything but the wake above.
            let _ = thread.join();
        }
    }
}
