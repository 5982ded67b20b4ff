//! `--refresh`: stored files are checked again, and only changed ones are replaced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::support::log::Record;
use crate::support::run::{Job, urls};
use crate::support::{Answer, Run, Server, sha256, simulated_sha256};

const BEFORE: &str = "size=1KiB..8KiB,latency=0ms";

/// Returns URLs of two hosts, one of them with TLS.
fn list(count: usize) -> Vec<String> {
    let mut list = urls("http://a.example", count / 2);
    list.extend(urls("https://b.example", count - count / 2));
    list
}

/// Replaces the arguments of the run.
fn with(run: Run, arguments: &str) -> Run {
    run.without_arguments().with(arguments)
}

/// Returns the latest record of each URL.
fn latest(run: &Run) -> BTreeMap<String, Record> {
    let records = run.log().records();
    records
        .into_iter()
        .map(|record| (record.url.clone(), record))
        .collect()
}

/// Checks that the file is in place, that it is the one that `spec` has for its URL, and that the
/// record agrees.
fn check(run: &Run, record: &Record, spec: &str) {
    let file = run.log().file(record);
    let expected = simulated_sha256(spec, &record.url);
    assert_eq!(sha256(&file), expected, "{record:#?}");
    assert_eq!(record.sha256.as_deref(), Some(&*expected), "{record:#?}");
    assert_eq!(record.bytes, Some(file.len() as u64), "{record:#?}");
}

/// Makes all records so far, and the files, years old.
fn age(run: &Run) {
    let log = run.log();
    let text = log.text();
    let mut aged = String::new();
    for part in text.split_inclusive("\"started\":\"") {
        // The key is followed by a timestamp of 24 characters.
        match aged.ends_with("\"started\":\"") {
            true => aged = aged + "2020-01-01T00:00:00.000Z" + &part[24..],
            false => aged += part,
        }
    }
    fs::write(log.path(), aged).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    for name in log.files() {
        let file = File::options()
            .write(true)
            .open(run.log().output.join(name));
        file.unwrap().set_modified(then).unwrap();
    }
}

#[test]
fn only_what_changed_is_replaced_in_every_mode() {
    for mode in [
        "processes",
        "processes --engine async --concurrency 4",
        "threads",
        "async",
        "sequential",
    ] {
        let list = list(40);
        let after = format!("{BEFORE},changed=30%");
        let options = format!("--workers 3 --parallel-max-host 0 --mode {mode}");
        let run = Run::new()
            .list(&list)
            .with(&format!("{options} --simulate={BEFORE}"));
        run.finish().code(0);
        let before = latest(&run);
        let run = with(run, &format!("{options} --simulate={after} --refresh"));
        let ended = run.finish().code(0);
        let changed =
            |url: &&String| simulated_sha256(BEFORE, url) != simulated_sha256(&after, url);
        let changed = list.iter().filter(changed).count() as u64;
        assert!((1..40).contains(&changed), "{changed} of 40 changed");
        assert_eq!(ended.summary("stored"), changed, "{}", ended.text());
        assert_eq!(ended.summary("unchanged"), 40 - changed, "{}", ended.text());
        for (url, record) in latest(&run) {
            check(&run, &record, &after);
            let old = &before[&url];
            let tags = (&record.etag, &record.last_modified);
            assert!(tags.0.is_some() && tags.1.is_some(), "{record:#?}");
            match record.outcome.as_str() {
                "unchanged" => {
                    assert_eq!(record.status, Some(304));
                    assert_eq!(tags, (&old.etag, &old.last_modified));
                    assert_eq!(
                        (&record.path, &record.content_type),
                        (&old.path, &old.content_type)
                    );
                }
                _ => assert_eq!(
                    (record.outcome.as_str(), record.status),
                    ("stored", Some(200))
                ),
            }
        }
        assert_eq!(run.log().files().len(), list.len());
        assert_eq!(run.log().partials(), [""; 0]);
        // A run without `--refresh` finds nothing to do.
        let run = with(run, &format!("{options} --simulate={after}"));
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored earlier"), 40, "{}", ended.text());
    }
}

#[test]
fn a_date_is_enough_and_without_any_validator_the_bytes_are_compared() {
    for (validators, status, etag, date) in [
        ("date", 304, false, true),
        ("etag", 304, true, false),
        ("none", 200, false, false),
    ] {
        let list = list(20);
        let before = format!("{BEFORE},validators={validators}");
        let after = format!("{before},changed=30%");
        let run = Run::new()
            .list(&list)
            .with(&format!("--workers 2 --simulate={before}"));
        run.finish().code(0);
        let run = with(run, &format!("--workers 2 --simulate={after} --refresh"));
        run.finish().code(0);
        for (url, record) in latest(&run) {
            check(&run, &record, &after);
            let same = simulated_sha256(&before, &url) == simulated_sha256(&after, &url);
            assert_eq!(record.outcome == "unchanged", same, "{record:#?}");
            assert_eq!(
                record.status,
                Some(if same { status } else { 200 }),
                "{record:#?}"
            );
            let has = (record.etag.is_some(), record.last_modified.is_some());
            assert_eq!(has, (etag, date), "{record:#?}");
        }
    }
}

#[test]
fn a_refresh_killed_at_any_moment_is_gone_on_with() {
    let spec = "size=1KiB..8KiB,latency=5ms";
    let after = format!("{spec},changed=50%");
    let list = list(120);
    let run = Run::new()
        .list(&list)
        .with(&format!("--workers 6 --simulate={spec}"));
    run.finish().code(0);
    age(&run);
    let refresh = format!("--workers 3 --parallel-max-host 0 --simulate={after} --refresh=1h");
    let run = with(run, &refresh);
    let killed = |job: &Job, lines: usize| {
        let log = run.log();
        job.wait_until("more records", || log.text().lines().count() >= 120 + lines);
        job.kill();
        job.wait_until_alone();
    };
    let mut known = 0;
    for lines in [1, 20, 70] {
        killed(&run.start(), lines);
        let records = run.log().records().len() - 120;
        assert!(records >= known);
        known = records;
    }
    let ended = run.finish().code(0);
    // Files that were checked before the last kill are not checked again.
    assert_eq!(
        ended.summary("stored earlier"),
        known as u64,
        "{}",
        ended.text()
    );
    let records = run.log().records();
    assert_eq!(
        records.len(),
        240,
        "each URL was stored once, and checked once"
    );
    for record in latest(&run).values() {
        check(&run, record, &after);
    }
    assert_eq!(run.log().files().len(), list.len());
    assert_eq!(run.log().partials(), [""; 0]);
}

#[test]
fn workers_that_die_in_a_refresh_cost_nothing_but_time() {
    let after = format!("{BEFORE},changed=50%");
    let list = list(60);
    let run = Run::new()
        .list(&list)
        .with(&format!("--workers 3 --simulate={BEFORE}"));
    run.finish().code(0);
    let refresh = format!("--workers 3 --simulate={after} --refresh --inject segv=30%");
    let run = with(run, &refresh);
    let ended = run.finish().code(0);
    assert!(ended.summary("worker deaths") > 5, "{}", ended.text());
    for record in latest(&run).values() {
        check(&run, record, &after);
    }
}

#[test]
fn a_file_that_somebody_else_wrote_to_is_downloaded_again() {
    let list = list(4);
    let run = Run::new().list(&list).with(&format!("--simulate={BEFORE}"));
    run.finish().code(0);
    age(&run);
    let [one, two] = [0, 1].map(|number| latest(&run)[&list[number]].clone());
    let place = |record: &Record| run.log().output.join(record.path.as_ref().unwrap());
    // The same size but other bytes. A run without `--refresh` would not notice.
    fs::write(place(&one), vec![b'x'; one.bytes.unwrap() as usize]).unwrap();
    fs::remove_file(place(&two)).unwrap();
    let run = with(run, &format!("--simulate={BEFORE} --refresh"));
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    assert_eq!(ended.summary("unchanged"), 2, "{}", ended.text());
    for record in latest(&run).values() {
        check(&run, record, BEFORE);
    }
}

/// A response with a body and an ETag.
fn tagged(tag: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {length}\r\n\r\n{body}");
    Answer::Raw(text.into_bytes())
}

#[test]
fn a_refresh_that_fails_leaves_the_file_and_the_next_run_tries_again() {
    let not_modified = Answer::Raw(b"HTTP/1.1 304 x\r\nETag: \"one\"\r\n\r\n".to_vec());
    let server = Server::start().answer(
        "/a",
        [
            tagged("\"one\"", "first"),
            Answer::Status(404),
            Answer::Status(404),
            not_modified,
        ],
    );
    let url = server.url("/a");
    let run = Run::new().list([&url]);
    run.finish().code(0);
    let stored = run.log().one(&url);
    let run = with(run, "--refresh");
    run.finish().code(1);
    let failed = latest(&run)[&url].clone();
    assert_eq!(
        (failed.outcome.as_str(), failed.status),
        ("failed", Some(404))
    );
    assert_eq!(failed.path, None);
    assert_eq!(run.log().file(&stored), b"first", "it is where it was");
    // A run without `--refresh` tries it once more, unconditionally.
    let run = with(run, "");
    run.finish().code(1);
    assert!(
        !server
            .head("/a")
            .to_ascii_lowercase()
            .contains("if-none-match")
    );
    assert_eq!(run.log().file(&stored), b"first");
    // A refresh knows what was stored before the failure.
    let run = with(run, "--refresh");
    let ended = run.finish().code(0);
    assert!(
        server
            .head("/a")
            .to_ascii_lowercase()
            .contains("if-none-match: \"one\"")
    );
    assert_eq!(ended.summary("unchanged"), 1, "{}", ended.text());
    let kept = latest(&run)[&url].clone();
    assert_eq!(
        (kept.path, kept.sha256, kept.etag),
        (stored.path, stored.sha256, stored.etag)
    );
    assert_eq!(server.requests("/a"), 4);
}

#[test]
fn what_the_list_says_of_a_file_holds_in_a_refresh() {
    let server = Server::start().answer("/a", [tagged("\"1\"", "one"), tagged("\"2\"", "two")]);
    let url = server.url("/a");
    let hash = sha256(b"one");
    let line = format!(r#"{{"url":"{url}","out":"a.txt","sha256":"{hash}"}}"#);
    let run = Run::new().list([line]).with("--input-format jsonl");
    run.finish().code(0);
    let stored = run.log().one(&url);
    assert_eq!(stored.path.as_deref(), Some("a.txt"));
    let run = run.with("--refresh --retry 0");
    run.finish().code(1);
    assert!(
        server
            .head("/a")
            .to_ascii_lowercase()
            .contains("if-none-match: \"1\"")
    );
    assert_eq!(latest(&run)[&url].kind(), "checksum_mismatch");
    assert_eq!(run.log().file(&stored), b"one");
}

#[test]
fn a_body_that_was_cut_off_by_a_kill_in_a_refresh_is_gone_on_with() {
    let before = "size=2MiB,latency=0ms";
    let run = Run::new()
        .list(["http://a.example/x"])
        .with(&format!("--simulate={before}"));
    run.finish().code(0);
    // The server sends half of the body, and then stalls until the run is killed.
    let after = format!("{before},changed=100%");
    let stalls = format!("--simulate={after},stall=100% --refresh");
    let run = with(run, &stalls);
    let job = run.start();
    let noted = || {
        run.log()
            .partials()
            .iter()
            .any(|name| name.ends_with("~note"))
    };
    let half = || {
        let partials = run.log().output.join(".coordinator/partial");
        run.log()
            .partials()
            .iter()
            .any(|name| fs::metadata(partials.join(name)).is_ok_and(|file| file.len() == 1 << 20))
    };
    job.wait_until("half of the body", || noted() && half());
    job.kill();
    job.wait_until_alone();
    let old = run.log().one("http://a.example/x");
    check(&run, &old, before);
    let run = with(run, &format!("--simulate={after} --refresh"));
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
    let new = latest(&run)["http://a.example/x"].clone();
    check(&run, &new, &after);
    assert_eq!(new.status, Some(206));
    assert_ne!(new.etag, old.etag);
}
