//! Workers as sessions on threads of the coordinator's own process, for comparison.
//!
//! What a process gives, these do not: they share its memory and its fate, and cannot be killed.
//! Everything above the pool is the same.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use protocol::{FromWorker, Setup, ToWorker, WorkerId};
use worker::{LinkError, LocalInbox, Outbox, Throttle};

use super::{Heard, Message, News};
use crate::dispatch::Exit;
use crate::placement::LOCAL;

/// The workers of a run, each a session in this process. `M` is what the run's inbox takes.
#[derive(Debug)]
pub struct LocalPool<M> {
    setup: Box<Setup>,
    /// What the workers share to keep to one rate, if there is a limit.
    throttle: Option<Throttle>,
    inbox: Sender<M>,
    /// Where each worker hears: dropping that tells it that nobody waits for it any more.
    workers: BTreeMap<WorkerId, Local>,
}

#[derive(Debug)]
struct Local {
    to_worker: Option<Sender<ToWorker>>,
}

/// Says what the session has to say straight to the run's inbox.
#[derive(Debug)]
struct ToInbox<M> {
    worker: WorkerId,
    inbox: Sender<M>,
}

impl<M: From<Message> + Send> ToInbox<M> {
    fn tell(&self, news: News) -> Result<(), LinkError> {
        let message = Message::of(self.worker, Heard::News(news, 0));
        self.inbox
            .send(message.into())
            .map_err(|_| LinkError::Closed)
    }
}

impl<M: From<Message> + Send> Outbox for ToInbox<M> {
    fn send(&self, message: FromWorker) -> Result<(), LinkError> {
        match message {
            FromWorker::Ready => self.tell(News::Ready),
            FromWorker::Reports(reports) => self.tell(News::Reports(reports)),
            FromWorker::Heartbeat(running) => self.tell(News::Heartbeat(running)),
            // Only a process greets.
            FromWorker::Hello(_) => Ok(()),
        }
    }
}

impl<M: From<Message> + Send + 'static> LocalPool<M> {
    /// A pool without workers. Each works as `setup` says; messages go to `inbox`.
    #[must_use]
    pub fn new(mut setup: Setup, inbox: Sender<M>) -> Self {
        setup.partial = Path::new(&setup.partial).join(LOCAL).into();
        Self {
            throttle: setup.limit_rate.as_ref().map(Throttle::local),
            setup: Box::new(setup),
            inbox,
            workers: BTreeMap::new(),
        }
    }

    pub(super) fn spawn(&mut self, worker: WorkerId) -> io::Result<()> {
        let (to_worker, incoming) = channel();
        let outbox = Arc::new(ToInbox {
            worker,
            inbox: self.inbox.clone(),
        });
        let (setup, throttle) = (self.setup.clone(), self.throttle.clone());
        std::thread::Builder::new()
            .name(format!("worker {worker}"))
            .spawn(move || {
                // What it was doing is lost with it; nothing else can see it half done.
                let served = catch_unwind(AssertUnwindSafe(|| {
                    let inbox = LocalInbox(incoming);
                    worker::serve(inbox, Arc::clone(&outbox), &setup, throttle)
                }));
                let exit = match served {
                    Ok(Ok(_)) => Exit::Code(0),
                    Ok(Err(error)) => Exit::NotStarted(error.to_string()),
                    Err(_) => Exit::Unknown,
                };
                // The run is over when nobody takes it.
                let _ = outbox.tell(News::Exited(Box::new(exit.into())));
            })?;
        let local = Local {
            to_worker: Some(to_worker),
        };
        self.workers.insert(worker, local);
        Ok(())
    }

    pub(super) fn digest(&mut self, worker: WorkerId, heard: Heard) -> Option<News> {
        match heard {
            Heard::News(news, _) => {
                if matches!(news, News::Exited(_)) {
                    self.workers.remove(&worker);
                }
                Some(news)
            }
            Heard::Connected(_) | Heard::Violated(_) | Heard::Wrote(_) | Heard::Finished(_) => None,
        }
    }

    /// What sessions say is in the inbox at once.
    pub(super) fn listen(&self) {
        // The run is over when nobody takes it.
        let _ = self.inbox.send(Message::listened().into());
    }

    pub(super) fn send(&self, worker: WorkerId, message: ToWorker) {
        let local = self.workers.get(&worker);
        if let Some(to_worker) = local.and_then(|local| local.to_worker.as_ref()) {
            // If it is gone, that is news, and on its way.
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
