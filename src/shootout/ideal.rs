//! The time of an approach if only latency, CPU work and its limits existed.
//!
//! This is a bound, not a model. No run can be faster, and the cost of everything else in a real
//! run (start-up, connections, TLS, copying, scheduling) is left out on purpose.

use std::time::Duration;

use super::approach::Shape;

/// The formula, for people.
pub const FORMULA: &str = "ideal = max( ⌈n ÷ L⌉ × (latency + work),  latency + n × work ÷ P ), \
     for n URLs, L downloads in flight, CPU work per body, and P processors that it can use \
     at once; without CPU work that is ⌈n ÷ L⌉ × latency";

/// Returns the least time in seconds in which `urls` bodies can be downloaded.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    reason = "a list has fewer than 2^52 URLs"
)]
pub fn seconds(shape: Shape, urls: usize, latency: Duration, work: Duration) -> f64 {
    let (latency, work) = (latency.as_secs_f64(), work.as_secs_f64());
    let turns = urls.div_ceil(shape.in_flight().max(1)) as f64;
    let by_flight = turns * (latency + work);
    if urls == 0 || work == 0.0 {
        return by_flight;
    }
    let by_processor = latency + urls as f64 * work / shape.processors.max(1) as f64;
    by_flight.max(by_processor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shootout::approach::Approach;

    const LATENCY: Duration = Duration::from_millis(100);

    fn of(approach: Approach, urls: usize, work: u64) -> f64 {
        let work = Duration::from_millis(work);
        let seconds = seconds(approach.shape(6, 2), urls, LATENCY, work);
        (seconds * 1e6).round() / 1e6
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "rounded to a microsecond")]
    fn latency_alone_is_paid_once_a_turn() {
        assert_eq!(of(Approach::Sequential, 30, 0), 3.0);
        assert_eq!(of(Approach::Threads, 30, 0), 0.5);
        assert_eq!(of(Approach::Async, 31, 0), 0.6);
        assert_eq!(of(Approach::Async, 0, 0), 0.0);
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "rounded to a microsecond")]
    fn work_is_shared_among_processors_only() {
        // 30 x 50 ms of work take 1.5 s on one processor, and 0.75 s on two, as long as five turns
        // of 150 ms.
        assert_eq!(of(Approach::Sequential, 30, 50), 4.5);
        assert_eq!(of(Approach::Async, 30, 50), 1.6);
        assert_eq!(of(Approach::Threads, 30, 50), 0.85);
        assert_eq!(of(Approach::Hybrid, 30, 50), 0.85);
    }
}
