//! The same list in every mode: the same files, and run logs with the same content.

use rustix::process::Signal;

use crate::support::{Answer, Run, Server, server, sha256};

pub const MODES: [&str; 7] = [
    "--mode sequential",
    "--mode threads --workers 4",
    "--mode async --concurrency 4",
    "--mode processes --workers 3",
    "--mode processes --workers 3 --dispatch chunked",
    "--mode processes --workers 2 --concurrency 3 --engine async",
    "--mode processes --workers 2 --concurrency 3 --dispatch chunked",
];

/// The fields of a record that do not depend on the worker or the time.
type Said = (
    String,
    String,
    Option<u16>,
    Option<String>,
    Option<u64>,
    Option<String>,
    u32,
    u32,
    String,
);

/// Returns paths with the server's answers, one of each kind.
fn script() -> Vec<(&'static str, Vec<Answer>)> {
    let redirect = |to: &str| Answer::Redirect(to.to_owned());
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    vec![
        ("/ok", vec![Answer::Ok]),
        ("/empty", vec![Answer::Body(Vec::new())]),
        ("/large", vec![Answer::Body(vec![7; 300_000])]),
        ("/gone", vec![Answer::Status(410)]),
        ("/busy", vec![Answer::Status(503), Answer::Ok]),
        ("/broken", vec![Answer::Status(500)]),
        ("/cut", vec![Answer::Truncated, Answer::Ok]),
        ("/always-cut", vec![Answer::Truncated]),
        ("/reset", vec![Answer::Reset, Answer::Ok]),
        ("/moved", vec![redirect("/ok")]),
        ("/round", vec![redirect("/round")]),
        ("/nowhere", vec![redirect("ftp://a.example/")]),
        ("/garbage", vec![raw("garbage\r\n\r\n")]),
        ("/endless-line", vec![raw(&"x".repeat(100_000))]),
        (
            "/bad-chunk",
            vec![raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
            )],
        ),
        (
            "/chunked",
            vec![raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                 3\r\nabc\r\n0\r\n\r\n",
            )],
        ),
        (
            "/until-close",
            vec![raw(
                "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end",
            )],
        ),
        ("/stalled", vec![Answer::Stalled]),
        ("/silent", vec![Answer::Silent]),
    ]
}

/// Runs the script in a mode. Returns the run log's fields for each path, in order.
fn said_in(mode: &str) -> Vec<Said> {
    let mut server = Server::start();
    let mut urls = Vec::new();
    for (path, answers) in script() {
        server = server.answer(path, answers);
        urls.push(server.url(path));
    }
    // The same URL again, as a duplicate.
    urls.push(server.url("/ok"));
    let run = Run::new()
        .list(&urls)
        .with(mode)
        .with("--retry 1 --retry-delay 1ms --speed-time 400ms --parallel-max-host 0");
    run.finish().code(1);
    let log = run.log();
    assert_eq!(log.partials(), Vec::<String>::new(), "{mode}");
    let base = format!("http://{}", server.addr);
    let mut said: Vec<Said> = log
        .records()
        .into_iter()
        .map(|record| {
            (
                record.url.replace(&base, ""),
                record.outcome.clone(),
                record.status,
                record.final_url.as_ref().map(|url| url.replace(&base, "")),
                record.bytes,
                record.sha256.clone(),
                // A reset of a reused connection is no attempt: the engine itself sends the request
                // again. Which connection is reset depends on the mode.
                if record.url.ends_with("/reset") {
                    0
                } else {
                    record.attempts
                },
                record.deliveries,
                record.kind().to_owned(),
            )
        })
        .collect();
    said.sort();
    said
}

#[test]
fn every_mode_says_the_same_of_the_same_list() {
    let expected = said_in(MODES[0]);
    assert_eq!(expected.len(), script().len() + 1);
    let of = |path: &str| {
        let found = expected
            .iter()
            .find(|said| said.0 == path && said.1 != "duplicate");
        found.unwrap_or_else(|| panic!("no record of {path}"))
    };
    // Agreement proves nothing if all are wrong, so some known values are checked.
    assert_eq!(of("/ok").5, Some(sha256(&server::body("/ok"))));
    assert_eq!((of("/busy").1.as_str(), of("/busy").6), ("stored", 2));
    assert_eq!((of("/gone").8.as_str(), of("/gone").6), ("status", 1));
    assert_eq!(of("/always-cut").8, "truncated");
    assert_eq!(of("/chunked").4, Some(3));
    assert_eq!(of("/until-close").4, Some(10));
    assert_eq!(of("/stalled").8, "stalled");
    assert_eq!(of("/garbage").8, "protocol");
    for mode in &MODES[1..] {
        let said = said_in(mode);
        for (ours, theirs) in expected.iter().zip(&said) {
            assert_eq!(ours, theirs, "{} and {mode}", MODES[0]);
        }
        assert_eq!(said.len(), expected.len(), "{mode}");
    }
}

#[test]
fn every_mode_drains_on_a_signal_and_finishes_when_run_again() {
    for mode in MODES {
        // All requests are held, so that the signal arrives in the middle in every mode.
        let mut server = Server::start();
        let mut urls = Vec::new();
        for n in 0..20 {
            let path = format!("/{n}");
            server = server.answer(&path, [Answer::Held]);
            urls.push(server.url(&path));
        }
        let run = Run::new()
            .list(&urls)
            .with(mode)
            .with("--parallel-max-host 0");
        let job = run.start();
        job.wait_until("a request", || server.total() > 0);
        job.signal(Signal::INT);
        job.wait_for_line("finishing ");
        server.release_all();
        let ended = job.finish().code(130);
        let stored = ended.summary("stored");
        assert!(stored >= 1, "{mode}: {}", ended.text());
        assert!(stored < 20, "{mode}: {}", ended.text());
        let ended = run.finish().code(0);
        assert_eq!(
            ended.summary("stored") + stored,
            20,
            "{mode}: {}",
            ended.text()
        );
    }
}

#[test]
fn modes_that_make_no_sense_are_usage_errors() {
    let table = [
        (
            "--mode threads --dispatch chunked",
            "--mode threads cannot be combined with --dispatch chunked",
        ),
        (
            "--mode async --dispatch chunked",
            "--mode async cannot be combined with --dispatch chunked",
        ),
        ("--mode fibers", "invalid value 'fibers'"),
        (
            "--mode threads --workers 60000 --concurrency 60000",
            "more than 65535 at once",
        ),
        (
            "--simulate-via /nonexistent",
            "cannot use the origin announced in /nonexistent",
        ),
    ];
    for (arguments, expected) in table {
        let run = Run::new().list(["http://a.example/"]).with(arguments);
        run.finish().code(2).says(&[expected]);
    }
}

#[test]
fn a_timeline_tells_of_each_task_where_its_time_went() {
    for mode in MODES {
        let list = crate::support::run::urls("https://a.example", 6);
        let run = Run::new().list(&list).with(mode);
        let path = run.path("timeline.jsonl");
        let run = run
            .with("--simulate=size=20KiB,latency=20ms --cpu-per-task 5ms --timeline")
            .with(&path.display().to_string());
        run.finish().code(0);
        let text = std::fs::read_to_string(&path).expect("the timeline");
        assert_eq!(text.lines().count(), list.len(), "{mode}");
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let spans = line["spans"].as_array().expect("spans");
            let of = |phase: &str| {
                spans.iter().filter(|span| span["phase"] == phase).fold(
                    (0.0, 0.0),
                    |(wall, cpu), span| {
                        let number = |key: &str| span[key].as_f64().expect("a number");
                        (wall + number("wall_us"), cpu + number("cpu_us"))
                    },
                )
            };
            let (wall, cpu) = of("first_byte");
            assert!(
                wall >= 20_000.0 && cpu < wall / 2.0,
                "{mode}: waits: {line}"
            );
            let (_, cpu) = of("cpu");
            assert!(cpu >= 5000.0, "{mode}: works: {line}");
            let mut end = 0.0;
            for span in spans {
                let start = span["start_us"].as_f64().expect("a number");
                assert!(
                    start >= end - 1.0,
                    "{mode}: spans follow each other: {line}"
                );
                end = start + span["wall_us"].as_f64().expect("a number");
            }
        }
    }
}
