//! The comparison's run with this pool.

use std::error::Error;

use pool::{Context, Failed, Outcome, Pool, Work};

use crate::job::{JOBS, square};

pub(crate) struct Squares;

impl Work for Squares {
    type Setup = ();
    type Job = u64;
    type Output = u64;

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, number: u64, _: &Context) -> Result<u64, Failed> {
        Ok(square(number))
    }
}

pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let pool = Pool::<Squares>::builder(()).workers(4).start()?;
    for (number, outcome) in pool.run(0..JOBS) {
        match outcome {
            Outcome::Done(square) => println!("{number} {square}"),
            other => println!("{number} lost: {other:?}"),
        }
    }
    Ok(())
}
