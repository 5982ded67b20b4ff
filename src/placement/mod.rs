//! Placement: puts finished bodies in place and runs `--exec` on them.
//!
//! ```text
//!   shell ── Job ──> placement thread ── Order ──> command threads (only with --exec)
//!     ^                     │                            │
//!     └──────── PlacementEvent ───────┴────────────────────────────┘
//! ```
//!
//! Only this module changes files of the user. A worker writes into its own folder and cannot
//! change a body that is in place. What it left is checked (`body`) before it is moved (`place`).
//! Partial bodies of workers that have exited are kept for other workers (`leftovers`).
//!
//! One thread does all jobs, in order. So a worker's bodies are placed before its folder is
//! salvaged, and another worker gets its partial bodies only after that. If the file system is
//! slow, helper threads share the bodies of one job. The thread may hang with the disk; only the
//! tasks concerned and workers that are starting wait for it. So this module also creates the
//! folders of workers, and tests the disk (`proof`). It must not decide what happens to a task.

mod body;
mod crew;
mod helpers;
mod lease;
mod leftovers;
mod partials;
mod place;
mod proof;
mod times;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use protocol::{Failure, FailureKind, Known, Severity, Stored, TaskId, TaskKind, WorkerId};
use rustix::fs::Mode;
use worker::Fault;

use crate::exec::Executor;
use crate::fence::{Fence, FencedTarget};
use crate::folder::Folder;
use body::{Body, Leases};
use crew::Crew;
use helpers::Helpers;
use place::{Move, errno, sync_folder};
use times::Times;

pub use lease::has_leases;
pub use leftovers::{KEPT, LOCAL, Tidied, folder_of, is_name, tidy};

/// Maximum time that the end of a run waits for commands to end and for their files to be removed:
/// longer than the executor needs.
const END_WITHIN: Duration = Duration::from_secs(20);

/// Maximum number of jobs between two reports.
const BATCH: usize = 256;

/// Placing a body that takes longer is mostly waiting. Several bodies are then placed at once.
const SLOW: Duration = Duration::from_micros(500);

/// The configuration of placement.
#[derive(Debug)]
pub struct Plan {
    /// The output folder.
    pub output: Folder,
    /// The folder that contains the workers' folders.
    pub partial: Folder,
    /// Whether workers are threads of this process.
    pub local: bool,
    /// The id of the current boot, to resume partial bodies in; `None` if none are kept.
    pub boot: Option<String>,
    /// Whether a file must survive a loss of power before it is reported.
    pub fsync: bool,
    /// Whether files get the modification time that the server reports.
    pub remote_time: bool,
    /// Whether permanent failures are retried too.
    pub insist: bool,
    /// Decides whether a target of a fleet may still be placed.
    pub fence: Option<Fence>,
    /// The executor of the command on each file, and the maximum number of commands at once.
    pub exec: Option<(Executor, usize)>,
}

/// A body to place.
#[derive(Debug)]
pub struct Order {
    /// The worker that downloaded it.
    pub worker: WorkerId,
    pub task: TaskId,
    /// The kind of the task.
    pub kind: TaskKind,
    /// Its URL.
    pub url: String,
    /// The name of the body in the worker's folder.
    pub partial: String,
    /// The final path of the file, relative to the output folder.
    pub path: String,
    /// Whether an existing file may be replaced.
    pub replace: bool,
    /// The file in place, if it may still be current.
    pub known: Option<Box<Known>>,
    /// The target of a fleet that the body belongs to, if any.
    pub fenced_as: Option<FencedTarget>,
    /// The body, as the worker describes it.
    pub stored: Box<Stored>,
}

#[derive(Debug)]
pub enum PlacementEvent {
    /// An order is finished, or a failure that a worker called fatal has been checked.
    Placed {
        /// The worker that had the body or the failure.
        worker: WorkerId,
        task: TaskId,
        /// The file, or the failure.
        result: Result<Box<Stored>, Box<Failure>>,
        /// How the worker broke the protocol, if it did.
        violation: Option<String>,
    },
    /// An order was refused, because the target no longer belongs to this member. The body has been
    /// removed.
    Fenced {
        /// The worker that had the body.
        worker: WorkerId,
        task: TaskId,
        /// The body, as the worker described it.
        stored: Box<Stored>,
    },
    /// The partial bodies that exist are now in the folder of this worker.
    Fetched { worker: WorkerId },
    /// The folder of this worker exists, or cannot be created.
    Made {
        worker: WorkerId,
        /// The error, if it cannot be created.
        result: io::Result<()>,
    },
}

/// A job for the placement thread.
#[derive(Debug)]
enum Job {
    Make(WorkerId),
    Place(Vec<Order>),
    Prove {
        worker: WorkerId,
        task: TaskId,
        failure: Box<Failure>,
    },
    Fetch {
        worker: WorkerId,
        /// Names of partial bodies, each with the last worker that had it.
        bodies: Vec<(Option<WorkerId>, String)>,
    },
    Salvage(WorkerId),
}

/// The handle of the placement thread. Call [`close`](Self::close) at the end.
#[derive(Debug)]
pub struct Placement {
    jobs: Sender<Job>,
    crew: Option<Arc<Crew>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Placement {
    /// Starts the thread. It passes events to `tell`, in batches.
    ///
    /// # Errors
    ///
    /// Fails if the thread cannot be started.
    pub fn start(
        plan: Plan,
        tell: impl Fn(Vec<PlacementEvent>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let tell: Arc<crew::Tell> = Arc::new(tell);
        let output = Arc::new(plan.output);
        let crew = plan.exec.map(|(executor, most)| {
            let (output, tell) = (Arc::clone(&output), Arc::clone(&tell));
            Arc::new(Crew::new(executor, most, plan.insist, output, tell))
        });
        let (jobs, received) = channel();
        let (end, ended) = channel();
        let mut hand = Hand {
            mover: Arc::new(Mover {
                output,
                local: plan.local,
                times: plan.remote_time.then(Times::default),
                insist: plan.insist,
                fence: plan.fence,
            }),
            partial: plan.partial,
            boot: plan.boot,
            fsync: plan.fsync,
            crew: crew.clone(),
            helpers: None,
            pace: Duration::ZERO,
            folders: HashMap::new(),
        };
        Builder::new().name("placement".to_owned()).spawn(move || {
            hand.work(&received, &*tell);
            drop(end);
        })?;
        Ok(Self { jobs, crew, ended })
    }

    /// Creates the new folder of `worker`. The answer is [`PlacementEvent::Made`].
    pub fn make(&self, worker: WorkerId) {
        self.tell(Job::Make(worker));
    }

    /// Checks whether a failure that `worker` calls fatal is fatal. The answer is
    /// [`PlacementEvent::Placed`] with a fatal or a transient failure.
    pub fn prove(&self, worker: WorkerId, task: TaskId, failure: Box<Failure>) {
        self.tell(Job::Prove {
            worker,
            task,
            failure,
        });
    }

    /// Places bodies. The answer for each is [`PlacementEvent::Placed`].
    pub fn place(&self, orders: Vec<Order>) {
        self.tell(Job::Place(orders));
    }

    /// Moves existing partial bodies to the folder of `worker`. The answer is
    /// [`PlacementEvent::Fetched`]. Each name comes with the last worker that had it.
    pub fn fetch(&self, worker: WorkerId, bodies: Vec<(Option<WorkerId>, String)>) {
        self.tell(Job::Fetch { worker, bodies });
    }

    /// Keeps the resumable partial bodies of a worker that has exited, and removes its folder.
    pub fn salvage(&self, worker: WorkerId) {
        self.tell(Job::Salvage(worker));
    }

    /// Stops commands until [`resume`](Self::resume).
    pub fn stop(&self) {
        if let Some(crew) = &self.crew {
            crew.executor().stop();
        }
    }

    /// Continues commands.
    pub fn resume(&self) {
        if let Some(crew) = &self.crew {
            crew.executor().resume();
        }
    }

    /// Returns whether a command runs on each file.
    #[must_use]
    pub const fn runs_commands(&self) -> bool {
        self.crew.is_some()
    }

    /// Ends running commands and removes their files. Bodies that are not placed yet are not
    /// reported. Waits for this, but not for a disk that hangs.
    pub fn close(self) {
        let Self { jobs, crew, ended } = self;
        let deadline = Instant::now() + END_WITHIN;
        if let Some(crew) = &crew {
            crew.abandon();
        }
        drop(jobs);
        let left = deadline.saturating_duration_since(Instant::now());
        if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the disk does not answer; files may be in place without a record");
            return;
        }
        if let Some(crew) = &crew {
            crew.wait(deadline);
        }
    }

    fn tell(&self, job: Job) {
        // The thread ends when this value is dropped.
        let _ = self.jobs.send(job);
    }
}

/// The state of the placement thread.
#[derive(Debug)]
struct Hand {
    mover: Arc<Mover>,
    partial: Folder,
    boot: Option<String>,
    fsync: bool,
    crew: Option<Arc<Crew>>,
    /// Started when they are first needed.
    helpers: Option<Helpers>,
    /// Recent average time to place a body.
    pace: Duration,
    /// The folders of workers that were needed so far.
    folders: HashMap<WorkerId, Arc<Folder>>,
}

/// Places single bodies.
#[derive(Debug)]
struct Mover {
    output: Arc<Folder>,
    local: bool,
    /// `None` if files keep the time of their download.
    times: Option<Times>,
    insist: bool,
    fence: Option<Fence>,
}

/// Reason why a body is not in place.
#[derive(Debug)]
enum Misplaced {
    Fault(Fault),
    /// The worker broke the protocol.
    Violation(String),
    /// The target is not this machine's any more.
    Fenced,
}

impl Hand {
    fn work(&mut self, jobs: &Receiver<Job>, tell: &crew::Tell) {
        while let Ok(first) = jobs.recv() {
            let mut news = Vec::new();
            let mut placed = Vec::new();
            let mut orders = Vec::new();
            let rest = jobs.try_iter().take(BATCH);
            for job in std::iter::once(first).chain(rest) {
                match job {
                    Job::Make(worker) => {
                        let result = self.make(worker);
                        // Sent now, so that it does not wait for a sync.
                        tell(vec![PlacementEvent::Made { worker, result }]);
                    }
                    Job::Prove {
                        worker,
                        task,
                        failure,
                    } => news.push(PlacementEvent::Placed {
                        worker,
                        task,
                        result: Err(self.proven(worker, failure)),
                        violation: None,
                    }),
                    Job::Place(more) => orders.extend(more),
                    Job::Fetch { worker, bodies } => {
                        self.place_all(&mut orders, &mut placed, &mut news);
                        for (from, name) in bodies {
                            self.fetch(worker, from, &name);
                        }
                        news.push(PlacementEvent::Fetched { worker });
                    }
                    Job::Salvage(worker) => {
                        self.place_all(&mut orders, &mut placed, &mut news);
                        self.salvage(worker);
                    }
                }
            }
            self.place_all(&mut orders, &mut placed, &mut news);
            let synced = self.sync(&placed);
            for order in placed {
                match (&synced, &self.crew) {
                    (Err(fault), _) => news.push(failed(order, fault.clone(), false)),
                    (Ok(()), Some(crew)) if order.wants_command() => crew.take(order),
                    (Ok(()), _) => news.push(done(order)),
                }
            }
            if !news.is_empty() {
                tell(news);
            }
        }
    }

    /// Creates the folder of a worker, which other users cannot read.
    fn make(&mut self, worker: WorkerId) -> io::Result<()> {
        let name = self.folder_name(worker);
        let folder = self.partial.make_folders(name, Mode::RWXU)?;
        self.folders.insert(worker, Arc::new(folder));
        Ok(())
    }

    /// Places bodies, several at once if that is slow. Adds placed bodies to `placed`, in any
    /// order, and all other events to `news`.
    fn place_all(
        &mut self,
        orders: &mut Vec<Order>,
        placed: &mut Vec<Order>,
        news: &mut Vec<PlacementEvent>,
    ) {
        let found: Vec<Found> = std::mem::take(orders)
            .into_iter()
            .map(|order| (self.folder(order.worker), order))
            .collect();
        let helpers = match self.pace > SLOW && found.len() > 1 {
            true => Some(
                self.helpers
                    .get_or_insert_with(|| Helpers::new(&self.mover)),
            ),
            false => None,
        };
        let done = match helpers {
            Some(helpers) => helpers.place(&self.mover, found),
            None => found
                .into_iter()
                .map(|found| self.mover.place_timed(found))
                .collect(),
        };
        for (result, time) in done {
            self.pace = (self.pace * 7 + time) / 8;
            match result {
                Ok(order) => placed.push(order),
                Err(told) => news.push(told),
            }
        }
    }

    /// Makes placed files safe from a loss of power. Syncs each folder once.
    fn sync(&self, placed: &[Order]) -> Result<(), Fault> {
        if !self.fsync {
            return Ok(());
        }
        let mut folders = BTreeMap::new();
        for order in placed.iter().filter(|order| !order.stored.unchanged) {
            for (end, _) in order.path.match_indices('/') {
                folders.entry(&order.path[..end]).or_insert(&*order.path);
            }
            folders.entry("").or_insert(&*order.path);
        }
        // Deepest first: a name must be on disk before the folder that contains it.
        for (folder, path) in folders.into_iter().rev() {
            sync_folder(&self.mover.output, folder).map_err(|errno| {
                // Placed files may be lost, and so may later ones, whatever later calls return.
                let known = Fault::storing("sync", path, errno);
                Fault::fatal(known.kind, known.message)
            })?;
        }
        Ok(())
    }

    /// Returns the folder of a worker.
    fn folder(&mut self, worker: WorkerId) -> io::Result<Arc<Folder>> {
        if let Some(folder) = self.folders.get(&worker) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(self.partial.folder(self.folder_name(worker))?);
        self.folders.insert(worker, Arc::clone(&folder));
        Ok(folder)
    }

    fn folder_name(&self, worker: WorkerId) -> String {
        match self.mover.local {
            true => LOCAL.to_owned(),
            false => folder_of(worker),
        }
    }
}

/// A body to place, with its folder.
type Found = (io::Result<Arc<Folder>>, Order);

/// The result of placing a body, and the time that it took.
type Timed = (Result<Order, PlacementEvent>, Duration);

impl Mover {
    fn place_timed(&self, (folder, order): Found) -> Timed {
        let begun = Instant::now();
        let mut result = self.place(folder, order);
        let time = begun.elapsed();
        if let Ok(order) = &mut result {
            order.stored.exchange.timing.store += time;
        }
        (result, time)
    }

    /// Places a body that is in this folder: six system calls for a file in the output folder
    /// itself. Returns the order with the facts about the file.
    fn place(
        &self,
        folder: io::Result<Arc<Folder>>,
        mut order: Order,
    ) -> Result<Order, PlacementEvent> {
        match self.put(folder, &mut order) {
            Ok(()) => Ok(order),
            Err(Misplaced::Fault(fault)) => Err(failed(order, fault, self.insist)),
            Err(Misplaced::Violation(problem)) => {
                let text = format!("worker {} broke the protocol: {problem}", order.worker);
                let fault = Fault::transient(FailureKind::Store, text);
                let mut told = failed(order, fault, self.insist);
                if let PlacementEvent::Placed { violation, .. } = &mut told {
                    *violation = Some(problem);
                }
                Err(told)
            }
            Err(Misplaced::Fenced) => Err(PlacementEvent::Fenced {
                worker: order.worker,
                task: order.task,
                stored: order.stored,
            }),
        }
    }

    fn put(&self, folder: io::Result<Arc<Folder>>, order: &mut Order) -> Result<(), Misplaced> {
        let is_known = order.known.as_ref().is_some_and(|known| {
            known.bytes == order.stored.bytes && known.sha256 == order.stored.sha256
        });
        if order.stored.unchanged {
            return match is_known {
                true => Ok(()),
                false => Err(Misplaced::Violation(
                    "it reported a file as current that does not exist".to_owned(),
                )),
            };
        }
        let folder = folder.map_err(|error| {
            let object = "the folder of a worker";
            Misplaced::Fault(Fault::storing("open", object, errno(&error)))
        })?;
        let times = self.times.as_ref();
        let leases = match self.local {
            true => Leases::Needless,
            false => Leases::Taken,
        };
        let to = Move {
            output: &self.output,
            folder: &folder,
            name: &order.partial,
            path: &order.path,
            replace: order.replace,
        };
        let violation = |problem: String| {
            to.discard();
            Misplaced::Violation(problem)
        };
        let body = Body::open(&folder, &order.partial, leases)
            .map_err(|found| violation(format!("its body cannot be used: {found}")))?;
        if body.bytes() != order.stored.bytes {
            return Err(violation(
                "its body does not have the size that it reported".to_owned(),
            ));
        }
        if is_known && to.is_in_place(order.stored.bytes) {
            to.discard();
            order.stored.unchanged = true;
            return Ok(());
        }
        if let (Some(times), Some(modified)) = (times, order.stored.modified) {
            times.set(&body, modified, &order.path);
        }
        // Last of all: what comes before it may take long.
        if !self.may_place(order.fenced_as) {
            to.discard();
            return Err(Misplaced::Fenced);
        }
        if let Err(errno) = to.place() {
            let fault = to.misplaced(errno);
            to.discard();
            return Err(Misplaced::Fault(fault));
        }
        if !body.is_untouched() {
            to.take_away();
            return Err(Misplaced::Violation(
                "a process wanted to write to its body while it was put in place".to_owned(),
            ));
        }
        Ok(())
    }

    fn may_place(&self, target: Option<FencedTarget>) -> bool {
        match (&self.fence, target) {
            (Some(fence), Some(target)) => fence.allows(target),
            (None, _) | (_, None) => true,
        }
    }
}

impl Order {
    /// Returns whether the command runs on the file. A file that was in place before has been
    /// through its command or was stored without one. A file that is not from the list has no
    /// command.
    fn wants_command(&self) -> bool {
        !self.stored.unchanged && self.kind == TaskKind::Listed
    }
}

/// Returns the event that `order` is done.
fn done(order: Order) -> PlacementEvent {
    PlacementEvent::Placed {
        worker: order.worker,
        task: order.task,
        result: Ok(order.stored),
        violation: None,
    }
}

/// Returns the event that `order` failed. With `insist`, a permanent failure becomes transient.
fn failed(order: Order, fault: Fault, insist: bool) -> PlacementEvent {
    let severity = if insist && fault.severity == Severity::Permanent {
        Severity::Transient { retry_after: None }
    } else {
        fault.severity
    };
    let failure = Failure {
        exchange: order.stored.exchange,
        kind: fault.kind,
        message: fault.message,
        severity,
    };
    PlacementEvent::Placed {
        worker: order.worker,
        task: order.task,
        result: Err(Box::new(failure)),
        violation: None,
    }
}

#[cfg(test)]
mod tests;
