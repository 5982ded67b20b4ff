//! The lease protocol: which partitions this member owns, and until when. A pure state machine.
//!
//! Events go in ([`Lease::handle`]), actions come out ([`Lease::poll_action`]), and it says when it
//! wants to be woken ([`Lease::poll_timeout`]). Time is a parameter: how long this machine has been
//! up, suspended or not. It does no I/O, and knows neither NATS nor what a partition holds.
//!
//! # A member
//!
//! ```text
//!              Read: not in the table             Write accepted
//!   Outside ------------------------> Joining ---------------------> Member -- renews, claims,
//!      ^                                                               | |      gives up
//!      |      Read: it is not in the table any more, as a new session  | |
//!      +---------------------------------------------------------------+ +--> Left
//!                                                   Leave, and all is drained
//! ```
//!
//! # A partition, as its owner sees it
//!
//! ```text
//!   free ---- Write with its claim accepted ----> Serving ---- too many, or leaving ----> Draining
//!    ^                                               |                                       |
//!    |                                               +--- lease over, Fenced, taken ---+     | Drained
//!    |                                               |                                 v     v
//!    +--- Write without the claim accepted ------ Empty <------------------------------------+
//! ```
//!
//! A partition is given up in the table only after the owner said that it has finished what it had
//! ([`Event::Drained`]).
//!
//! # Why two members do not act on one partition
//!
//! Each write of a member renews its lease for [`Timing::lease`], counted on its own clock from the
//! moment at which the write was sent. When that time is over, it stops everything before it does
//! anything else. Another member takes the partitions of one whose count of beats has stood still for
//! [`Timing::patience`], on its own clock, counted from when it first read that count; and only by a
//! compare-and-swap of the table that holds that count. So the write that renewed the lease was sent
//! before the other began to count. With clocks whose rates are wrong by at most r, nobody acts beside
//! another if `patience * (1 - r) >= lease * (1 + r)`; with the patience that [`Timing::new`] sets,
//! that holds for r up to 5 %.
//!
//! That takes clocks that do not stand still, and a store that keeps what it has acknowledged. Where
//! one of them fails, the fence decides: outcomes of a partition are appended by compare-and-swap to
//! that partition's chain, and those of an owner that another has followed are refused
//! ([`Event::Fenced`]).

mod table;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use table::{PARTITIONS, Partition, Revision, Row, Session, Table};

/// A moment: how long the machine has been up.
pub type Moment = Duration;

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a member may act without having renewed its lease.
    pub lease: Duration,
    /// How long a member's beats must stand still before others take what it owns.
    pub patience: Duration,
    /// Time from one renewal to the next.
    pub beat: Duration,
    /// When an answer of the store is given up.
    pub answer: Duration,
}

impl Timing {
    /// The times that follow from the one after which others take what a member owns.
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

/// Names a request to the store, so that its answer can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op(pub u64);

/// One time that a partition is owned: from `Start` to `Stop`, or to `Drained`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim(pub u64);

#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed.
    Tick,
    /// The table is this.
    Read {
        op: Op,
        /// Its revision.
        revision: Revision,
        table: Table,
    },
    /// The table was written, and has this revision.
    Written {
        op: Op,
        /// The new revision.
        revision: Revision,
    },
    /// It was not written: it is not of that revision any more.
    Refused { op: Op },
    /// There is no answer, and nobody knows whether it was done.
    Failed { op: Op },
    /// What there was of a partition that was to be drained is finished.
    Drained {
        partition: Partition,
        /// Of which claim.
        claim: Claim,
    },
    /// The fence says that another owner has followed.
    Fenced {
        partition: Partition,
        /// Of which claim.
        claim: Claim,
    },
    /// This member is to leave the fleet in good order.
    Leave,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the store for the table.
    Read {
        /// To be named in the answer.
        op: Op,
    },
    /// Write the table if it is still of that revision.
    Write {
        /// To be named in the answer.
        op: Op,
        /// The revision.
        over: Revision,
        /// The new table.
        table: Table,
    },
    /// Work on this partition.
    Start {
        partition: Partition,
        /// To be named with what comes of it.
        claim: Claim,
    },
    /// Finish what there is of it, take nothing new, and say so.
    Drain {
        partition: Partition,
        /// Of which claim.
        claim: Claim,
    },
    /// Do nothing more for it: it may be another's.
    Stop {
        partition: Partition,
        /// Of which claim.
        claim: Claim,
    },
    /// This member is not in the table any more.
    Left,
}

/// What the owner does about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    Serving(Claim),
    Draining(Claim),
    /// It is finished, and to be given up with the next write.
    Empty,
}

/// A request that is not answered.
#[derive(Debug)]
struct Pending {
    op: Op,
    sent: Moment,
    /// What was written; nothing if the table was asked for.
    written: Option<Table>,
}

/// Another member, as it was last seen.
#[derive(Debug)]
struct Sighting {
    beats: u64,
    since: Moment,
}

/// See the module.
#[derive(Debug)]
pub struct Lease {
    timing: Timing,
    machine: String,
    rng: fastrand::Rng,
    session: Session,
    /// How many writes were sent.
    beats: u64,
    /// Whether a write of this session was accepted.
    joined: bool,
    leaving: bool,
    left: bool,
    /// Until when it may act.
    valid: Option<Moment>,
    held: BTreeMap<Partition, Holding>,
    seen: BTreeMap<Session, Sighting>,
    pending: Option<Pending>,
    /// When the table is asked for next, if nothing is pending.
    next: Moment,
    last_op: u64,
    last_claim: u64,
    actions: VecDeque<Action>,
}

impl Lease {
    /// A member that is about to join.
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

    /// This stay of the member.
    #[must_use]
    pub const fn session(&self) -> Session {
        self.session
    }

    /// Until when it may act; nothing if it may not.
    #[must_use]
    pub const fn valid(&self) -> Option<Moment> {
        self.valid
    }

    /// The partitions that it works on now.
    pub fn serving(&self) -> impl Iterator<Item = (Partition, Claim)> + '_ {
        self.held
            .iter()
            .filter_map(|(partition, holding)| match holding {
                Holding::Serving(claim) | Holding::Draining(claim) => Some((*partition, *claim)),
                Holding::Empty => None,
            })
    }

    /// The next thing to do; to be asked until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When it wants to be told the time.
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

    /// Takes note of what happened at the moment `now`.
    pub fn handle(&mut self, now: Moment, event: Event) {
        if self.left {
            return;
        }
        // First of all: whatever is said, it may have been said long ago.
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
                    // If the table still says that it is this member's, it is begun again.
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
            // It was taken for dead, or the store has lost the table: what the table says of that
            // session is not this member's any more.
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
            // Never a count that was there before: a row that comes back after it was removed must not
            // look as if it had stood still.
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

    /// Removes those whose beats have stood still for too long.
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
        // A session that is not there owns nothing.
        let Table { members, owners } = table;
        for owner in owners {
            owner.take_if(|owner| !members.contains_key(owner));
        }
    }

    /// Claims what is free, or begins to give up what is too much.
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
                // What it gives up with this write is not claimed by the same.
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
        // As soon as another may be taken for dead, if it has not said anything by then.
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
            // The answer took longer than the lease: nothing may be begun by it.
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
        // What was claimed by a write whose answer was lost counts at once.
        let share = table.share(session);
        if self.held.len() > share {
            self.hurry(now);
        }
    }

    /// Stops all that it works on. What is empty stays so.
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

    /// The table is asked for soon.
    fn hurry(&mut self, now: Moment) {
        let soon = now + self.short();
        self.next = self.next.min(soon);
    }

    /// A little time, never the same, so that those who meet do not meet again.
    fn short(&mut self) -> Duration {
        self.timing.beat.mul_f64(self.rng.f64() / 8.0)
    }
}
