//! Runs the coordinator repeatedly, and injects the planned faults, until it ends normally.
//!
//! This module must not look at results. That is the checker's task.

use std::collections::BTreeMap;
use std::io;
use std::iter::Peekable;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Serialize;

use super::job::{Job, ending};
use super::plan::{Injection, Plan, What};
use super::progress::Progress;
use super::scene::Scene;
use super::tear;
use super::watch::{Interrupt, Watch};

/// Most runs in a row that may end early without progress.
const FRUITLESS: u32 = 5;

/// The faults of the coordinator, and its runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Story {
    /// How often it was started.
    pub starts: u32,
    /// How the runs ended, and how often each way.
    pub ends: BTreeMap<String, u32>,
    /// The faults that were injected, and how often each.
    pub injections: BTreeMap<&'static str, u32>,
    /// When it died of SIGKILL, in nanoseconds on the monotonic clock.
    #[serde(skip)]
    pub killed_ns: Vec<u64>,
    /// When each run ended, however it ended, on the same clock.
    #[serde(skip)]
    pub ended_ns: Vec<u64>,
    /// Why the list was not finished, if it was not.
    pub unfinished: Option<String>,
    /// The signal that interrupted the chaos run.
    #[serde(skip)]
    pub interrupted: Option<u8>,
}

/// Runs the coordinator until it exits with code 0 or 1, the time is up, or a signal arrives.
///
/// # Errors
///
/// Fails if a run cannot be started or watched.
pub fn supervise(
    plan: &Plan,
    scene: &Scene,
    interrupt: &Interrupt,
    progress: &Progress,
) -> io::Result<Story> {
    let mut supervisor = Supervisor {
        plan,
        scene,
        interrupt,
        progress,
        until: Instant::now() + plan.limit,
        watch: Watch::follow([scene.journal().as_path()])?,
        injections: plan.injections.iter().peekable(),
        story: Story::default(),
    };
    let mut fruitless = 0;
    loop {
        let begun_with = supervisor.watch.complete();
        let attended = supervisor.attend()?;
        fruitless = match supervisor.watch.complete() > begun_with || attended.done.is_some() {
            true => 0,
            false => fruitless + 1,
        };
        if !supervisor.goes_on(attended.status, fruitless) {
            return Ok(supervisor.story);
        }
        match attended.done {
            Some(What::Cut(share)) => tear::cut(&results(scene), share)?,
            Some(What::Half(share)) => tear::append_half(&results(scene), share)?,
            Some(What::Kill | What::Term | What::Suspend(_) | What::Disk(_)) | None => {}
        }
    }
}

struct Supervisor<'a> {
    plan: &'a Plan,
    scene: &'a Scene,
    interrupt: &'a Interrupt,
    progress: &'a Progress,
    until: Instant,
    watch: Watch,
    injections: Peekable<std::slice::Iter<'a, Injection>>,
    story: Story,
}

/// A run that has ended.
struct Attended {
    status: ExitStatus,
    /// The last fault that was injected.
    done: Option<What>,
}

impl Supervisor<'_> {
    /// Attends to one run, from its start to its end.
    fn attend(&mut self) -> io::Result<Attended> {
        let begun_with = self.watch.complete();
        let mut job = Job::start(self.scene.command(self.plan), &self.scene.said())?;
        self.story.starts += 1;
        let (mut done, mut resume_at) = (None, None);
        loop {
            self.progress.show(self.watch.urls(), &self.story);
            if resume_at.is_some_and(|at| Instant::now() >= at) {
                job.signal(Signal::CONT);
                // Another injection may follow in the same run.
                (done, resume_at) = (None, None);
            }
            let complete = self.watch.complete();
            // A run makes some progress before a fault is injected.
            if done.is_none()
                && complete > begun_with
                && let Some(injection) = self
                    .injections
                    .next_if(|injection| complete >= injection.after)
            {
                befall(&job, injection, self.scene)?;
                if let What::Suspend(time) = injection.what {
                    resume_at = Some(Instant::now() + time);
                }
                *self
                    .story
                    .injections
                    .entry(injection.what.name())
                    .or_default() += 1;
                done = Some(injection.what);
            }
            let wake = resume_at.map_or(self.until, |at| at.min(self.until));
            let ended = self.watch.wait(job.pidfd(), self.interrupt, wake)?;
            if !ended && (self.interrupt.signal().is_some() || Instant::now() >= self.until) {
                job.signal(Signal::KILL);
            } else if !ended {
                continue;
            }
            let (status, _) = job.finish()?;
            return Ok(Attended { status, done });
        }
    }

    /// Records how a run ended. Returns whether another one follows.
    fn goes_on(&mut self, status: ExitStatus, fruitless: u32) -> bool {
        let story = &mut self.story;
        *story.ends.entry(ending(status)).or_default() += 1;
        let now = monotonic_ns();
        story.ended_ns.push(now);
        if status.signal() == Some(Signal::KILL.as_raw()) {
            story.killed_ns.push(now);
        }
        story.interrupted = self.interrupt.signal();
        if story.interrupted.is_some() || matches!(status.code(), Some(0 | 1)) {
            return false;
        }
        story.unfinished = match status.code() {
            Some(_) | None if Instant::now() >= self.until => Some(format!(
                "it took longer than {}",
                humantime::format_duration(self.plan.limit)
            )),
            Some(code @ (2 | 3)) => Some(format!("a run could not begin: exit code {code}")),
            Some(_) | None if fruitless == FRUITLESS => Some(format!(
                "{FRUITLESS} runs in a row did nothing; the last ended with {}",
                ending(status)
            )),
            Some(_) | None => None,
        };
        story.unfinished.is_none()
    }
}

fn befall(job: &Job, injection: &Injection, scene: &Scene) -> io::Result<()> {
    match injection.what {
        What::Kill | What::Cut(_) | What::Half(_) => job.signal(Signal::KILL),
        What::Term => job.signal(Signal::TERM),
        What::Suspend(_) => job.signal(Signal::STOP),
        What::Disk(more) => {
            let size = std::fs::metadata(results(scene))?.len();
            return job.limit_files(size + more);
        }
    }
    Ok(())
}

impl What {
    /// Returns the name in the story.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "coordinator",
            Self::Term => "term",
            Self::Suspend(_) => "suspend",
            Self::Cut(_) | Self::Half(_) => "torn",
            Self::Disk(_) => "disk",
        }
    }
}

fn results(scene: &Scene) -> PathBuf {
    scene.output().join(".coordinator/results.jsonl")
}

pub(super) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Neither value is ever negative.
    let since = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    );
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
