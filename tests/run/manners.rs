//! The rate of requests to servers, and limits on failures.
//!
//! Times are lower bounds from the run log, so a slow machine does not make a test fail.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;

use crate::support::run::urls;
use crate::support::{Answer, Record, Run, Server};

fn started(record: &Record) -> Timestamp {
    let text = record.started.as_ref().unwrap();
    text.parse().unwrap()
}

/// Returns the milliseconds between the first and the last start.
fn spread(run: &Run) -> i128 {
    let records = run.log().records();
    let starts: Vec<_> = records.iter().map(started).collect();
    let (first, last) = (starts.iter().min().unwrap(), starts.iter().max().unwrap());
    last.duration_since(*first).as_millis()
}

/// Eight downloads of a host that once requests a pause of this many seconds, and eight of another.
/// The servers must outlive the run.
fn with_a_pause(seconds: u32) -> (Run, [Server; 2]) {
    let pause = Answer::StatusWith(429, format!("Retry-After: {seconds}\r\n"));
    let busy = Server::start().answer("/0", [pause, Answer::Ok]);
    let other = Server::start();
    let mut list = urls(&busy.url(""), 8);
    list.extend(urls(&other.url("").replace("127.0.0.1", "127.0.0.2"), 8));
    let run = Run::new()
        .list(&list)
        .with("--workers 1 --retry-delay 1ms")
        .with(&format!(
            "--resolve 127.0.0.2:{}:127.0.0.1",
            other.addr.port()
        ));
    (run, [busy, other])
}

#[test]
fn a_host_that_asks_for_a_pause_does_not_hold_up_the_others() {
    let (run, _servers) = with_a_pause(60);
    let job = run.start();
    let of_other = |record: &&Record| record.url.contains("127.0.0.2");
    job.wait_until("all of the other host", || {
        run.log().records().iter().filter(of_other).count() == 8
    });
    // A download that was in flight when the pause was requested may have finished.
    let records = run.log().records();
    assert!(records.len() <= 9, "{records:#?}");
    job.kill();
}

#[test]
fn a_host_that_asks_for_a_pause_gets_it() {
    let (run, _servers) = with_a_pause(1);
    run.finish().code(0);
    assert_eq!(run.log().records().len(), 16);
    assert!(spread(&run) >= 900, "{:#?}", run.log().records());
}

/// Answers every request on the connection.
fn serve(mut connection: TcpStream) {
    let mut head = Vec::new();
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = connection.read(&mut bytes) {
        head.extend_from_slice(&bytes[..count]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
            if connection.write_all(answer).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_host_that_closes_every_third_connection_serves_all_over_two() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (open, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&refused);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if open.fetch_add(1, Ordering::SeqCst) < 2 {
                let open = Arc::clone(&open);
                std::thread::spawn(move || {
                    serve(connection);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            } else {
                open.fetch_sub(1, Ordering::SeqCst);
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let run = Run::new().list(urls(&url, 60)).with("--workers 6");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 60, "{}", ended.text());
    let refused = refused.load(Ordering::SeqCst);
    assert!(refused > 0, "six workers ask at once");
}

#[test]
fn one_url_that_says_when_to_come_back_does_not_hold_up_a_host_that_serves_the_others() {
    let later = Answer::StatusWith(503, "Retry-After: 3600\r\n".to_owned());
    let server = Server::start().answer("/20", [later]);
    let run = Run::new()
        .list(urls(&server.url(""), 40))
        .with("--workers 1 --retry-max-time 3s");
    let ended = run.finish().code(1);
    assert_eq!(ended.summary("stored"), 39, "{}", ended.text());
    assert_eq!(server.requests("/20"), 1);
}

#[test]
fn no_more_are_begun_in_a_second_than_the_rate_allows() {
    let server = Server::start();
    let run = Run::new()
        .list(urls(&server.url(""), 6))
        .with("--workers 3 --rate 10/s");
    run.finish().code(0);
    // Five gaps of 100 ms, minus the extra time that the first start took.
    assert!(spread(&run) >= 350, "{}", run.log().text());
}

#[test]
fn one_host_is_asked_no_more_often_than_its_delay_allows() {
    let server = Server::start();
    let run = Run::new()
        .list(urls(&server.url(""), 6))
        .with("--workers 3 --host-delay 100ms");
    run.finish().code(0);
    assert!(spread(&run) >= 350, "{}", run.log().text());
}

#[test]
fn too_many_failures_give_the_run_up() {
    let paths: Vec<_> = (0..20).map(|n| format!("/{n}")).collect();
    let server = paths.iter().fold(Server::start(), |server, path| {
        server.answer(path, [Answer::Status(404)])
    });
    let run = Run::new()
        .list(urls(&server.url(""), 20))
        .with("--workers 1 --max-failures 3");
    let ended = run.finish().code(4);
    ended.says(&["gave up", "4 URLs failed", "--max-failures"]);
    let failed = run.log().count("failed");
    assert!((4..20).contains(&failed), "{}", ended.text());
    assert_eq!(ended.summary("failed"), failed as u64, "{}", ended.text());
}

#[test]
fn a_run_ends_when_its_time_is_up() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let list = [server.url("/held"), server.url("/next")];
    let run = Run::new()
        .list(&list)
        .with("--workers 1 --run-time 300ms --grace 100ms");
    let ended = run.finish().code(4);
    ended.says(&["gave up", "--run-time"]);
    assert_eq!(ended.summary("left"), 2, "{}", ended.text());
    server.release("/held");
    run.without_arguments().finish().code(0);
}

#[test]
fn no_retry_is_begun_after_the_time_for_retries() {
    let server = Server::start().answer("/busy", [Answer::Status(503)]);
    let run = Run::new()
        .list([server.url("/busy")])
        .with("--workers 1 --retry 1000 --retry-delay 100ms --retry-max-time 350ms");
    run.finish().code(1);
    let record = run.log().one(&server.url("/busy"));
    assert!((1..=4).contains(&record.attempts), "{record:?}");
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (option, value) in [
        ("--rate", "0"),
        ("--rate", "fast"),
        ("--limit-rate", "fast"),
        ("--limit-rate", "0.1"),
        ("--max-failures", "101%"),
        ("--run-time", "0"),
        ("--host-delay", "-1"),
    ] {
        let run = Run::new()
            .list(["http://a.example/"])
            .with(&format!("{option}={value}"));
        run.finish().code(2).says(&[option, value]);
    }
}
