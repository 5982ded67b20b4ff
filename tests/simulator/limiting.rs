//! Hosts that limit what they serve: the rate, what runs at once, the connections, or a quota. All
//! tasks must be stored, in not much more time than at the best fixed rate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use coordinator::dispatch::{Action, Dispatcher, Event, Limits, Verdict};
use protocol::{FailureKind, Severity, TaskId, WorkerId};

use crate::worker::{finished, nacked, offer_of_hosts, placed, pushed_back};

/// What a host allows. Times are in seconds.
enum Limit {
    /// `rate` a second, and up to `burst` at once if they were not used before. The rest is
    /// refused.
    Rate { rate: f64, burst: f64 },
    /// `rate` a second. `waiting` more wait, and the rest is refused.
    Queue { rate: f64, waiting: f64 },
    /// This many at once.
    AtOnce(usize),
    /// This many connections. Each worker that was served keeps its connection open.
    Connections(usize),
    /// `most` in each period.
    Quota { most: u32, period: f64 },
    /// Only what both limits allow.
    Both(Box<Limit>, Box<Limit>),
    /// Everything until this time, and nothing after.
    Until(f64),
    /// None of these tasks, and all others.
    AllBut(&'static [u64]),
    /// No limit: each request fails with this probability, at any load.
    Faulty(f64),
}

/// What a limit remembers.
#[derive(Default)]
struct State {
    spent: f64,
    at: f64,
    running: usize,
    connected: BTreeSet<WorkerId>,
    period: u64,
    in_period: u32,
    further: [Option<Box<State>>; 2],
    dice: fastrand::Rng,
}

impl Limit {
    /// Returns how long `task` waits until it is served, or `None` if it is refused.
    fn admit(&self, state: &mut State, now: f64, worker: WorkerId, task: TaskId) -> Option<f64> {
        match self {
            Self::Rate { rate, burst } => {
                let spent = (state.spent - (now - state.at) * rate).max(0.0);
                (state.spent, state.at) = (spent, now);
                let admitted = spent + 1.0 <= burst + 1e-9;
                state.spent += f64::from(u8::from(admitted));
                admitted.then_some(0.0)
            }
            Self::Queue { rate, waiting } => {
                let wait = (state.at - now).max(0.0);
                let admitted = wait * rate <= waiting + 1e-9;
                if admitted {
                    state.at = state.at.max(now) + 1.0 / rate;
                }
                admitted.then_some(wait)
            }
            Self::AtOnce(most) => (state.running < *most).then_some(0.0),
            Self::Connections(most) => {
                let known = state.connected.contains(&worker);
                let admitted = known || state.connected.len() < *most;
                if admitted {
                    state.connected.insert(worker);
                }
                admitted.then_some(0.0)
            }
            Self::Quota { most, period } => {
                let current = (now / period) as u64;
                if state.period != current {
                    (state.period, state.in_period) = (current, 0);
                }
                state.in_period += 1;
                (state.in_period <= *most).then_some(0.0)
            }
            Self::Both(first, second) => {
                let [one, other] = &mut state.further;
                let one = one.get_or_insert_default();
                let other = other.get_or_insert_default();
                other.running = state.running;
                second.admit(other, now, worker, task)?;
                first.admit(one, now, worker, task)
            }
            Self::Until(end) => (now < *end).then_some(0.0),
            Self::AllBut(bad) => (!bad.contains(&task.0)).then_some(0.0),
            Self::Faulty(share) => (state.dice.f64() >= *share).then_some(0.0),
        }
    }

    /// Returns the shortest time in which `tasks` tasks could be served, if one takes `each`.
    fn best(&self, tasks: u64, each: f64, places: usize) -> f64 {
        let tasks = tasks as f64;
        let at_most = |places: usize| tasks * each / places as f64;
        match self {
            Self::Rate { rate, burst } => ((tasks - burst) / rate).max(at_most(places)),
            Self::Queue { rate, .. } => (tasks / rate).max(at_most(places)),
            Self::AtOnce(most) | Self::Connections(most) => at_most(places.min(*most)),
            Self::Quota { most, period } => (tasks / f64::from(*most) - 1.0) * period,
            Self::Both(first, second) => {
                let best = |limit: &Self| limit.best(tasks as u64, each, places);
                best(first).max(best(second))
            }
            Self::Until(_) | Self::AllBut(_) => at_most(places),
            Self::Faulty(share) => at_most(places) / (1.0 - share),
        }
    }
}

/// Something that happens at a given time.
enum Happening {
    Heard(Event),
    /// A request reaches the host, or its answer leaves the host.
    Arrives(WorkerId, TaskId),
    Leaves(WorkerId, TaskId),
}

struct World {
    core: Dispatcher,
    limit: Limit,
    state: State,
    /// How long the host takes to answer.
    each: f64,
    /// How long refused requests are told to wait.
    retry_after: Option<Duration>,
    /// Refusals are not answers: the host closes the connection.
    is_rude: bool,
    rng: fastrand::Rng,
    epoch: Instant,
    now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    queues: BTreeMap<WorkerId, (VecDeque<TaskId>, bool)>,
    refused: u64,
    /// Attempts of each stored task, and of each failed one.
    stored: Vec<u32>,
    failed: Vec<u32>,
}

const WORKERS: u16 = 6;

/// The mean time that a message takes, in seconds.
const MESSAGE: f64 = 0.0013;

impl World {
    fn new(limit: Limit, each: f64, tasks: u64, limits: Limits) -> Self {
        Self::of_hosts(1, limit, each, tasks, limits)
    }

    /// Creates a world in which all hosts together have this limit.
    fn of_hosts(hosts: u32, limit: Limit, each: f64, tasks: u64, limits: Limits) -> Self {
        let epoch = Instant::now();
        let limits = Limits {
            workers: WORKERS,
            lease_timeout: Duration::from_secs(3600),
            ..limits
        };
        let mut core = Dispatcher::new(limits, epoch);
        offer_of_hosts(&mut core, epoch, 0..tasks, hosts);
        core.handle(epoch, Event::InputEnded);
        Self {
            core,
            limit,
            state: State {
                dice: fastrand::Rng::with_seed(tasks),
                ..State::default()
            },
            each,
            retry_after: None,
            is_rude: false,
            rng: fastrand::Rng::with_seed(tasks),
            epoch,
            now: 0,
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            queues: BTreeMap::new(),
            refused: 0,
            stored: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Runs to the end, which must come within `most` seconds. Returns how long the run took.
    fn run(&mut self, most: f64) -> f64 {
        while !self.act() {
            let next = self.agenda.peek().map(|&Reverse((at, _))| at);
            let wake = self.core.poll_timeout().map(|deadline| {
                let at = deadline.at.saturating_duration_since(self.epoch);
                u64::try_from(at.as_nanos()).unwrap()
            });
            // Timers fire late.
            let wake = wake.map(|at| at + self.rng.u64(..200_000));
            match (next, wake) {
                (None, None) => panic!("nothing will ever happen again"),
                (Some(next), wake) if wake.is_none_or(|wake| next <= wake) => self.happen(),
                (_, wake) => {
                    self.now = self.now.max(wake.unwrap());
                    self.tell(Event::Tick);
                }
            }
            let seconds = self.now as f64 / 1e9;
            assert!(seconds < most, "it takes more than {most} seconds");
        }
        self.now as f64 / 1e9
    }

    fn tell(&mut self, event: Event) {
        let now = self.epoch + Duration::from_nanos(self.now);
        self.core.handle(now, event);
        self.core.audit().unwrap();
    }

    fn after(&mut self, seconds: f64, happening: Happening) {
        self.sequence += 1;
        let at = self.now + (seconds * 1e9) as u64;
        self.agenda.push(Reverse((at, self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    /// Returns the time that a message takes.
    fn on_the_way(&mut self) -> f64 {
        MESSAGE * (0.2 + 1.6 * self.rng.f64())
    }

    /// Carries out the actions of the core. Returns whether the run has finished.
    fn act(&mut self) -> bool {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Spawn { worker } => {
                    self.queues.insert(worker, Default::default());
                    self.after(0.005, Happening::Heard(Event::WorkerReady { worker }));
                }
                Action::Assign { worker, tasks } => {
                    self.queues.get_mut(&worker).unwrap().0.extend(tasks);
                    self.take_up(worker);
                }
                Action::Revoke { worker, tasks } => {
                    let (queue, _) = self.queues.get_mut(&worker).unwrap();
                    let released: Vec<_> = queue.iter().copied().collect();
                    queue.retain(|task| !tasks.contains(task));
                    let released = released.into_iter().filter(|task| tasks.contains(task));
                    for task in released {
                        self.after(0.0, Happening::Heard(Event::Released { worker, task }));
                    }
                }
                Action::Dismiss { worker } => {
                    let exit = coordinator::dispatch::Exit::Code(0);
                    let ran = None;
                    let event = Event::WorkerExited { worker, exit, ran };
                    self.after(0.0, Happening::Heard(event));
                }
                Action::Record {
                    verdict, attempts, ..
                } => match verdict {
                    Verdict::Done(_) => self.stored.push(attempts),
                    Verdict::Failed(_) => self.failed.push(attempts),
                    Verdict::Quarantined(exit) => panic!("nobody dies: {exit}"),
                },
                Action::Place {
                    worker,
                    task,
                    output: stored,
                } => self.tell(placed(worker, task, stored)),
                Action::Listen => self.after(0.0, Happening::Heard(Event::Listened)),
                Action::Finish { .. } => return true,
                Action::Prove { .. } | Action::Terminate { .. } | Action::Kill { .. } => {
                    panic!("{action:?}")
                }
                Action::TurnToAlternative { .. } | Action::Notify(_) => {}
            }
        }
        false
    }

    fn take_up(&mut self, worker: WorkerId) {
        let (queue, busy) = self.queues.get_mut(&worker).unwrap();
        if !*busy && let Some(task) = queue.pop_front() {
            *busy = true;
            let way = self.on_the_way();
            self.after(way, Happening::Arrives(worker, task));
        }
    }

    fn happen(&mut self) {
        let Reverse((at, sequence)) = self.agenda.pop().unwrap();
        self.now = self.now.max(at);
        match self.happenings.remove(&sequence).unwrap() {
            Happening::Heard(event) => self.tell(event),
            Happening::Arrives(worker, task) => {
                let at = self.epoch + Duration::from_nanos(self.now);
                self.tell(Event::Started { worker, task, at });
                let now = self.now as f64 / 1e9;
                match self.limit.admit(&mut self.state, now, worker, task) {
                    Some(wait) => {
                        self.state.running += 1;
                        let each = self.each * (0.7 + 0.6 * self.rng.f64());
                        self.after(wait + each, Happening::Leaves(worker, task));
                    }
                    None => {
                        self.refused += 1;
                        let severity = Severity::Transient {
                            retry_after: self.retry_after,
                        };
                        let event = match self.is_rude {
                            true => nacked(worker, task, FailureKind::Disconnected, severity),
                            false => pushed_back(worker, task, severity),
                        };
                        self.answer(worker, event);
                    }
                }
            }
            Happening::Leaves(worker, task) => {
                self.state.running -= 1;
                self.answer(worker, finished(worker, task));
            }
        }
    }

    fn answer(&mut self, worker: WorkerId, event: Event) {
        let way = self.on_the_way();
        self.after(way, Happening::Heard(event));
        self.queues.get_mut(&worker).unwrap().1 = false;
        self.take_up(worker);
    }
}

/// The last two columns are limits: the time, as a multiple of the best time, and the number of
/// refused requests, as a share of the tasks.
#[test]
fn what_a_host_limits_is_stored_in_not_much_more_than_the_best_time() {
    let rate = |rate, burst| Limit::Rate { rate, burst };
    let both = |first, second| Limit::Both(Box::new(first), Box::new(second));
    let quota = |most, period| Limit::Quota { most, period };
    let queue = |rate, waiting| Limit::Queue { rate, waiting };
    let table = [
        ("20/s, no burst", rate(20.0, 1.0), 0.002, 199, 1.3, 0.2),
        ("20/s, slow", rate(20.0, 1.0), 0.1, 199, 1.3, 0.2),
        ("20/s, very slow", rate(20.0, 1.0), 1.0, 199, 1.5, 0.2),
        ("10/s, a burst of 5", rate(10.0, 5.0), 0.002, 120, 1.3, 0.4),
        (
            "20/s, a burst of 20",
            rate(20.0, 20.0),
            0.002,
            199,
            1.3,
            0.4,
        ),
        ("100/s", rate(100.0, 1.0), 0.002, 2000, 1.4, 0.2),
        ("2/s", rate(2.0, 1.0), 0.01, 60, 1.3, 0.5),
        ("20/s, 4 wait", queue(20.0, 4.0), 0.002, 199, 1.3, 0.1),
        ("20/s, 10 wait", queue(20.0, 10.0), 0.002, 199, 1.3, 0.0),
        ("2 at once", Limit::AtOnce(2), 0.1, 60, 1.3, 0.3),
        ("2 at once, fast", Limit::AtOnce(2), 0.002, 500, 1.6, 0.2),
        ("1 at once", Limit::AtOnce(1), 0.05, 100, 1.3, 0.2),
        ("4 at once, slow", Limit::AtOnce(4), 1.0, 100, 1.3, 0.2),
        ("2 connections", Limit::Connections(2), 0.05, 60, 1.4, 0.5),
        (
            "20/s and 2 at once",
            both(rate(20.0, 5.0), Limit::AtOnce(2)),
            0.05,
            199,
            1.3,
            0.25,
        ),
        ("100 in 10 s", quota(100, 10.0), 0.002, 500, 1.6, 0.3),
        ("60 a minute", quota(60, 60.0), 0.02, 200, 1.6, 0.5),
        ("1 % fail", Limit::Faulty(0.01), 0.02, 2000, 1.2, 0.05),
        ("5 % fail", Limit::Faulty(0.05), 0.02, 2000, 1.3, 0.1),
        ("5 % fail, fast", Limit::Faulty(0.05), 0.002, 2000, 2.5, 0.1),
        ("5 % fail, slow", Limit::Faulty(0.05), 0.5, 400, 1.3, 0.1),
        ("20 % fail", Limit::Faulty(0.2), 0.02, 2000, 2.5, 0.3),
    ];
    let mut slow = Vec::new();
    for (name, limit, each, tasks, most_time, most_refused) in table {
        let best = limit.best(tasks, each + 2.0 * MESSAGE, WORKERS.into());
        let mut world = World::new(limit, each, tasks, Limits::default());
        let took = world.run(10.0 * best + 100.0);
        let (ratio, refused) = (took / best, world.refused as f64 / tasks as f64);
        println!(
            "{name:20} {took:6.1} s of {best:6.1} s, {ratio:.2}; {} refused of {tasks}",
            world.refused
        );
        assert_eq!(world.stored.len() as u64, tasks, "{name}");
        if ratio > most_time || refused > most_refused {
            slow.push(name);
        }
    }
    assert!(
        slow.is_empty(),
        "{slow:?} took too long, or was refused too often"
    );
}

/// Each host has its turn so seldom that the number of tasks it serves in a second says little
/// about it.
#[test]
fn many_hosts_that_fail_at_random_are_stored_in_not_much_more_than_the_best_time() {
    let ratio = |tasks| {
        let limit = Limit::Faulty(0.03);
        let best = limit.best(tasks, 0.01 + 2.0 * MESSAGE, WORKERS.into());
        let mut world = World::of_hosts(40, limit, 0.01, tasks, Limits::default());
        let ratio = world.run(1000.0) / best;
        println!(
            "40 hosts, 3 % fail: {ratio:.2}; {} refused of {tasks}",
            world.refused
        );
        assert_eq!(world.stored.len() as u64, tasks);
        ratio
    };
    let mean = (8000..8003).map(ratio).sum::<f64>() / 3.0;
    assert!(mean < 1.3, "{mean}");
}

#[test]
fn a_refusal_of_the_host_spends_no_attempt() {
    let rate = Limit::Rate {
        rate: 20.0,
        burst: 1.0,
    };
    let mut world = World::new(rate, 0.002, 200, Limits::default());
    world.run(60.0);
    let spent = world
        .stored
        .iter()
        .filter(|&&attempts| attempts > 1)
        .count();
    // Before a host has served anything, the core cannot know that it will.
    assert!(spent <= 2 * usize::from(WORKERS), "{:?}", world.stored);
}

#[test]
fn a_host_that_closes_connections_beyond_a_number_serves_all_with_that_many() {
    let mut world = World::new(Limit::Connections(2), 0.05, 60, Limits::default());
    world.is_rude = true;
    let took = world.run(60.0);
    assert_eq!(world.stored.len(), 60);
    assert!(took < 4.0, "{took} s, and 1.5 s would be best");
}

#[test]
fn a_url_that_is_always_refused_by_a_host_that_serves_the_others_fails_after_its_retries() {
    let limits = Limits {
        retries: 2,
        ..Limits::default()
    };
    let mut world = World::new(Limit::AllBut(&[3]), 0.01, 300, limits);
    let took = world.run(60.0);
    assert_eq!((world.stored.len(), &world.failed[..]), (299, &[3][..]));
    assert_eq!(world.refused, 3);
    assert!(took < 10.0, "{took}");
}

#[test]
fn several_such_urls_do_not_keep_a_run_for_long_wherever_they_stand() {
    for bad in [&[0, 1, 2][..], &[10, 20, 30], &[50, 59], &[1, 58]] {
        let mut world = World::new(Limit::AllBut(bad), 0.01, 60, Limits::default());
        let took = world.run(60.0);
        assert_eq!(
            (world.stored.len(), world.failed.len()),
            (60 - bad.len(), bad.len())
        );
        assert!(took < 25.0, "{bad:?}: {took}");
    }
}

#[test]
fn a_host_that_refuses_everything_for_good_fails_in_bounded_time() {
    for end in [0.0, 5.0] {
        let mut world = World::new(Limit::Until(end), 0.05, 1000, Limits::default());
        let took = world.run(1000.0);
        let finished = world.stored.len() + world.failed.len();
        assert_eq!(finished, 1000, "from {end} s on");
        assert!(!world.failed.is_empty() && world.failed.iter().all(|&attempts| attempts == 4));
        assert!(took < 90.0 + 30.0 + end, "from {end} s on: {took} s");
    }
}

#[test]
fn nothing_is_asked_for_twice_without_retries() {
    let limits = Limits {
        retries: 0,
        ..Limits::default()
    };
    let rate = Limit::Rate {
        rate: 20.0,
        burst: 1.0,
    };
    let mut world = World::new(rate, 0.002, 100, limits);
    world.run(60.0);
    assert_eq!(world.failed.len() as u64, world.refused);
    assert_eq!(world.stored.len() + world.failed.len(), 100);
}

#[test]
fn a_host_that_says_when_to_come_back_is_left_alone_until_then() {
    let quota = Limit::Quota {
        most: 50,
        period: 20.0,
    };
    let mut world = World::new(quota, 0.02, 200, Limits::default());
    world.retry_after = Some(Duration::from_secs(20));
    let took = world.run(200.0);
    assert_eq!(world.stored.len(), 200);
    assert!(world.refused <= 30, "{} refused", world.refused);
    assert!(took < 100.0, "{took}");
}

#[test]
fn what_one_url_says_about_coming_back_does_not_hold_up_a_host_that_serves_the_others() {
    let limits = Limits {
        retry_max_time: Some(Duration::from_secs(3)),
        ..Limits::default()
    };
    let mut world = World::new(Limit::AllBut(&[100]), 0.01, 200, limits);
    world.retry_after = Some(Duration::from_secs(3600));
    let took = world.run(60.0);
    assert_eq!((world.stored.len(), world.failed.len()), (199, 1));
    assert!(took < 3.0, "{took}");
}
