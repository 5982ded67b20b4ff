//! The lease protocol: which partitions this member owns, and until when. A pure state machine.
//!
//! [`Lease::handle`] takes events, [`Lease::poll_action`] returns actions, and
//! [`Lease::poll_timeout`] returns the time of the next wakeup. Time is a parameter: the time since
//! this machine booted, including suspension. The module does no I/O. It does not know NATS or the
//! contents of a partition.
//!
//! # A member
//!
//! ```text
//!              Read: not in the table             Write accepted
//!   Outside ------------------------> Joining ---------------------> Member -- renews, claims,
//!      ^                                                               | |      gives up
//!      |      Read: it is no longer in the table, as a new session     | |
//!      +---------------------------------------------------------------+ +--> Left
//!                                                   Leave, and everything is drained
//! ```
//!
//! # A partition, as its owner sees it
//!
//! ```text
//!   free ---- Write with its claim accepted ----> Serving ---- too many, or leaving ----> Draining
//!    ^                                               |                                       |
//!    |                                               +-- lease expired, Fenced, taken -+     | Drained
//!    |                                               |                                 v     v
//!    +--- Write without the claim accepted ------ Empty <------------------------------------+
//! ```
//!
//! The owner gives up a partition in the table only after it has finished its targets
//! ([`Event::Drained`]).
//!
//! # Why two members do not act on one partition
//!
//! Each write of a member renews its lease for [`Timing::lease`]. The member counts on its own
//! clock, from the moment at which it sent the write. When the lease expires, the member stops
//! everything before it does anything else. Another member takes its partitions if its count of
//! beats has not changed for [`Timing::patience`]. The other member counts on its own clock, from
//! its first read of that count, and takes them only by a compare-and-swap of the table that holds
//! that count. So the write that renewed the lease was sent before the other member began to count.
//! If clock rates are wrong by at most r, two members never act on one partition if
//! `patience * (1 - r) >= lease * (1 + r)`. With the patience that [`Timing::new`] sets, this holds
//! for r up to 5 %.
//!
//! This assumes that clocks do not stop and that the store keeps what it has acknowledged. If an
//! assumption fails, the fence decides: outcomes are appended to the chain of a partition by
//! compare-and-swap, and the outcomes of a replaced owner are refused ([`Event::Fenced`]).

mod table;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use table::{PARTITIONS, Partition, Revision, Row, Session, Table};

/// A moment, as the time since the machine booted.
pub type Moment = Duration;

/// The durations of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Time for which a member may act after it has sent a renewal of its lease.
    pub lease: Duration,
    /// Time without a change of a member's beats after which others take its partitions.
    pub patience: Duration,
    /// Time from one renewal to the next.
    pub beat: Duration,
    /// Time after which the store's answer is no longer awaited.
    pub answer: Duration,
}

impl Timing {
    /// Derives all durations from the patience.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            lease: patience * 8 / 9,
            patience,
            beat: patience / 8,
            answer: patience / 4,
        }
    }
}

/// Identifies a request to the store, so that its answer can be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op(pub u64);

/// Identifies one period of ownership of a partition: from `Start` to `Stop` or `Drained`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim(pub u64);

#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The table was read.
    Read {
        op: Op,
        /// Its revision.
        revision: Revision,
        table: Table,
    },
    /// The table was written and has a new revision.
    Written {
        op: Op,
        /// The new revision.
        revision: Revision,
    },
    /// The table was not written: its revision has changed.
    Refused { op: Op },
    /// The request failed, and it is unknown whether the store carried it out.
    Failed { op: Op },
    /// The owner has finished a partition that was draining.
    Drained {
        partition: Partition,
        /// The claim that drained.
        claim: Claim,
    },
    /// The fence reports that another owner has replaced this one.
    Fenced {
        partition: Partition,
        /// The claim that was replaced.
        claim: Claim,
    },
    /// This member leaves the fleet in an orderly way.
    Leave,
}

/// An action for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the table from the store.
    Read {
        /// Repeated in the answer.
        op: Op,
    },
    /// Write the table if its revision is still `over`.
    Write {
        /// Repeated in the answer.
        op: Op,
        /// The expected revision.
        over: Revision,
        /// The new table.
        table: Table,
    },
    /// Work on this partition.
    Start {
        partition: Partition,
        /// Repeated in the events about it.
        claim: Claim,
    },
    /// Finish the targets that were taken on, take no new ones, and report [`Event::Drained`].
    Drain {
        partition: Partition,
        /// The claim to drain.
        claim: Claim,
    },
    /// Do nothing more for this partition: it may have another owner.
    Stop {
        partition: Partition,
        /// The claim that ends.
        claim: Claim,
    },
    /// This member is no longer in the table.
    Left,
}

/// The state of a partition that this member owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    Serving(Claim),
    Draining(Claim),
    /// Finished; the next write gives it up.
    Empty,
}

/// A request without an answer.
#[derive(Debug)]
struct Pending {
    op: Op,
    sent: Moment,
    /// The table that was written; `None` for a read.
    written: Option<Table>,
}

/// The last change that was seen of another member.
#[derive(Debug)]
struct Sighting {
    beats: u64,
    since: Moment,
}

/// The lease of one member.
#[derive(Debug)]
pub struct Lease {
    timing: Timing,
    machine: String,
    rng: fastrand::Rng,
    session: Session,
    /// Number of writes that were sent.
    beats: u64,
    /// Whether a write of this session was accepted.
    joined: bool,
    leaving: bool,
    left: bool,
    /// The moment until which the member may act.
    valid: Option<Moment>,
    held: BTreeMap<Partition, Holding>,
    seen: BTreeMap<Session, Sighting>,
    pending: Option<Pending>,
    /// The moment of the next read, if nothing is pending.
    next: Moment,
    last_op: u64,
    last_claim: u64,
    actions: VecDeque<Action>,
}

impl Lease {
    /// Creates the lease of a member that is about to join.
    #[must_use]
    pub fn new(machine: String, timing: Timing, seed: u64, now: Moment) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            timing,
            machine,
            session: Session(rng.u64(..)),
            rng,
            beats: 0,
            joined: false,
            leaving: false,
            left: false,
            valid: None,
            held: BTreeMap::new(),
            seen: BTreeMap::new(),
            pending: None,
            next: now,
            last_op: 0,
            last_claim: 0,
            actions: VecDeque::new(),
        }
    }

    /// Returns the current session of the member.
    #[must_use]
    pub const fn session(&self) -> Session {
        self.session
    }

    /// Returns the moment until which the member may act, or `None` if it may not.
    #[must_use]
    pub const fn valid(&self) -> Option<Moment> {
        self.valid
    }

    /// Returns the partitions that the member works on now.
    pub fn serving(&self) -> impl Iterator<Item = (Partition, Claim)> + '_ {
        self.held
            .iter()
            .filter_map(|(partition, holding)| match holding {
                Holding::Serving(claim) | Holding::Draining(claim) => Some((*partition, *claim)),
                Holding::Empty => None,
            })
    }

    /// Returns the next action. Call it until it returns `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the moment at which [`Lease::handle`] must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        if self.left {
            return None;
        }
        let own = match &self.pending {
            Some(pending) => pending.sent + self.timing.answer,
            None => self.next,
        };
        Some(self.valid.map_or(own, |valid| valid.min(own)))
    }

    /// Handles an event at the moment `now`.
    pub fn handle(&mut self, now: Moment, event: Event) {
        if self.left {
            return;
        }
        // This comes first: the event may be old.
        if self.valid.is_some_and(|valid| valid <= now) {
            self.valid = None;
            self.stop_all();
        }
        match event {
            Event::Tick => {}
            Event::Read {
                op,
                revision,
                table,
            } => {
                let asked = self.pending.take_if(|pending| pending.op == op);
                if asked.is_some_and(|pending| pending.written.is_none()) {
                    self.on_table(now, revision, table);
                }
            }
            Event::Written { op, .. } => {
                if let Some(pending) = self.pending.take_if(|pending| pending.op == op)
                    && let Some(table) = pending.written
                {
                    self.on_written(now, pending.sent, &table);
                }
            }
            Event::Refused { op } => {
                if self.pending.take_if(|pending| pending.op == op).is_some() {
                    self.next = now + self.short();
                }
            }
            Event::Failed { op } => {
                if self.pending.take_if(|pending| pending.op == op).is_some() {
                    self.next = now + self.timing.beat / 4 + self.short();
                }
            }
            Event::Drained { partition, claim } => {
                if let Some(holding) = self.held.get_mut(&partition)
                    && *holding == Holding::Draining(claim)
                {
                    *holding = Holding::Empty;
                    self.hurry(now);
                }
            }
            Event::Fenced { partition, claim } => {
                if let Some(Holding::Serving(own) | Holding::Draining(own)) =
                    self.held.get(&partition)
                    && *own == claim
                {
                    // If the table still names this member as the owner, it begins again.
                    self.held.remove(&partition);
                    self.actions.push_back(Action::Stop { partition, claim });
                    self.hurry(now);
                }
            }
            Event::Leave => {
                if !self.leaving {
                    self.leaving = true;
                    self.hurry(now);
                }
            }
        }
        if let Some(pending) = &self.pending
            && pending.sent + self.timing.answer <= now
        {
            self.pending = None;
            self.next = now;
        }
        if self.pending.is_none() && self.next <= now && !self.left {
            let op = self.send(now, None);
            self.actions.push_back(Action::Read { op });
        }
    }

    fn on_table(&mut self, now: Moment, revision: Revision, mut table: Table) {
        let own = table.members.get(&self.session);
        if self.joined && own.is_none() {
            // The others took this session for dead, or the store has lost the table. The
            // partitions of that session no longer belong to this member.
            self.valid = None;
            self.stop_all();
            self.held.clear();
            self.session = Session(self.rng.u64(..));
            self.joined = false;
        }
        self.bury(now, &mut table);
        let session = self.session;
        let lost: Vec<_> = self
            .serving()
            .filter(|(partition, _)| table.owners[usize::from(partition.0)] != Some(session))
            .collect();
        for (partition, claim) in lost {
            self.held.remove(&partition);
            self.actions.push_back(Action::Stop { partition, claim });
        }
        self.held
            .retain(|partition, _| table.owners[usize::from(partition.0)] == Some(session));
        for (partition, holding) in &self.held {
            if *holding == Holding::Empty {
                table.owners[usize::from(partition.0)] = None;
            }
        }
        let is_done = self.leaving && self.serving().next().is_none();
        if is_done {
            table.remove(session);
        } else {
            let row = table.members.entry(session).or_insert_with(|| Row {
                machine: self.machine.clone(),
                beats: 0,
                leaving: false,
            });
            // Never repeat an earlier count: if a row returns after its removal, its beats must not
            // look unchanged.
            self.beats += 1;
            row.beats = self.beats;
            row.leaving = self.leaving;
            self.balance(&mut table);
        }
        let op = self.send(now, Some(table.clone()));
        self.actions.push_back(Action::Write {
            op,
            over: revision,
            table,
        });
    }

    /// Removes members whose beats have not changed for too long.
    fn bury(&mut self, now: Moment, table: &mut Table) {
        let patience = self.timing.patience;
        self.seen
            .retain(|session, _| table.members.contains_key(session));
        let mut dead = Vec::new();
        for (session, row) in &table.members {
            if *session == self.session {
                continue;
            }
            let sighting = self.seen.entry(*session).or_insert(Sighting {
                beats: row.beats,
                since: now,
            });
            if sighting.beats != row.beats {
                *sighting = Sighting {
                    beats: row.beats,
                    since: now,
                };
            }
            if now.saturating_sub(sighting.since) >= patience {
                dead.push(*session);
            }
        }
        for session in dead {
            table.remove(session);
        }
        // A session that is not in the table owns nothing.
        let Table { members, owners } = table;
        for owner in owners {
            owner.take_if(|owner| !members.contains_key(owner));
        }
    }

    /// Claims free partitions, or starts to drain excess ones.
    fn balance(&mut self, table: &mut Table) {
        let session = self.session;
        let share = table.share(session);
        let own = table.owned_by(session).count();
        let partitions = table.owners.len();
        let start = table.start(session);
        if own < share {
            let free: Vec<_> = (start..partitions)
                .chain(0..start)
                .filter(|at| table.owners[*at].is_none())
                // A partition that this write gives up is not claimed by the same write.
                .filter(|at| !self.held.keys().any(|held| usize::from(held.0) == *at))
                .take(share - own)
                .collect();
            for at in free {
                table.owners[at] = Some(session);
            }
            return;
        }
        let staying = self
            .held
            .iter()
            .filter_map(|(partition, holding)| match holding {
                Holding::Serving(claim) => Some((*partition, *claim)),
                Holding::Draining(_) | Holding::Empty => None,
            });
        let staying: Vec<_> = staying.collect();
        let excess = staying.len().saturating_sub(share);
        for &(partition, claim) in staying.iter().rev().take(excess) {
            self.held.insert(partition, Holding::Draining(claim));
            self.actions.push_back(Action::Drain { partition, claim });
        }
    }

    fn on_written(&mut self, now: Moment, sent: Moment, table: &Table) {
        let beat = now + self.timing.beat - self.timing.beat / 8 + self.short();
        // Reads as soon as another member would be dead without a new beat.
        let overdue = self.seen.values();
        let overdue = overdue.map(|seen| seen.since + self.timing.patience);
        let overdue = overdue.filter(|at| *at > now).min();
        self.next = overdue.map_or(beat, |at| at.min(beat));
        if !table.members.contains_key(&self.session) {
            self.left = true;
            self.held.clear();
            self.actions.push_back(Action::Left);
            return;
        }
        self.joined = true;
        let valid = sent + self.timing.lease;
        if valid <= now {
            // The answer took longer than the lease, so nothing may begin.
            self.valid = None;
            return;
        }
        self.valid = Some(valid);
        let session = self.session;
        self.held.retain(|partition, holding| {
            *holding != Holding::Empty || table.owners[usize::from(partition.0)] == Some(session)
        });
        if self.leaving {
            return;
        }
        for partition in table.owned_by(session) {
            if !self.held.contains_key(&partition) {
                self.last_claim += 1;
                let claim = Claim(self.last_claim);
                self.held.insert(partition, Holding::Serving(claim));
                self.actions.push_back(Action::Start { partition, claim });
            }
        }
        // An earlier write whose answer was lost may have claimed too many: correct it soon.
        let share = table.share(session);
        if self.held.len() > share {
            self.hurry(now);
        }
    }

    /// Stops all partitions in progress. Empty ones stay empty.
    fn stop_all(&mut self) {
        let serving: Vec<_> = self.serving().collect();
        for (partition, claim) in serving {
            self.held.remove(&partition);
            self.actions.push_back(Action::Stop { partition, claim });
        }
    }

    fn send(&mut self, now: Moment, written: Option<Table>) -> Op {
        self.last_op += 1;
        let op = Op(self.last_op);
        self.pending = Some(Pending {
            op,
            sent: now,
            written,
        });
        op
    }

    /// Schedules a read of the table soon.
    fn hurry(&mut self, now: Moment) {
        let soon = now + self.short();
        self.next = self.next.min(soon);
    }

    /// Returns a short random delay, so that members that collide do not collide again.
    fn short(&mut self) -> Duration {
        self.timing.beat.mul_f64(self.rng.f64() / 8.0)
    }
}
