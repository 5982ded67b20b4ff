//! `--robots`: what is requested, how often, and what is never requested, as the servers see it.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::support::run::{exists, urls};
use crate::support::{Answer, Ended, Record, Run, Server, sha256};

mod faults;

const ROBOTS: &str = "/robots.txt";

/// Every combination of modes and engines.
const WAYS: [&str; 6] = [
    "--workers 3",
    "--workers 2 --engine async --concurrency 4",
    "--workers 2 --dispatch chunked",
    "--mode threads",
    "--mode async",
    "--mode sequential",
];

/// A server at another address, which makes it another host.
fn host(number: u8) -> Server {
    Server::on(TcpListener::bind((format!("127.0.0.{number}"), 0)).unwrap())
}

fn rules(text: &str) -> [Answer; 1] {
    [Answer::Body(text.as_bytes().to_vec())]
}

fn run(list: &[String]) -> Run {
    Run::new().list(list).with("--robots --retry-delay 1ms")
}

fn ends(run: &Run, code: i32) -> Ended {
    let ended = run.finish().code(code);
    let robots = run.log().output.join(".coordinator/robots");
    assert!(!exists(&robots), "nothing is left of it");
    ended
}

/// Returns the only record of `url`, which was never requested.
fn refused(run: &Run, url: &str, kind: &str) -> Record {
    let record = run.log().one(url);
    assert_eq!((record.outcome.as_str(), record.kind()), ("failed", kind));
    assert_eq!((record.attempts, record.deliveries), (0, 0), "{record:?}");
    assert!(record.worker.is_none() && record.started.is_none());
    assert_eq!(record.status, None);
    record
}

#[test]
fn it_is_asked_for_once_by_whatever_workers_and_nothing_that_it_forbids_ever_is() {
    for way in WAYS {
        let text = "User-agent: *\nDisallow: /private\nAllow: /private/open\n";
        let servers = [1, 2, 3].map(|number| host(number).answer(ROBOTS, rules(text)));
        let mut list = Vec::new();
        for n in 0..20 {
            for server in &servers {
                list.push(server.url(&format!("/{n}")));
                list.push(server.url(&format!("/private/{n}")));
            }
        }
        list.push(servers[0].url("/private/open"));
        let run = run(&list).with(way);
        let ended = ends(&run, 1);
        for server in &servers {
            assert_eq!(server.requests(ROBOTS), 1, "{way}");
            for n in 0..20 {
                assert_eq!(server.requests(&format!("/{n}")), 1, "{way}");
                let forbidden = format!("/private/{n}");
                assert_eq!(server.requests(&forbidden), 0, "{way}");
                let record = refused(&run, &server.url(&forbidden), "robots");
                let says = format!("{} forbids it (disallow: /private)", server.url(ROBOTS));
                assert_eq!(record.message(), says);
            }
        }
        assert_eq!(servers[0].requests("/private/open"), 1, "{way}");
        assert_eq!(ended.summary("stored"), 61, "{}", ended.text());
        assert_eq!(ended.summary("failed"), 60, "{}", ended.text());
        assert_eq!(ended.summary("forbidden"), 60, "{}", ended.text());
        assert_eq!(ended.summary("left"), 0, "{}", ended.text());
        assert_eq!(run.log().records().len(), list.len(), "and no other lines");
        assert_eq!(run.log().files().len(), 61, "and no other files");
        let head = servers[0].head(ROBOTS);
        assert!(
            head.to_lowercase().contains("user-agent: coordinator/"),
            "{head}"
        );
    }
}

#[test]
fn without_the_option_nobody_asks() {
    let server = Server::start().answer(ROBOTS, rules("User-agent: *\nDisallow: /\n"));
    let run = Run::new().list(urls(&server.url(""), 3));
    run.finish().code(0);
    assert_eq!(server.requests(ROBOTS), 0);
}

#[test]
fn ports_and_schemes_have_rules_of_their_own() {
    let open = Server::start();
    let closed = Server::start().answer(ROBOTS, rules("User-agent: *\nDisallow: /\n"));
    let list = [open.url("/a"), closed.url("/a"), open.url("/b")];
    let run = run(&list);
    ends(&run, 1);
    assert_eq!((open.requests(ROBOTS), open.total()), (1, 3));
    assert_eq!((closed.requests(ROBOTS), closed.total()), (1, 1));
}

#[test]
fn it_is_followed_for_five_redirects_to_other_hosts_too() {
    let other = host(2).answer("/rules", rules("User-agent: *\nDisallow: /x\n"));
    let server = (1..5).fold(
        Server::start().answer(ROBOTS, [Answer::Redirect("/1".to_owned())]),
        |server, hop| {
            let to = match hop {
                4 => other.url("/rules"),
                hop => format!("/{}", hop + 1),
            };
            server.answer(&format!("/{hop}"), [Answer::Redirect(to)])
        },
    );
    let list = [server.url("/x"), server.url("/y")];
    // The user's limits on downloads do not apply to robots.txt.
    let run = run(&list).with("--max-redirs 0 --max-filesize 10 --retry 0");
    ends(&run, 1);
    assert_eq!(other.requests("/rules"), 1);
    refused(&run, &list[0], "robots");
    assert_eq!(run.log().one(&list[1]).kind(), "too_large");
}

#[test]
fn one_that_is_too_long_is_cut_and_one_that_never_ends_as_well() {
    let mut long = b"User-agent: *\nDisallow: /first\n".to_vec();
    while long.len() < 600 << 10 {
        long.extend_from_slice(b"Disallow: /other\n");
    }
    long.extend_from_slice(b"Disallow: /last\n");
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes();
    let endless = [head("Content-Length: 99999999\r\n"), long.clone()].concat();
    for (engine, answer) in [
        ("--engine blocking", Answer::Body(long.clone())),
        ("--engine async", Answer::Body(long)),
        ("--engine blocking", Answer::Raw(endless.clone())),
        ("--engine async", Answer::Raw(endless)),
    ] {
        let server = Server::start().answer(ROBOTS, [answer]);
        let list = [server.url("/first"), server.url("/last")];
        let run = run(&list).with("--retry 0 --max-filesize 1MB").with(engine);
        ends(&run, 1);
        refused(&run, &list[0], "robots");
        assert_eq!(run.log().one(&list[1]).outcome, "stored");
        assert_eq!(server.requests(ROBOTS), 1);
    }
}

#[test]
fn one_that_is_coded_is_read_whether_that_was_asked_for_or_not_and_cut_like_any_other() {
    let gzip = |text: &[u8]| {
        let mut coder = GzEncoder::new(Vec::new(), Compression::default());
        coder.write_all(text).unwrap();
        let body = coder.finish().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    };
    let short = b"User-agent: *\nDisallow: /x\n".to_vec();
    // A few bytes that unpack to many.
    let bomb = [&short[..], &b"Disallow: /other\n".repeat(1 << 20)].concat();
    for engine in ["--engine blocking", "--engine async --compressed"] {
        for text in [&short, &bomb] {
            let server = Server::start().answer(ROBOTS, [Answer::Raw(gzip(text))]);
            let list = [server.url("/x"), server.url("/y")];
            let run = run(&list).with(engine);
            ends(&run, 1);
            refused(&run, &list[0], "robots");
            assert_eq!(run.log().one(&list[1]).outcome, "stored");
            assert_eq!(server.requests(ROBOTS), 1);
        }
    }
}

#[test]
fn a_redirect_to_where_it_is_known_to_be_forbidden_is_not_followed() {
    for engine in ["--engine blocking", "--engine async"] {
        let forbids = "User-agent: *\nDisallow: /private\n";
        let known = host(2).answer(ROBOTS, rules(forbids));
        let unknown = host(3).answer(ROBOTS, rules(forbids));
        let down = host(4).answer(ROBOTS, [Answer::Status(503)]);
        let to = |to: String| [Answer::Redirect(to)];
        let server = Server::start()
            .answer(ROBOTS, rules(forbids))
            .answer("/within", to("/private/a".to_owned()))
            .answer("/known", to(known.url("/private/b")))
            .answer("/down", to(down.url("/c")))
            .answer("/unknown", to(unknown.url("/private/d")))
            .answer("/fine", to(known.url("/e")));
        let mut list = vec![known.url("/first"), down.url("/first")];
        let paths = ["/within", "/known", "/down", "/unknown", "/fine"];
        list.extend(paths.map(|path| server.url(path)));
        // Hosts are visited in the order of the list.
        let run = run(&list)
            .with("--workers 1 --retry 0 --retry-all-errors")
            .with(engine);
        ends(&run, 1);
        for path in &paths[..3] {
            let record = run.log().one(&server.url(path));
            assert_eq!(
                (record.kind(), record.attempts),
                ("robots", 1),
                "{record:?}"
            );
            assert!(record.message().starts_with("redirected to "), "{record:?}");
        }
        for path in &paths[3..] {
            assert_eq!(run.log().one(&server.url(path)).outcome, "stored", "{path}");
        }
        assert_eq!(server.requests("/private/a"), 0);
        assert_eq!((known.requests("/private/b"), known.requests("/e")), (0, 1));
        assert_eq!(down.total(), 1);
        assert_eq!(unknown.requests("/private/d"), 1, "nobody knows");
        assert_eq!(unknown.requests(ROBOTS), 0);
    }
}

#[test]
fn a_crawl_delay_is_the_time_between_two_downloads_of_its_host() {
    let text = "User-agent: *\nCrawl-delay: 0.2\nDisallow: /no\n";
    for way in [
        "--workers 3",
        "--workers 3 --dispatch chunked",
        "--mode async",
    ] {
        let slow = host(2).answer(ROBOTS, rules(text));
        let other = host(3);
        let mut list = urls(&slow.url(""), 4);
        list.extend(urls(&other.url(""), 40));
        let run = run(&list).with(way);
        ends(&run, 0);
        let mut starts: Vec<Timestamp> = Vec::new();
        for url in &list[..4] {
            starts.push(run.log().one(url).started.unwrap().parse().unwrap());
        }
        starts.sort();
        let spread = Duration::try_from(starts[3].duration_since(starts[0])).unwrap();
        // Three gaps, minus the extra time that the first start took.
        assert!(spread >= Duration::from_millis(550), "{way}: {spread:?}");
    }
}

#[test]
fn what_is_forbidden_counts_as_failed_for_the_limit_on_failures() {
    let server = Server::start().answer(ROBOTS, rules("User-agent: *\nDisallow: /\n"));
    let run = run(&urls(&server.url(""), 20)).with("--max-failures 3");
    let ended = ends(&run, 4);
    ended.says(&["gave up", "--max-failures"]);
    assert_eq!(server.total(), 1);
}

#[test]
fn the_rules_are_those_for_our_user_agent() {
    let text = "User-agent: coordinator\nDisallow: /c\n\nUser-agent: foobot\nDisallow: /f\n\n\
                User-agent: *\nDisallow: /s\n";
    for (option, forbidden) in [
        ("--retry 0", "/c"),
        ("--user-agent FooBot/2.0", "/f"),
        ("--header User-Agent:foobot/1", "/f"),
        ("--user-agent Mozilla/5.0", "/s"),
        ("--user-agent=", "/s"),
    ] {
        let server = Server::start().answer(ROBOTS, rules(text));
        let paths = ["/c", "/f", "/s"];
        let run = run(&paths.map(|path| server.url(path))).with(option);
        ends(&run, 1);
        for path in paths {
            let asked = usize::from(path != forbidden);
            assert_eq!(server.requests(path), asked, "{option}: {path}");
        }
    }
}

#[test]
fn it_goes_through_the_proxy_and_what_that_wants_is_not_what_the_host_says() {
    let there = |path: &str| format!("http://h.example{path}");
    let through = |list: &[String], proxy: &Server| {
        let proxy = format!("--proxy http://{}", proxy.addr);
        run(list).with(&proxy).env("no_proxy", "")
    };
    let text = "User-agent: *\nDisallow: /x\n";
    let proxy = Server::start().answer(&there(ROBOTS), rules(text));
    let list = [there("/x"), there("/y")];
    let run1 = through(&list, &proxy);
    ends(&run1, 1);
    refused(&run1, &list[0], "robots");
    assert_eq!((proxy.requests(&there(ROBOTS)), proxy.total()), (1, 2));
    let proxy = Server::start().answer(&there(ROBOTS), [Answer::Status(407)]);
    let run2 = through(&list, &proxy);
    ends(&run2, 1);
    refused(&run2, &list[1], "robots_unreachable");
    assert_eq!(proxy.total(), 1);
}

#[test]
fn nobody_inside_the_network_is_asked_for_it_either() {
    let server = Server::start();
    let run = run(&urls(&server.url(""), 2)).with("--block-private");
    ends(&run, 1);
    let record = refused(&run, &server.url("/0"), "robots_unreachable");
    assert!(record.message().contains("(blocked)"), "{record:?}");
    assert_eq!(server.total(), 0);
}

#[test]
fn a_url_that_comes_again_or_is_robots_txt_itself_is_like_any_other() {
    let text = "User-agent: *\nDisallow: /\n";
    let server = Server::start().answer(ROBOTS, rules(text));
    let list = [server.url(ROBOTS), server.url("/x"), server.url("/x")];
    let run = run(&list);
    let ended = ends(&run, 1);
    assert_eq!(ended.summary("duplicates"), 1, "{}", ended.text());
    let record = run.log().one(&server.url(ROBOTS));
    run.log().check(&record, &sha256(text.as_bytes()));
    assert_eq!(
        server.requests(ROBOTS),
        2,
        "once for the rules, once for its file"
    );
    assert_eq!(server.requests("/x"), 0);
}

#[test]
fn that_there_is_none_is_an_answer_whatever_is_retried() {
    let server = Server::start().answer(ROBOTS, [Answer::Status(404)]);
    let run = run(&[server.url("/x")]).with("--retry-all-errors");
    ends(&run, 0);
    assert_eq!(server.requests(ROBOTS), 1);
}

#[test]
fn the_built_in_origin_has_hosts_that_forbid_everything() {
    let list: Vec<_> = (0..40)
        .flat_map(|n| urls(&format!("https://h{n}.example"), 2))
        .collect();
    let run = run(&list).with("--simulate=disallow=50%,latency=1ms,size=1KiB");
    let ended = ends(&run, 1);
    let forbidden = ended.summary("forbidden");
    assert!((4..76).contains(&forbidden), "{}", ended.text());
    assert_eq!(ended.summary("stored"), 80 - forbidden, "{}", ended.text());
    for pair in list.chunks(2) {
        let [one, other] = [0, 1].map(|n| run.log().one(&pair[n]).outcome);
        assert_eq!(one, other, "{pair:?}");
    }
}

#[test]
fn a_mirror_that_is_known_to_be_forbidden_is_not_asked() {
    for engine in ["--engine blocking", "--engine async"] {
        let known = host(2).answer(ROBOTS, rules("User-agent: *\nDisallow: /private\n"));
        let gone = Server::start()
            .answer(ROBOTS, [Answer::Status(404)])
            .answer("/f", [Answer::Status(404)]);
        let urls = [gone.url("/f"), known.url("/private/f")];
        let line = serde_json::json!({"urls": urls, "crc32c": "00000000"});
        let first = serde_json::json!({"url": known.url("/first")});
        let run = run(&[first.to_string(), line.to_string()])
            .with("--workers 1 --retry 0")
            .with(engine);
        ends(&run, 1);
        let record = run.log().one(&urls[0]);
        assert_eq!(
            (record.kind(), record.attempts),
            ("robots", 2),
            "{record:#?}"
        );
        assert_eq!(known.requests("/private/f"), 0);
    }
}
