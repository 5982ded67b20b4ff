//! `coordinator fleet join`: a member. It owns some partitions, and its own run downloads their
//! targets.
//!
//! ```text
//!   queue --frames--> actor --lines--> the run's intake ... run log --lines--> actor --> chains
//!                       |
//!                       +--> lease (pure): which partitions, until when
//! ```
//!
//! The run is an ordinary run: it reads a list that grows while the run reads it, and does not know
//! of a fleet. The actor has its own thread. It reads the outcomes of the run from the run log.

mod actor;
mod hand_out;
mod log;
mod partition;

use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc::unbounded_channel;

use super::FleetError;
use super::queue::{Place, Queue};
use crate::config::{Recorded, RunConfig};
use crate::fence::Fence;
use crate::input::{Fed, Source};
use crate::run::{self, Outcome};
use crate::watch::Share;
use actor::{Actor, MemberEvent};
use hand_out::HandOut;
use log::OwnLog;
pub(super) use log::each_done;

/// Number of targets that the core keeps ready per concurrent download, and the minimum in total.
/// The hosts of a partition that was taken over wait behind these targets.
const LOOKAHEAD: usize = 4;
const LEAST_LOOKAHEAD: usize = 16;

/// Settings of a member.
#[derive(Debug)]
pub struct Join {
    /// The queue.
    pub place: Place,
    /// Display name of this member.
    pub machine: String,
    /// Settings of the run. [`join`] sets the source of its targets.
    pub config: RunConfig,
    /// Time without a heartbeat after which other members take a member's partitions.
    pub lease: std::time::Duration,
}

/// Runs a member until the list is done or the member has to leave.
///
/// # Errors
///
/// Fails if the queue cannot be used, or if the run cannot start.
pub fn join(join: Join) -> Result<Outcome, FleetError> {
    let Join {
        place,
        machine,
        mut config,
        lease,
    } = join;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(FleetError::system("start a thread"))?;
    let queue = runtime.block_on(Queue::open(&place))?;
    let told = runtime.block_on(queue.told(&machine))?;
    let (log, untold) = OwnLog::open(config.output.clone(), place.run, told)?;
    let (list, fed) = Fed::new();
    let (news, inbox) = unbounded_channel();
    let recorded = news.clone();
    config.sources = vec![Source::Fed(fed)];
    config.recorded = Some(Recorded::new(move || {
        // The receiver is gone once the member has left.
        let _ = recorded.send(MemberEvent::Recorded);
    }));
    let share = Share::default();
    config.share = Some(share.clone());
    let fence = Fence::default();
    config.fence = Some(fence.clone());
    let at_once = u64::from(config.limits.workers) * u64::from(config.limits.concurrency);
    // A target that the core has read cannot be returned to the fleet.
    let lookahead = usize::try_from(at_once).unwrap_or(usize::MAX);
    config.limits.lookahead = lookahead.saturating_mul(LOOKAHEAD).max(LEAST_LOOKAHEAD);
    let actor = Actor::new(
        queue,
        machine,
        lease,
        log,
        Arc::clone(&config.lists),
        HandOut::new(list, fence.clone(), at_once, config.limits.spacing),
        untold,
        share,
        fence,
        news.clone(),
    );
    let acting = thread::Builder::new()
        .name("fleet".to_owned())
        .spawn(move || runtime.block_on(actor.run(inbox)))
        .map_err(FleetError::system("start a thread"))?;
    let done = run::execute(config);
    let _ = news.send(MemberEvent::RunEnded);
    let left = acting.join();
    let outcome = done?;
    if left.is_err() {
        tracing::error!("the fleet's thread has failed; the run log is whole");
    }
    Ok(outcome)
}
