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

mod limiting;
mod mirrors;
mod observer;
mod pages;
mod prerequisites;
mod scenario;
#[path = "../support/seeds.rs"]
mod seeds;
mod suspects;
mod worker;
mod world;

use world::World;

const DEFAULT_SEEDS: u64 = 4000;

#[test]
fn no_seed_violates_an_invariant() {
    let asked = seeds::asked_for("SIMULATOR", DEFAULT_SEEDS);
    let played = seeds::play(asked, |seed, (): &mut ()| World::new(seed, false).run());
    if let Err((seed, violation)) = played {
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
