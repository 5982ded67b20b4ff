//! The history of a run, for `--listen`.
//!
//! Its size is bounded for any list and any run. It is kept only if the run can be watched.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use protocol::{Phase, SlotId, Timing};

use super::stats::Stats;
use crate::watch::{BOUNDS, History, Phase as Spent, Point, Watch};

/// Maximum number of points in the history. When there are more, every other one is dropped and the
/// time between points is doubled.
const MOST_POINTS: usize = 240;

/// Time between two samples, and between the first points.
const STEP: Duration = Duration::from_secs(1);

/// Maximum number of hosts whose failures are counted individually.
const MOST_HOSTS: usize = 4096;

/// Number of workers whose time is kept, and for how many steps.
const MOST_LANES: usize = 64;
const CELLS: usize = 60;

const NAMES: [&str; 8] = [
    "queue",
    "resolve",
    "connect",
    "tls",
    "first_byte",
    "body",
    "store",
    "exec",
];

/// The history of a run that can be watched.
#[derive(Debug)]
pub(in crate::run) struct Watching {
    pub(in crate::run) watch: Watch,
    due: Instant,
    /// Samples until the next point, and between two points.
    until_point: u32,
    per_point: u32,
    points: Vec<Point>,
    failed_by_host: HashMap<String, u64>,
    failed_elsewhere: u64,
    phases: [Classes; NAMES.len()],
    lanes: Vec<Lane>,
    /// Downloads that a worker runs at once.
    concurrency: u16,
}

/// A histogram of times.
#[derive(Clone, Copy, Debug, Default)]
struct Classes {
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

/// How a worker spent its time.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// Times since the last sample.
    waited: Duration,
    worked: Duration,
    /// The earlier cells, the latest last.
    cells: std::collections::VecDeque<(u8, u8)>,
}

impl Watching {
    pub(in crate::run) fn new(watch: Watch, concurrency: u16, now: Instant) -> Self {
        Self {
            watch,
            due: now + STEP,
            until_point: 1,
            per_point: 1,
            points: vec![Point::default()],
            failed_by_host: HashMap::new(),
            failed_elsewhere: 0,
            phases: [Classes::default(); NAMES.len()],
            lanes: Vec::new(),
            concurrency: concurrency.max(1),
        }
    }

    /// Returns when the next sample is due.
    pub(in crate::run) const fn due(&self) -> Instant {
        self.due
    }

    /// Counts a failure at `host`.
    pub(in crate::run) fn failed(&mut self, host: &str) {
        if let Some(count) = self.failed_by_host.get_mut(host) {
            *count += 1;
        } else if self.failed_by_host.len() < MOST_HOSTS {
            self.failed_by_host.insert(host.to_owned(), 1);
        } else {
            self.failed_elsewhere += 1;
        }
    }

    /// Counts the times of a URL finished in `slot`. Phases that did not happen are left out.
    pub(in crate::run) fn finished(&mut self, slot: SlotId, queue: Duration, timing: &Timing) {
        let waited = [
            timing.resolve,
            timing.connect,
            timing.tls,
            timing.first_byte,
        ];
        let worked = [timing.body, timing.store, timing.exec];
        let times = [queue].into_iter().chain(waited).chain(worked);
        for (classes, time) in self.phases.iter_mut().zip(times) {
            if time > Duration::ZERO {
                classes.add(time);
            }
        }
        if let Some(lane) = self.lane(slot) {
            // Time before the last sample was counted there.
            let worked: Duration = worked.iter().sum();
            let recent = worked.min(STEP);
            lane.worked += recent;
            lane.waited += waited.iter().sum::<Duration>().min(STEP - recent);
        }
    }

    fn lane(&mut self, slot: SlotId) -> Option<&mut Lane> {
        let place = usize::from(slot.0);
        if place >= MOST_LANES {
            return None;
        }
        if self.lanes.len() <= place {
            self.lanes.resize_with(place + 1, Lane::default);
        }
        self.lanes.get_mut(place)
    }

    /// Takes a sample at `now`. `running` gives the slot, time and phase of each running download.
    pub(in crate::run) fn look(
        &mut self,
        now: Instant,
        stats: &Stats,
        running: impl Iterator<Item = (SlotId, Duration, Option<Phase>)>,
    ) {
        for (slot, elapsed, phase) in running {
            let Some(lane) = self.lane(slot) else {
                continue;
            };
            let recent = elapsed.min(STEP);
            match phase {
                None | Some(Phase::Requesting) => lane.waited += recent,
                Some(Phase::Receiving | Phase::Storing | Phase::Executing) => lane.worked += recent,
            }
        }
        let whole = STEP * u32::from(self.concurrency);
        for lane in &mut self.lanes {
            lane.turn(whole);
        }
        self.until_point -= 1;
        if self.until_point == 0 {
            self.points.push(Point::of(stats));
            if self.points.len() > MOST_POINTS {
                let mut place = 0;
                self.points.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.per_point *= 2;
            }
            self.until_point = self.per_point;
        }
        // A run that was stopped for a while does not catch up.
        self.due = (self.due + STEP).max(now);
    }

    /// Returns the history up to now.
    pub(in crate::run) fn history(&self) -> History {
        let step_ms = STEP.as_millis() as u64 * u64::from(self.per_point);
        History {
            step_ms,
            points: self.points.clone(),
        }
    }

    /// Returns how the worker in `slot` spent each second.
    pub(in crate::run) fn cells(&self, slot: SlotId) -> Vec<(u8, u8)> {
        let lane = self.lanes.get(usize::from(slot.0));
        lane.map_or_else(Vec::new, |lane| lane.cells.iter().copied().collect())
    }

    /// Returns the hosts with the most failures, at most `most`, and the sum of all other failures.
    pub(in crate::run) fn failed_by_host(&self, most: usize) -> (Vec<(String, u64)>, u64) {
        let (hosts, others) = top(self.failed_by_host.iter(), most);
        (hosts, others + self.failed_elsewhere)
    }

    pub(in crate::run) fn phases(&self) -> Vec<Spent> {
        let both = NAMES.into_iter().zip(&self.phases);
        both.map(|(name, classes)| classes.spent(name)).collect()
    }
}

impl Point {
    fn of(stats: &Stats) -> Self {
        Self {
            finished: stats.finished(),
            received: stats.received,
        }
    }
}

impl Classes {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let place = BOUNDS.partition_point(|&bound| bound < seconds);
        self.counts[place] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    fn spent(&self, name: &'static str) -> Spent {
        let mut so_far = 0;
        let cumulative = self.counts.map(|count| {
            so_far += count;
            so_far
        });
        Spent {
            name,
            cumulative,
            sum_s: self.sum.as_secs_f64(),
        }
    }
}

impl Lane {
    fn turn(&mut self, whole: Duration) {
        let worked = std::mem::take(&mut self.worked).min(whole);
        let waited = std::mem::take(&mut self.waited).min(whole - worked);
        if self.cells.len() == CELLS {
            self.cells.pop_front();
        }
        self.cells
            .push_back((percent(waited, whole), percent(worked, whole)));
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 100"
)]
fn percent(part: Duration, whole: Duration) -> u8 {
    (part.as_secs_f64() / whole.as_secs_f64() * 100.0).round() as u8
}

/// Returns the largest counts, at most `most` of them, and the sum of the others.
pub(in crate::run) fn top<'a, K: AsRef<str> + 'a>(
    counts: impl Iterator<Item = (&'a K, &'a u64)>,
    most: usize,
) -> (Vec<(String, u64)>, u64) {
    let mut all: Vec<(&str, u64)> = counts.map(|(key, count)| (key.as_ref(), *count)).collect();
    all.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    let others = all.iter().skip(most).map(|(_, count)| count).sum();
    let named = all.into_iter().take(most);
    (
        named.map(|(key, count)| (key.to_owned(), count)).collect(),
        others,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Reserved;

    const SECOND: Duration = Duration::from_secs(1);

    fn watching(concurrency: u16, begun: Instant) -> Watching {
        let address = "127.0.0.1:0".parse().expect("well-formed");
        let reserved = Reserved::new(&address, None).expect("a free port");
        Watching::new(reserved.start(|| {}).expect("a thread"), concurrency, begun)
    }

    #[test]
    fn the_history_of_a_run_of_days_is_as_long_as_that_of_minutes() {
        let begun = Instant::now();
        let mut watching = watching(1, begun);
        let mut stats = Stats::new(begun);
        let seconds = 50_000;
        for second in 1..=seconds {
            stats.stored = u64::from(second);
            let now = begun + SECOND * second;
            assert!(watching.due() <= now);
            watching.look(now, &stats, std::iter::empty());
        }
        let history = watching.history();
        let points = history.points.len();
        assert!(
            (MOST_POINTS / 2..=MOST_POINTS).contains(&points),
            "{points}"
        );
        let step = history.step_ms / 1000;
        for (place, point) in history.points.iter().enumerate() {
            assert_eq!(point.finished, step * place as u64, "{place}");
        }
        let covered = step * (points as u64 - 1);
        assert!(u64::from(seconds) - covered < step, "{covered}");
    }

    #[test]
    fn a_lane_tells_waiting_from_work_by_the_second() {
        let begun = Instant::now();
        let mut watching = watching(2, begun);
        let stats = Stats::new(begun);
        let timing = Timing {
            first_byte: SECOND / 2,
            body: SECOND / 4,
            ..Timing::default()
        };
        watching.finished(SlotId(0), SECOND, &timing);
        let running = [
            (SlotId(0), 10 * SECOND, Some(Phase::Receiving)),
            (SlotId(1), SECOND / 2, None),
        ];
        watching.look(begun + SECOND, &stats, running.into_iter());
        assert_eq!(watching.cells(SlotId(0)), [(25, 63)]);
        assert_eq!(watching.cells(SlotId(1)), [(25, 0)]);
        for _ in 0..100 {
            watching.look(begun + SECOND, &stats, std::iter::empty());
        }
        assert_eq!(watching.cells(SlotId(0)), [(0, 0); CELLS]);
        assert_eq!(watching.cells(SlotId(u16::MAX)), []);
    }

    #[test]
    fn hosts_beyond_the_first_thousands_count_together() {
        let mut watching = watching(1, Instant::now());
        for host in 0..=MOST_HOSTS {
            watching.failed(&format!("h{host}.example"));
        }
        watching.failed("h7.example");
        let (hosts, elsewhere) = watching.failed_by_host(2);
        assert_eq!(hosts[0], ("h7.example".to_owned(), 2));
        assert_eq!((hosts.len(), hosts[1].1), (2, 1));
        assert_eq!(elsewhere, MOST_HOSTS as u64 - 1);
    }

    #[test]
    fn a_time_counts_in_its_class_and_in_all_above() {
        let mut watching = watching(1, Instant::now());
        let timing = Timing {
            body: SECOND,
            ..Timing::default()
        };
        watching.finished(SlotId(0), 1000 * SECOND, &timing);
        let phases = watching.phases();
        let of = |name| {
            phases
                .iter()
                .find(|phase| phase.name == name)
                .expect("known")
        };
        let body = of("body").cumulative;
        let place = BOUNDS
            .iter()
            .position(|&bound| bound >= 1.0)
            .expect("there");
        assert!(body[..place].iter().all(|&count| count == 0), "{body:?}");
        assert!(body[place..].iter().all(|&count| count == 1), "{body:?}");
        assert_eq!(of("queue").cumulative[BOUNDS.len() - 1..], [0, 1]);
        assert_eq!(of("tls").cumulative, [0; BOUNDS.len() + 1]);
    }
}
