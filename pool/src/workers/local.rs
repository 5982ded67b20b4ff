//! Workers as threads of the coordinator's process, for comparison.
//!
//! They lack what a process provides: they share memory with the coordinator, end with it, and
//! cannot be killed. Everything above the pool is the same.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use protocol::WorkerId;

use super::{LinkEvent, Message, WorkerEvent};
use crate::dispatch::Exit;
use crate::job::{FromWorker, Job, ToWorker};
use crate::link::{LinkError, LocalInbox, Outbox};

/// A function that runs a worker until it is dismissed or its inbox is closed. It returns the
/// reason if the worker could not work.
type Serve<J, M> =
    dyn Fn(LocalInbox<ToWorker<J>>, Arc<DirectOutbox<J, M>>) -> Result<(), String> + Send + Sync;

/// The workers of a run, each a thread of this process. `M` is the type of the run's inbox.
pub struct LocalPool<J: Job, M> {
    serve: Arc<Serve<J, M>>,
    inbox: Sender<M>,
    /// Senders to the workers. Dropping a sender tells the worker that it is no longer needed.
    workers: BTreeMap<WorkerId, Local<J>>,
}

impl<J: Job, M> fmt::Debug for LocalPool<J, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPool")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Local<J: Job> {
    to_worker: Option<Sender<ToWorker<J>>>,
}

/// Sends the messages of a worker that is a thread directly to the run's inbox.
#[derive(Debug)]
pub struct DirectOutbox<J: Job, M> {
    worker: WorkerId,
    inbox: Sender<M>,
    job: PhantomData<fn(J)>,
}

impl<J: Job, M: From<Message<J>> + Send> DirectOutbox<J, M> {
    fn tell(&self, news: WorkerEvent<J>) -> Result<(), LinkError> {
        let message = Message::of(self.worker, LinkEvent::Event(news, 0));
        self.inbox
            .send(message.into())
            .map_err(|_| LinkError::Closed)
    }
}

impl<J: Job, M: From<Message<J>> + Send> Outbox<J> for DirectOutbox<J, M> {
    fn send(&self, message: FromWorker<J>) -> Result<(), LinkError> {
        match message {
            FromWorker::<J>::Ready => self.tell(WorkerEvent::Ready),
            FromWorker::<J>::Reports(reports) => self.tell(WorkerEvent::Reports(reports)),
            FromWorker::<J>::Heartbeat(running) => self.tell(WorkerEvent::Heartbeat(running)),
            // Only a process sends a greeting.
            FromWorker::<J>::Hello(_) => Ok(()),
        }
    }
}

impl<J: Job, M: From<Message<J>> + Send + 'static> LocalPool<J, M> {
    /// Creates a pool without workers. Each worker runs `serve`; its messages go to `inbox`.
    #[must_use]
    pub fn new(
        serve: impl Fn(LocalInbox<ToWorker<J>>, Arc<DirectOutbox<J, M>>) -> Result<(), String>
        + Send
        + Sync
        + 'static,
        inbox: Sender<M>,
    ) -> Self {
        Self {
            serve: Arc::new(serve),
            inbox,
            workers: BTreeMap::new(),
        }
    }

    pub(super) fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        let (to_worker, incoming) = channel();
        let outbox = Arc::new(DirectOutbox {
            worker,
            inbox: self.inbox.clone(),
            job: PhantomData,
        });
        let serve = Arc::clone(&self.serve);
        std::thread::Builder::new()
            .name(format!("worker {worker}"))
            .spawn(move || {
                // The state of the worker is lost with it, so nothing else can see it half done.
                let served = catch_unwind(AssertUnwindSafe(|| {
                    serve(LocalInbox(incoming), Arc::clone(&outbox))
                }));
                let exit = match served {
                    Ok(Ok(())) => Exit::Code(0),
                    Ok(Err(error)) => Exit::NotStarted(error),
                    Err(_) => Exit::Unknown,
                };
                // Fails only if the run has ended.
                let _ = outbox.tell(WorkerEvent::Exited(Box::new(exit.into())));
            })?;
        let local = Local {
            to_worker: Some(to_worker),
        };
        self.workers.insert(worker, local);
        Ok(())
    }

    pub(super) fn digest(
        &mut self,
        worker: WorkerId,
        heard: LinkEvent<J>,
    ) -> Option<WorkerEvent<J>> {
        match heard {
            LinkEvent::Event(news, _) => {
                if matches!(news, WorkerEvent::Exited(_)) {
                    self.workers.remove(&worker);
                }
                Some(news)
            }
            LinkEvent::Connected(_)
            | LinkEvent::Violated(_)
            | LinkEvent::Wrote(_)
            | LinkEvent::Finished(_) => None,
        }
    }

    /// Messages of sessions reach the inbox immediately.
    pub(super) fn listen(&self) {
        // Fails only if the run has ended.
        let _ = self.inbox.send(Message::<J>::listened().into());
    }

    pub(super) fn send(&self, worker: WorkerId, message: ToWorker<J>) {
        let local = self.workers.get(&worker);
        if let Some(to_worker) = local.and_then(|local| local.to_worker.as_ref()) {
            // If the worker has ended, its `Exited` event is on the way.
            let _ = to_worker.send(message);
        }
    }

    pub(super) fn kill(&mut self, worker: WorkerId) {
        if let Some(local) = self.workers.get_mut(&worker) {
            local.to_worker = None;
        }
    }

    pub(super) fn pid(&self, worker: WorkerId) -> Option<u32> {
        self.workers.contains_key(&worker).then(std::process::id)
    }
}
