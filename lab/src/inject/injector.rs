//! Faults from outside: which worker gets which signal, and when.
//!
//! Each fault occurs at its own random moments (a Poisson process: the gaps are exponential), drawn
//! from the seed. The same seed draws the same gaps and the same lots; the workers hit depend on
//! which are alive then. A gap begins when the previous fault was due *and* handled, so that a
//! coordinator that was suspended does not catch up on missed faults.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::WorkerId;
use rustix::process::Signal;

use super::journal::{Blow, Journal, JournalError};
use super::{Rate, SignalFault, Spec};

/// Length of a pause, in milliseconds: uniform in this range.
const PAUSE: std::ops::RangeInclusive<u64> = 10..=200;

/// Chooses which workers get a signal, and writes that to the journal first.
#[derive(Debug)]
pub struct Injector {
    spec: Spec,
    sources: Vec<Source>,
    /// Present if there are sources.
    journal: Option<Journal>,
    /// Workers that are paused, and until when.
    paused: Vec<(Instant, WorkerId)>,
    /// Workers that are stopped permanently.
    stopped: BTreeSet<WorkerId>,
    signals: u64,
}

/// A fault that recurs.
#[derive(Debug)]
struct Source {
    fault: SignalFault,
    rate: Rate,
    rng: Rng,
    due: Instant,
}

impl Injector {
    /// Creates an injector for `spec` from `now` on. If there are signals, `open` opens the
    /// journal.
    ///
    /// # Errors
    ///
    /// Fails if `open` fails.
    pub fn new<E>(
        spec: Spec,
        now: Instant,
        open: impl FnOnce() -> Result<Journal, E>,
    ) -> Result<Self, E> {
        let mut seeds = Rng::with_seed(spec.seed);
        // One generator for each fault, so that no fault changes the draws of another.
        let sources: Vec<_> = SignalFault::ALL
            .into_iter()
            .filter_map(|fault| {
                let mut rng = seeds.fork();
                let rate = *spec.signals.get(&fault)?;
                let due = now + gap(rate, &mut rng);
                Some(Source {
                    fault,
                    rate,
                    rng,
                    due,
                })
            })
            .collect();
        let journal = match sources.as_slice() {
            [] => None,
            _ => Some(open()?),
        };
        Ok(Self {
            spec,
            sources,
            journal,
            paused: Vec::new(),
            stopped: BTreeSet::new(),
            signals: 0,
        })
    }

    /// Returns when the next signal is due, or `None` if there are no more.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let sources = self.sources.iter().map(|source| source.due);
        let paused = self.paused.iter().map(|&(until, _)| until);
        sources.chain(paused).min()
    }

    /// Returns which of the live workers get which signal at `now`. They are in the journal
    /// already, and must be sent at once and in this order.
    ///
    /// # Errors
    ///
    /// Fails if the journal cannot be written. No signal is sent then, now or later.
    pub fn strike(
        &mut self,
        now: Instant,
        live: &[(WorkerId, u32)],
    ) -> Result<Vec<(WorkerId, Signal)>, JournalError> {
        let blows = self.blows(now, live);
        let Some(journal) = self.journal.as_mut().filter(|_| !blows.is_empty()) else {
            return Ok(Vec::new());
        };
        if let Err(error) = journal.write(&blows) {
            self.sources.clear();
            self.paused.clear();
            return Err(error);
        }
        self.signals += blows.len() as u64;
        Ok(blows
            .into_iter()
            .map(|(blow, worker, _)| (worker, signal(blow)))
            .collect())
    }

    /// Returns one line for the summary: what was injected.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("faults were injected: --inject {}", self.spec);
        if let Some(journal) = &self.journal {
            let path = journal.path().display();
            text.push_str(&format!("; {} signals sent: {path}", self.signals));
        }
        text
    }

    fn blows(&mut self, now: Instant, live: &[(WorkerId, u32)]) -> Vec<(Blow, WorkerId, u32)> {
        let mut blows = Vec::new();
        self.stopped
            .retain(|stopped| live.iter().any(|(worker, _)| worker == stopped));
        let over = self.paused.extract_if(.., |(until, _)| *until <= now);
        for (_, resumed) in over {
            let still = live.iter().find(|(worker, _)| *worker == resumed);
            blows.extend(still.map(|&(worker, pid)| (Blow::Continue, worker, pid)));
        }
        for source in &mut self.sources {
            if source.due > now {
                continue;
            }
            source.due = now + gap(source.rate, &mut source.rng);
            let lot = source.rng.f64();
            match source.fault {
                SignalFault::Kill => {
                    blows.extend(pick(lot, live).map(|(worker, pid)| (Blow::Kill, worker, pid)));
                }
                SignalFault::KillAll => {
                    blows.extend(
                        live.iter()
                            .map(|&(worker, pid)| (Blow::KillAll, worker, pid)),
                    );
                }
                SignalFault::Stop => {
                    let moving = moving(live, &self.stopped, &self.paused);
                    if let Some((worker, pid)) = pick(lot, &moving) {
                        self.stopped.insert(worker);
                        blows.push((Blow::Stop, worker, pid));
                    }
                }
                SignalFault::Pause => {
                    let pause = Duration::from_millis(source.rng.u64(PAUSE));
                    let moving = moving(live, &self.stopped, &self.paused);
                    if let Some((worker, pid)) = pick(lot, &moving) {
                        self.paused.push((now + pause, worker));
                        blows.push((Blow::Pause, worker, pid));
                    }
                }
            }
        }
        blows
    }
}

/// Returns the workers not stopped or paused. The end of a pause must not continue a stopped one.
fn moving(
    live: &[(WorkerId, u32)],
    stopped: &BTreeSet<WorkerId>,
    paused: &[(Instant, WorkerId)],
) -> Vec<(WorkerId, u32)> {
    live.iter()
        .filter(|(worker, _)| {
            !stopped.contains(worker) && !paused.iter().any(|(_, other)| other == worker)
        })
        .copied()
        .collect()
}

/// Returns the element that `lot`, from 0 to below 1, selects.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into at most 65536"
)]
fn pick(lot: f64, workers: &[(WorkerId, u32)]) -> Option<(WorkerId, u32)> {
    workers.get((lot * workers.len() as f64) as usize).copied()
}

/// Returns the time until the next event of a Poisson process.
fn gap(rate: Rate, rng: &mut Rng) -> Duration {
    // Above 0 and at most 1, so its logarithm is at least -37.
    let lot = 1.0 - rng.f64();
    Duration::try_from_secs_f64(-lot.ln() / rate.per_second()).unwrap_or(Duration::MAX / 4)
}

const fn signal(blow: Blow) -> Signal {
    match blow {
        Blow::Kill | Blow::KillAll => Signal::KILL,
        Blow::Stop | Blow::Pause => Signal::STOP,
        Blow::Continue => Signal::CONT,
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Epoch, SlotId};

    use super::super::JOURNAL;
    use super::*;

    fn workers(count: u16) -> Vec<(WorkerId, u32)> {
        (0..count)
            .map(|slot| {
                let worker = WorkerId {
                    slot: SlotId(slot),
                    epoch: Epoch(1),
                };
                (worker, 1000 + u32::from(slot))
            })
            .collect()
    }

    /// Returns what happens to these workers within `seconds` virtual seconds. None of them dies.
    fn play(
        spec: &str,
        live: &[(WorkerId, u32)],
        seconds: u64,
    ) -> Vec<(Duration, WorkerId, Signal)> {
        let folder = tempfile::tempdir().expect("a folder");
        let begun = Instant::now();
        let spec = spec.parse().expect("the test's spec is right");
        let journal = folder.path().join(JOURNAL);
        let mut injector = Injector::new(spec, begun, || {
            let file = std::fs::File::create_new(&journal).expect("a file");
            Journal::new(journal.clone(), file)
        })
        .expect("a journal");
        let mut played = Vec::new();
        while let Some(due) = injector.due() {
            if due > begun + Duration::from_secs(seconds) {
                break;
            }
            for (worker, signal) in injector.strike(due, live).expect("a journal") {
                played.push((due - begun, worker, signal));
            }
        }
        let lines = std::fs::read_to_string(&journal).expect("a journal");
        assert_eq!(lines.lines().count(), played.len(), "each in the journal");
        played
    }

    #[test]
    fn faults_come_at_their_rate_and_hit_everybody() {
        let live = workers(4);
        let played = play("kill=20/s", &live, 100);
        // 5 standard deviations are 224.
        assert!(played.len().abs_diff(2000) < 224, "{}", played.len());
        for (worker, _) in live {
            let hit = played.iter().filter(|(_, other, _)| *other == worker);
            assert!(hit.count() > 350);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_and_another_fault_does_not_disturb_it() {
        let live = workers(3);
        let once = play("kill=5/s,seed=9", &live, 20);
        assert_eq!(play("kill=5/s,seed=9", &live, 20), once);
        assert_ne!(play("kill=5/s,seed=10", &live, 20), once);
        let mut both = play("kill=5/s,stop=1/s,seed=9", &live, 20);
        both.retain(|(_, _, signal)| *signal == Signal::KILL);
        assert_eq!(both, once);
    }

    #[test]
    fn who_is_paused_goes_on_and_who_is_stopped_never_does() {
        let live = workers(5);
        // Long enough for all of them to be stopped.
        let played = play("pause=50/s,stop=0.5/s", &live, 60);
        assert!(played.len() > 50, "{played:?}");
        for (worker, _) in live {
            let own = played.iter().filter(|(_, other, _)| *other == worker);
            let mut signals: Vec<_> = own.map(|(.., signal)| *signal).collect();
            assert_eq!(signals.pop(), Some(Signal::STOP), "in the end for good");
            for pause in signals.chunks(2) {
                assert_eq!(pause, [Signal::STOP, Signal::CONT]);
            }
        }
    }

    #[test]
    fn all_are_killed_at_once_and_nobody_is_struck_when_nobody_lives() {
        let played = play("kill-all=2/s", &workers(6), 10);
        assert!(!played.is_empty());
        for at_once in played.chunks(6) {
            assert!(at_once.iter().all(|(at, ..)| *at == at_once[0].0));
        }
        assert_eq!(play("kill-all=2/s,kill=2/s,pause=1/s", &[], 10), []);
    }
}
