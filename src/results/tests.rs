//! Tests of which lines count in a log, whole or torn, and of each output format.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use protocol::{Exchange, Failure, FailureKind, Severity, Stored, TaskId, Timestamp, Timing};

use super::export::Exports;
use super::failed::is_plain;
use super::summary::Summary;
use super::*;
use crate::folder::OwnFolder;
use crate::run::log::{Facts, LogWriter, Outcome, Record};

const BEGUN: i64 = 1_769_860_800_000_000;

fn facts(task: u64, url: &str, out: Option<&str>) -> Facts {
    Facts {
        ticket: None,
        task: TaskId(task),
        url: url.to_owned(),
        path: out.unwrap_or("a.txt").to_owned(),
        named: out.is_some(),
        stored_as: None,
        range: None,
        checksums: Vec::new(),
        attempts: 2,
        deliveries: 3,
        worker: None,
        queue: Duration::from_secs(9),
        deaths: Vec::new(),
    }
}

fn exchange(millis: u64, status: u16) -> Exchange {
    Exchange {
        cookies: Vec::new(),
        started: Timestamp(BEGUN),
        timing: Timing {
            body: Duration::from_millis(millis),
            ..Timing::default()
        },
        status: Some(status),
        final_url: None,
        spans: Vec::new(),
    }
}

fn stored(facts: Facts, bytes: u64, millis: u64) -> Record {
    let stored = Stored {
        exchange: exchange(millis, 200),
        bytes,
        sha256: [1; 32],
        ..Stored::default()
    };
    Record::stored(facts, stored)
}

fn failed(facts: Facts, kind: FailureKind, status: u16, message: &str) -> Record {
    let failure = Failure {
        exchange: exchange(1000, status),
        kind,
        message: message.to_owned(),
        severity: Severity::Permanent,
    };
    Record::failed(facts, failure)
}

/// Creates an output folder with a log of these records.
fn folder(records: &[Record]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = folder.path().join(".coordinator");
    fs::create_dir(&own).expect("create");
    let mut log = LogWriter::open(&OwnFolder::named(&own).expect("a folder")).expect("open");
    for record in records {
        log.append(record).expect("append");
    }
    log.flush().expect("flush");
    folder
}

fn open(folder: &tempfile::TempDir) -> Latest {
    Latest::open(folder.path(), std::env::temp_dir(), |_| Ok(())).expect("a run log")
}

/// Computes the figures of all selected records, as the program does.
fn figures(folder: &tempfile::TempDir, filter: &Filter, slowest: usize) -> Summary {
    let plan = Plan {
        folder: folder.path().to_owned(),
        filter: filter.clone(),
        failed: false,
        stored: false,
        slowest,
        figures: false,
        csv: None,
        json: None,
    };
    let (_, counting) = super::count(&plan, &std::env::temp_dir()).expect("readable");
    counting.finish().expect("readable")
}

fn feed(latest: &Latest, filter: &Filter) -> String {
    let mut out = Vec::new();
    failed::print(latest, filter, &mut out).expect("readable");
    String::from_utf8(out).expect("text")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_last_line_of_each_task_counts(
        history in prop::collection::vec(
            (0_u8..12, prop::option::of(0_u8..2), 0_u64..3, prop::sample::select(vec![
                Outcome::Stored, Outcome::Unchanged, Outcome::Duplicate, Outcome::Failed,
                Outcome::Quarantined, Outcome::Fenced,
            ])), 0..80),
    ) {
        let mut model: BTreeMap<(String, Option<String>, Option<u64>), usize> = BTreeMap::new();
        let mut records = Vec::new();
        for (line, &(n, out, task, outcome)) in history.iter().enumerate() {
            let (url, out) = (format!("https://h/{n}"), out.map(|n| format!("out{n}")));
            let facts = facts(task, &url, out.as_deref());
            records.push(match outcome {
                Outcome::Stored => stored(facts, 1, 1),
                Outcome::Unchanged => Record { outcome, ..stored(facts, 1, 1) },
                Outcome::Duplicate => Record::duplicate(facts),
                Outcome::Failed => failed(facts, FailureKind::Status, 500, "no"),
                Outcome::Quarantined => Record::quarantined(facts, "it died".into()),
                Outcome::Fenced => Record::fenced(facts, Exchange::default()),
            });
            // A duplicate says nothing about the task that has the file. Its number identifies it.
            let duplicate = (outcome == Outcome::Duplicate).then_some(task);
            model.insert((url, out, duplicate), line);
        }
        let folder = folder(&records);
        let latest = open(&folder);
        let mut expected: Vec<usize> = model.into_values().collect();
        expected.sort_unstable();
        let expected: Vec<&Record> = expected.into_iter().map(|line| &records[line]).collect();
        let mut found = Vec::new();
        latest.each_whole(|record| {
            found.push(record.clone());
            Ok(())
        }).expect("readable");
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected.clone());

        let totals = figures(&folder, &Filter::default(), 3).totals;
        let with = |outcome| expected.iter().filter(|r| r.outcome == outcome).count() as u64;
        prop_assert_eq!(
            [totals.stored, totals.unchanged, totals.duplicates, totals.failed, totals.quarantined,
                totals.fenced],
            [Outcome::Stored, Outcome::Unchanged, Outcome::Duplicate, Outcome::Failed,
                Outcome::Quarantined, Outcome::Fenced].map(with)
        );
        let fed = feed(&latest, &Filter::default());
        prop_assert_eq!(fed.lines().count() as u64, totals.failed + totals.quarantined);
    }
}

#[test]
fn what_is_appended_later_does_not_count() {
    let folder = folder(&[stored(facts(1, "https://h/1", None), 5, 10)]);
    let latest = open(&folder);
    let own = folder.path().join(".coordinator");
    let mut log = LogWriter::open(&OwnFolder::named(&own).expect("a folder")).expect("open");
    let again = failed(facts(1, "https://h/1", None), FailureKind::Tls, 0, "no");
    log.append(&again).expect("append");
    log.flush().expect("flush");
    assert_eq!(feed(&latest, &Filter::default()), "");
    assert_eq!(feed(&open(&folder), &Filter::default()), "https://h/1\n");
}

#[test]
fn figures_are_those_of_the_lines_that_count() {
    let day = 86_400_000_000;
    let later = Record {
        started: Some(crate::run::log::Moment::from(Timestamp(BEGUN + day))),
        ..stored(facts(3, "https://b.example:8080/3", None), 10, 4000)
    };
    let records = [
        failed(
            facts(1, "https://a.example/1", None),
            FailureKind::Status,
            503,
            "busy",
        ),
        stored(facts(1, "https://a.example/1", None), 5, 2000),
        failed(
            facts(2, "https://a.example/2", None),
            FailureKind::Status,
            404,
            "first",
        ),
        later,
        failed(
            facts(4, "https://a.example/4", None),
            FailureKind::Status,
            404,
            "second",
        ),
        failed(
            facts(5, "https://b.example/5", None),
            FailureKind::Tls,
            0,
            "tls",
        ),
    ];
    let folder = folder(&records);
    let latest = open(&folder);
    let summary = figures(&folder, &Filter::default(), 1);
    let totals = &summary.totals;
    assert_eq!((totals.stored, totals.failed, totals.bytes), (2, 3, 15));
    assert_eq!((totals.retries, totals.redeliveries), (5, 10));
    assert_eq!(totals.busy_s, 6.0, "the day between does not count");
    assert_eq!(summary.slowest.len(), 1);
    assert_eq!(summary.slowest[0].url, "https://b.example:8080/3");
    assert_eq!(summary.slowest[0].total_ms, 4000.0);
    let kinds = summary.errors_by_kind.iter();
    let kinds: Vec<_> = kinds
        .map(|kind| (kind.kind, kind.status, kind.urls, kind.message.as_str()))
        .collect();
    let status = FailureKind::Status;
    assert_eq!(
        kinds,
        [
            (status, Some(404), 2, "first"),
            (FailureKind::Tls, None, 1, "tls")
        ]
    );
    let hosts = summary.errors_by_host.iter();
    let hosts: Vec<_> = hosts.map(|h| (h.host.as_str(), h.failed, h.urls)).collect();
    assert_eq!(hosts, [("a.example", 2, 3), ("b.example", 1, 2)]);

    let filter = Filter {
        kinds: vec![status],
        hosts: vec!["a.example".to_owned()],
    };
    let summary = figures(&folder, &filter, 10);
    assert_eq!((summary.totals.stored, summary.totals.failed), (0, 2));
    assert_eq!(
        summary.slowest.len(),
        2,
        "here failures are what is looked for"
    );
    assert_eq!(
        feed(&latest, &filter),
        "https://a.example/2\nhttps://a.example/4\n"
    );
}

#[test]
fn what_is_fed_back_is_text_unless_one_of_them_cannot_be_said_in_it() {
    let fail = |n: u64, url: &str, out: Option<&str>| {
        failed(facts(n, url, out), FailureKind::Tls, 0, "no")
    };
    let mut records = vec![
        fail(1, "https://h/1", None),
        fail(2, "https://h/2", Some("x")),
    ];
    let mixed = folder(&records);
    assert_eq!(
        feed(&open(&mixed), &Filter::default()),
        "{\"url\":\"https://h/1\"}\n{\"url\":\"https://h/2\",\"out\":\"x\"}\n"
    );
    // It is stored now, so the rest can be written as text.
    records.push(stored(facts(2, "https://h/2", Some("x")), 1, 1));
    let text = folder(&records);
    assert_eq!(feed(&open(&text), &Filter::default()), "https://h/1\n");
    let forged = folder(&[fail(1, "https://h/\nhttps://evil/", None)]);
    assert_eq!(
        feed(&open(&forged), &Filter::default()),
        "{\"url\":\"https://h/\\nhttps://evil/\"}\n"
    );
    assert!(is_plain("https://h/a?b=c&d=%20", None, None));
    assert!(!is_plain("https://h/", Some("0-9"), None));
    for (url, out) in [
        ("https://h/", Some("x")),
        ("{x", None),
        (" x", None),
        ("a#b", None),
    ] {
        assert!(!is_plain(url, None, out), "{url}");
    }
}

#[test]
fn no_export_has_a_line_or_a_formula_that_a_server_wrote() {
    let evil = "=cmd|' /C calc'!A0\r\n\"x\",\u{1b}[1m";
    let mut record = failed(
        facts(1, "https://h/1", Some("@x")),
        FailureKind::Tls,
        0,
        evil,
    );
    record.content_type = Some("-1+1".to_owned());
    let folder = folder(&[record]);
    let latest = open(&folder);
    let file = |name: &str| Target::File(folder.path().join(name));
    let out = |name| Out::open(&file(name), latest.file()).expect("it can be made");
    let mut exports = Exports {
        csv: Some(Csv::begin(out("a.csv")).expect("it can be written")),
        json: Some(Json::new(out("a.json"))),
    };
    exports
        .begin(&figures(&folder, &Filter::default(), 1))
        .expect("it can be written");
    let add = |record: &Record| exports.add(record);
    latest.each_whole(add).expect("readable");
    exports.finish().expect("it can be written");

    let mut reader = csv::Reader::from_path(folder.path().join("a.csv")).expect("a table");
    let headers = reader.headers().expect("names").clone();
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 1);
    let cell = |name: &str| {
        let at = headers.iter().position(|header| header == name);
        rows[0][at.expect("a column")].to_owned()
    };
    assert_eq!(cell("error_message"), format!("'{evil}"));
    assert_eq!(
        (cell("content_type"), cell("out")),
        ("'-1+1".into(), "'@x".into())
    );
    assert_eq!(
        (cell("url"), cell("bytes")),
        ("https://h/1".into(), String::new())
    );

    let json = fs::read(folder.path().join("a.json")).expect("a file");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["records"][0]["error"]["message"], evil);
    assert_eq!(json["totals"]["failed"], 1);
}

#[test]
fn nothing_is_written_over_the_run_log() {
    let folder = folder(&[]);
    let latest = open(&folder);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(latest.path(), &link).expect("link");
    for path in [latest.path().to_owned(), link] {
        let error = Out::open(&Target::File(path), latest.file()).expect_err("refused");
        assert!(error.to_string().contains("run log itself"), "{error}");
    }
}

#[test]
fn what_servers_wrote_is_escaped_on_a_terminal() {
    let evil = "\u{1b}[2J\u{202e}gpj";
    let url = format!("https://h/{evil}");
    let records = [
        failed(facts(1, &url, None), FailureKind::Tls, 0, evil),
        stored(facts(2, &format!("{url}2"), None), 1, 5),
    ];
    let summary = figures(&folder(&records), &Filter::default(), 5);
    for width in [None, Some(80)] {
        let show = terminal::Show {
            last_run: None,
            results: "log".as_ref(),
            width,
            kinds_only: false,
        };
        let mut out = Vec::new();
        terminal::print(&mut out, &summary, &show).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(text.contains("\\u{1b}[2J"), "{text}");
    }
}
