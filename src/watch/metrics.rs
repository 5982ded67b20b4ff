//! `/metrics`: the state of a run in Prometheus' text format, version 0.0.4.
//!
//! Names use base units, and counters end in `_total`. No label has as many values as a list has
//! hosts: metrics by host name the few largest, and one value for all others.

use std::fmt::{Display, Write as _};

use super::state::{BOUNDS, Phase, State};

/// The value of the label `domain` for all domains that are not named.
const OTHERS: &str = "other";

/// Returns the whole text.
pub(super) fn text(state: &State) -> String {
    let mut out = Text::default();
    let progress = &state.progress;
    out.family(
        "coordinator_urls_total",
        "counter",
        "URLs finished by this run, by outcome.",
    );
    for (outcome, count) in [
        ("stored", progress.stored),
        ("unchanged", progress.unchanged),
        ("failed", progress.failed),
        ("quarantined", progress.quarantined),
        ("fenced", progress.fenced),
    ] {
        out.labelled("outcome", outcome, count);
    }
    out.family(
        "coordinator_failures_total",
        "counter",
        "Failed URLs, by kind of error.",
    );
    for (kind, count) in &state.failed_by_kind {
        out.labelled("kind", kind, count);
    }
    let one = |out: &mut Text, name, kind, help, value: &dyn Display| {
        out.family(name, kind, help);
        out.plain(value);
    };
    if let Some(urls) = progress.urls {
        let help = "URLs of this run in all; an estimate until the lists are read.";
        one(&mut out, "coordinator_urls_expected", "gauge", help, &urls);
    }
    let received = "Bytes of bodies received, those of unfinished downloads included.";
    one(
        &mut out,
        "coordinator_received_bytes_total",
        "counter",
        received,
        &state.received_bytes,
    );
    let queue = &state.queue;
    out.family(
        "coordinator_queue_urls",
        "gauge",
        "URLs taken on that wait, by what they wait for.",
    );
    let running = progress.running.unwrap_or_default() as u64;
    let named = queue.delayed + queue.waiting_for_robots + queue.held_ahead + running;
    for (state, count) in [
        ("worker", queue.unfinished.saturating_sub(named)),
        // Held by a worker that has not started it.
        ("turn", queue.held_ahead),
        ("retry", queue.delayed),
        ("robots", queue.waiting_for_robots),
    ] {
        out.labelled("for", state, count);
    }
    one(
        &mut out,
        "coordinator_placing_urls",
        "gauge",
        "Bodies that are being put in place.",
        &queue.placing,
    );
    out.family(
        "coordinator_running_downloads",
        "gauge",
        "Downloads that run, by registrable domain: those with the most, and all others together.",
    );
    let mut others = running;
    for (domain, count) in &state.running_by_domain {
        others = others.saturating_sub(*count);
        out.labelled("domain", domain, count);
    }
    out.labelled("domain", OTHERS, others);
    let counts = &state.counts;
    for (name, help, value) in [
        (
            "coordinator_retries_total",
            "Failures that led to another attempt.",
            counts.retries,
        ),
        (
            "coordinator_redeliveries_total",
            "Tasks handed out again after a death or a lease that ended.",
            counts.redeliveries,
        ),
        (
            "coordinator_workers_started_total",
            "Workers started, restarts included.",
            counts.workers_started,
        ),
        (
            "coordinator_workers_recycled_total",
            "Workers replaced after their share of tasks.",
            counts.workers_recycled,
        ),
        (
            "coordinator_worker_deaths_total",
            "Workers that were gone without having been told to leave.",
            counts.worker_deaths,
        ),
    ] {
        one(&mut out, name, "counter", help, &value);
    }
    one(
        &mut out,
        "coordinator_workers",
        "gauge",
        "Slots for workers.",
        &state.workers_total,
    );
    out.family(
        "coordinator_resident_memory_bytes",
        "gauge",
        "Resident memory, of the coordinator and of all workers.",
    );
    for (process, bytes) in [
        ("coordinator", state.memory.coordinator_bytes),
        ("workers", state.memory.workers_bytes),
    ] {
        if let Some(bytes) = bytes {
            out.labelled("process", process, bytes);
        }
    }
    if let Some(fleet) = &state.fleet {
        for (name, help, value) in [
            (
                "coordinator_fleet_in_touch",
                "1 while this member may work: the queue has heard of it within its lease.",
                u64::from(fleet.in_touch),
            ),
            (
                "coordinator_fleet_members",
                "Members of the fleet.",
                fleet.members,
            ),
            (
                "coordinator_fleet_partitions",
                "Partitions of 256 that this member works on.",
                fleet.partitions,
            ),
            (
                "coordinator_fleet_taken_on_urls",
                "URLs that this member has taken on and not recorded.",
                fleet.taken_on,
            ),
            (
                "coordinator_fleet_unpublished_urls",
                "Outcomes that are recorded and not in the queue yet.",
                fleet.unpublished,
            ),
        ] {
            one(&mut out, name, "gauge", help, &value);
        }
    }
    out.family(
        "coordinator_phase_duration_seconds",
        "histogram",
        "Time spent in each phase of a URL, in its last attempt.",
    );
    for phase in &state.phases {
        out.histogram(phase);
    }
    #[allow(clippy::cast_precision_loss, reason = "milliseconds, to seconds")]
    let elapsed = progress.elapsed_ms as f64 / 1e3;
    one(
        &mut out,
        "coordinator_run_duration_seconds",
        "gauge",
        "Time since the run began.",
        &elapsed,
    );
    out.text
}

/// The text, and the family that the next lines belong to.
#[derive(Default)]
struct Text {
    text: String,
    name: &'static str,
}

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // Writing to a String does not fail, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn plain(&mut self, value: &dyn Display) {
        let _ = writeln!(self.text, "{} {value}", self.name);
    }

    fn labelled(&mut self, label: &str, value: &str, count: impl Display) {
        let value = escaped(value);
        let _ = writeln!(self.text, "{}{{{label}=\"{value}\"}} {count}", self.name);
    }

    fn histogram(&mut self, phase: &Phase) {
        let (family, name) = (self.name, phase.name);
        let bounds = BOUNDS.iter().map(ToString::to_string);
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(phase.cumulative) {
            let _ = writeln!(
                self.text,
                "{family}_bucket{{phase=\"{name}\",le=\"{bound}\"}} {count}"
            );
        }
        let (sum, count) = (phase.sum_s, phase.cumulative[BOUNDS.len()]);
        let _ = writeln!(self.text, "{family}_sum{{phase=\"{name}\"}} {sum}");
        let _ = writeln!(self.text, "{family}_count{{phase=\"{name}\"}} {count}");
    }
}

/// Escapes the value of a label for its quotation marks.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_whatever_a_host_is_called() {
        let state = State {
            running_by_domain: vec![("a\"b\\c\nd".to_owned(), 2)],
            ..State::default()
        };
        let text = text(&state);
        let line = text.lines().find(|line| line.contains("a\\\"b"));
        assert_eq!(
            line,
            Some(r#"coordinator_running_downloads{domain="a\"b\\c\nd"} 2"#)
        );
    }
}
