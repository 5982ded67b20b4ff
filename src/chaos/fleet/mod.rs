//! Chaos in a fleet: runs members, a feeder and the queue under seeded faults, and checks what
//! happened to the list.
//!
//! ```text
//!   plan -- list, injections --> supervise -- members, feeder, queue --> (all members done)
//!                                 |                                              |
//!       origins, their journals, folders, messages of the queue  ---->  check --> report
//! ```
//!
//! The members, the feeder and the queue (nats-server) run as separate processes. This module must
//! not use the fleet's code.

mod link;
mod plan;
mod report;
mod scene;
mod streams;
mod supervise;

use std::time::Instant;

pub use plan::FleetPlan;

use super::check::fleet::{FleetEvidence, MemberEvidence, MemberPlace, check};
use super::check::{Evidence, processes};
use super::progress::Progress;
use super::recovery::Recovery;
use super::watch::Interrupt;
use super::{ChaosError, Ending};
use report::Report;
use scene::Scene;
use supervise::supervise;

/// Runs chaos in a fleet and prints the verdict.
///
/// # Errors
///
/// Fails if there is no verdict. Damage to the list is a finding and not an error.
pub fn execute(plan: &FleetPlan) -> Result<Ending, ChaosError> {
    let begun = Instant::now();
    let interrupt = Interrupt::listen().map_err(ChaosError::Signals)?;
    let mut scene = Scene::set(plan)?;
    let progress = Progress::new(plan.common.tasks.len(), plan.common.quiet);
    let server = scene.serve(plan).map_err(unserved)?;
    let supervised = supervise(plan, &scene, server, &interrupt, &progress);
    progress.clear();
    let (fate, server) = supervised.map_err(ChaosError::Supervise)?;
    // The origins write the last lines of their journals when they end.
    scene.close();
    if let Some(signal) = fate.interrupted {
        return Ok(Ending::Interrupted(signal));
    }
    let server = match server {
        Some(server) => server,
        None => scene.serve(plan).map_err(unserved)?,
    };
    let raw = streams::read(&scene.queue()).map_err(ChaosError::Queue)?;
    let told = scene
        .results(plan)
        .output()
        .map_err(ChaosError::Supervise)?;
    drop(server);
    let left = processes::left(scene.folder()).map_err(ChaosError::Processes)?;
    let (mut places, mut worker_deaths) = (Vec::new(), 0);
    for (number, story) in fate.members.iter().enumerate() {
        let (output, journal) = (scene.output(number), scene.journal(number));
        let recovery = Recovery::read(&output, &journal, story)?;
        worker_deaths += recovery.deaths();
        places.push(MemberPlace {
            output,
            tmp: scene.tmp(number),
            journal,
            died_with: recovery.died_with,
        });
    }
    let members: Vec<_> = places
        .iter()
        .zip(&fate.members)
        .enumerate()
        .map(|(number, (place, story))| MemberEvidence {
            name: scene::name(number),
            // Every start but the last ended early.
            deaths: story.starts.saturating_sub(1) as usize,
            own: Evidence {
                tasks: &plan.common.tasks,
                spec: &plan.common.spec,
                output: &place.output,
                tmp: &place.tmp,
                journal: &place.journal,
                killed_ns: &story.killed_ns,
                died_with: &place.died_with,
                // Processes that are left are reported once.
                processes: if number == 0 { &left } else { &[] },
            },
        })
        .collect();
    let messages: Vec<_> = raw
        .iter()
        .map(|raw| (raw.sequence, raw.subject.as_str(), raw.payload.as_slice()))
        .collect();
    let findings = check(&FleetEvidence {
        members: &members,
        messages: &messages,
        told: &told.stdout,
        of_a_host: plan::OF_A_HOST.into(),
        disturbed_ns: &fate.disturbed_ns,
    })?;
    let clean = findings.common.is_clean() && fate.unfinished.is_none();
    if !clean {
        // The files are needed to find the cause.
        scene.keep();
    }
    let report = Report {
        plan,
        findings: &findings,
        fate: &fate,
        worker_deaths,
        elapsed: begun.elapsed(),
        kept: scene.is_kept().then(|| scene.folder()),
    };
    report.print().map_err(ChaosError::Write)?;
    Ok(match clean {
        true => Ending::Clean,
        false => Ending::Broken,
    })
}

fn unserved(error: std::io::Error) -> ChaosError {
    ChaosError::Queue(error.to_string())
}
