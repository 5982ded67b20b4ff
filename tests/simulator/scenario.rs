//! What a seed stands for: the limits of the core, the tasks, and the faults.

use std::num::NonZeroU32;
use std::time::Duration;

use coordinator::dispatch::{Intensity, Limits, MaxFailures, Policy, RetryDelay};

/// The setup of a simulated run. A pure function of the seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub limits: Limits,
    pub tasks: u64,
    pub hosts: u32,
    /// Whether the input is sorted by host.
    pub sorted: bool,
    /// A host that never answers.
    pub silent_host: Option<u32>,
    /// Time between two batches of input, and the number of tasks in each.
    pub input: (Duration, u64),
    /// Chance that a worker crashes, for each task that it starts.
    pub crash: f64,
    /// ... that it is killed from outside.
    pub killed: f64,
    /// ... that it freezes: it sends and receives nothing more.
    pub freeze: f64,
    /// ... that the task hangs, while the rest of the worker continues.
    pub stuck: f64,
    /// ... that the worker violates the protocol.
    pub violate: f64,
    /// Chance that a task kills every worker that runs it.
    pub poison: f64,
    /// Chance that an attempt fails transiently.
    pub transient: f64,
    /// ... because the host refuses to serve it now.
    pub pushback: f64,
    /// ... permanently.
    pub permanent: f64,
    /// ... in a way that ends the run.
    pub fatal: f64,
    /// ... because the worker did not receive the login that it needs.
    pub ignorant: f64,
    /// Chance that a failure is one without an answer.
    pub silence: f64,
    /// Longest time that placing a body takes, and the chances that it fails transiently and
    /// permanently.
    pub placing: Duration,
    pub misplaced: f64,
    pub unplaceable: f64,
    /// Chance that a spawned worker dies before it is ready.
    pub stillborn: f64,
    /// ... that it takes longer to become ready than it may.
    pub slow_start: f64,
    /// Whether workers have pages; and the chance that a page is wrong at the worker's death.
    pub pages: bool,
    pub forged: f64,
    /// Longest time for which a worker that has other tasks delays its report on a task.
    pub hold: Duration,
    /// Chance that a message arrives a second time later, whichever worker is in the slot then.
    pub echo: f64,
    /// ... that it is read so late that a lease may have expired.
    pub clogged: f64,
    /// Chance that a dismissed worker does not leave.
    pub overstay: f64,
    /// Chance that a worker that is asked to exit does not.
    pub stubborn: f64,
    /// Whether each place is asked by a prerequisite before any of its tasks is offered, as for
    /// robots.txt; the chance that a task is then refused.
    pub asks_first: bool,
    pub refused: f64,
    /// Chance that a task has mirrors.
    pub mirrored: f64,
    /// Longest spacing that a place needs.
    pub spacing: Duration,
    /// When the user requests a drain, and an abort.
    pub drain_at: Option<Duration>,
    pub abort_at: Option<Duration>,
    pub give_up_at: Option<Duration>,
    /// When the pool gets a new size, and which.
    pub resizes: Vec<(Duration, u16)>,
    /// When the coordinator is stopped, for how long, and whether all workers are stopped too.
    pub pauses: Vec<(Duration, Duration, bool)>,
}

/// Usually yields nothing, otherwise a few.
fn several(rng: &mut fastrand::Rng) -> impl Iterator<Item = ()> + use<> {
    let most = if rng.u8(..3) == 0 { 4 } else { 0 };
    std::iter::repeat_n((), rng.usize(..=most))
}

impl Scenario {
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Each kind of fault occurs in a third of the runs only, so that faults also occur alone.
        let rate = |rng: &mut fastrand::Rng, most: f64| {
            if rng.u8(..3) == 0 {
                rng.f64() * most
            } else {
                0.0
            }
        };
        let ms = Duration::from_millis;
        let slow = rng.u8(..4) == 0;
        let spacing = |rng: &mut fastrand::Rng| match slow {
            true => ms(rng.u64(..60)),
            false => Duration::ZERO,
        };
        let (spacing, host_spacing) = (spacing(&mut rng), spacing(&mut rng));
        let limits = Limits {
            spacing,
            group_spacing: host_spacing,
            retry_max_time: (rng.u8(..4) == 0).then(|| ms(rng.u64(1..3000))),
            group_patience: ms(rng.u64(..10_000)),
            max_failures: match rng.u8(..8) {
                0 => Some(MaxFailures::Count(rng.u64(..9))),
                1 => Some(MaxFailures::Share(rng.f64())),
                _ => None,
            },
            run_time: (rng.u8(..8) == 0).then(|| ms(rng.u64(..4000))),
            workers: rng.u16(1..=5),
            policy: if rng.u8(..4) == 0 {
                Policy::Chunked
            } else {
                Policy::Shared
            },
            concurrency: rng.u16(1..=4),
            prefetch: if slow { 0 } else { rng.u16(0..=8) },
            credit_bytes: rng.u32(100..2000),
            per_group: rng.bool().then(|| rng.u32(1..=4)),
            retries: rng.u32(0..=3),
            retry_delay: if rng.bool() {
                RetryDelay::Fixed(ms(rng.u64(0..500)))
            } else {
                RetryDelay::Exponential(ms(rng.u64(1..1000)))
            },
            retry_delay_max: ms(rng.u64(1..5000)),
            max_deliveries: rng.u32(1..=3),
            max_unexplained: rng.u32(3..=9),
            restart_intensity: Intensity {
                restarts: rng.u32(0..12),
                period: ms(rng.u64(1..30_000)),
            },
            slot_deaths: rng.u32(1..8),
            worker_tasks: NonZeroU32::new(rng.u32(..9)).filter(|_| rng.u8(..3) == 0),
            restart_backoff: (ms(rng.u64(0..100)), ms(rng.u64(100..2000))),
            lease_timeout: ms(rng.u64(200..5000)),
            start_timeout: ms(rng.u64(50..1000)),
            kill_after: ms(rng.u64(0..500)),
            grace: ms(rng.u64(1..3000)),
            placing: rng.usize(1..12),
            lookahead: rng.usize(1..64),
            lookahead_max: rng.usize(1..128),
            seed: rng.u64(..),
        };
        let at = |rng: &mut fastrand::Rng| (rng.u8(..5) == 0).then(|| ms(rng.u64(..4000)));
        Self {
            limits,
            tasks: rng.u64(..60),
            hosts: rng.u32(1..=5),
            sorted: rng.bool(),
            silent_host: (rng.u8(..3) == 0).then(|| rng.u32(..3)),
            input: (ms(rng.u64(..50)), rng.u64(1..30)),
            crash: rate(&mut rng, 0.3),
            killed: rate(&mut rng, 0.3),
            freeze: rate(&mut rng, 0.1),
            stuck: rate(&mut rng, 0.1),
            violate: rate(&mut rng, 0.1),
            poison: rate(&mut rng, 0.3),
            transient: rate(&mut rng, 0.5),
            pushback: rate(&mut rng, 0.5),
            permanent: rate(&mut rng, 0.5),
            fatal: rate(&mut rng, 0.01),
            silence: rate(&mut rng, 1.0),
            placing: ms(match rng.u8(..4) {
                0 => rng.u64(1..5000),
                _ => 5,
            }),
            misplaced: rate(&mut rng, 0.3),
            unplaceable: rate(&mut rng, 0.3),
            stillborn: rate(&mut rng, 0.5),
            slow_start: rate(&mut rng, 0.3),
            echo: rate(&mut rng, 0.3),
            clogged: rate(&mut rng, 0.05),
            overstay: rate(&mut rng, 0.5),
            stubborn: rate(&mut rng, 0.5),
            drain_at: at(&mut rng),
            abort_at: at(&mut rng),
            give_up_at: at(&mut rng).filter(|_| rng.bool()),
            resizes: several(&mut rng)
                .map(|()| (ms(rng.u64(..3000)), rng.u16(0..=7)))
                .collect(),
            pauses: several(&mut rng)
                .map(|()| (ms(rng.u64(..3000)), ms(rng.u64(1..20_000)), rng.bool()))
                .collect(),
            asks_first: rng.u8(..3) == 0,
            refused: rate(&mut rng, 0.5),
            spacing: ms(rng.u64(..80) * u64::from(rng.u8(..3) == 0)),
            pages: rng.u8(..4) > 0,
            forged: rate(&mut rng, 0.5),
            hold: ms(rng.u64(..50)),
            ignorant: rate(&mut rng, 0.5),
            mirrored: rate(&mut rng, 1.0),
        }
    }
}
