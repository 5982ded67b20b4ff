//! Running the seeds of a simulator on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Returns the seeds that `NAME_FIRST` and `NAME_SEEDS` set; by default `count` seeds from 0 on.
pub fn asked_for(name: &str, count: u64) -> Range<u64> {
    let first = setting(&format!("{name}_FIRST"), 0);
    first..first + setting(&format!("{name}_SEEDS"), count)
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number")),
        Err(_) => default,
    }
}

/// Plays each seed. Returns the results of each core, or the lowest seed that failed on any core,
/// and why.
pub fn play<S: Default + Send>(
    seeds: Range<u64>,
    play: impl Fn(u64, &mut S) -> Result<(), String> + Sync,
) -> Result<Vec<S>, (u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let core = || -> Result<S, (u64, String)> {
            let mut gathered = S::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return Ok(gathered);
                }
                play(seed, &mut gathered).map_err(|violation| (seed, violation))?;
            }
        };
        let cores: Vec<_> = (0..threads).map(|_| scope.spawn(core)).collect();
        cores.into_iter().map(|core| core.join().unwrap()).collect()
    });
    if let Some(failure) = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .min()
    {
        return Err(failure.clone());
    }
    let count = seeds.end - seeds.start;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{count} seeds from {}, {rate:.0} a second, no violation",
        seeds.start
    );
    Ok(results.into_iter().filter_map(Result::ok).collect())
}
