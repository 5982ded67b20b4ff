//! Computes squares in worker processes: the smallest program that uses a pool.
#![allow(clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use pool::{Context, Failed, Outcome, Pool, Work};

struct Squares;

impl Work for Squares {
    type Setup = ();
    type Job = u64;
    type Output = u64;

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, number: u64, _: &Context) -> Result<u64, Failed> {
        number.checked_mul(number).ok_or(Failed::new("too large"))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pool::init::<Squares>();
    let pool = Pool::<Squares>::builder(()).start()?;
    for outcome in pool.run_ordered([1, 2, 3, u64::MAX]) {
        match outcome {
            Outcome::Done(square) => println!("{square}"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
