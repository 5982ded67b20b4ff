//! Limits a job that tries to use up all memory: the machine stays usable, and other jobs are done.
#![allow(clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use pool::{Context, Failed, Outcome, Pool, Work};

// Makes a worker report that it reached its memory limit.
#[global_allocator]
static ALLOCATOR: pool::Allocator = pool::Allocator::new();

/// Sorts the given number of integers.
struct Sorter;

impl Work for Sorter {
    type Setup = ();
    type Job = usize;
    type Output = u64;

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, count: usize, _: &Context) -> Result<u64, Failed> {
        let mut numbers: Vec<u64> = (0..count as u64)
            .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        numbers.sort_unstable();
        numbers
            .first()
            .copied()
            .ok_or(Failed::new("nothing to sort"))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pool::init::<Sorter>();
    let pool = Pool::<Sorter>::builder(())
        .workers(2)
        .memory(128 << 20)
        .on_line(|_| {})
        .on_death(|death| println!("a worker died: {}", death.exit))
        .start()?;
    let counts = [1_000, 100_000, 1_000_000_000, 10_000];
    for (number, outcome) in pool.run(counts) {
        match outcome {
            Outcome::Done(least) => println!("{}: least is {least}", counts[number]),
            Outcome::Quarantined(deaths) => {
                println!("{}: ended {} workers", counts[number], deaths.len());
            }
            other => println!("{}: {other:?}", counts[number]),
        }
    }
    Ok(())
}
