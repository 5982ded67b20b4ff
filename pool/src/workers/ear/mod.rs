//! The ear of the coordinator: a thread that reads the sockets and the standard error of all
//! workers. It trusts no worker and waits for none.
//!
//! ```text
//!   listener --accept--> only from a process that the pool started
//!   uplinks  --packet--> greeting: answered here; others --> inbox
//!   stderr   --bytes---> lines ------------------------------> inbox
//! ```
//!
//! - Every packet is read into the same buffer, and is either one whole message or a violation.
//! - A worker is not read while too many of its messages wait in the inbox, so memory is bounded
//!   whatever workers send. Each worker that has sent something is read once per turn.
//! - When a worker is dead, everything it sent is already in its socket and its pipe. Exactly this
//!   is read, even if another process holds the other end.

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

/// Orders to the thread.
#[derive(Debug)]
enum Order {
    /// Start reading this worker.
    Watch(Newcomer),
    /// Continue reading this worker: its messages have been digested.
    Resume(WorkerId),
    /// Report when everything that workers have sent by now is in the inbox.
    Listen,
    /// Read the remaining messages of this dead worker, then remove it.
    Finish(WorkerId),
}

/// A worker that has just been started.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) worker: WorkerId,
    pub(super) pid: u32,
    pub(super) backlog: Arc<Backlog>,
    pub(super) stderr: Option<OwnedFd>,
}

/// The owner's handle to the thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Ear {
    orders: Option<Sender<Order>>,
    /// Held while a worker is started: it may connect before its process id is known.
    gate: Arc<Mutex<()>>,
    /// Wakes the thread.
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Starts the thread. Workers connect in `sockets`, and receive `setup` after their greeting.
    /// If `pass_on` is set, lines of their standard error are passed on as they are written.
    ///
    /// # Errors
    ///
    /// Fails if a descriptor, thread or socket cannot be created.
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

    /// Accepts no connections until the worker that is being started can be [watched](Self::watch).
    pub(super) fn close_gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts reading a new worker. The gate must have been closed before the worker was started.
    ///
    /// # Errors
    ///
    /// Fails if its standard error cannot be made non-blocking.
    pub(super) fn watch(&self, newcomer: Newcomer) -> io::Result<()> {
        if let Some(pipe) = &newcomer.stderr {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        self.order(Order::Watch(newcomer));
        Ok(())
    }

    /// Continues reading `worker`, whose backlog is low again.
    pub(super) fn resume(&self, worker: WorkerId) {
        self.order(Order::Resume(worker));
    }

    /// Requests a message when everything that workers have sent by now is in the inbox.
    pub(super) fn listen(&self) {
        self.order(Order::Listen);
    }

    /// Requests the last messages of `worker`, which is dead and has been reaped.
    pub(super) fn finish(&self, worker: WorkerId) {
        self.order(Order::Finish(worker));
    }

    fn order(&self, order: Order) {
        // The thread lives as long as `self`, or the process ends with it: see `Thread::run`.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
        // Fails only if 2^64 wakes are pending (eventfd(2)), and then the thread wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.orders = None;
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // The thread blocks only for the wake above: it sends, and reads available data.
            let _ = thread.join();
        }
    }
}
