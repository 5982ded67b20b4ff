//! The limits of a group that pushes back: a machine of its own, one for each such group.
//!
//! A group can push back for two reasons, and its refusal does not say which: too many tasks at
//! once (the **window** is too large), or too little time between tasks (the **interval** is too
//! short).
//!
//! ```text
//!              refused, at a load that it has not borne       refused, at a load that it has borne
//!            +------------------------------------------+   +-------------------------------------+
//!            v                                          |   v                                     |
//!   window = that load - 1;  a refused probe doubles    |   interval = 1.1 times the one refused; |
//!            the number needed for the next             |   twice, if nothing was served since    |
//!            |                                          |   |                                     |
//!            +-- served at this load for long: window + 1   +-- served: interval shrinks by 0.4 %,
//!                (a probe; it comes with an interval that       by 5 % while far from what was
//!                raises the rate by a quarter at most)          refused, faster after a long calm
//! ```
//!
//! A load is **borne** once [`PROOF`] tasks in a row were served at it. A load of one always is: a
//! task that is refused then came too soon.
//!
//! When the window is at its maximum and no interval is needed, the pressure ends.
//!
//! Some groups fail at random, at any load and rate. To restrain them would cost time and prevent
//! nothing. Each refusal is therefore set against the [`ROW`] answers before it, and only one more
//! than that changes anything. If refusals are as frequent when less is asked and served, the group
//! is **erratic**: the restraint is lifted until several refusals come in a row.
//!
//! The first interval starts from the time between tasks. Measured rates never lengthen an
//! interval: a group whose tasks wait for the turns of others serves few a second, which does not
//! show how many it could serve.

use std::time::{Duration, Instant};

/// When a task of a group was assigned, and the load of the group then, including this task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) load: u32,
}

/// The tasks served since a given time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) since: Instant,
    pub(super) served: u32,
}

impl Span {
    /// Returns the mean time from one to the next.
    fn interval(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since) / self.served.max(1)
    }
}

/// Tasks served in a row at a load before it counts as borne, and before the first probe of one
/// more.
const PROOF: u32 = 3;
/// Most tasks that must be served between two probes.
const MOST_NEEDED: u32 = 512;
/// Tasks that must be served after a refusal for the next refusal to start a new span.
const SPAN: u32 = 16;
/// Tasks served for each refusal that may be chance.
const ROW: u32 = 16;
/// Refusals in a row that may be chance, if enough tasks were served before that they do not exceed
/// the usual share.
const CHANCES: u32 = 2;
/// Answers after which a trial judges whether the restraint pays.
const TRIAL: u32 = 32;
/// Runs of refusals within a trial that are too many for a group within its limits.
const MANY_RUNS: u32 = 2;
/// A group that was asked too much becomes slower by less than this factor when it is asked less.
const SLOWER: f64 = 1.15;
/// Refusals in a row that an erratic group is unlikely to give by chance.
const NO_CHANCE: u32 = 6;
/// Tasks served in a row after which the interval shrinks twice as fast.
const CALM: u32 = 24;
/// Seconds without a refusal after which the interval shrinks twice as fast. A refusal every few
/// seconds is no burden, and a slow interval would otherwise take long to shrink.
const CALM_SECONDS: u32 = 2;
/// Tasks served in a row after which the pressure may end.
const OVER: u32 = 64;
/// The first interval of a group that refuses a task at a load of one.
const FIRST_INTERVAL: Duration = Duration::from_millis(10);
/// The shortest interval. A shorter one would cost more than it prevents.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);
/// The longest interval that refusals alone can cause.
const MOST_INTERVAL: Duration = Duration::from_secs(5);

/// Checks whether a restraint pays: refusals become fewer, or as much is served as before.
#[derive(Debug)]
struct Trial {
    since: Instant,
    served: u32,
    refused: u32,
    /// The number of refusals in the present row.
    row: u32,
    /// Runs of refusals in this trial; and those in the fastest trial so far, with its mean time
    /// between tasks served.
    runs: u32,
    before: Option<(u32, Duration)>,
    /// The restraint does not pay.
    is_erratic: bool,
}

impl Trial {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            served: 0,
            refused: 0,
            row: 0,
            runs: 0,
            before: None,
            is_erratic: false,
        }
    }

    fn refuse(&mut self, now: Instant) {
        self.refused += 1;
        self.runs += u32::from(self.row == 0);
        self.row += 1;
        if self.row >= NO_CHANCE {
            let row = self.row;
            *self = Self {
                row,
                ..Self::new(now)
            };
        }
        self.judge(now);
    }

    fn serve(&mut self, now: Instant) {
        self.served += 1;
        self.row = 0;
        self.judge(now);
    }

    fn judge(&mut self, now: Instant) {
        if self.served + self.refused < TRIAL {
            return;
        }
        let (since, served) = (self.since, self.served);
        let (runs, interval) = (self.runs, Span { since, served }.interval(now));
        if runs >= MANY_RUNS {
            match self.before {
                Some((before, fastest)) if interval >= fastest.mul_f64(SLOWER) => {
                    self.is_erratic |= runs * 4 >= before * 3;
                    if interval >= fastest * 2 {
                        // That trial may have had bad luck.
                        self.before = Some(((before * 3 / 4).max(2 * MANY_RUNS), fastest));
                    }
                }
                Some((_, fastest)) if interval >= fastest => {}
                Some(_) | None => self.before = Some((runs, interval)),
            }
        }
        self.since = now;
        (self.served, self.refused, self.runs) = (0, 0, 0);
    }
}

/// The limits of one group, and the measurements that they follow.
#[derive(Debug)]
pub(super) struct Pressure {
    /// Most load allowed.
    window: u32,
    /// The load that it has borne.
    borne: u32,
    /// Tasks served in a row while the window was full.
    streak: u32,
    /// Length of such a row that is needed for a probe.
    needed: u32,
    /// Shortest time from one assignment to the next; zero for none.
    interval: Duration,
    /// The last interval that was too short; zero if unknown.
    too_short: Duration,
    /// When the interval was last lengthened. A refusal of a task that was assigned earlier says
    /// nothing new.
    lengthened: Option<Instant>,
    /// Refusals since a task was last served that lengthened the interval.
    refused: u32,
    /// When it last refused a task, and how many it has served since.
    refused_at: Instant,
    calm: u32,
    /// Whether anything was served between the last two refusals.
    served_between: bool,
    /// The previous and the present span.
    spans: [Span; 2],
    /// Tasks served that have not been set against a refusal yet, at most [`CHANCES`] times
    /// [`ROW`].
    credit: u32,
    trial: Trial,
    last_asked: Option<Instant>,
    /// Mean time between tasks.
    gap: Duration,
    /// Mean time from a task to its answer.
    answer: Duration,
}

impl Pressure {
    /// Creates the limits of a group that could bear up to `load`, as far as is known, and served
    /// `past`.
    pub(super) fn new(now: Instant, past: Span, load: u32) -> Self {
        Self {
            window: load,
            borne: 1,
            streak: 0,
            needed: PROOF,
            interval: Duration::ZERO,
            too_short: Duration::ZERO,
            lengthened: None,
            refused: 0,
            refused_at: now,
            calm: past.served,
            served_between: false,
            spans: [
                past,
                Span {
                    since: now,
                    served: 0,
                },
            ],
            credit: past.served.min(CHANCES * ROW),
            trial: Trial::new(now),
            last_asked: None,
            gap: Duration::ZERO,
            answer: Duration::ZERO,
        }
    }

    /// Returns the most load that the group may have.
    pub(super) const fn window(&self) -> u32 {
        self.window
    }

    /// Notes that a task of the group is assigned, and returns how long the group must then rest.
    pub(super) fn ask(&mut self, now: Instant) -> Duration {
        if let Some(last) = self.last_asked.replace(now) {
            self.gap = mean(self.gap, now.saturating_duration_since(last));
        }
        // A group that counts the time between tasks would refuse two at the same moment.
        self.interval.max(self.answer / (2 * self.window.max(1)))
    }

    /// Notes that the group refused what was asked at `asked`. `load` is its load now, including
    /// this task.
    pub(super) fn refuse(&mut self, now: Instant, asked: Asked, load: u32) {
        self.trial.refuse(now);
        if self.trial.is_erratic {
            return;
        }
        if let Some(rest) = self.credit.checked_sub(ROW) {
            self.credit = rest;
            return;
        }
        self.credit = 0;
        let calm = std::mem::take(&mut self.calm);
        self.refused_at = now;
        self.streak = 0;
        let is_new = self.lengthened.is_none_or(|at| asked.at >= at);
        let span = self.spans[1];
        if is_new && span.served >= SPAN {
            let (since, served) = (now, 0);
            self.spans = [span, Span { since, served }];
        }
        let load = asked.load.max(load);
        if load > self.borne {
            if load <= self.window {
                self.window = (load - 1).max(1);
                self.borne = self.borne.min(self.window);
                if calm > 0 {
                    self.needed = (self.needed * 2).min(MOST_NEEDED);
                }
            }
            return;
        }
        if !is_new {
            return;
        }
        if self.interval.is_zero() {
            let first = match load {
                1 => FIRST_INTERVAL,
                _ => LEAST_INTERVAL,
            };
            self.too_short = Duration::ZERO;
            self.interval = first.max(self.gap.mul_f64(1.25));
        } else if self.refused == 0 {
            self.too_short = self.interval;
            self.interval = self.too_short.mul_f64(1.1);
        } else {
            // With a group that keeps exact time, the second of two refusals may be chance.
            let factor = match self.refused == 1 && self.served_between {
                true => 1.25,
                false => 2.0,
            };
            self.too_short = self.interval;
            let longer = self.interval.mul_f64(factor).min(MOST_INTERVAL);
            self.interval = self.interval.max(longer);
        }
        self.lengthened = Some(now);
        self.served_between = calm > 0;
        self.refused += 1;
    }

    /// Notes that the group served what was asked at `asked`. `load` is its load now, including
    /// this task. Returns whether there is still pressure, if nothing ever allows a load above
    /// `most`.
    pub(super) fn serve(&mut self, now: Instant, asked: Asked, load: u32, most: u32) -> bool {
        self.answer = mean(self.answer, now.saturating_duration_since(asked.at));
        self.trial.serve(now);
        if self.trial.is_erratic {
            self.needed = PROOF;
            self.interval = Duration::ZERO;
        }
        self.spans[1].served += 1;
        if self.refused > 0 && self.lengthened.is_none_or(|at| asked.at >= at) {
            if self.refused > 2 {
                self.reopen(now);
            }
            self.refused = 0;
        }
        self.calm += 1;
        self.credit = (self.credit + 1).min(CHANCES * ROW);
        self.shorten(now);
        if asked.load.min(load) >= self.window && self.window < most {
            self.streak += 1;
            if self.streak >= PROOF && self.window > self.borne {
                self.borne = self.window;
                self.needed = PROOF;
            }
            if self.streak >= self.needed {
                self.streak = 0;
                self.window += 1;
                self.interval = self.interval.max(self.gap.mul_f64(0.8));
            }
        }
        self.window < most || !self.interval.is_zero() || self.calm < OVER
    }

    /// Lets a group that was closed for a while and serves again continue at its overall rate.
    fn reopen(&mut self, now: Instant) {
        let [before, present] = self.spans;
        let over_all = Span {
            since: before.since,
            served: before.served + present.served,
        };
        let measured = over_all.interval(now);
        if measured < self.interval {
            self.interval = measured;
            self.gap = measured;
            self.too_short = Duration::ZERO;
        }
    }

    fn shorten(&mut self, now: Instant) {
        if self.interval.is_zero() {
            return;
        }
        let calm = now.saturating_duration_since(self.refused_at).as_secs();
        let calm = u32::try_from(calm).unwrap_or(u32::MAX) / CALM_SECONDS;
        let doublings = (self.calm / CALM).max(calm).min(6);
        let slow = (0.004 * f64::from(1 << doublings)).min(0.25);
        let is_far = self.interval > self.too_short.mul_f64(1.15);
        let growth = if is_far { slow.max(0.05) } else { slow };
        self.interval = self.interval.div_f64(1.0 + growth);
        if self.interval < LEAST_INTERVAL || self.interval * 4 < self.gap {
            self.interval = Duration::ZERO;
        }
    }
}

/// Returns the mean of the latest few values, including `next`.
fn mean(before: Duration, next: Duration) -> Duration {
    match before.is_zero() {
        true => next,
        false => before.mul_f64(0.8) + next.mul_f64(0.2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A group with scripted answers.
    struct Group {
        now: Instant,
        pressure: Pressure,
    }

    impl Group {
        /// Creates a group that has refused a load of `load`.
        fn that_refused(load: u32) -> Self {
            let now = Instant::now();
            let past = Span {
                since: now,
                served: 0,
            };
            let mut pressure = Pressure::new(now, past, load);
            pressure.refuse(now, Asked { at: now, load }, load);
            Self { now, pressure }
        }

        /// Assigns a task as soon as allowed. The group answers after a millisecond. Returns
        /// whether there is still pressure.
        fn answer(&mut self, load: u32, serves: bool) -> bool {
            let asked = Asked { at: self.now, load };
            let rest = self.pressure.ask(self.now);
            self.now += MS;
            let mut goes_on = true;
            match serves {
                true => goes_on = self.pressure.serve(self.now, asked, load, 6),
                false => self.pressure.refuse(self.now, asked, load),
            }
            self.now += rest;
            goes_on
        }

        fn interval(&self) -> Duration {
            self.pressure.interval
        }

        /// Returns the number of refusals that lengthened the interval.
        const fn refusals(&self) -> u32 {
            self.pressure.refused
        }
    }

    #[test]
    fn each_refusal_of_what_is_asked_at_once_takes_one_from_the_window() {
        let mut group = Group::that_refused(6);
        for load in (2..6).rev() {
            assert_eq!(group.pressure.window(), load);
            group.answer(load, false);
        }
        assert_eq!(
            (group.pressure.window(), group.interval()),
            (1, Duration::ZERO)
        );
    }

    #[test]
    fn what_is_refused_alone_came_too_soon_and_the_wait_doubles_while_nothing_is_served() {
        let mut group = Group::that_refused(2);
        let waits: Vec<_> = (0..11)
            .map(|_| {
                group.answer(1, false);
                group.interval().as_millis()
            })
            .collect();
        assert_eq!(waits[..4], [10, 20, 40, 80]);
        assert_eq!(waits[9..], [5000, 5000], "and no further than five seconds");
    }

    #[test]
    fn a_load_that_was_served_is_not_what_is_refused_later() {
        let mut group = Group::that_refused(4);
        for _ in 0..PROOF {
            group.answer(3, true);
        }
        group.answer(4, false);
        assert_eq!((group.pressure.window(), group.refusals()), (3, 0));
        group.answer(3, false);
        assert_eq!((group.pressure.window(), group.refusals()), (3, 1));
    }

    #[test]
    fn each_failed_probe_makes_the_next_one_wait_twice_as_long() {
        let mut group = Group::that_refused(3);
        let mut rows = Vec::new();
        for _ in 0..4 {
            let mut served = 0;
            while group.pressure.window() == 2 {
                group.answer(2, true);
                served += 1;
            }
            group.answer(3, false);
            rows.push(served);
        }
        assert_eq!(rows, [3, 6, 12, 24]);
    }

    #[test]
    fn two_refusals_after_a_long_row_change_nothing_and_a_third_soon_after_them_does() {
        let mut group = Group::that_refused(2);
        for _ in 0..CHANCES * ROW {
            group.answer(1, true);
        }
        group.answer(1, false);
        group.answer(1, false);
        assert_eq!(group.interval(), Duration::ZERO);
        for _ in 0..ROW {
            group.answer(1, true);
        }
        group.answer(1, false);
        assert_eq!(group.interval(), Duration::ZERO, "that was not soon");
        group.answer(1, true);
        group.answer(1, false);
        assert!(group.interval() > Duration::ZERO);
    }

    #[test]
    fn a_group_that_is_asked_slowly_is_asked_faster_with_time() {
        let mut group = Group::that_refused(2);
        group.answer(1, false);
        // The interval then is near one that was too short, where it shrinks slowly.
        group.pressure.too_short = group.pressure.interval;
        let shrink = |group: &mut Group| {
            let before = group.interval();
            group.answer(1, true);
            before.as_secs_f64() / group.interval().as_secs_f64()
        };
        let at_first = shrink(&mut group);
        group.now += Duration::from_secs(3 * u64::from(CALM_SECONDS));
        let later = shrink(&mut group);
        assert!(later - 1.0 > 7.0 * (at_first - 1.0), "{at_first} {later}");
    }

    #[test]
    fn a_group_that_refuses_as_often_however_slowly_it_is_asked_is_not_restrained_for_long() {
        let mut group = Group::that_refused(2);
        let mut slowest = Duration::ZERO;
        for answer in 0..4 * TRIAL {
            group.answer(1, !answer.is_multiple_of(5));
            slowest = slowest.max(group.interval());
        }
        assert!(slowest > FIRST_INTERVAL, "it was tried: {slowest:?}");
        assert_eq!(group.interval(), Duration::ZERO);
        for _ in 0..=NO_CHANCE + CHANCES {
            group.answer(1, false);
        }
        assert!(group.interval() > Duration::ZERO, "now it is closed");
    }

    #[test]
    fn a_group_that_was_closed_for_a_while_goes_on_at_the_rate_it_had() {
        let now = Instant::now();
        let past = Span {
            since: now,
            served: 300,
        };
        let mut group = Group {
            now: now + 1000 * MS,
            pressure: Pressure::new(now + 1000 * MS, past, 1),
        };
        for _ in 0..12 + CHANCES {
            group.answer(1, false);
        }
        assert_eq!(group.interval(), MOST_INTERVAL);
        group.answer(1, true);
        assert!(group.interval() < 200 * MS, "{:?}", group.interval());
    }

    #[test]
    fn a_refusal_of_what_was_asked_before_the_wait_was_made_longer_says_nothing_new() {
        let mut group = Group::that_refused(2);
        let asked = Asked {
            at: group.now,
            load: 1,
        };
        group.now += MS;
        group.answer(1, false);
        let interval = group.interval();
        group.pressure.refuse(group.now, asked, 1);
        assert_eq!(group.interval(), interval);
    }

    #[test]
    fn the_pressure_is_over_when_the_group_serves_all_it_may_be_asked() {
        let mut group = Group::that_refused(2);
        group.answer(1, false);
        let mut answers = 0;
        while group.answer(group.pressure.window(), true) {
            answers += 1;
            assert!(answers < 1000, "{:?}", group.pressure);
        }
    }
}
