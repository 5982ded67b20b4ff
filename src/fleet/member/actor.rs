//! The member's thread that uses the queue. It carries out the actions of the lease, passes targets
//! to the run and publishes outcomes to the chains.
//!
//! It is one async task with one inbox. Requests to the queue run concurrently. Their answers go to
//! the inbox.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout_at};

use super::hand_out::HandOut;
use super::log::OwnLog;
use super::partition::{Held, append, begin};
use crate::fence::{Fence, boot_time};
use crate::fleet::FleetError;
use crate::fleet::chain::{self, FRAMES, Progress, Replay};
use crate::fleet::frame::{self, MAX_TARGETS};
use crate::fleet::lease::{self, Action, Claim, Lease, Partition, Timing};
use crate::fleet::queue::{FedAll, Message, Queue};
use crate::input::{Format, Lines, ListOptions, Ticket};
use crate::watch::{Fleet, Share};

/// Delay before a failed request is repeated.
const AGAIN: Duration = Duration::from_millis(500);

/// Interval between requests for more frames, and between requests for the state of the fleet.
const LOOK: Duration = Duration::from_secs(1);

/// Number of waiting targets of a partition below which another frame is taken on.
const AHEAD: usize = 64;

/// An event for the actor.
#[derive(Debug)]
pub(super) enum MemberEvent {
    /// An event for the lease.
    Lease(lease::Event),
    /// The result of a `begin`; `None` if another member appended first.
    Begun(Partition, Claim, Result<Option<(u64, Replay)>, FleetError>),
    /// The result of a request for a frame; `None` if there is none.
    Loaded(Partition, Claim, Result<Option<Message>, FleetError>),
    /// The sequence number of the appended outcomes; `None` if another owner has begun.
    Appended(Partition, Claim, Result<Option<u64>, FleetError>),
    /// The state of the whole fleet.
    Looked(Result<Look, FleetError>),
    /// The result of publishing redundant outcomes.
    Told(Result<(), FleetError>),
    /// The result of storing the mark: the offset up to which the run log is published.
    Marked(u64, Result<(), FleetError>),
    /// The run has written a record.
    Recorded,
    /// The run has ended.
    RunEnded,
}

/// The state of the whole fleet.
#[derive(Debug)]
pub(super) struct Look {
    fed: Option<FedAll>,
    drain: bool,
    /// Number of finished targets of each partition that was asked for.
    done: Vec<(Partition, u64)>,
}

/// How far the run log is published. If the member is killed, the next member with its folder
/// publishes the records after this mark.
#[derive(Debug, Default)]
struct Mark {
    /// Offset in the run log.
    at: u64,
    /// Outcomes before the offset that are not in a chain yet.
    open: Vec<(Partition, u64)>,
    /// The offset that the queue has stored.
    noted: u64,
    noting: bool,
}

/// The state of the member's thread.
pub(super) struct Actor {
    queue: Queue,
    machine: String,
    lease: Lease,
    held: BTreeMap<Partition, Held>,
    log: OwnLog,
    options: Arc<ListOptions>,
    hand_out: HandOut,
    fed: Option<FedAll>,
    /// Whether each partition is done, by any member.
    done: Vec<bool>,
    /// Outcomes to publish as redundant.
    redundant: VecDeque<(Partition, Bytes)>,
    telling: bool,
    tell_at: Instant,
    mark: Mark,
    looking: bool,
    next_look: Instant,
    run_ended: bool,
    left: bool,
    /// Number of members in the table that was read last.
    members: usize,
    /// The part of the run's progress that concerns the fleet.
    share: Share,
    /// Tells the run's placement which targets it may place.
    fence: Fence,
    news: UnboundedSender<MemberEvent>,
}

impl Actor {
    #[allow(clippy::too_many_arguments, reason = "all of a member")]
    pub(super) fn new(
        queue: Queue,
        machine: String,
        lease: Duration,
        log: OwnLog,
        options: Arc<ListOptions>,
        hand_out: HandOut,
        mut untold: Vec<(Partition, String)>,
        share: Share,
        fence: Fence,
        news: UnboundedSender<MemberEvent>,
    ) -> Self {
        let seed = fastrand::u64(..);
        untold.sort();
        let mut redundant = VecDeque::new();
        for lines in untold.chunk_by(|one, next| one.0 == next.0) {
            for lines in lines.chunks(MAX_TARGETS) {
                let text: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
                redundant.push_back((lines[0].0, text.join("\n").into()));
            }
        }
        Self {
            redundant,
            telling: false,
            tell_at: Instant::now(),
            mark: Mark::default(),
            lease: Lease::new(machine.clone(), Timing::new(lease), seed, boot_time()),
            queue,
            machine,
            held: BTreeMap::new(),
            log,
            options: Arc::new(ListOptions {
                format: Some(Format::Jsonl),
                url_column: None,
                naming: options.naming.clone(),
                suggestions: options.suggestions,
            }),
            hand_out,
            fed: None,
            done: vec![false; usize::from(lease::PARTITIONS)],
            looking: false,
            next_look: Instant::now(),
            run_ended: false,
            left: false,
            members: 0,
            share,
            fence,
            news,
        }
    }

    /// Runs until the member has left and has published everything, or the run has ended and the
    /// queue cannot be reached.
    pub(super) async fn run(mut self, mut inbox: UnboundedReceiver<MemberEvent>) {
        let mut give_up: Option<Instant> = None;
        // The run may record more after the member has left: this is published too.
        while !(self.left && self.run_ended && self.redundant.is_empty()) {
            self.tell_lease(lease::Event::Tick);
            self.go_on();
            self.tell_share();
            if self.run_ended && give_up.is_none() {
                give_up = Some(Instant::now() + Duration::from_secs(30));
            }
            if give_up.is_some_and(|at| at <= Instant::now()) {
                tracing::warn!(
                    "the queue does not answer: what this member has recorded last is published when \
                     it joins again with this output folder"
                );
                return;
            }
            let wake = self.wake().into_iter().chain(give_up).min();
            let heard = match wake {
                Some(at) => timeout_at(at, inbox.recv()).await.unwrap_or_default(),
                None => inbox.recv().await,
            };
            if let Some(news) = heard {
                // Check the lease before handling the event: it may have expired.
                self.tell_lease(lease::Event::Tick);
                self.hear(news);
            }
        }
    }

    fn tell_share(&self) {
        let progress = self.held.values().filter_map(|held| held.progress.as_ref());
        let unpublished: usize = progress.map(|progress| progress.waiting().0).sum();
        let taken_on: usize = self.held.values().map(|held| held.handed.len()).sum();
        self.share.set(Fleet {
            in_touch: self.lease.valid().is_some(),
            members: self.members as u64,
            partitions: self.held.len() as u64,
            taken_on: taken_on as u64,
            unpublished: unpublished as u64,
            fed: self.fed.as_ref().map(|fed| fed.tasks.iter().sum()),
        });
    }

    fn wake(&self) -> Option<Instant> {
        let now = Instant::now();
        let lease = self.lease.poll_timeout();
        let lease = lease.map(|at| now + at.saturating_sub(boot_time()));
        let held = self.held.values().filter_map(|held| {
            let again = (held.not_before > now).then_some(held.not_before);
            let frame = (held.no_frame_before > now).then_some(held.no_frame_before);
            [again, frame, held.publish_at()]
                .into_iter()
                .flatten()
                .min()
        });
        let look = (!self.looking && !self.left).then_some(self.next_look);
        let tell = (!self.telling && !self.redundant.is_empty()).then_some(self.tell_at);
        let target = self.hand_out.wake(&self.held, now);
        let others = held.chain(lease).chain(look).chain(tell);
        others.chain(target).min()
    }

    fn tell_lease(&mut self, event: lease::Event) {
        self.lease.handle(boot_time(), event);
        while let Some(action) = self.lease.poll_action() {
            self.act(action);
        }
        // Only after the lost partitions are revoked.
        self.fence.set_until(self.lease.valid());
    }

    fn act(&mut self, action: Action) {
        tracing::debug!(?action, "lease");
        match action {
            Action::Read { op } => {
                let queue = self.queue.clone();
                self.ask(async move {
                    MemberEvent::Lease(match queue.table().await {
                        Ok((revision, table)) => lease::Event::Read {
                            op,
                            revision,
                            table,
                        },
                        Err(error) => {
                            tracing::warn!("{error}");
                            lease::Event::Failed { op }
                        }
                    })
                });
            }
            Action::Write { op, over, table } => {
                let queue = self.queue.clone();
                self.ask(async move {
                    MemberEvent::Lease(match queue.write_table(over, table).await {
                        Ok(Some(revision)) => lease::Event::Written { op, revision },
                        Ok(None) => lease::Event::Refused { op },
                        Err(error) => {
                            tracing::warn!("{error}");
                            lease::Event::Failed { op }
                        }
                    })
                });
            }
            Action::Start { partition, claim } => {
                let held = Held::new(claim, Instant::now());
                self.held.insert(partition, held);
            }
            Action::Drain { partition, claim } => {
                if let Some(held) = self.get(partition, claim) {
                    held.draining = true;
                    self.hand_out
                        .take_back(partition, self.held.get_mut(&partition));
                }
            }
            Action::Stop { partition, claim } => {
                tracing::info!(partition = partition.0, "partition is given up at once");
                self.hand_out.revoke(partition);
                if self.get(partition, claim).is_some()
                    && let Some(held) = self.held.remove(&partition)
                    && let Some(progress) = held.progress
                {
                    let lines: Vec<_> = progress.unwritten().map(str::to_owned).collect();
                    self.tell_redundant(partition, &lines);
                }
            }
            Action::Left => self.left = true,
        }
    }

    fn get(&mut self, partition: Partition, claim: Claim) -> Option<&mut Held> {
        let held = self.held.get_mut(&partition)?;
        (held.claim == claim).then_some(held)
    }

    /// Starts a request. Its answer goes to the inbox.
    fn ask(&self, request: impl Future<Output = MemberEvent> + Send + 'static) {
        let news = self.news.clone();
        tokio::spawn(async move {
            // The receiver is gone once the member has left.
            let _ = news.send(request.await);
        });
    }

    fn hear(&mut self, news: MemberEvent) {
        match news {
            MemberEvent::Lease(event) => {
                if let lease::Event::Read { table, .. } = &event {
                    self.members = table.members.len();
                }
                self.tell_lease(event);
            }
            MemberEvent::Begun(partition, claim, begun) => self.on_begun(partition, claim, begun),
            MemberEvent::Loaded(partition, claim, loaded) => {
                self.on_loaded(partition, claim, loaded)
            }
            MemberEvent::Appended(partition, claim, appended) => {
                self.on_appended(partition, claim, appended);
            }
            MemberEvent::Looked(look) => self.on_look(look),
            MemberEvent::Told(told) => {
                self.telling = false;
                match told {
                    Ok(()) => drop(self.redundant.pop_front()),
                    Err(error) => {
                        tracing::warn!("{error}");
                        self.tell_at = Instant::now() + AGAIN;
                    }
                }
            }
            MemberEvent::Marked(at, noted) => {
                self.mark.noting = false;
                match noted {
                    Ok(()) => self.mark.noted = at,
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            MemberEvent::Recorded => self.on_recorded(),
            MemberEvent::RunEnded => {
                self.on_recorded();
                self.run_ended = true;
                self.hand_out.end();
                self.tell_lease(lease::Event::Leave);
            }
        }
    }

    fn on_begun(
        &mut self,
        partition: Partition,
        claim: Claim,
        begun: Result<Option<(u64, Replay)>, FleetError>,
    ) {
        let Some(held) = self.get(partition, claim) else {
            return;
        };
        held.beginning = false;
        match begun {
            Ok(Some((epoch, replay))) => held.progress = Some(Progress::begun(epoch, replay)),
            // The chain has changed: the next attempt reads it again.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(partition = partition.0, "{error}");
                held.not_before = Instant::now() + AGAIN;
            }
        }
    }

    fn on_loaded(
        &mut self,
        partition: Partition,
        claim: Claim,
        loaded: Result<Option<Message>, FleetError>,
    ) {
        let Some(held) = self.get(partition, claim) else {
            return;
        };
        held.loading = false;
        match loaded {
            Ok(Some(message)) => {
                if let Err(error) = self.take_on(partition, &message) {
                    tracing::warn!(partition = partition.0, "{error}");
                    if let Some(held) = self.get(partition, claim) {
                        held.no_frame_before = Instant::now() + LOOK;
                    }
                }
            }
            Ok(None) => held.no_frame_before = Instant::now() + LOOK,
            Err(error) => {
                tracing::warn!(partition = partition.0, "{error}");
                held.no_frame_before = Instant::now() + AGAIN;
            }
        }
    }

    /// Takes on the targets of a frame, except those whose outcome is known.
    fn take_on(&mut self, partition: Partition, message: &Message) -> Result<(), FleetError> {
        let (head, text) = frame::read(&message.payload)?;
        let Some(held) = self.held.get_mut(&partition) else {
            return Ok(());
        };
        let Some(progress) = &mut held.progress else {
            return Ok(());
        };
        let epoch = progress.epoch();
        let wanted = progress.open(message.sequence, &head);
        held.alone |= progress.takes_care();
        let mut wanted = wanted.into_iter().peekable();
        let raw = text.split(|byte| *byte == b'\n');
        for (task, line) in (head.first..head.next()).zip(raw) {
            if wanted.next_if_eq(&task).is_none() {
                continue;
            }
            let reader = Box::new(Cursor::new(line.to_vec()));
            let mut lines = Lines::new("a frame", reader, Arc::clone(&self.options));
            let target = match lines.next().map(|line| line.entry) {
                Some(Ok(target)) => target,
                unreadable => {
                    let problem = match unreadable {
                        Some(Err(problem)) => problem.to_string(),
                        Some(Ok(_)) | None => "the line is empty".to_owned(),
                    };
                    progress.outcome(task, chain::unreadable(task, &problem));
                    held.waiting_since.get_or_insert_with(Instant::now);
                    continue;
                }
            };
            if let Some(record) = self.log.known(&target.key)? {
                progress.outcome(task, chain::recorded(task, &record));
                held.waiting_since.get_or_insert_with(Instant::now);
                continue;
            }
            let ticket = Ticket {
                run: self.queue.run().to_owned(),
                machine: self.machine.clone(),
                partition: partition.0,
                epoch,
                task,
            };
            // The line was parsed above: it is an object with a URL.
            let rest = String::from_utf8_lossy(line);
            let rest = rest.trim_start().trim_start_matches('{');
            let line = format!("{{\"fleet\":\"{ticket}\",{rest}\n");
            held.held_back.push_back((task, target.key, line));
        }
        if progress.is_due() {
            held.waiting_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn on_recorded(&mut self) {
        let mut recorded = Vec::new();
        let hand_out = &mut self.hand_out;
        let followed = self.log.follow(|key, line| match line {
            Some(line) => {
                if let Some((partition, task)) = hand_out.recorded(&key) {
                    recorded.push((partition, task, chain::recorded(task, line)));
                }
            }
            None => hand_out.refused(key),
        });
        if let Err(error) = followed {
            tracing::warn!("{error}");
        }
        let mut redundant: BTreeMap<Partition, Vec<String>> = BTreeMap::new();
        for (partition, task, line) in recorded {
            let held = self.held.get_mut(&partition);
            let progress = held.and_then(|held| {
                held.handed.remove(&task);
                held.waiting_since.get_or_insert_with(Instant::now);
                held.progress.as_mut()
            });
            // The partition was lost. Even if this member owns it again, others may have done the
            // target, or may do it before its frame is taken on. If this member still publishes it
            // in the chain, its redundant outcome does not count.
            if !progress.is_some_and(|progress| progress.outcome(task, line.clone())) {
                redundant.entry(partition).or_default().push(line);
            }
        }
        for (partition, lines) in redundant {
            self.tell_redundant(partition, &lines);
        }
    }

    /// Queues outcomes of partitions that have another owner now, to be published as redundant.
    fn tell_redundant(&mut self, partition: Partition, lines: &[String]) {
        if !lines.is_empty() {
            self.redundant
                .push_back((partition, lines.join("\n").into()));
        }
    }

    /// Stores how far the run log is published, once all outcomes before that offset are.
    fn note_mark(&mut self) {
        let (mark, held) = (&mut self.mark, &self.held);
        mark.open.retain(|(partition, task)| {
            let progress = held.get(partition).and_then(|held| held.progress.as_ref());
            progress.is_some_and(|progress| progress.waits(*task))
        });
        if mark.noting || !mark.open.is_empty() || !self.redundant.is_empty() {
            return;
        }
        if mark.at > mark.noted {
            mark.noting = true;
            let (queue, machine, at) = (self.queue.clone(), self.machine.clone(), mark.at);
            self.ask(async move { MemberEvent::Marked(at, queue.set_told(&machine, at).await) });
            return;
        }
        mark.at = self.log.position();
        let waiting = held.iter().filter_map(|(partition, held)| {
            let tasks = held.progress.as_ref()?.waiting_tasks();
            Some(tasks.map(|task| (*partition, task)))
        });
        mark.open = waiting.flatten().collect();
    }

    fn on_appended(
        &mut self,
        partition: Partition,
        claim: Claim,
        appended: Result<Option<u64>, FleetError>,
    ) {
        let Some(held) = self.get(partition, claim) else {
            return;
        };
        held.appending = false;
        match appended {
            Ok(Some(sequence)) => {
                held.message = None;
                if let Some(progress) = &mut held.progress {
                    progress.appended(sequence);
                    let waits = progress.is_due();
                    held.waiting_since = waits.then(Instant::now);
                }
            }
            Ok(None) => self.tell_lease(lease::Event::Fenced { partition, claim }),
            Err(error) => {
                tracing::warn!(partition = partition.0, "{error}");
                held.not_before = Instant::now() + AGAIN;
            }
        }
    }

    fn on_look(&mut self, look: Result<Look, FleetError>) {
        self.looking = false;
        self.next_look = Instant::now() + LOOK;
        self.note_mark();
        let look = match look {
            Ok(look) => look,
            Err(error) => {
                tracing::warn!("{error}");
                return;
            }
        };
        self.fed = look.fed;
        if let Some(fed) = &self.fed {
            for (partition, done) in look.done {
                let number = usize::from(partition.0);
                self.done[number] = fed.tasks.get(number).is_none_or(|tasks| *tasks == done);
            }
        }
        let all_done = self.fed.is_some() && self.done.iter().all(|done| *done);
        if all_done || look.drain {
            self.tell_lease(lease::Event::Leave);
        }
    }

    /// Does what is possible now for each partition and for the member.
    fn go_on(&mut self) {
        let now = Instant::now();
        let partitions: Vec<_> = self.held.keys().copied().collect();
        for partition in partitions {
            self.go_on_with(partition, now);
        }
        self.hand_out.go_on(&mut self.held, now);
        if !self.looking && !self.left && self.next_look <= now {
            self.look();
        }
        if let Some((partition, lines)) = self.redundant.front().cloned()
            && !self.telling
            && self.tell_at <= now
        {
            self.telling = true;
            let queue = self.queue.clone();
            self.ask(
                async move { MemberEvent::Told(queue.tell_redundant(partition, lines).await) },
            );
        }
        // Everything is drained: the end of the list ends the run.
        if self.left {
            self.hand_out.end();
        }
    }

    fn go_on_with(&mut self, partition: Partition, now: Instant) {
        let session = self.lease.session();
        let room = self.hand_out.is_open();
        let known = self
            .fed
            .as_ref()
            .and_then(|fed| fed.tasks.get(usize::from(partition.0)));
        let known = known.copied();
        let run_ended = self.run_ended;
        let Some(held) = self.held.get_mut(&partition) else {
            return;
        };
        let claim = held.claim;
        if let Some(target) = held.try_next() {
            self.hand_out.give(partition, &mut held.handed, target);
        }
        let publish = held.publish_at().is_some_and(|at| at <= now);
        let Some(progress) = &mut held.progress else {
            if held.draining && !held.beginning {
                self.held.remove(&partition);
                self.tell_lease(lease::Event::Drained { partition, claim });
            } else if !held.beginning && !held.draining && held.not_before <= now {
                held.beginning = true;
                let (queue, machine) = (self.queue.clone(), self.machine.clone());
                self.ask(async move {
                    let begun = begin(queue, partition, machine, session).await;
                    MemberEvent::Begun(partition, claim, begun)
                });
            }
            return;
        };
        if publish {
            if held.message.is_none() {
                let message = progress.message(&self.machine, session);
                held.message = message.map(Bytes::from);
            }
            if let Some(message) = held.message.clone() {
                held.appending = true;
                let (epoch, over) = (progress.epoch(), progress.tail());
                let queue = self.queue.clone();
                self.ask(async move {
                    let appended = append(queue, partition, session, epoch, over, message).await;
                    MemberEvent::Appended(partition, claim, appended)
                });
            } else {
                held.waiting_since = None;
            }
        }
        let Some(held) = self.held.get_mut(&partition) else {
            return;
        };
        let Some(progress) = &mut held.progress else {
            return;
        };
        let is_all = known.is_some_and(|tasks| progress.floor().tasks == tasks);
        if held.draining {
            let (waiting, _) = progress.waiting();
            // Targets that the run has not received, or does not finish, go to the next owner.
            held.held_back.clear();
            let finished = (held.handed.is_empty() || run_ended) && waiting == 0 && !held.appending;
            if finished && !held.loading && !held.leaving {
                held.leaving = true;
                progress.leave();
                if progress.is_due() {
                    held.waiting_since = Some(now);
                }
            }
            if finished && !held.loading && (!progress.is_due() || run_ended) {
                self.held.remove(&partition);
                self.tell_lease(lease::Event::Drained { partition, claim });
            }
        } else if room
            && !is_all
            && !held.loading
            && held.no_frame_before <= now
            && progress.open_frames() < FRAMES
            && held.held_back.len() < AHEAD
        {
            held.loading = true;
            let (queue, from) = (self.queue.clone(), progress.last_frame() + 1);
            self.ask(async move {
                let loaded = queue.frame(partition, from).await;
                MemberEvent::Loaded(partition, claim, loaded)
            });
        }
    }

    /// Requests the state of the fleet. Asks about each partition only while the member is idle.
    fn look(&mut self) {
        self.looking = true;
        let queue = self.queue.clone();
        let machine = self.machine.clone();
        let is_idle = self.hand_out.outstanding() == 0 && self.fed.is_some();
        let open: Vec<_> = (0..lease::PARTITIONS)
            .filter(|number| is_idle && !self.done[usize::from(*number)])
            .map(Partition)
            .collect();
        let empty = |number: u16, fed: Option<&FedAll>| {
            fed.is_some_and(|fed| fed.tasks.get(usize::from(number)) == Some(&0))
        };
        let fed = self.fed.clone();
        self.ask(async move {
            let look = async {
                let drained = queue.drained().await?;
                let drain = drained.iter().any(|name| *name == machine || name == "*");
                let mut done = Vec::new();
                for partition in open {
                    if empty(partition.0, fed.as_ref()) {
                        done.push((partition, 0));
                        continue;
                    }
                    let end = queue.chain_end(partition).await?;
                    let tasks = match end {
                        Some(end) => chain::read(&end.payload)?.0.floor.tasks,
                        None => 0,
                    };
                    done.push((partition, tasks));
                }
                Ok(Look {
                    fed: queue.fed().await?,
                    drain,
                    done,
                })
            };
            MemberEvent::Looked(look.await)
        });
    }
}
