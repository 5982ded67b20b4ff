//! Runs members, feeder and queue, and injects the planned faults, until every member has finished.
//!
//! Must not read results: the checker does.

use std::fs;
use std::io::{self, Write as _};
use std::iter::Peekable;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use super::plan::{Befalls, FleetPlan, Injection, LEASE};
use super::scene::{Scene, Server};
use crate::chaos::job::{Job, ending};
use crate::chaos::plan::What;
use crate::chaos::progress::Progress;
use crate::chaos::supervise::{Story, monotonic_ns};
use crate::chaos::tear;
use crate::chaos::watch::{Interrupt, Watch};

/// Delay before a member that could not start, or a feeder, is started again.
const AGAIN: Duration = Duration::from_millis(200);

/// Time for which a fault can have effects after it ends: until other members have taken over, and
/// pending requests have an answer or have timed out.
const AFTERMATH: Duration = Duration::from_secs(2 * LEASE.as_secs() + 2);

/// The faults that were injected, and how the fleet ended.
#[derive(Debug, Default)]
pub struct Fate {
    /// The story of each member, including faults of the queue that were injected at its turn.
    pub members: Vec<Story>,
    /// The story of the feeder.
    pub feeder: Story,
    /// Number of starts of the queue.
    pub servers: u32,
    /// Periods in which two members may have worked on one partition, in nanoseconds on the
    /// monotonic clock.
    pub disturbed_ns: Vec<(u64, u64)>,
    /// The reason why the fleet did not finish, if it did not.
    pub unfinished: Option<String>,
    /// The signal that interrupted the run.
    pub interrupted: Option<u8>,
}

impl Fate {
    /// Returns the number of faults of members and the queue.
    pub fn injections(&self) -> u32 {
        let members = self
            .members
            .iter()
            .flat_map(|story| story.injections.values());
        members.sum()
    }
}

/// The current state of a member.
#[derive(Debug, Default)]
struct Member {
    job: Option<Job>,
    /// Time of its next start, if it does not run.
    start_at: Option<Instant>,
    /// Time at which it resumes, if it is suspended.
    resume_at: Option<Instant>,
    /// Time at which its link is restored.
    heal_at: Option<Instant>,
    /// The damage to its run log before the next start.
    tear: Option<What>,
    /// Time between its death and the next start.
    gone: Duration,
}

/// Runs the fleet until every member has ended with exit code 0 or 1, the time limit is reached, or
/// a signal arrives.
///
/// # Errors
///
/// Fails if a process cannot be started or watched.
pub fn supervise(
    plan: &FleetPlan,
    scene: &Scene,
    server: Server,
    interrupt: &Interrupt,
    progress: &Progress,
) -> io::Result<(Fate, Option<Server>)> {
    let journals: Vec<_> = (0..plan.members.into()).map(|n| scene.journal(n)).collect();
    let mut supervisor = Supervisor {
        plan,
        scene,
        interrupt,
        until: Instant::now() + plan.common.limit,
        watch: Watch::follow(journals.iter().map(PathBuf::as_path))?,
        injections: plan.injections.iter().peekable(),
        server: Some(server),
        serve_at: None,
        members: Vec::new(),
        fate: Fate::default(),
    };
    for _ in 0..plan.members {
        supervisor.members.push(Member {
            start_at: Some(Instant::now()),
            ..Member::default()
        });
        supervisor.fate.members.push(Story::default());
    }
    supervisor.fate.servers = 1;
    let feeder = Feeder::default();
    let (supervised, fed) = thread::scope(|scope| {
        let feeding = scope.spawn(|| feeder.run(plan, scene));
        let supervised = supervisor.run(progress);
        feeder.end();
        (supervised, feeding.join())
    });
    supervised?;
    supervisor.fate.feeder = fed.map_err(|_| io::Error::other("a thread panicked"))??;
    Ok((supervisor.fate, supervisor.server))
}

struct Supervisor<'a> {
    plan: &'a FleetPlan,
    scene: &'a Scene,
    interrupt: &'a Interrupt,
    until: Instant,
    watch: Watch,
    injections: Peekable<std::slice::Iter<'a, Injection>>,
    server: Option<Server>,
    serve_at: Option<Instant>,
    members: Vec<Member>,
    fate: Fate,
}

impl Supervisor<'_> {
    fn run(&mut self, progress: &Progress) -> io::Result<()> {
        loop {
            self.bring_up()?;
            if self.members.iter().all(Member::is_done) {
                return Ok(());
            }
            self.strike()?;
            let injections = self.fate.injections();
            let starts: u32 = self.fate.members.iter().map(|story| story.starts).sum();
            progress.tell(
                self.watch.urls(),
                format!("{starts} starts of members, {injections} faults injected into the fleet"),
            );
            self.wait()?;
            self.fate.interrupted = self.interrupt.signal();
            let is_late = self.fate.unfinished.is_none() && Instant::now() >= self.until;
            if self.fate.interrupted.is_none() && is_late {
                let limit = humantime::format_duration(self.plan.common.limit);
                self.fate.unfinished = Some(format!("it took longer than {limit}"));
            }
            if self.fate.interrupted.is_some() || self.fate.unfinished.is_some() {
                // Dropping a job kills its process.
                self.members.clear();
                return Ok(());
            }
        }
    }

    /// Starts, resumes and reconnects the processes that are due.
    fn bring_up(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.serve_at.take_if(|at| *at <= now).is_some() {
            self.server = Some(self.scene.serve(self.plan)?);
            self.fate.servers += 1;
        }
        for (number, member) in self.members.iter_mut().enumerate() {
            if member.heal_at.take_if(|at| *at <= now).is_some() {
                self.scene.link(number).heal();
            }
            if member.resume_at.take_if(|at| *at <= now).is_some()
                && let Some(job) = &member.job
            {
                job.signal(Signal::CONT);
            }
            if member.start_at.take_if(|at| *at <= now).is_some() {
                let log = self.scene.output(number).join(".coordinator/results.jsonl");
                match member.tear.take() {
                    Some(What::Cut(share)) => tear::cut(&log, share)?,
                    Some(What::Half(share)) => tear::append_half(&log, share)?,
                    Some(_) | None => {}
                }
                let said = self.scene.of(number).join("said.txt");
                member.job = Some(Job::start(self.scene.join(self.plan, number), &said)?);
                self.fate.members[number].starts += 1;
            }
        }
        Ok(())
    }

    /// Injects the next fault if it is due and its target runs undisturbed.
    fn strike(&mut self) -> io::Result<()> {
        let complete = self.watch.complete();
        let now = Instant::now();
        let Some(injection) = self.injections.peek().copied() else {
            return Ok(());
        };
        if complete < injection.after {
            return Ok(());
        }
        let members = self.members.len();
        let first = (0..members).map(|n| (injection.member + n) % members);
        let Some(number) = first.into_iter().find(|n| self.members[*n].is_well()) else {
            return Ok(());
        };
        if injection.what == Befalls::Server && self.server.is_none() {
            return Ok(());
        }
        self.injections.next();
        let member = &mut self.members[number];
        let Some(job) = &member.job else {
            return Ok(());
        };
        match injection.what {
            Befalls::Server => {
                self.server = None;
                self.serve_at = Some(now + injection.time);
            }
            Befalls::Cut => {
                self.scene.link(number).cut();
                member.heal_at = Some(now + injection.time);
            }
            Befalls::Member(what) => {
                member.gone = injection.time;
                match what {
                    What::Kill | What::Cut(_) | What::Half(_) => {
                        job.signal(Signal::KILL);
                        member.tear = Some(what);
                    }
                    What::Term => job.signal(Signal::TERM),
                    What::Suspend(_) => {
                        job.signal(Signal::STOP);
                        member.resume_at = Some(now + injection.time);
                    }
                    What::Disk(more) => {
                        let log = self.scene.output(number).join(".coordinator/results.jsonl");
                        let size = fs::metadata(log).map_or(0, |metadata| metadata.len());
                        job.limit_files(size + more)?;
                    }
                }
            }
        }
        let story = &mut self.fate.members[number];
        *story.injections.entry(injection.what.name()).or_default() += 1;
        let begun = monotonic_ns();
        let lasts = injection.time + AFTERMATH;
        let lasts = u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
        self.fate
            .disturbed_ns
            .push((begun, begun.saturating_add(lasts)));
        Ok(())
    }

    /// Waits until an action is due, and notes which members have ended.
    fn wait(&mut self) -> io::Result<()> {
        let times = self
            .members
            .iter()
            .flat_map(|member| [member.start_at, member.resume_at, member.heal_at]);
        let wake = times.flatten().chain(self.serve_at).min();
        let wake = wake.map_or(self.until, |at| at.min(self.until));
        let there: Vec<usize> = (0..self.members.len())
            .filter(|n| self.members[*n].job.is_some())
            .collect();
        let jobs = self.members.iter().filter_map(|member| member.job.as_ref());
        let pidfds: Vec<_> = jobs.map(Job::pidfd).collect();
        let ended = self.watch.wait_for_any(&pidfds, self.interrupt, wake)?;
        for (number, _) in there.into_iter().zip(ended).filter(|(_, ended)| *ended) {
            let Some(mut job) = self.members[number].job.take() else {
                continue;
            };
            let (status, _) = job.finish()?;
            self.ended(number, status);
        }
        Ok(())
    }

    fn ended(&mut self, number: usize, status: ExitStatus) {
        let (member, story) = (&mut self.members[number], &mut self.fate.members[number]);
        *story.ends.entry(ending(status)).or_default() += 1;
        let at = monotonic_ns();
        story.ended_ns.push(at);
        if status.signal() == Some(Signal::KILL.as_raw()) {
            story.killed_ns.push(at);
        }
        member.resume_at = None;
        match status.code() {
            Some(0 | 1) => return,
            Some(2) => {
                let reason = "a member could not begin: exit code 2".to_owned();
                self.fate.unfinished = Some(reason);
                return;
            }
            // The queue may be unreachable (exit code 3), or a fault ended the member.
            Some(_) | None => {}
        }
        let gone = std::mem::take(&mut member.gone);
        member.start_at = Some(Instant::now() + gone.max(AGAIN));
    }
}

impl Member {
    const fn is_done(&self) -> bool {
        self.job.is_none() && self.start_at.is_none() && self.heal_at.is_none()
    }

    const fn is_well(&self) -> bool {
        self.job.is_some() && self.resume_at.is_none() && self.heal_at.is_none()
    }
}

/// The feeder of the list.
#[derive(Debug, Default)]
struct Feeder {
    /// Whether feeding must stop.
    over: AtomicBool,
    /// The current process.
    now: Mutex<Option<OwnedFd>>,
    /// Notified when `over` is set.
    told: Condvar,
}

impl Feeder {
    /// Feeds the list, kills the feeder as often as planned, and lets the last one finish.
    fn run(&self, plan: &FleetPlan, scene: &Scene) -> io::Result<Story> {
        let list = fs::read(scene.list())?;
        let mut story = Story::default();
        let mut kills = plan.feeder.iter();
        loop {
            let kill = kills.next();
            let mut job = Job::start(scene.feed(plan), &scene.folder().join("feeder.txt"))?;
            *self.lock() = Some(job.pidfd().try_clone_to_owned()?);
            story.starts += 1;
            let part = kill.map_or(list.len(), |share| (list.len() as f64 * share) as usize);
            if self.over.load(Ordering::SeqCst) {
                job.signal(Signal::KILL);
            } else if let Some(mut stdin) = job.stdin() {
                // A feeder that has ended reports the reason itself.
                let _ = stdin.write_all(&list[..part]);
                if kill.is_some() {
                    job.signal(Signal::KILL);
                    *story.injections.entry("feeder").or_default() += 1;
                }
            }
            let (status, _) = job.finish()?;
            *story.ends.entry(ending(status)).or_default() += 1;
            if status.success() || self.over.load(Ordering::SeqCst) {
                return Ok(story);
            }
            if kill.is_none() {
                // The queue may be unreachable: try again after a delay, unless feeding must stop.
                let now = self.lock();
                if !self.over.load(Ordering::SeqCst) {
                    drop(self.told.wait_timeout(now, AGAIN));
                }
            }
        }
    }

    /// Stops feeding at once.
    fn end(&self) {
        let now = self.lock();
        self.over.store(true, Ordering::SeqCst);
        self.told.notify_all();
        if let Some(now) = &*now {
            // This fails only if the process has ended.
            let _ = pidfd_send_signal(now, Signal::KILL);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
