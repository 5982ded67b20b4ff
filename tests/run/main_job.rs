//! The main job as README.md shows it, and its repetition.

use std::fs;

use crate::support::run::urls;
use crate::support::{Run, Server, server, sha256, simulated_sha256};

/// A list like the one in README.md: http and https, several hosts, a query.
fn list() -> Vec<String> {
    let mut list: Vec<String> = [
        "http://a.example",
        "https://b.example",
        "https://c.example:8443",
    ]
    .iter()
    .flat_map(|base| urls(base, 10))
    .collect();
    list.push("https://d.example/a/b.txt?c=d".to_owned());
    list
}

#[test]
fn every_url_of_the_list_is_stored_and_recorded_once() {
    let list = list();
    let run = Run::new().list(&list).with("--workers 6 --simulate");
    let ended = run.finish().code(0);
    assert_eq!(
        ended.summary("stored"),
        list.len() as u64,
        "{}",
        ended.text()
    );
    let log = run.log();
    for url in &list {
        let record = log.one(url);
        log.check(&record, &simulated_sha256("", url));
        assert_eq!((record.v, record.status), (1, Some(200)));
        assert_eq!((record.attempts, record.deliveries), (1, 1));
        assert!(record.worker.is_some() && record.started.is_some());
    }
    assert_eq!(log.records().len(), list.len());
    assert_eq!(log.files().len(), list.len());
    assert_eq!(log.partials(), [""; 0]);
    assert!(
        ended.stdout.contains(&log.path().display().to_string()),
        "the summary says where the run log is: {}",
        ended.stdout
    );
}

#[test]
fn the_default_list_of_this_project_can_be_run() {
    let list = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/urls.txt")).unwrap();
    let run = Run::new()
        .list_bytes(&list)
        .with("--workers 6 --simulate=latency=1ms");
    let ended = run.finish().code(0);
    let urls = list.lines().filter(|line| line.starts_with("http"));
    assert_eq!(ended.summary("stored"), urls.count() as u64);
}

#[test]
fn the_keys_of_a_record_come_in_the_documented_order() {
    let run = Run::new().list(["http://a.example/1"]).with("--simulate");
    run.finish().code(0);
    let text = run.log().text();
    let keys = [
        "v",
        "task",
        "url",
        "final_url",
        "outcome",
        "status",
        "path",
        "bytes",
        "sha256",
        "content_type",
        "attempts",
        "deliveries",
        "worker",
        "started",
        "timing_ms",
        "error",
    ];
    let mut at = 0;
    for key in keys {
        let key = format!("\"{key}\":");
        let next = text[at..].find(&key);
        at += next.unwrap_or_else(|| panic!("{key} is not behind the others: {text}"));
    }
    let [line] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("one line per task: {text}");
    };
    assert!(line.starts_with("{\"v\":1,\"task\":1,"), "{line}");
}

#[test]
fn a_second_run_downloads_nothing() {
    let server = Server::start();
    let list = urls(&server.url("/f"), 8);
    let run = Run::new().list(&list);
    run.finish().code(0);
    let (requests, records) = (server.total(), run.log().text());
    assert_eq!(requests, 8);
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), 8, "{}", ended.text());
    assert!(
        ended
            .stdout
            .starts_with("nothing to do: 8 stored earlier\n"),
        "{}",
        ended.text()
    );
    assert_eq!(server.total(), requests);
    assert_eq!(run.log().text(), records);
    // A repeated run does not even need the server.
    drop(server);
    run.finish().code(0);
}

#[test]
fn a_file_that_is_gone_or_cut_short_is_downloaded_again() {
    let server = Server::start();
    let list = urls(&server.url("/f"), 6);
    let run = Run::new().list(&list);
    run.finish().code(0);
    let log = run.log();
    let path = |url: &str| log.output.join(log.of(url)[0].path.as_ref().unwrap());
    fs::remove_file(path(&list[1])).unwrap();
    fs::write(path(&list[4]), "cut short").unwrap();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), 4, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    for (n, url) in list.iter().enumerate() {
        let again = [1, 4].contains(&n);
        let record = log.of(url).pop().unwrap();
        log.check(&record, &sha256(&server::body(&format!("/f/{n}"))));
        assert_eq!(server.requests(&format!("/f/{n}")), 1 + usize::from(again));
    }
}

#[test]
fn a_longer_list_costs_only_what_is_new_whatever_its_order() {
    let server = Server::start();
    let mut list = urls(&server.url("/f"), 5);
    let run = Run::new().list(&list);
    run.finish().code(0);
    list.insert(0, server.url("/new"));
    list.reverse();
    let run = run.list(&list);
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), 5, "{}", ended.text());
    assert_eq!((server.total(), server.requests("/new")), (6, 1));
}

#[test]
fn a_url_that_is_listed_twice_is_downloaded_once_and_recorded_twice() {
    let server = Server::start();
    let (a, b) = (server.url("/a"), server.url("/b"));
    let run = Run::new().list([&a, &b, &a, &format!("{a}#part")]);
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("duplicates"), 2, "{}", ended.text());
    assert_eq!((server.requests("/a"), server.requests("/b")), (1, 1));
    let log = run.log();
    let mut outcomes: Vec<_> = log.of(&a).into_iter().map(|r| r.outcome).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["duplicate", "duplicate", "stored"]);
    let duplicate = log.of(&a).into_iter().find(|r| r.outcome == "duplicate");
    assert!(
        duplicate.unwrap().path.is_some(),
        "it says where the file is"
    );
}

#[test]
fn quiet_says_nothing_when_all_goes_well() {
    let run = Run::new()
        .list(urls("https://a.example", 5))
        .with("--quiet --simulate=latency=1ms");
    let ended = run.finish().code(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    assert_eq!(run.log().count("stored"), 5);
}

#[test]
fn several_workers_download_at_the_same_time() {
    let names = ["/0", "/1", "/2", "/3"];
    let mut server = Server::start();
    for name in names {
        server = server.answer(name, [crate::support::Answer::Held]);
    }
    let run = Run::new()
        .list(names.map(|name| server.url(name)))
        .with("--workers 4");
    let job = run.start();
    for name in names {
        server.wait_for(name, 1);
    }
    assert_eq!(job.workers().len(), 4);
    server.release_all();
    job.finish().code(0);
    let slots: std::collections::BTreeSet<_> = run
        .log()
        .records()
        .into_iter()
        .map(|record| record.worker.unwrap().slot)
        .collect();
    assert_eq!(slots.len(), 4);
}

#[test]
fn one_worker_downloads_several_at_once_with_concurrency() {
    let server = Server::start().answer("/a", [crate::support::Answer::Held]);
    let server = server.answer("/b", [crate::support::Answer::Held]);
    let run = Run::new()
        .list([server.url("/a"), server.url("/b")])
        .with("--workers 1 --concurrency 2");
    let job = run.start();
    server.wait_for("/a", 1);
    server.wait_for("/b", 1);
    server.release_all();
    job.finish().code(0);
}
