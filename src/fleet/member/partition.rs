//! What a member has to do with one partition, and the requests to the queue that this takes.

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

/// How long an outcome may wait to be published together with others.
const TOGETHER: Duration = Duration::from_millis(50);

/// A partition that this member works on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) draining: bool,
    /// It has finished what it had, and says so.
    pub(super) leaving: bool,
    /// Once its `begin` is in the chain.
    pub(super) progress: Option<Progress>,
    /// A `begin` is on its way.
    pub(super) beginning: bool,
    /// A frame is on its way.
    pub(super) loading: bool,
    /// What is on its way to the chain.
    pub(super) message: Option<Bytes>,
    pub(super) appending: bool,
    /// Since when outcomes wait.
    pub(super) waiting_since: Option<Instant>,
    /// Nothing is tried again before that.
    pub(super) not_before: Instant,
    /// No frame is asked for before that: there was none.
    pub(super) no_frame_before: Instant,
    /// Targets that are taken on and not handed to the run: number, key and line. Who gives the
    /// partition up gives them back.
    pub(super) held_back: VecDeque<(u64, UrlKey, String)>,
    /// Targets that the run has and has not recorded.
    pub(super) handed: HashSet<u64>,
    /// When it had its last turn: how many targets had been handed to the run then.
    pub(super) turn: u64,
    /// They are tried one at a time.
    pub(super) alone: bool,
    /// The one that is tried now, until it is handed out.
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

    /// Whether there are targets that the run may be given when it is the partition's turn.
    pub(super) fn waits_for_run(&self) -> bool {
        !self.alone && !self.held_back.is_empty()
    }

    /// Tries targets one at a time, where that is to be: says which one is to be handed out now.
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

    /// When outcomes that wait are to be published.
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

/// Reads the chain from where it matters, and appends a `begin`; nothing if another was faster.
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

/// Appends outcomes; says where, or nothing if another has begun.
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
    // By an earlier attempt whose answer was lost: an owner has one message on its way at a time.
    let Some(last) = queue.chain_end(partition).await? else {
        return Ok(None);
    };
    let (head, _) = chain::read(&last.payload)?;
    let own = head.session == session && head.epoch == epoch && last.sequence > over;
    Ok(own.then_some(last.sequence))
}
