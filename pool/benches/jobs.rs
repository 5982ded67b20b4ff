//! What a job costs that does nothing, and a death. Run by hand; `pool/benches/jobs.py` is the same with
//! Python's `multiprocessing`.
//!
//! ```sh
//! cargo bench -p coordinator-pool --bench jobs
//! python3 pool/benches/jobs.py
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use pool::{Context, Failed, Outcome, Pool, Work};

/// Dies, the first time, if a job says so.
struct Nothing;

impl Work for Nothing {
    type Setup = ();
    type Job = bool;
    type Output = ();

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, dies: bool, context: &Context) -> Result<(), Failed> {
        if dies && context.delivery == 1 {
            std::process::abort();
        }
        Ok(())
    }
}

const JOBS: usize = 200_000;
const ROUND_TRIPS: usize = 20_000;
const DEATHS: usize = 100;

fn pool(workers: u16) -> Pool<Nothing> {
    let builder = Pool::<Nothing>::builder(()).workers(workers);
    let pool = builder.room(16_384).start().unwrap();
    // Until all workers are there.
    pool.run(std::iter::repeat_n(false, 20_000)).for_each(drop);
    pool
}

fn rate(jobs: usize, time: Duration) -> String {
    format!("{:.0} jobs/s", jobs as f64 / time.as_secs_f64())
}

fn main() {
    pool::init::<Nothing>();
    for workers in [1, 6, 64] {
        let pool = pool(workers);
        let begun = Instant::now();
        let jobs = std::iter::repeat_n(false, JOBS);
        let done = pool
            .run(jobs)
            .filter(|(_, outcome)| *outcome == Outcome::Done(()));
        assert_eq!(done.count(), JOBS);
        println!(
            "{workers} workers, all jobs at once: {}",
            rate(JOBS, begun.elapsed())
        );

        let begun = Instant::now();
        let threads = usize::from(workers);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..ROUND_TRIPS / threads {
                        assert_eq!(pool.submit(false).unwrap().wait(), Outcome::Done(()));
                    }
                });
            }
        });
        println!(
            "{workers} workers, {threads} threads that wait for each: {}",
            rate(ROUND_TRIPS, begun.elapsed())
        );
    }
    let pool = pool(2);
    let mut times: Vec<_> = (0..DEATHS)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(pool.submit(true).unwrap().wait(), Outcome::Done(()));
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "a job whose first worker dies finishes in another after {:?} (median), {:?} at most",
        times[DEATHS / 2],
        times[DEATHS - 1]
    );
}
