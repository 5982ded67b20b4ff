//! Phases that every engine records on request, and the work that it does on each body.

use std::io::Write;
use std::time::Duration;

use protocol::{Engine, MAX_SPANS, Setup, Span, SpanPhase};

use crate::support::{Bench, Server, ok, options, read_head};

const WORK: Duration = Duration::from_millis(20);

fn measuring(engine: Engine, change: impl FnOnce(&mut Setup)) -> Bench {
    Bench::with(engine, options(), |setup| {
        setup.spans = true;
        change(setup);
    })
}

fn spans(bench: &mut Bench, url: &str) -> Vec<Span> {
    let spans = bench.get(url).expect("stored").exchange.spans;
    assert!(spans.len() <= MAX_SPANS);
    for pair in spans.windows(2) {
        let end = Duration::from_nanos(pair[0].start.0) + pair[0].wall;
        assert!(end <= Duration::from_nanos(pair[1].start.0), "{pair:?}");
    }
    assert!(spans.iter().all(|span| span.cpu <= span.wall), "{spans:?}");
    spans
}

fn phases(spans: &[Span]) -> Vec<SpanPhase> {
    spans.iter().map(|span| span.phase).collect()
}

fn every_phase_has_a_span_and_a_pooled_connection_has_fewer(engine: Engine) {
    use SpanPhase::{Body, Connect, FirstByte, Resolve, Store};
    let server = Server::answering(|_| ok("body"));
    let mut bench = measuring(engine, |_| {});
    let first = spans(&mut bench, &server.url("/"));
    let after = [FirstByte, Store, Body, Store, Body, Store];
    let mut seen = phases(&first);
    assert_eq!(seen.drain(..2).collect::<Vec<_>>(), [Resolve, Connect]);
    assert!(
        after.starts_with(&seen) || seen.starts_with(&after[..4]),
        "{seen:?}"
    );
    assert!(
        first.iter().any(|span| span.cpu > Duration::ZERO),
        "{first:?}"
    );
    let second = spans(&mut bench, &server.url("/"));
    assert_eq!(phases(&second)[0], FirstByte);
    assert!(second[0].start > first[first.len() - 1].start);
}

fn waiting_for_a_server_takes_no_processor_time_and_work_does(engine: Engine) {
    let server = Server::start(|mut stream, _| {
        while read_head(&mut stream).is_some() {
            // Longer than the work below takes, by the clock that the engine uses.
            let begun = std::time::Instant::now();
            while begun.elapsed() < WORK * 3 {
                std::thread::yield_now();
            }
            let _ = stream.write_all(&ok("body"));
        }
    });
    let mut bench = measuring(engine, |setup| setup.cpu_per_task = WORK);
    let spans = spans(&mut bench, &server.url("/"));
    let of = |phase| {
        let found = spans.iter().find(|span| span.phase == phase);
        found
            .copied()
            .unwrap_or_else(|| panic!("no {phase:?} in {spans:?}"))
    };
    let waiting = of(SpanPhase::FirstByte);
    assert!(waiting.wall >= WORK * 2, "{waiting:?}");
    assert!(waiting.cpu < WORK, "{waiting:?}");
    let working = of(SpanPhase::Cpu);
    assert!(working.cpu >= WORK, "{working:?}");
    let position = phases(&spans)
        .iter()
        .position(|phase| *phase == SpanPhase::Cpu);
    let last_body = phases(&spans)
        .iter()
        .rposition(|phase| *phase == SpanPhase::Body);
    assert!(position > last_body, "after the body is received");
    assert_eq!(spans.last().map(|span| span.phase), Some(SpanPhase::Store));
}

fn nothing_is_recorded_unless_asked_for(engine: Engine) {
    let server = Server::answering(|_| ok("body"));
    let stored = Bench::new(engine, options()).get(&server.url("/"));
    assert_eq!(stored.expect("stored").exchange.spans, []);
}

fn a_failure_has_its_spans_too(engine: Engine) {
    let server = Server::sending(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let failure = measuring(engine, |_| {}).get(&server.url("/"));
    let spans = failure.expect_err("not found").exchange.spans;
    assert!(phases(&spans).contains(&SpanPhase::FirstByte), "{spans:?}");
}

fn a_large_body_keeps_within_the_limit_of_spans(engine: Engine) {
    let body = "0123456789abcdef".repeat(1_000_000);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let response = head + &body;
    let server = Server::start(move |mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(response.as_bytes());
    });
    let mut bench = measuring(engine, |_| {});
    let spans = spans(&mut bench, &server.url("/"));
    assert!(spans.len() > 8, "{}", spans.len());
    // Each phase begins where the one before ends, even when neighbours are merged.
    let wall: Duration = spans.iter().map(|span| span.wall).sum();
    let [first, .., last] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    let passed = Duration::from_nanos(last.start.0 - first.start.0) + last.wall;
    assert_eq!(wall, passed);
}

crate::on_every_engine![
    every_phase_has_a_span_and_a_pooled_connection_has_fewer,
    waiting_for_a_server_takes_no_processor_time_and_work_does,
    nothing_is_recorded_unless_asked_for,
    a_failure_has_its_spans_too,
    a_large_body_keeps_within_the_limit_of_spans,
];
