//! A robots.txt that cannot be fetched, or whose worker or run dies.

use rustix::process::Signal;

use super::{ROBOTS, ends, host, refused, rules, run};
use crate::support::run::urls;
use crate::support::server::ClosedPort;
use crate::support::{Answer, Server};

#[test]
fn where_there_is_none_everything_is_allowed_and_where_nobody_can_tell_nothing_is() {
    let head = |status: u16| vec![Answer::Status(status)];
    let allowed = [
        ("404", head(404)),
        ("403", head(403)),
        ("401", head(401)),
        ("410", head(410)),
        ("in circles", vec![Answer::Redirect(ROBOTS.to_owned())]),
        (
            "nowhere",
            vec![Answer::Redirect("data:,User-agent".to_owned())],
        ),
        ("empty", vec![Answer::Body(Vec::new())]),
        (
            "html",
            vec![Answer::Body(b"<html>Disallow: /</html>".to_vec())],
        ),
        ("bytes", vec![Answer::Body((0..=255).collect())]),
        (
            "later",
            vec![Answer::Status(503), Answer::Reset, Answer::Status(404)],
        ),
    ];
    let out_of_reach = [
        ("status 503", head(503)),
        ("status 500", head(500)),
        ("status 429", head(429)),
        ("disconnected", vec![Answer::Reset]),
        ("truncated", vec![Answer::Truncated]),
        ("stalled", vec![Answer::Silent]),
        ("protocol", vec![Answer::Raw(b"SSH-2.0-x\r\n".to_vec())]),
        (
            "encoding",
            vec![Answer::Raw(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: zip\r\nContent-Length: 1\r\n\r\nx".to_vec(),
            )],
        ),
    ];
    let start = |(name, answers): (&'static str, Vec<Answer>)| {
        (name, Server::start().answer(ROBOTS, answers))
    };
    let allowed = allowed.map(start);
    let out_of_reach = out_of_reach.map(start);
    let list: Vec<_> = allowed
        .iter()
        .chain(&out_of_reach)
        .flat_map(|(_, server)| urls(&server.url(""), 2))
        .collect();
    for engine in ["--engine blocking", "--engine async"] {
        let run = run(&list).with("--retry 2 --speed-time 300ms --parallel-max-host 0");
        let ended = ends(&run.with(engine), 1);
        assert_eq!(ended.summary("stored"), 20, "{}", ended.text());
        assert_eq!(ended.summary("forbidden"), 16, "{}", ended.text());
        for (_, server) in &out_of_reach {
            assert_eq!(server.requests("/0") + server.requests("/1"), 0);
            let line = ended.says(&[&server.url(ROBOTS), "its URLs fail for now"]);
            assert!(line.contains("robots.txt is out of reach"), "{line}");
        }
    }
    for (name, server) in &out_of_reach {
        let ended = run(&urls(&server.url(""), 1)).with("--retry 0 --speed-time 300ms");
        ends(&ended, 1);
        let record = refused(&ended, &server.url("/0"), "robots_unreachable");
        assert!(
            record.message().contains(&format!("({name})")),
            "{record:?}"
        );
    }
}

#[test]
fn one_that_is_out_of_reach_is_tried_again_and_asked_again_by_the_next_run() {
    let answers = [503, 503, 503].map(Answer::Status);
    let server = Server::start().answer(ROBOTS, [&answers[..], &rules("")].concat());
    let run = run(&urls(&server.url(""), 4)).with("--retry 2");
    let ended = ends(&run, 1);
    assert_eq!(server.requests(ROBOTS), 3);
    assert_eq!(server.total(), 3);
    assert_eq!(ended.summary("retries"), 2, "{}", ended.text());
    let ended = ends(&run, 0);
    assert_eq!(ended.summary("stored"), 4, "{}", ended.text());
    assert_eq!(server.requests(ROBOTS), 4);
}

#[test]
fn a_host_that_is_not_there_is_out_of_reach() {
    let closed = ClosedPort::new();
    let list = urls(&format!("http://{}", closed.addr), 3);
    let run = run(&list).with("--retry 1");
    ends(&run, 1);
    for url in &list {
        let record = refused(&run, url, "robots_unreachable");
        assert!(record.message().contains("(connect)"), "{record:?}");
    }
}

#[test]
fn a_slow_one_holds_up_nobody_else() {
    for way in ["--workers 2", "--workers 1 --engine async --concurrency 2"] {
        let slow = host(2).answer(ROBOTS, [Answer::Held]);
        let other = host(3);
        // Many URLs of the slow host come first.
        let mut list = urls(&slow.url(""), 1000);
        list.extend(urls(&other.url(""), 200));
        let run = run(&list)
            .with(way)
            .with("--speed-time 1h --parallel-max-host 0");
        let job = run.start();
        slow.wait_for(ROBOTS, 1);
        job.wait_until("all of the other host", || run.log().count("stored") == 200);
        assert_eq!(slow.total(), 1, "nothing of it before its rules");
        slow.release(ROBOTS);
        let ended = job.finish().code(0);
        assert_eq!(ended.summary("stored"), 1200, "{}", ended.text());
        assert_eq!(slow.requests(ROBOTS), 1);
    }
}

#[test]
fn a_worker_that_is_killed_with_it_costs_a_delivery() {
    let server = Server::start().answer(ROBOTS, [Answer::Held]);
    let list = urls(&server.url(""), 3);
    let run = run(&list).with("--workers 2");
    let job = run.start();
    server.wait_for(ROBOTS, 1);
    job.worker(0, 1).signal(Signal::KILL);
    job.wait_for_line("died with signal 9");
    server.wait_for(ROBOTS, 2);
    let death = job.wait_for("its line", || run.log().deaths().pop());
    assert_eq!(death.running[0].url, server.url(ROBOTS));
    assert!(death.running[0].task >= 1 << 52, "it is none of the list's");
    server.release(ROBOTS);
    let ended = job.finish().code(0);
    assert_eq!(ended.summary("redeliveries"), 1, "{}", ended.text());
    assert_eq!(server.requests(ROBOTS), 2);
    for url in &list {
        let record = run.log().one(url);
        assert_eq!((record.deliveries, record.deaths.len()), (1, 0));
    }
}

#[test]
fn one_that_kills_workers_is_out_of_reach_and_the_others_are_not() {
    let (bad, good) = (host(2), host(3));
    let mut list = urls(&bad.url(""), 2);
    list.extend(urls(&good.url(""), 2));
    let run = run(&list).with(&format!(
        "--workers 2 --max-deliveries 2 --inject segv@{ROBOTS}"
    ));
    // The fault hits the robots.txt of both hosts, so there are four deaths.
    let ended = ends(&run, 1);
    assert_eq!(ended.summary("worker deaths"), 4, "{}", ended.text());
    assert_eq!(ended.summary("quarantined"), 0, "{}", ended.text());
    for url in &list {
        let record = refused(&run, url, "robots_unreachable");
        assert!(record.message().contains("(worker_died)"), "{record:?}");
    }
    assert_eq!(bad.total() + good.total(), 0);
}

#[test]
fn a_run_that_ends_meanwhile_is_finished_by_the_same_command() {
    let server = Server::start().answer(ROBOTS, [Answer::Held]);
    let list = urls(&server.url(""), 5);
    let run = run(&list).with("--workers 2 --grace 1h --speed-time 1h");
    let job = run.start();
    server.wait_for(ROBOTS, 1);
    job.kill();
    job.wait_until_alone();
    let job = run.start();
    server.wait_for(ROBOTS, 2);
    job.signal(Signal::INT);
    job.wait_for_line("finishing ");
    job.signal(Signal::INT);
    let ended = job.finish().code(130);
    assert_eq!(ended.summary("left"), 5, "{}", ended.text());
    // A drain while the robots.txt is in flight: it arrives, and no download starts.
    let job = run.start();
    server.wait_for(ROBOTS, 3);
    job.signal(Signal::TERM);
    job.wait_for_line("finishing ");
    server.release(ROBOTS);
    let ended = job.finish().code(143);
    assert_eq!(ended.summary("left"), 5, "{}", ended.text());
    assert_eq!(server.total(), 3);
    let ended = ends(&run, 0);
    assert_eq!(ended.summary("stored"), 5, "{}", ended.text());
    assert_eq!(server.requests(ROBOTS), 4);
}
