//! The simulator of the core: seeded runs in virtual time with every kind of fault, and an observer
//! that checks the invariants after every step.
//!
//! `cargo test --test simulator` runs a few thousand seeds. To run more, in release mode:
//!
//! ```text
//! SIMULATOR_SEEDS=100000 cargo test --release --test simulator
//! SIMULATOR_FIRST=17 SIMULATOR_SEEDS=1 cargo test --test simulator   # seed 17 alone
//! ```
//!
//! A failing seed is run again, and its trace is printed. Two builds of the core that make the same
//! decisions print the same fingerprint:
//!
//! ```text
//! SIMULATOR_TRACES_SEEDS=2000 cargo test --test simulator -- --nocapture the_same_seed
//! ```

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
const DEFAULT_TRACES: u64 = 50;

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

/// This test also prints one number for everything that the core did. A change of the core that
/// changes no decision prints the same number as before.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let asked = seeds::asked_for("SIMULATOR_TRACES", DEFAULT_TRACES);
    let played = seeds::play(asked, |seed, sum: &mut u64| {
        let mut fingerprints = [0; 2];
        for fingerprint in &mut fingerprints {
            let mut world = World::new(seed, true);
            world.run()?;
            *fingerprint = world.fingerprint;
        }
        let [first, second] = fingerprints;
        *sum = sum.wrapping_add(first);
        match first == second {
            true => Ok(()),
            false => Err("7: the second run was another".to_owned()),
        }
    });
    let sums = played.unwrap_or_else(|(seed, violation)| panic!("seed {seed}: {violation}"));
    let sum = sums.into_iter().fold(0, u64::wrapping_add);
    println!("fingerprint {sum:016x}");
}
