//! The state of one partition in a member, and the requests to the queue for it.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::fleet::FleetError;
use crate::fleet::chain::{self, Progress, Replay};
use crate::fleet::frame::MAX_TARGETS;
use crate::fleet::lease::{Claim, Partition, Session};
use crate::fleet::queue::{Appended, Queue};
use crate::input::UrlKey;

/// Longest time that an outcome waits to be published together with others.
const TOGETHER: Duration = Duration::from_millis(50);

/// A partition that this member works on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) draining: bool,
    /// Whether the partition is drained and its final message was prepared.
    pub(super) leaving: bool,
    /// Set once the `begin` is in the chain.
    pub(super) progress: Option<Progress>,
    /// Whether a `begin` is in flight.
    pub(super) beginning: bool,
    /// Whether the request for a frame is in flight.
    pub(super) loading: bool,
    /// The message that is being appended to the chain.
    pub(super) message: Option<Bytes>,
    pub(super) appending: bool,
    /// Time since which outcomes wait.
    pub(super) waiting_since: Option<Instant>,
    /// Earliest time of the next append to the chain.
    pub(super) not_before: Instant,
    /// Earliest time of the next request for a frame. It is in the future if there was no frame.
    pub(super) no_frame_before: Instant,
    /// Targets that are taken on but not handed to the run: number, key and line. They go to the
    /// next owner if the member gives up the partition.
    pub(super) held_back: VecDeque<(u64, UrlKey, String)>,
    /// Targets that the run has and has not yet recorded.
    pub(super) handed: HashSet<u64>,
    /// Count of targets handed to the run at the partition's last turn.
    pub(super) turn: u64,
    /// Whether targets are tried one at a time.
    pub(super) alone: bool,
    /// The target that is tried now. Its key and line are present until it is handed out.
    pub(super) trying: Option<(u64, Option<(UrlKey, String)>)>,
}

impl Held {
    pub(super) fn new(claim: Claim, now: Instant) -> Self {
        Self {
            claim,
            draining: false,
            leaving: false,
            progress: None,
            beginning: false,
            loading: false,
            message: None,
            appending: false,
            waiting_since: None,
            not_before: now,
            no_frame_before: now,
            held_back: VecDeque::new(),
            handed: HashSet::new(),
            turn: 0,
            alone: false,
            trying: None,
        }
    }

    /// Returns whether some targets can go to the run at the partition's next turn.
    pub(super) fn waits_for_run(&self) -> bool {
        !self.alone && !self.held_back.is_empty()
    }

    /// If targets are tried one at a time, returns the target to hand out now.
    pub(super) fn try_next(&mut self) -> Option<(u64, UrlKey, String)> {
        let progress = self.progress.as_mut()?;
        if !self.alone {
            return None;
        }
        loop {
            match &mut self.trying {
                Some((task, _)) if progress.has_outcome(*task) => self.trying = None,
                Some((task, target)) if progress.is_trial_told() => {
                    let task = *task;
                    return target.take().map(|(key, line)| (task, key, line));
                }
                Some(_) => return None,
                None => {
                    self.waiting_since.get_or_insert_with(Instant::now);
                    let Some((task, key, line)) = self.held_back.pop_front() else {
                        progress.end_trials();
                        self.alone = false;
                        return None;
                    };
                    if progress.begin_trial(task) {
                        self.trying = Some((task, Some((key, line))));
                    }
                }
            }
        }
    }

    /// Returns the time at which to publish the waiting outcomes.
    pub(super) fn publish_at(&self) -> Option<Instant> {
        let since = self.waiting_since.filter(|_| !self.appending)?;
        let many = self.progress.as_ref()?.waiting().0 >= MAX_TARGETS;
        let soon = match many || self.draining || self.trying.is_some() {
            true => since,
            false => since + TOGETHER,
        };
        Some(soon.max(self.not_before))
    }
}

/// Reads the part of the chain that is still needed and appends a `begin`. Returns `None` if
/// another member appended first.
pub(super) async fn begin(
    queue: Queue,
    partition: Partition,
    machine: String,
    session: Session,
) -> Result<Option<(u64, Replay)>, FleetError> {
    let mut replay = Replay::default();
    if let Some(last) = queue.chain_end(partition).await? {
        let (head, _) = chain::read(&last.payload)?;
        let mut from = head.since;
        while from < last.sequence {
            let Some(message) = queue.chain(partition, from).await? else {
                break;
            };
            if message.sequence >= last.sequence {
                break;
            }
            replay.add(message.sequence, &message.payload)?;
            from = message.sequence + 1;
        }
        replay.add(last.sequence, &last.payload)?;
    }
    let message = chain::begin(&machine, session, &replay);
    let appended = queue
        .append_chain(partition, replay.tail, message.into())
        .await?;
    Ok(match appended {
        Appended::At(sequence) => Some((sequence, replay)),
        Appended::Moved => None,
    })
}

/// Appends outcomes and returns their sequence number, or `None` if another owner has begun.
pub(super) async fn append(
    queue: Queue,
    partition: Partition,
    session: Session,
    epoch: u64,
    over: u64,
    message: Bytes,
) -> Result<Option<u64>, FleetError> {
    if let Appended::At(sequence) = queue.append_chain(partition, over, message).await? {
        return Ok(Some(sequence));
    }
    // An earlier attempt may have appended the message although its answer was lost. An owner has
    // only one message in flight at a time.
    let Some(last) = queue.chain_end(partition).await? else {
        return Ok(None);
    };
    let (head, _) = chain::read(&last.payload)?;
    let own = head.session == session && head.epoch == epoch && last.sequence > over;
    Ok(own.then_some(last.sequence))
}
