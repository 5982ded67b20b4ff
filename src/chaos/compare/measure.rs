//! Runs one mode until its list is done, or further runs are pointless.
//!
//! This module must not compare modes.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::check::{self, Evidence, Violation};
use super::super::job::{Job, ending};
use super::super::plan::Plan;
use super::super::scene::Scene;
use super::super::watch::{Interrupt, Watch};
use super::super::{ChaosError, check::Findings};
use super::Cost;
use crate::cli::mode::Mode;
use crate::shootout::tree::{self, Memory};

/// Most runs of one mode.
const RUNS: u32 = 6;

/// Longest wait for progress. It is longer than all leases of a task that hangs repeatedly, so that
/// a run that can recover does.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a run may take to exit after SIGTERM.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// Time between two memory samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// Memory is sampled during the first 1/`CALM` of the list. None of the three URLs is in that part.
const CALM: u64 = 3;

/// Runs a mode, several times if necessary.
///
/// # Errors
///
/// Fails if it cannot be run or watched.
pub(super) fn measure(mode: Mode, plan: &Plan, interrupt: &Interrupt) -> Result<Cost, ChaosError> {
    let mut scene = Scene::set(plan)?;
    let mut watch = Watch::follow([scene.journal().as_path()]).map_err(ChaosError::Supervise)?;
    let begun = Instant::now();
    let mut cost = Cost {
        mode,
        first_run: String::new(),
        survived: false,
        lost: 0,
        runs: 0,
        recovered_s: None,
        served_again: 0,
        memory: None,
        cpu_s: 0.0,
    };
    while cost.runs < RUNS && interrupt.signal().is_none() {
        let mut attempt = Attempt {
            plan,
            watch: &mut watch,
            interrupt,
            sample: cost.runs == 0,
            memory: None,
        };
        let (status, stuck, cpu) = attempt.run(&scene).map_err(ChaosError::Supervise)?;
        cost.memory = cost.memory.or(attempt.memory);
        cost.cpu_s += cpu.as_secs_f64();
        cost.runs += 1;
        let left = innocents_left(plan, &scene)?;
        if cost.runs == 1 {
            cost.first_run = match stuck {
                true => format!("stuck, then {}", ending(status)),
                false => ending(status),
            };
            cost.survived = !stuck && left == 0 && matches!(status.code(), Some(0 | 1));
            cost.lost = left;
        }
        if left == 0 {
            cost.recovered_s = Some(begun.elapsed().as_secs_f64());
            break;
        }
        // Exit code 3: the run could not start.
        if status.code() == Some(3) || status.signal() == Some(Signal::INT.as_raw()) {
            break;
        }
    }
    cost.served_again = watch.complete() - watch.urls();
    scene.close();
    Ok(cost)
}

/// Returns the number of harmless URLs without a correct file, whatever the run reports.
fn innocents_left(plan: &Plan, scene: &Scene) -> Result<usize, ChaosError> {
    let findings: Findings = check::check(&Evidence {
        tasks: &plan.tasks,
        spec: &plan.spec,
        output: &scene.output(),
        tmp: &scene.tmp(),
        journal: &scene.journal(),
        killed_ns: &[],
        died_with: &BTreeSet::new(),
        processes: &[],
    })?;
    let broken = [Violation::Torn, Violation::WrongBytes, Violation::Lost];
    tracing::debug!(
        stored = findings.stored,
        broken = ?broken.map(|violation| findings.count(violation)),
        "after a run"
    );
    Ok(findings.urls - findings.poisons - findings.stored)
}

struct Attempt<'a> {
    plan: &'a Plan,
    watch: &'a mut Watch,
    interrupt: &'a Interrupt,
    sample: bool,
    memory: Option<Memory>,
}

impl Attempt<'_> {
    /// Runs once. Returns the status, whether it was stuck and was ended, and processor time.
    fn run(&mut self, scene: &Scene) -> io::Result<(ExitStatus, bool, Duration)> {
        let mut job = Job::start(scene.command(self.plan), &scene.said())?;
        let calm = self.plan.tasks.len() as u64 / CALM;
        let mut seen = self.watch.complete();
        let mut give_up_at = Instant::now() + PATIENCE;
        let mut kill_at = None;
        loop {
            let sampling = self.sample && self.watch.complete() < calm;
            if sampling {
                let now = tree::memory(job.pid());
                self.memory = match (self.memory, now) {
                    (Some(one), Some(other)) => Some(one.peak(other)),
                    (one, other) => one.or(other),
                };
            }
            let wake = kill_at.unwrap_or(give_up_at);
            let wake = match sampling {
                true => wake.min(Instant::now() + SAMPLE_EVERY),
                false => wake,
            };
            if self.watch.wait(job.pidfd(), self.interrupt, wake)? {
                let (status, usage) = job.finish()?;
                return Ok((status, kill_at.is_some(), usage.user + usage.system));
            }
            if self.watch.complete() > seen {
                seen = self.watch.complete();
                give_up_at = Instant::now() + PATIENCE;
            }
            let now = Instant::now();
            match kill_at {
                Some(at) if now >= at => job.signal(Signal::KILL),
                Some(_) => {}
                None if self.interrupt.signal().is_some() || now >= give_up_at => {
                    job.signal(Signal::TERM);
                    kill_at = Some(now + LEAVE_WITHIN);
                }
                None => {}
            }
        }
    }
}
