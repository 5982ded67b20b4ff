//! The first sentences, which must be true whatever the figures are.

use coordinator::shootout::lead::lead;
use coordinator::shootout::result::{Standing, State};

use crate::sample::{about, failed, measured, scenario, sixteen};

fn told(standings: Vec<Standing>) -> String {
    lead(&scenario(standings))
}

#[test]
fn many_that_are_alike_are_counted_and_told_apart_by_their_cost() {
    assert_eq!(
        lead(&sixteen().scenarios[0]),
        "Seven of 16 entrants are about equally fast: 517 ms to 523 ms. They differ in \
         what that costs: 9.00 ms (async) to 57.6 ms (processes-shared) of CPU time, and 3.9 MiB (async) \
         to 9.9 MiB (processes-shared) of memory. The slowest is python-sequential with \
         3.13 s, 6.06× as long as the fastest. a-contestant-with-a-long-name failed."
    );
}

#[test]
fn a_clear_winner_is_named_with_who_follows() {
    assert_eq!(
        told(vec![about("threads", 0.9), about("async", 0.6)]),
        "async is fastest with 600 ms; threads follows with 900 ms, 1.50× as long."
    );
    assert_eq!(
        told(vec![about("a", 0.9), about("b", 0.6), about("c", 3.0)]),
        "b is fastest with 600 ms; a follows with 900 ms, 1.50× as long. The slowest is c with 3.00 s, \
         5.00× as long as the fastest."
    );
}

#[test]
fn a_tie_of_all_names_no_slowest() {
    let five = ["a", "b", "c", "d", "e"].map(|name| about(name, 0.5));
    assert_eq!(
        told(five.into()),
        "All five entrants are about equally fast: 500 ms. It costs each of them about the same: \
         20.0 ms of CPU time, and 8.0 MiB of memory."
    );
    assert_eq!(
        told(vec![
            measured("a", &[0.5], (0.01, 0.0), 8.0),
            measured("b", &[0.509], (0.05, 0.0), 8.0),
        ]),
        "a and b are about equally fast: 500 ms to 509 ms. They differ in what that costs: \
         10.0 ms (a) to 50.0 ms (b) of CPU time."
    );
}

#[test]
fn without_memory_or_cpu_time_nothing_is_said_of_them() {
    let bare = |name| Standing {
        memory: None,
        ..measured(name, &[0.5, 0.5], (0.0, 0.0), 0.0)
    };
    assert_eq!(
        told(vec![bare("a"), bare("b")]),
        "a and b are about equally fast: 500 ms. It costs each of them about the same: 0 s of CPU \
         time."
    );
}

#[test]
fn rounds_that_overlap_are_no_win_but_one_slow_round_hides_no_winner() {
    let noisy = |name, walls: [f64; 3]| measured(name, &walls, (0.01, 0.01), 8.0);
    let overlap = told(vec![
        noisy("a", [0.50, 0.51, 0.56]),
        noisy("b", [0.54, 0.55, 0.60]),
    ]);
    assert!(
        overlap.starts_with("a and b are about equally fast: 510 ms to 550 ms"),
        "{overlap}"
    );
    // The slow round of the winner is longer than any round of the loser.
    let held_up = told(vec![
        noisy("a", [0.50, 0.51, 9.0]),
        noisy("b", [3.0, 3.1, 3.2]),
    ]);
    assert!(held_up.starts_with("a is fastest with 510 ms"), "{held_up}");
}

#[test]
fn one_alone_is_compared_with_nobody() {
    assert_eq!(
        told(vec![about("async", 0.5)]),
        "async finishes in 500 ms; nobody else has a time to compare it with."
    );
}

#[test]
fn who_has_no_time_is_told_of_last() {
    let absent = |name| Standing {
        state: State::NotMeasured("it cannot".to_owned()),
        ..about(name, 1.0)
    };
    assert_eq!(
        told(vec![failed("x", "why"), about("a", 0.5), absent("y")]),
        "a finishes in 500 ms; nobody else has a time to compare it with. x failed. y was not measured."
    );
    assert_eq!(
        told(vec![failed("x", "why"), failed("y", "why")]),
        "x and y failed. There is no time to compare."
    );
    assert_eq!(told(Vec::new()), "There is no time to compare.");
    let many = ["p", "q", "r", "s"].map(|name| failed(name, "why"));
    assert_eq!(
        told(
            many.into_iter()
                .chain([about("a", 0.5), about("b", 1.0)])
                .collect()
        ),
        "a is fastest with 500 ms; b follows with 1.00 s, 2.00× as long. Four entrants failed."
    );
}
