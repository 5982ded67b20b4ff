//! Fate of a request: how long its answer takes, and what goes wrong with it.
//!
//! A new fault needs a variant of [`Fault`] and a share of the requests in [`draw`]. This module
//! only decides, from the randomness that it receives. It must not act, wait or read a clock.

use std::time::Duration;

use http::StatusCode;

use super::spec::{Rate, Spec};
use super::stream::{Words, below};

/// What goes wrong with the answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An error status instead of the body.
    Error(StatusCode),
    /// The head promises the whole body, half of it comes, and the connection is closed properly.
    Truncate,
    /// The connection is reset instead of an answer.
    ResetBeforeHead,
    /// The head and half of the body come, then the connection is reset.
    ResetInBody,
    /// The head and half of the body come, then nothing, and the connection stays open.
    Stall,
    /// The body comes very slowly.
    Slow,
    /// The body never ends.
    Endless,
}

impl Fault {
    /// Returns its name in a journal, which is that in a [`Spec`].
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error(_) => "errors",
            Self::Truncate => "truncate",
            Self::ResetBeforeHead | Self::ResetInBody => "reset",
            Self::Stall => "stall",
            Self::Slow => "slow",
            Self::Endless => "endless",
        }
    }
}

/// Fate of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// Time before the head of the response.
    pub(super) delay: Duration,
    /// What goes wrong, if anything.
    pub(super) fault: Option<Fault>,
}

/// Draws the fate of the `number`th request for a URL, counted from 0, from its randomness.
pub(super) fn draw(spec: &Spec, words: Words, number: u32) -> Fate {
    // The limit on jitter, 24 hours, is far below 2^64 nanoseconds.
    let jitter = u64::try_from(spec.jitter.as_nanos()).unwrap_or(u64::MAX);
    let jitter = Duration::from_nanos(below(words.at(0), jitter));
    Fate {
        delay: spec.latency.saturating_add(jitter),
        fault: match spec.transient {
            Some(requests) if number >= requests => None,
            Some(_) | None => fault(spec, words),
        },
    }
}

/// Returns whether fates differ between the requests for a URL, so that they must be counted.
pub(super) fn varies(spec: &Spec) -> bool {
    spec.jitter > Duration::ZERO || spec.shares() != [Rate::default(); 6]
}

fn fault(spec: &Spec, words: Words) -> Option<Fault> {
    let reset = if words.at(2).is_multiple_of(2) {
        Fault::ResetBeforeHead
    } else {
        Fault::ResetInBody
    };
    // One draw for all faults. The shares lie side by side, so that each is exactly as in the spec.
    let mut place = below(words.at(1), Rate::WHOLE);
    for (rate, fault) in [
        (spec.errors.rate, Fault::Error(spec.errors.status)),
        (spec.truncate, Fault::Truncate),
        (spec.reset, reset),
        (spec.stall, Fault::Stall),
        (spec.slow, Fault::Slow),
        (spec.endless, Fault::Endless),
    ] {
        if place < rate.steps() {
            return Some(fault);
        }
        place -= rate.steps();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(text: &str, requests: u64) -> Vec<Fate> {
        let spec: Spec = text.parse().expect("the test's spec is right");
        (0..requests)
            .map(|request| draw(&spec, Words::new(request << 32, 7), 0))
            .collect()
    }

    #[test]
    fn each_fault_has_its_share() {
        let fates = fates(
            "errors=10%:404,truncate=20%,reset=30%,stall=5%,slow=6%,endless=7%",
            10_000,
        );
        let count = |fault| fates.iter().filter(|fate| fate.fault == fault).count();
        // 5 standard deviations are at most 250.
        assert!(count(Some(Fault::Error(StatusCode::NOT_FOUND))).abs_diff(1_000) < 250);
        assert!(count(Some(Fault::Truncate)).abs_diff(2_000) < 250);
        assert!(count(Some(Fault::ResetBeforeHead)).abs_diff(1_500) < 250);
        assert!(count(Some(Fault::ResetInBody)).abs_diff(1_500) < 250);
        assert!(count(Some(Fault::Stall)).abs_diff(500) < 250);
        assert!(count(Some(Fault::Slow)).abs_diff(600) < 250);
        assert!(count(Some(Fault::Endless)).abs_diff(700) < 250);
        assert!(count(None).abs_diff(2_200) < 250);
    }

    #[test]
    fn a_share_of_all_or_nothing_has_no_exceptions() {
        assert!(
            fates("reset=100%", 1_000)
                .iter()
                .all(|fate| fate.fault.is_some())
        );
        assert!(fates("", 1_000).iter().all(|fate| fate.fault.is_none()));
    }

    #[test]
    fn only_the_first_requests_meet_a_transient_fault() {
        let spec: Spec = "stall=100%,transient=2"
            .parse()
            .expect("the test's spec is right");
        let fault = |number| draw(&spec, Words::new(5, 7), number).fault;
        assert_eq!(fault(0), Some(Fault::Stall));
        assert_eq!(fault(1), Some(Fault::Stall));
        assert_eq!((fault(2), fault(u32::MAX)), (None, None));
    }

    #[test]
    fn the_jitter_comes_on_top_of_the_latency() {
        let (latency, jitter) = (Duration::from_millis(100), Duration::from_millis(20));
        let delays: Vec<Duration> = fates("latency=100ms,jitter=20ms", 1_000)
            .iter()
            .map(|fate| fate.delay - latency)
            .collect();
        assert!(delays.iter().all(|delay| *delay < jitter));
        let mean = delays.iter().sum::<Duration>() / 1_000;
        assert!((8..12).contains(&mean.as_millis()), "mean jitter {mean:?}");
        assert!(
            fates("latency=3ms", 10)
                .iter()
                .all(|fate| fate.delay == Duration::from_millis(3))
        );
    }

    #[test]
    fn requests_are_counted_only_where_it_matters() {
        let varies = |text: &str| varies(&text.parse().expect("the test's spec is right"));
        assert!(!varies("latency=1s,size=1KiB..1MiB"));
        assert!(varies("jitter=1ms"));
        assert!(varies("errors=1%"));
        assert!(varies("truncate=1%"));
        assert!(varies("reset=1%"));
        assert!(varies("stall=1%"));
        assert!(varies("slow=1%"));
        assert!(varies("endless=1%"));
    }
}
