//! The settings of workers, and of the placement thread.

use std::io;
use std::sync::mpsc::Sender;

use lab::inject;
use lab::origin::Origin;
use protocol::robots::ObeyRobots;
use protocol::{LimitRate, Setup, Simulated, Trust};

use super::inbox::Message;
use super::log::{Layout, OutputFolder};
use super::{HEARTBEAT, HEARTBEATS_PER_LEASE};
use crate::config::{Network, PoolKind, RunConfig};
use crate::exec::Executor;
use crate::placement::{self, Placement};

/// Starts the placement thread.
pub(super) fn placement(
    config: &RunConfig,
    folder: &OutputFolder,
    boot: Option<String>,
    sender: Sender<Message>,
) -> io::Result<Placement> {
    let commands = usize::from(config.limits.workers) * usize::from(config.limits.concurrency);
    let exec = config.exec.clone().map(|exec| {
        let nice = config.worker_limits.nice;
        let output = folder.layout().output().to_owned();
        (Executor::new(exec, output, nice), commands)
    });
    let plan = placement::Plan {
        output: folder.output().try_clone()?,
        partial: folder.partial().try_clone()?,
        local: config.pool == PoolKind::Local,
        boot,
        fsync: config.fsync,
        remote_time: config.remote_time,
        insist: config.http.retry_all_errors,
        fence: config.fence.clone(),
        exec,
    };
    Placement::start(plan, move |news| {
        // The run has ended if this fails.
        let _ = sender.send(Message::Placement(news));
    })
}

/// Returns the settings that every worker receives.
pub(super) fn setup(config: &RunConfig, layout: &Layout, origin: Option<&Origin>) -> Setup {
    let mut http = config.http.clone();
    let simulated = match (&config.network, origin) {
        (Network::SimulatedBy(origin), _) => origin
            .https
            .zip(origin.ca_pem.as_ref())
            .map(|(https, ca_pem)| (origin.http, https, ca_pem)),
        (Network::Simulated(_) | Network::Real, origin) => {
            origin.map(|origin| (origin.http, origin.https, &origin.ca_pem))
        }
    };
    if let Some((plain, https, ca_pem)) = simulated {
        http.simulated = Some(Simulated { http: plain, https });
        http.trust = Trust::Pem(ca_pem.clone());
    }
    Setup {
        partial: layout.partial().as_os_str().to_owned(),
        concurrency: config.limits.concurrency,
        heartbeat: (config.limits.lease_timeout / HEARTBEATS_PER_LEASE).min(HEARTBEAT),
        engine: config.engine,
        spans: config.timeline.is_some(),
        cpu_per_task: config.cpu_per_task,
        boot: None,
        limits: config.worker_limits.clone(),
        limit_rate: config.limit_rate.map(|bytes_per_second| LimitRate {
            bytes_per_second,
            sharers: u32::from(config.limits.workers)
                * u32::from(config.limits.concurrency)
                * u32::from(http.split),
        }),
        fsync: config.fsync,
        http,
        robots: config.robots.clone().map(|token| ObeyRobots {
            folder: layout.robots().into(),
            token,
        }),
        faults: config.inject.as_ref().and_then(inject::Spec::faults),
    }
}
