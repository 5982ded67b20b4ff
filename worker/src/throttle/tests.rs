//! Downloads in virtual time over one line. In no window of time do they read more than the rate
//! allows, whatever happens to them, and they read no less if data is available.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const BEGUN: u64 = 1_000 * SECOND;

/// Time until a download replaces one that was killed.
const RESPAWN: u64 = 10 * MILLISECOND;

fn throttle(rate: u64, sharers: u32) -> Throttle {
    Throttle::local(&LimitRate {
        bytes_per_second: NonZeroU64::new(rate).expect("at least 1"),
        sharers,
    })
}

/// Most bytes that `downloads` may read beyond the rate: what may be made up for, one turn in use
/// by each, and one read by each.
fn burst(throttle: &Throttle, downloads: u64) -> u128 {
    let tolerated = u128::from(throttle.rate()) * u128::from(TOLERANCE) / u128::from(SECOND);
    let read = u128::from(throttle.turn().bytes) + throttle.read_size() as u128;
    tolerated + u128::from(throttle.turn().bytes) + u128::from(downloads) * read
}

/// Behaviour of one download.
#[derive(Clone, Debug)]
struct Habit {
    /// Nanoseconds between two pieces from its server.
    every: u64,
    /// Sizes of these pieces, in turn.
    sizes: Vec<u64>,
    /// Nanoseconds by which it wakes too late.
    late: u64,
    /// Number of reads after which it is killed and starts again.
    killed_after: Option<usize>,
}

/// Reads: time, bytes and download.
type Reads = Vec<(u64, u64, usize)>;

/// Runs downloads until `end`. None moves during `pause`, from its first time to its second.
fn run(throttle: &Throttle, habits: &[Habit], end: u64, pause: Option<(u64, u64)>) -> (Reads, u64) {
    let moved = |at: u64| match pause {
        Some((from, to)) if (from..to).contains(&at) => to,
        Some(_) | None => at,
    };
    let allowance = || Allowance::new(throttle.clone());
    let mut downloads: Vec<_> = habits.iter().map(|habit| (habit, allowance(), 0)).collect();
    let mut due: BinaryHeap<_> = (0..habits.len()).map(|who| Reverse((BEGUN, who))).collect();
    let (mut reads, mut kills) = (Reads::new(), 0);
    while let Some(Reverse((now, who))) = due.pop().filter(|next| next.0.0 < end) {
        let (habit, purse, count) = &mut downloads[who];
        if let Some(wait) = purse.wait(now) {
            let wait = u64::try_from(wait.as_nanos()).expect("less than centuries");
            due.push(Reverse((moved(now + wait + habit.late), who)));
            continue;
        }
        let size = habit.sizes[*count % habit.sizes.len()].min(throttle.read_size() as u64);
        reads.push((now, size, who));
        *count += 1;
        let mut next = now + habit.every + 1;
        if habit.killed_after.is_some_and(|most| *count % most == 0) {
            *purse = allowance();
            kills += 1;
            next += RESPAWN;
        } else {
            purse.pay(size);
        }
        due.push(Reverse((moved(next), who)));
    }
    (reads, kills)
}

/// Returns the most bytes read beyond the rate in any window.
fn worst_excess(reads: &Reads, rate: u64) -> i128 {
    // Largest difference between bytes read and bytes allowed, from any read to any later read.
    let (mut lowest, mut worst, mut total) = (i128::MAX, 0, 0);
    for (at, size, _) in reads {
        let allowed = i128::from(at - BEGUN) * i128::from(rate) / i128::from(SECOND);
        lowest = lowest.min(total - allowed);
        total += i128::from(*size);
        worst = worst.max(total - allowed - lowest);
    }
    worst
}

fn habit() -> impl Strategy<Value = Habit> {
    (
        prop_oneof![Just(0), 0..50 * MILLISECOND],
        vec(0..200_000_u64, 1..5),
        prop_oneof![Just(0), 0..3 * MILLISECOND, 0..400 * MILLISECOND],
        prop::option::weighted(0.2, 1..20_usize),
    )
        .prop_map(|(every, sizes, late, killed_after)| Habit {
            // No real server sends tiny pieces a billion times a second.
            every: every.max(MILLISECOND * u64::from(sizes.iter().any(|size| *size < 4096))),
            sizes,
            late,
            killed_after,
        })
}

/// Returns a download that always has data to read.
fn greedy() -> Habit {
    Habit {
        every: 0,
        sizes: vec![u64::MAX],
        late: 0,
        killed_after: None,
    }
}

fn bytes(reads: &Reads, of: impl Fn(usize) -> bool) -> u64 {
    let theirs = reads.iter().filter(|(_, _, who)| of(*who));
    theirs.map(|(_, size, _)| size).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_window_sees_more_than_the_rate_allows(
        rate in prop_oneof![1..5_000_u64, 1_000..2_000_000_u64, 1_000_000..100_000_000_u64],
        habits in vec(habit(), 1..12),
        sharers in 1..40_u32,
        pause in prop::option::of((0..2 * SECOND, 0..3600 * SECOND)),
    ) {
        let throttle = throttle(rate, sharers);
        let pause = pause.map(|(from, time)| (BEGUN + from, BEGUN + from + time));
        let end = pause.map_or(BEGUN, |(_, to)| to) + 2 * SECOND;
        let (reads, kills) = run(&throttle, &habits, end, pause);
        // A download that is killed has not paid for its last read.
        let lost = u128::from(kills) * throttle.read_size() as u128;
        let most = burst(&throttle, habits.len() as u64) + lost;
        let worst = worst_excess(&reads, rate);
        prop_assert!(worst <= i128::try_from(most).expect("small"), "{worst} > {most}");
    }

    #[test]
    fn whoever_is_left_has_all_of_it(
        rate in 10_000..100_000_000_u64,
        others in vec(habit(), 0..6),
        sharers in 1..20_u32,
    ) {
        let throttle = throttle(rate, sharers);
        let mut habits = others;
        for habit in &mut habits {
            // A turn of a killed download may stay unused.
            habit.killed_after = None;
        }
        habits.push(greedy());
        // Late downloads are late only for their own turns; the others do not wait for them.
        let (reads, _) = run(&throttle, &habits, BEGUN + 10 * SECOND, None);
        let all = bytes(&reads, |_| true);
        let wanted = 10 * rate;
        prop_assert!(all >= wanted - wanted / 20, "{all} of {wanted}");
    }

    #[test]
    fn those_who_want_as_much_get_as_much(
        rate in 100_000..100_000_000_u64,
        number in 2..16_usize,
        sharers in 1..20_u32,
    ) {
        let throttle = throttle(rate, sharers);
        let (reads, _) = run(&throttle, &vec![greedy(); number], BEGUN + 20 * SECOND, None);
        let shares: Vec<_> = (0..number).map(|who| bytes(&reads, |other| other == who)).collect();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        let unfair = most.expect("some") - least.expect("some");
        let fair = 20 * rate / number as u64;
        prop_assert!(unfair <= fair / 10, "{shares:?}");
    }

    #[test]
    fn a_turn_takes_no_less_than_its_time(rate in 1..=u64::MAX, sharers in 0..=u32::MAX) {
        let throttle = throttle(rate, sharers);
        let Turn { bytes, cost } = throttle.turn();
        prop_assert!(u128::from(bytes) * u128::from(SECOND) <= u128::from(cost) * u128::from(rate));
    }
}

#[test]
fn a_rate_that_is_set_holds_for_what_is_read_after_it() {
    const SHARERS: usize = 4;
    let throttle = throttle(1_000_000, SHARERS as u32);
    for rate in [1_000_000, 100_000, 1_000, 2_000_000] {
        throttle.set_rate(NonZeroU64::new(rate).expect("at least 1"));
        // Each begins with the line as it was in the beginning.
        throttle.line().store(0, Ordering::Relaxed);
        let (reads, _) = run(
            &throttle,
            &vec![greedy(); SHARERS],
            BEGUN + 60 * SECOND,
            None,
        );
        let read = u128::from(bytes(&reads, |_| true));
        let all = u128::from(60 * rate);
        let most = all + burst(&throttle, SHARERS as u64);
        assert!((all * 19 / 20..=most).contains(&read), "{read} at {rate}");
    }
}

#[test]
fn a_pause_is_followed_by_no_rush() {
    let rate = 1_000_000;
    let throttle = throttle(rate, 2);
    let hour = (BEGUN + SECOND, BEGUN + 3601 * SECOND);
    let (reads, _) = run(
        &throttle,
        &[greedy(), greedy()],
        hour.1 + SECOND,
        Some(hour),
    );
    let after = reads.iter().filter(|(at, ..)| *at >= hour.1);
    let after: u64 = after.map(|(_, size, _)| size).sum();
    let most = u128::from(rate) + burst(&throttle, 2);
    assert!(u128::from(after) <= most, "{after} > {most}");
}

#[test]
fn a_slow_server_leaves_the_rate_to_a_fast_one() {
    let rate = 1_000_000;
    let throttle = throttle(rate, 6);
    let slow = Habit {
        every: 100 * MILLISECOND,
        sizes: vec![1_000],
        ..greedy()
    };
    let (reads, _) = run(&throttle, &[slow, greedy()], BEGUN + 10 * SECOND, None);
    let slow = bytes(&reads, |who| who == 0);
    assert!(
        (90_000..=110_000).contains(&slow),
        "it has what it wants: {slow}"
    );
    let fast = bytes(&reads, |who| who == 1);
    assert!(
        (9_500_000..=10_200_000).contains(&fast),
        "the other, the rest: {fast}"
    );
}

#[test]
fn whatever_the_word_says_a_turn_comes_within_twice_the_time_of_all() {
    let throttle = throttle(1_000_000, 100);
    let Line::Own(word) = &throttle.line else {
        unreachable!("it is local");
    };
    let longest = BEGUN + 200 * throttle.turn().cost;
    for end in [u64::MAX, BEGUN + 1_000_000 * SECOND, longest + 1] {
        word.store(end, Ordering::Relaxed);
        assert_eq!(throttle.take(BEGUN).0, longest);
        assert_eq!(word.load(Ordering::Relaxed), longest + throttle.turn().cost);
    }
    // A line that the downloads themselves formed is waited for in full.
    let end = BEGUN + 99 * throttle.turn().cost;
    word.store(end, Ordering::Relaxed);
    assert_eq!(throttle.take(BEGUN).0, end);
}

#[test]
fn one_that_keeps_the_word_in_the_future_leaves_half_of_the_rate_to_the_others() {
    const SHARERS: u32 = 40;
    let throttle = throttle(1_000_000, SHARERS);
    let Line::Own(word) = &throttle.line else {
        unreachable!("it is local");
    };
    let mut others: Vec<_> = (1..SHARERS)
        .map(|_| (BEGUN, Allowance::new(throttle.clone())))
        .collect();
    let end = BEGUN + 10 * SECOND;
    let mut read = 0;
    while let Some((now, allowance)) = others.iter_mut().min_by_key(|(at, _)| *at)
        && *now < end
    {
        word.store(*now + 500 * SECOND, Ordering::Relaxed);
        match allowance.wait(*now) {
            Some(wait) => *now += u64::try_from(wait.as_nanos()).expect("it is short"),
            None => {
                read += throttle.turn().bytes;
                allowance.pay(throttle.turn().bytes);
            }
        }
    }
    assert!(
        read > 10 * 1_000_000 * 45 / 100,
        "{read} bytes in 10 seconds"
    );
}

#[test]
fn turns_that_are_taken_at_once_all_count() {
    const THREADS: u64 = 4;
    const TURNS: u64 = 10_000;
    let throttle = throttle(1_000_000, 40_000);
    let begins = std::thread::scope(|scope| {
        let take = || {
            (0..TURNS)
                .map(|_| throttle.take(BEGUN).0)
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
        let taken = threads.into_iter().map(|thread| thread.join());
        taken
            .collect::<Result<Vec<_>, _>>()
            .expect("no panic")
            .concat()
    });
    let mut begins = begins;
    begins.sort_unstable();
    let first = BEGUN - TOLERANCE;
    let expected = (0..THREADS * TURNS).map(|number| first + number * throttle.turn().cost);
    assert!(begins.into_iter().eq(expected), "one turn was had twice");
}
