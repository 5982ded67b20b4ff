//! The simulator of the lease protocol: members in virtual time with clocks that drift, a network that
//! loses, delays and doubles messages, members that are killed and paused, and a store that stops and
//! loses its last writes. What must hold is checked at every act of a member.
//!
//! ```text
//! FLEET_SEEDS=1000000 cargo test --release --test fleet_simulator
//! FLEET_FIRST=17 FLEET_SEEDS=1 cargo test --test fleet_simulator      # seed 17 alone
//! ```
//!
//! A failing seed is run again with its trace printed.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test")]

mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Seen, World};

const DEFAULT_SEEDS: u64 = 1000;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn one_owner_acts_on_a_partition_and_every_partition_is_owned_in_the_end() {
    let first = setting("FLEET_FIRST", 0);
    let seeds = setting("FLEET_SEEDS", DEFAULT_SEEDS);
    let next = AtomicU64::new(first);
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Seen::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + seeds {
                            return Ok(seen);
                        }
                        match World::new(seed, false).run() {
                            Ok(more) => seen.add(&more),
                            Err(violation) => return Err((seed, violation)),
                        }
                    }
                })
            })
            .collect();
        let results = runners.into_iter().map(|runner| runner.join().unwrap());
        results.collect::<Vec<_>>()
    });
    let mut seen = Seen::default();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(more) => seen.add(&more),
            Err(failure) => failures.push(failure),
        }
    }
    if let Some((seed, violation)) = failures.into_iter().min() {
        let mut world = World::new(seed, true);
        let again = world.run();
        for line in &world.trace {
            println!("{line}");
        }
        assert_eq!(again, Err(violation.clone()), "not the same run");
        panic!("seed {seed}: {violation}");
    }
    let rate = seeds as f64 / begun.elapsed().as_secs_f64();
    println!("{seeds} seeds from {first}, {rate:.0} a second, no violation; {seen:?}");
    // A simulator in which nothing happens proves nothing.
    if seeds >= 1000 {
        assert!(
            seen.takeovers > 0 && seen.fenced > 0 && seen.expired > 0,
            "{seen:?}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let traces = [(); 2].map(|()| {
            let mut world = World::new(seed, true);
            world.run().unwrap();
            world.trace
        });
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}
