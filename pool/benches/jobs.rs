//! What a job costs: one that does nothing, one that takes 10 µs, and one whose worker dies. Run by hand. It
//! prints a table, and beside this pool it measures procspawn's and, by `jobs.py`, Python's.
//!
//! ```sh
//! cargo bench -p coordinator-pool --bench jobs
//! cargo bench -p coordinator-pool --bench jobs -- 1000    # so many jobs, to see that it runs
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pool::{Context, Failed, Outcome, Pool, Work};
use serde::{Deserialize, Serialize};

/// Jobs of a row, if no argument says otherwise.
const JOBS: usize = 100_000;
/// A row with one job a message has so many times fewer.
const LESS: usize = 5;
/// Calls of procspawn that are not joined yet, for each worker.
const AHEAD: usize = 4;
const DEATHS: usize = 100;

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Job {
    Nothing,
    /// Works for 10 µs.
    Brief,
    /// Ends its first worker.
    Dies,
}

impl Job {
    const ALL: [(Self, &str); 2] = [(Self::Nothing, "nothing"), (Self::Brief, "10 µs")];

    fn run(self) {
        if matches!(self, Self::Brief) {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(10) {
                std::hint::spin_loop();
            }
        }
    }
}

struct Jobs;

impl Work for Jobs {
    type Setup = ();
    type Job = Job;
    type Output = ();

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, job: Job, context: &Context) -> Result<(), Failed> {
        if matches!(job, Job::Dies) && context.delivery == 1 {
            std::process::abort();
        }
        job.run();
        Ok(())
    }
}

fn pool(workers: u16) -> Pool<Jobs> {
    let builder = Pool::<Jobs>::builder(()).workers(workers);
    let pool = builder.room(16_384).start().unwrap();
    // Until all workers are there.
    let jobs = std::iter::repeat_n(Job::Nothing, 20_000);
    pool.run(jobs).for_each(drop);
    pool
}

/// Measures `run`, which does so many jobs.
fn row(job: &str, pool: &str, workers: u16, jobs: usize, run: impl FnOnce()) {
    let begun = Instant::now();
    run();
    let rate = jobs as f64 / begun.elapsed().as_secs_f64();
    println!("| {job} | {pool} | {workers} | {rate:.0} |");
}

fn this_pool(workers: u16, jobs: usize) {
    let pool = pool(workers);
    for (job, name) in Job::ALL {
        row(name, "this pool, `run`", workers, jobs, || {
            let done = pool
                .run(std::iter::repeat_n(job, jobs))
                .filter(|(_, outcome)| *outcome == Outcome::Done(()));
            assert_eq!(done.count(), jobs);
        });
        let threads = usize::from(workers);
        let each = (jobs / LESS).div_ceil(threads);
        let waiting = "this pool, a thread for each worker that waits for each job";
        row(name, waiting, workers, each * threads, || {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for _ in 0..each {
                            assert_eq!(pool.submit(job).unwrap().wait(), Outcome::Done(()));
                        }
                    });
                }
            });
        });
    }
}

fn procspawn_pool(workers: u16, jobs: usize) {
    let pool = procspawn::Pool::new(workers.into()).unwrap();
    let call = |job: Job| pool.spawn(job, Job::run);
    let all = |job, jobs| {
        let mut calls = VecDeque::new();
        for _ in 0..jobs {
            if calls.len() == AHEAD * usize::from(workers) {
                calls.pop_front().map(procspawn::JoinHandle::join);
            }
            calls.push_back(call(job));
        }
        calls.into_iter().for_each(|call| call.join().unwrap());
    };
    all(Job::Nothing, usize::from(workers) * 2 * AHEAD);
    let jobs = jobs / LESS;
    for (job, name) in Job::ALL {
        row(name, "procspawn", workers, jobs, || all(job, jobs));
    }
}

fn python(jobs: usize) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/jobs.py");
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).arg(jobs.to_string());
    match command.status() {
        Ok(status) => assert!(status.success(), "python3: {status}"),
        Err(error) => println!("Python was not measured: {error}"),
    }
}

fn deaths() {
    let pool = pool(2);
    let mut times: Vec<_> = (0..DEATHS)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(pool.submit(Job::Dies).unwrap().wait(), Outcome::Done(()));
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "This pool: a job that ends its first worker is done by another after {:?} (median), {:?} at most",
        times[DEATHS / 2],
        times[DEATHS - 1]
    );
}

fn main() {
    pool::init::<Jobs>();
    procspawn::init();
    let jobs = std::env::args().find_map(|argument| argument.parse().ok());
    let jobs: usize = jobs.unwrap_or(JOBS);
    println!("| job | pool | workers | jobs/s |");
    println!("| --- | --- | --- | --- |");
    for workers in [1, 6, 64] {
        this_pool(workers, jobs);
        procspawn_pool(workers, jobs);
    }
    python(jobs);
    deaths();
}
