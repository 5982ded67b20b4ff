//! The simulator of the core: seeded runs in virtual time, with every fault there is, and an
//! observer that checks the invariants after every step.
//!
//! `cargo test --test simulator` runs a few thousand seeds. More, in release:
//!
//! ```text
//! SIMULATOR_SEEDS=100000 cargo test --release --test simulator
//! SIMULATOR_FIRST=17 SIMULATOR_SEEDS=1 cargo test --test simulator   # seed 17 alone
//! ```
//!
//! A failing seed is run again with its trace printed.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test")]

mod errands;
mod limiting;
mod mirrors;
mod observer;
mod pages;
mod scenario;
mod suspects;
mod worker;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::World;

const DEFAULT_SEEDS: u64 = 4000;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn no_seed_violates_an_invariant() {
    let first = setting("SIMULATOR_FIRST", 0);
    let seeds = setting("SIMULATOR_SEEDS", DEFAULT_SEEDS);
    let next = AtomicU64::new(first);
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failure = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + seeds {
                            return None;
                        }
                        if let Err(violation) = World::new(seed, false).run() {
                            return Some((seed, violation));
                        }
                    }
                })
            })
            .collect();
        runners
            .into_iter()
            .filter_map(|runner| runner.join().unwrap())
            .min()
    });
    if let Some((seed, violation)) = failure {
        let mut world = World::new(seed, true);
        let again = world.run();
        for line in world.trace.iter().flatten() {
            println!("{line}");
        }
        assert_eq!(
            again,
            Err(violation.clone()),
            "the trace is not of the same run"
        );
        panic!("seed {seed}: {violation}");
    }
    let rate = seeds as f64 / begun.elapsed().as_secs_f64();
    println!("{seeds} seeds from {first}, {rate:.0} a second, no violation");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        let traces = [(); 2].map(|()| {
            let mut world = World::new(seed, true);
            world.run().unwrap();
            world.fingerprint
        });
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}
