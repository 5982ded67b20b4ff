//! The simulator of the lease protocol. Members run in virtual time with clocks that drift. The
//! network loses, delays and duplicates messages, members are killed and paused, and the store
//! stops and loses its last writes. The invariants are checked at every act of a member.
//!
//! ```text
//! FLEET_SEEDS=1000000 cargo test --release --test fleet_simulator
//! FLEET_FIRST=17 FLEET_SEEDS=1 cargo test --test fleet_simulator      # seed 17 alone
//! ```
//!
//! If a seed fails, it runs again and its trace is printed.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test")]

#[path = "../support/seeds.rs"]
mod seeds;
mod world;

use world::{Seen, World};

const DEFAULT_SEEDS: u64 = 1000;

#[test]
fn one_owner_acts_on_a_partition_and_every_partition_is_owned_in_the_end() {
    let asked = seeds::asked_for("FLEET", DEFAULT_SEEDS);
    let count = asked.end - asked.start;
    let played = seeds::play(asked, |seed, seen: &mut Seen| {
        seen.add(&World::new(seed, false).run()?);
        Ok(())
    });
    let seen = match played {
        Ok(all) => all.iter().fold(Seen::default(), |mut seen, more| {
            seen.add(more);
            seen
        }),
        Err((seed, violation)) => {
            let mut world = World::new(seed, true);
            let again = world.run();
            for line in &world.trace {
                println!("{line}");
            }
            assert_eq!(again, Err(violation.clone()), "not the same run");
            panic!("seed {seed}: {violation}");
        }
    };
    println!("{seen:?}");
    // The faults must actually happen, or the test shows nothing.
    if count >= 1000 {
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
