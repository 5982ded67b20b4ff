//! Members, network and store in virtual time, and the invariants.
//!
//! The store holds the table and the chain of each partition. The table can be set back to an
//! earlier state and revision. A chain keeps what it acknowledged: an owner's `begin` or the
//! outcome of a task. Each is appended only if nothing was appended since the owner last read the
//! chain.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use coordinator::fleet::lease::{
    Action, Claim, Event, Lease, Moment, Op, Partition, Revision, Table, Timing,
};

/// Microseconds of true time.
type Time = u64;

const SECOND: Time = 1_000_000;
const LEASE: Time = 10 * SECOND;
/// End of the time in which faults happen.
const FAULTS: Time = 70 * SECOND;
/// Time at which everything must have settled.
const SETTLED: Time = FAULTS + 70 * SECOND;
/// Time at which all members must have left. They are asked to leave at `SETTLED`.
const LEFT: Time = SETTLED + 40 * SECOND;

/// Counts of events in the runs, which show that the faults have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub takeovers: u64,
    pub fenced: u64,
    pub expired: u64,
    pub outcomes: u64,
    pub losses: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.takeovers += other.takeovers;
        self.fenced += other.fenced;
        self.expired += other.expired;
        self.outcomes += other.outcomes;
        self.losses += other.losses;
    }
}

/// The parameters of one simulated fleet, a pure function of the seed.
#[derive(Debug)]
struct Scenario {
    members: usize,
    partitions: u16,
    tasks: u32,
    lost: f64,
    doubled: f64,
    late: f64,
    /// Largest relative error of a clock's rate.
    drift: f64,
    kills: f64,
    pauses: f64,
    /// Periods in which all messages to and from a member are lost.
    cuts: f64,
    outages: f64,
    /// Losses of the store's last writes.
    forgets: f64,
    leaves: f64,
}

/// The chain of a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    /// Number of messages.
    tail: u64,
    /// Sequence number of the last `begin`.
    epoch: u64,
    /// Number of tasks with an outcome.
    done: u32,
}

/// An owner's work on a partition.
#[derive(Clone, Copy, Debug)]
struct Work {
    claim: Claim,
    draining: bool,
    /// The sequence number of its own `begin`, once it is known, followed by the last known end of
    /// the chain.
    epoch: Option<u64>,
    tail: u64,
    /// The next task.
    next: u32,
    /// Whether it has acted on `next` and must append the outcome.
    acted: bool,
    /// Number of the current step. A timer with another number has no effect.
    step: u64,
}

#[derive(Debug)]
struct Member {
    lease: Lease,
    /// Number of the current process of this machine.
    life: u64,
    alive: bool,
    left: bool,
    paused_until: Time,
    cut_until: Time,
    /// Time of the next wakeup.
    wake: Time,
    rate: f64,
    offset: f64,
    works: BTreeMap<Partition, Work>,
}

#[derive(Clone, Debug)]
enum Request {
    Read(Op),
    Write(Op, Revision, Table),
    /// Reads a chain.
    Look(Partition, Claim),
    /// Appends a `begin`.
    Begin(Partition, Claim, u64),
    /// Appends an outcome, with its epoch, the expected tail and the task.
    Append(Partition, Claim, u64, u64, u32),
}

#[derive(Clone, Debug)]
enum Answer {
    Lease(Event),
    /// The chain after the request.
    Chain(Partition, Claim, Chain),
    /// Nothing was appended.
    Moved(Partition, Claim),
}

#[derive(Clone, Debug)]
enum Happening {
    /// A planned wakeup, with its time.
    Wake(Time),
    Step(Partition, Claim, u64),
    AtStore(Request),
    Answered(Answer),
    Kill,
    Start,
    Pause(Time),
    Cut(Time),
    Leave,
    StoreForgets,
    StoreStops(Time),
}

pub struct World {
    scenario: Scenario,
    rng: fastrand::Rng,
    now: Time,
    count: u64,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    happenings: BTreeMap<u64, (usize, u64, Happening)>,
    members: Vec<Member>,
    revision: u64,
    table: Table,
    history: VecDeque<(u64, Table)>,
    store_stopped_until: Time,
    chains: Vec<Chain>,
    /// Partition, task and epoch of each act. No act is repeated within an epoch.
    acts: BTreeSet<(Partition, u32, u64)>,
    seen: Seen,
    /// Whether a member was running when everything had settled.
    stayed: bool,
    tracing: bool,
    pub trace: Vec<String>,
}

impl World {
    pub fn new(seed: u64, tracing: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut some = |most: f64| match rng.u8(..3) {
            0 => 0.0,
            _ => rng.f64() * most,
        };
        let scenario = Scenario {
            lost: some(0.3),
            doubled: some(0.2),
            late: some(0.2),
            drift: some(0.05),
            kills: some(3.0),
            pauses: some(4.0),
            cuts: some(4.0),
            outages: some(2.0),
            forgets: some(3.0),
            leaves: some(2.0),
            members: rng.usize(1..=5),
            partitions: rng.u16(1..=12),
            tasks: rng.u32(0..40),
        };
        let partitions = scenario.partitions;
        let mut world = Self {
            rng,
            now: 0,
            count: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            members: Vec::new(),
            revision: 0,
            table: Table::new(partitions),
            history: VecDeque::new(),
            store_stopped_until: 0,
            chains: vec![Chain::default(); usize::from(partitions)],
            acts: BTreeSet::new(),
            seen: Seen::default(),
            stayed: false,
            tracing,
            trace: Vec::new(),
            scenario,
        };
        world.people();
        world
    }

    fn people(&mut self) {
        for number in 0..self.scenario.members {
            let drift = self.scenario.drift;
            let rate = 1.0 + drift * (2.0 * self.rng.f64() - 1.0);
            let offset = self.rng.f64() * 1e10;
            let member = Member {
                lease: lease(self.rng.u64(..), Duration::ZERO),
                life: 0,
                alive: false,
                left: false,
                paused_until: 0,
                cut_until: 0,
                wake: Time::MAX,
                rate,
                offset,
                works: BTreeMap::new(),
            };
            self.members.push(member);
            let at = self.rng.u64(..20 * SECOND);
            self.plan(at, number, Happening::Start);
        }
        let often = |most: f64, rng: &mut fastrand::Rng| (rng.f64() * most).round() as u32;
        for _ in 0..often(self.scenario.kills, &mut self.rng) {
            let (at, member) = self.some_fault();
            self.plan(at, member, Happening::Kill);
            let back = at + self.rng.u64(..20 * SECOND);
            self.plan(back.min(FAULTS), member, Happening::Start);
        }
        for _ in 0..often(self.scenario.pauses, &mut self.rng) {
            let (at, member) = self.some_fault();
            let length = self.rng.u64(..3 * LEASE);
            self.plan(at, member, Happening::Pause(length));
        }
        for _ in 0..often(self.scenario.cuts, &mut self.rng) {
            let (at, member) = self.some_fault();
            let length = self.rng.u64(..2 * LEASE);
            self.plan(at, member, Happening::Cut(length));
        }
        for _ in 0..often(self.scenario.leaves, &mut self.rng) {
            let (at, member) = self.some_fault();
            self.plan(at, member, Happening::Leave);
            let back = at + self.rng.u64(..20 * SECOND);
            self.plan(back.min(FAULTS), member, Happening::Start);
        }
        for _ in 0..often(self.scenario.outages, &mut self.rng) {
            let (at, _) = self.some_fault();
            let length = self.rng.u64(..2 * LEASE);
            self.plan(at, 0, Happening::StoreStops(length));
        }
        for _ in 0..often(self.scenario.forgets, &mut self.rng) {
            let (at, _) = self.some_fault();
            self.plan(at, 0, Happening::StoreForgets);
        }
    }

    fn some_fault(&mut self) -> (Time, usize) {
        let at = self.rng.u64(SECOND..FAULTS);
        (at, self.rng.usize(..self.scenario.members))
    }

    fn plan(&mut self, at: Time, member: usize, happening: Happening) {
        let life = self.members.get(member).map_or(0, |member| member.life);
        self.count += 1;
        self.queue.push(Reverse((at, self.count)));
        self.happenings
            .insert(self.count, (member, life, happening));
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let line = line();
            self.trace
                .push(format!("{:>12.6} {line}", self.now as f64 / 1e6));
        }
    }

    fn faults(&self) -> bool {
        self.now < FAULTS
    }

    /// Runs the fleet to its end.
    pub fn run(&mut self) -> Result<Seen, String> {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if self.now < SETTLED && at >= SETTLED {
                self.now = SETTLED;
                self.check_settled()?;
                self.stayed = self
                    .members
                    .iter()
                    .any(|member| member.alive && !member.left);
                for member in 0..self.members.len() {
                    self.plan(SETTLED, member, Happening::Leave);
                }
            }
            if at >= LEFT {
                break;
            }
            self.now = at;
            let Some((member, life, happening)) = self.happenings.remove(&number) else {
                continue;
            };
            self.happen(member, life, happening)?;
        }
        match self
            .members
            .iter()
            .find(|member| member.alive && !member.left)
        {
            Some(member) => Err(format!("a member has not left: {:?}", member.lease)),
            // A row may stay if the store lost the write that removed it, or if no member was left
            // to remove a killed one.
            None if self.table.members.is_empty() || self.seen.losses > 0 || !self.stayed => {
                Ok(self.seen)
            }
            None => Err(format!("a row is left: {:?}", self.table)),
        }
    }

    fn happen(&mut self, member: usize, life: u64, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::AtStore(request) => {
                if self.now >= self.store_stopped_until {
                    self.at_store(member, life, request);
                }
                return Ok(());
            }
            Happening::StoreStops(length) => {
                self.store_stopped_until = self.now + length;
                self.note(|| format!("the store stops for {length}"));
                return Ok(());
            }
            Happening::StoreForgets => {
                let back = self.rng.usize(..=self.history.len().min(20));
                for _ in 0..back {
                    if let Some((revision, table)) = self.history.pop_back() {
                        self.revision = revision;
                        self.table = table;
                        self.seen.losses += 1;
                    }
                }
                let revision = self.revision;
                self.note(|| format!("the store is back at revision {revision}"));
                return Ok(());
            }
            Happening::Start => {
                if !self.members[member].alive || self.members[member].left {
                    self.start(member);
                }
                return Ok(());
            }
            Happening::Kill => {
                self.note(|| format!("member {member} is killed"));
                let killed = &mut self.members[member];
                killed.alive = false;
                killed.life += 1;
                killed.works.clear();
                return Ok(());
            }
            Happening::Pause(length) => {
                self.members[member].paused_until = self.now + length;
                self.note(|| format!("member {member} is paused for {length}"));
                return Ok(());
            }
            Happening::Cut(length) => {
                self.members[member].cut_until = (self.now + length).min(FAULTS);
                self.note(|| format!("member {member} is cut off for {length}"));
                return Ok(());
            }
            Happening::Wake(_)
            | Happening::Step(..)
            | Happening::Answered(_)
            | Happening::Leave => {}
        }
        let state = &self.members[member];
        let is_for_it = state.life == life || matches!(happening, Happening::Leave);
        if !state.alive || state.left || !is_for_it {
            return Ok(());
        }
        if state.paused_until > self.now {
            // When it resumes, it receives the events of the pause in any order.
            let at = state.paused_until + self.rng.u64(..1000);
            self.plan(at, member, happening);
            return Ok(());
        }
        match happening {
            Happening::Wake(at) if self.members[member].wake != at => {}
            Happening::Wake(_) => {
                self.members[member].wake = Time::MAX;
                self.tell(member, Event::Tick);
            }
            Happening::Leave => {
                self.note(|| format!("member {member} is asked to leave"));
                self.tell(member, Event::Leave);
            }
            Happening::Answered(Answer::Lease(event)) => self.tell(member, event),
            Happening::Answered(Answer::Chain(partition, claim, chain)) => {
                self.tell(member, Event::Tick);
                self.on_chain(member, partition, claim, chain);
            }
            Happening::Answered(Answer::Moved(partition, claim)) => {
                self.tell(member, Event::Tick);
                self.request(member, Request::Look(partition, claim));
            }
            Happening::Step(partition, claim, step) => {
                self.tell(member, Event::Tick);
                self.step(member, partition, claim, step)?;
            }
            Happening::AtStore(_)
            | Happening::StoreStops(_)
            | Happening::StoreForgets
            | Happening::Start
            | Happening::Kill
            | Happening::Pause(_)
            | Happening::Cut(_) => {}
        }
        Ok(())
    }

    fn local(&self, member: usize) -> Moment {
        let Member { rate, offset, .. } = self.members[member];
        Duration::from_micros((offset + self.now as f64 * rate) as u64)
    }

    /// Returns the true time at which the member's clock shows `moment`.
    fn true_time(&self, member: usize, moment: Moment) -> Time {
        let Member { rate, offset, .. } = self.members[member];
        let at = ((moment.as_micros() as f64 - offset) / rate).ceil() as u64;
        at.max(self.now) + 1
    }

    fn start(&mut self, member: usize) {
        let now = self.local(member);
        let seed = self.rng.u64(..);
        let state = &mut self.members[member];
        state.lease = lease(seed, now);
        state.alive = true;
        state.left = false;
        state.life += 1;
        state.works.clear();
        state.wake = Time::MAX;
        let session = state.lease.session();
        self.note(|| format!("member {member} starts as {session:?}"));
        self.tell(member, Event::Tick);
    }

    /// Passes an event to a member's lease and carries out the actions.
    fn tell(&mut self, member: usize, event: Event) {
        let now = self.local(member);
        let was_valid = self.members[member].lease.valid();
        if self.tracing && !matches!(event, Event::Tick) {
            self.note(|| format!("member {member} hears {event:?}"));
        }
        self.members[member].lease.handle(now, event);
        if was_valid.is_some_and(|valid| valid <= now) {
            self.seen.expired += 1;
        }
        while let Some(action) = self.members[member].lease.poll_action() {
            self.act(member, action);
        }
        if let Some(moment) = self.members[member].lease.poll_timeout() {
            let at = self.true_time(member, moment);
            if at < self.members[member].wake {
                self.members[member].wake = at;
                self.plan(at, member, Happening::Wake(at));
            }
        }
    }

    fn act(&mut self, member: usize, action: Action) {
        self.note(|| format!("member {member} does {action:?}"));
        match action {
            Action::Read { op } => self.request(member, Request::Read(op)),
            Action::Write { op, over, table } => {
                self.request(member, Request::Write(op, over, table));
            }
            Action::Start { partition, claim } => {
                let work = Work {
                    claim,
                    draining: false,
                    epoch: None,
                    tail: 0,
                    next: 0,
                    acted: false,
                    step: 0,
                };
                let before = self.members[member].works.insert(partition, work);
                assert!(before.is_none(), "started twice: {partition:?}");
                self.request(member, Request::Look(partition, claim));
                self.later(member, partition, claim);
            }
            Action::Drain { partition, claim } => {
                let work = self.members[member].works.get_mut(&partition).unwrap();
                assert_eq!(work.claim, claim);
                work.draining = true;
            }
            Action::Stop { partition, claim } => {
                let work = self.members[member].works.remove(&partition);
                assert_eq!(work.map(|work| work.claim), Some(claim));
            }
            Action::Left => {
                self.members[member].left = true;
                assert!(self.members[member].works.is_empty());
            }
        }
    }

    /// Plans the next step of the work. This replaces a step that was planned earlier.
    fn later(&mut self, member: usize, partition: Partition, claim: Claim) {
        let after = SECOND / 2 + self.rng.u64(..SECOND);
        if let Some(work) = self.members[member].works.get_mut(&partition) {
            work.step += 1;
            let step = work.step;
            self.plan(
                self.now + after,
                member,
                Happening::Step(partition, claim, step),
            );
        }
    }

    fn work(&self, member: usize, partition: Partition, claim: Claim) -> Option<Work> {
        let work = self.members[member].works.get(&partition)?;
        (work.claim == claim).then_some(*work)
    }

    fn step(
        &mut self,
        member: usize,
        partition: Partition,
        claim: Claim,
        step: u64,
    ) -> Result<(), String> {
        let Some(mut work) = self.work(member, partition, claim) else {
            return Ok(());
        };
        if work.step != step {
            return Ok(());
        }
        let Some(epoch) = work.epoch else {
            if work.draining {
                self.drained(member, partition, claim);
            } else {
                self.request(member, Request::Look(partition, claim));
                self.later(member, partition, claim);
            }
            return Ok(());
        };
        if work.acted {
            // There was no answer: the chain shows whether the outcome was appended.
            self.request(member, Request::Look(partition, claim));
        } else if work.draining {
            self.drained(member, partition, claim);
            return Ok(());
        } else if work.next < self.scenario.tasks {
            self.check_act(member, partition)?;
            if !self.acts.insert((partition, work.next, epoch)) {
                return Err(format!(
                    "{partition:?}, task {} twice in {epoch}",
                    work.next
                ));
            }
            self.note(|| format!("member {member} acts on {partition:?}, {}", work.next));
            work.acted = true;
            self.members[member].works.insert(partition, work);
            let append = Request::Append(partition, claim, epoch, work.tail, work.next);
            self.request(member, append);
        }
        self.later(member, partition, claim);
        Ok(())
    }

    fn drained(&mut self, member: usize, partition: Partition, claim: Claim) {
        self.members[member].works.remove(&partition);
        self.tell(member, Event::Drained { partition, claim });
    }

    /// Checks that the member has a lease. Unless the store has lost writes, also checks that no
    /// other member may act on the partition now.
    fn check_act(&self, member: usize, partition: Partition) -> Result<(), String> {
        let valid = self.members[member].lease.valid();
        if valid.is_none_or(|valid| valid <= self.local(member)) {
            return Err(format!("member {member} acts without a lease"));
        }
        if self.seen.losses > 0 {
            return Ok(());
        }
        for (other, state) in self.members.iter().enumerate() {
            let valid = state.lease.valid();
            let may_act = valid.is_some_and(|valid| valid > self.local(other));
            let works = state.alive && !state.left && state.works.contains_key(&partition);
            if other != member && works && may_act {
                return Err(format!("{member} and {other} both act on {partition:?}"));
            }
        }
        Ok(())
    }

    fn on_chain(&mut self, member: usize, partition: Partition, claim: Claim, chain: Chain) {
        let Some(mut work) = self.work(member, partition, claim) else {
            return;
        };
        let Some(epoch) = work.epoch else {
            // It has not begun yet. Its `begin` goes to the end of the chain.
            if !work.draining {
                self.request(member, Request::Begin(partition, claim, chain.tail));
            }
            return;
        };
        if chain.epoch > epoch {
            self.seen.fenced += 1;
            self.tell(member, Event::Fenced { partition, claim });
            return;
        }
        if chain.tail < work.tail {
            // This answer is older than the known state.
            return;
        }
        work.tail = chain.tail;
        if chain.done > work.next {
            work.next = chain.done;
            work.acted = false;
            self.seen.outcomes += 1;
        }
        self.members[member].works.insert(partition, work);
        if work.acted {
            let append = Request::Append(partition, claim, epoch, work.tail, work.next);
            self.request(member, append);
        }
    }

    /// Sends a request, with the faults of the network.
    fn request(&mut self, member: usize, request: Request) {
        for at in self.deliveries(member) {
            self.plan(at, member, Happening::AtStore(request.clone()));
        }
    }

    fn answer(&mut self, member: usize, life: u64, answer: Answer) {
        if self.members[member].life != life {
            return;
        }
        for at in self.deliveries(member) {
            self.plan(at, member, Happening::Answered(answer.clone()));
        }
    }

    fn deliveries(&mut self, member: usize) -> Vec<Time> {
        let faults = self.faults();
        if self.now < self.members[member].cut_until {
            return Vec::new();
        }
        if faults && self.rng.f64() < self.scenario.lost {
            return Vec::new();
        }
        let copies = 1 + usize::from(faults && self.rng.f64() < self.scenario.doubled);
        let latency = |world: &mut Self| {
            let most = match faults && world.rng.f64() < world.scenario.late {
                true if world.rng.bool() => 2 * LEASE,
                true => LEASE / 4,
                false => SECOND / 20,
            };
            world.now + 100 + world.rng.u64(..most)
        };
        (0..copies).map(|_| latency(self)).collect()
    }

    fn at_store(&mut self, member: usize, life: u64, request: Request) {
        let answer = match request {
            Request::Read(op) => Answer::Lease(Event::Read {
                op,
                revision: Revision(self.revision),
                table: self.table.clone(),
            }),
            Request::Write(op, over, table) => {
                if over == Revision(self.revision) {
                    self.write(table);
                    let revision = Revision(self.revision);
                    self.note(|| format!("the store has {revision:?} of member {member}"));
                    Answer::Lease(Event::Written { op, revision })
                } else {
                    Answer::Lease(Event::Refused { op })
                }
            }
            Request::Look(partition, claim) => {
                Answer::Chain(partition, claim, self.chains[usize::from(partition.0)])
            }
            Request::Begin(partition, claim, over) => {
                let chain = &mut self.chains[usize::from(partition.0)];
                if chain.tail == over {
                    chain.tail += 1;
                    chain.epoch = chain.tail;
                    self.seen.takeovers += u64::from(chain.epoch > 1);
                    let chain = *chain;
                    // The member becomes the owner only if the answer arrives; otherwise it begins
                    // again.
                    self.note(|| format!("{partition:?} is begun by {member}: {chain:?}"));
                    return self.begun(member, life, partition, claim, chain);
                }
                Answer::Moved(partition, claim)
            }
            Request::Append(partition, claim, epoch, over, task) => {
                let chain = &mut self.chains[usize::from(partition.0)];
                if chain.tail == over && chain.epoch == epoch {
                    assert_eq!(chain.done, task, "an outcome is appended out of turn");
                    chain.tail += 1;
                    chain.done += 1;
                    Answer::Chain(partition, claim, *chain)
                } else {
                    Answer::Moved(partition, claim)
                }
            }
        };
        self.answer(member, life, answer);
    }

    /// Notifies a member that its `begin` is in the chain.
    fn begun(
        &mut self,
        member: usize,
        life: u64,
        partition: Partition,
        claim: Claim,
        chain: Chain,
    ) {
        if self.members[member].life != life || self.deliveries(member).is_empty() {
            return;
        }
        if let Some(work) = self.members[member].works.get_mut(&partition)
            && work.claim == claim
            && work.epoch.is_none()
        {
            work.epoch = Some(chain.epoch);
            work.tail = chain.tail;
            work.next = chain.done;
        }
    }

    fn write(&mut self, table: Table) {
        let before = std::mem::replace(&mut self.table, table);
        self.history.push_back((self.revision, before));
        if self.history.len() > 40 {
            self.history.pop_front();
        }
        self.revision += 1;
    }

    fn check_settled(&self) -> Result<(), String> {
        let staying: Vec<_> = self
            .members
            .iter()
            .filter(|member| member.alive && !member.left)
            .collect();
        if staying.is_empty() {
            return Ok(());
        }
        let most = usize::from(self.scenario.partitions).div_ceil(staying.len());
        let least = usize::from(self.scenario.partitions) / staying.len();
        for member in &staying {
            let works = member.works.len();
            if works < least || works > most {
                return Err(format!(
                    "{works} partitions are no fair share: {:?}",
                    member.lease
                ));
            }
        }
        for (partition, chain) in (0..).map(Partition).zip(&self.chains) {
            let owners = staying
                .iter()
                .filter(|member| member.works.contains_key(&partition))
                .count();
            if owners != 1 {
                return Err(format!("{partition:?} has {owners} owners in the end"));
            }
            if chain.done != self.scenario.tasks {
                return Err(format!("{partition:?} is not done in the end: {chain:?}"));
            }
        }
        Ok(())
    }
}

fn lease(seed: u64, now: Moment) -> Lease {
    let timing = Timing::new(Duration::from_micros(LEASE));
    Lease::new("machine".to_owned(), timing, seed, now)
}
