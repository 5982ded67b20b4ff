//! `coordinator results` on logs of real runs: whole, torn, and still written.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::dry_run::snapshot;
use crate::support::{Answer, Run, Server};

/// Returns the command `coordinator results` in the folder of `run`.
fn results(run: &Run, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    let arguments = std::iter::once("results").chain(arguments.split_whitespace());
    command
        .args(arguments)
        .current_dir(run.path(""))
        .stdin(Stdio::null());
    command
}

fn told(run: &Run, arguments: &str) -> String {
    let output = results(run, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(stderr(&output), "");
    String::from_utf8(output.stdout).unwrap()
}

/// As [`told`], where nothing matches the filter.
fn hinted(run: &Run, arguments: &str) -> String {
    let output = results(run, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = stderr(&output);
    assert!(said.contains("no URL matches --kind and --host"), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Returns whether a line consists of these words in this order.
fn has(text: &str, words: &str) -> bool {
    text.lines()
        .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == words)
}

/// A run in which two URLs failed, one of them with a name from the list.
fn some_failed() -> (Server, Run) {
    let server = Server::start()
        .answer("/gone", [Answer::Status(404), Answer::Ok])
        .answer(
            "/busy",
            [Answer::Status(503), Answer::Status(503), Answer::Ok],
        );
    let line = |path: &str, out: Value| json!({"url": server.url(path), "out": out}).to_string();
    let run = Run::new()
        .list([
            line("/a", Value::Null),
            line("/gone", Value::Null),
            line("/busy", "b/c.txt".into()),
            line("/a", Value::Null),
        ])
        .with("--retry 1 --retry-delay 0");
    run.finish().code(1);
    (server, run)
}

#[test]
fn a_person_is_told_counts_errors_and_what_was_slow() {
    let (server, run) = some_failed();
    let text = told(&run, "");
    for row in [
        "failed 2",
        "quarantined 0",
        "duplicates 1 stored once",
        "retries 1",
    ] {
        assert!(has(&text, row), "{row}: {text}");
    }
    assert!(text.trim_start().starts_with("stored"), "{text}");
    assert!(has(&text, "worker deaths 0"), "{text}");
    assert!(text.contains(" files/s, "), "{text}");
    assert!(
        has(&text, "status 404 1 the server answered 404 Not Found"),
        "{text}"
    );
    assert!(has(&text, "127.0.0.1 2 of 3"), "{text}");
    let (_, slowest) = text.split_once("slowest downloads\n").unwrap();
    assert!(slowest.contains(&server.url("/a")), "{text}");
    assert!(!slowest.contains("/gone"), "{text}");
    assert!(
        text.contains("/downloads/.coordinator/results.jsonl\n"),
        "{text}"
    );
    let text = told(&run, "downloads --slowest 0 --kind status --host 127.0.0.1");
    assert!(has(&text, "stored 0") && has(&text, "failed 2"), "{text}");
    assert!(
        !text.contains("slowest") && !text.contains("deaths"),
        "{text}"
    );
    let text = hinted(&run, "--host elsewhere.example");
    assert!(has(&text, "failed 0") && !text.contains("errors"), "{text}");
}

#[test]
fn what_failed_can_be_fed_back_under_the_names_that_the_list_gave() {
    let (server, run) = some_failed();
    let failed = told(&run, "--failed");
    let expected = [
        json!({"url": server.url("/busy"), "out": "b/c.txt"}),
        json!({"url": server.url("/gone")}),
    ];
    let mut lines: Vec<Value> = failed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.sort_by_key(ToString::to_string);
    assert_eq!(lines.len(), 2);
    assert!(expected.iter().all(|line| lines.contains(line)), "{failed}");
    assert_eq!(hinted(&run, "--failed --kind tls"), "");

    let again = run.without_arguments().with("-");
    let mut job = again.start_fed();
    job.feed(&failed);
    job.finish().code(0);
    assert!(again.path("downloads/b/c.txt").exists());
    let text = told(&again, "");
    assert!(has(&text, "failed 0") && !text.contains("errors"), "{text}");
    assert_eq!(told(&again, "--failed"), "");
}

#[test]
fn what_is_stored_is_a_line_with_url_and_path_for_each_file() {
    let (server, run) = some_failed();
    let record = run.log().of(&server.url("/a")).remove(0);
    let expected = format!("{}\t{}\n", record.url, record.path.unwrap());
    assert_eq!(told(&run, "--stored"), expected);
    assert_eq!(hinted(&run, "--stored --host other.example"), "");
    // Another run, which stores the other files, adds their lines.
    run.finish().code(0);
    let paths = told(&run, "--stored");
    assert!(paths.contains("\tb/c.txt\n"), "{paths}");
    assert_eq!(paths.lines().count(), 3, "{paths}");
}

#[test]
fn without_names_what_failed_is_a_url_a_line() {
    let server = Server::start().answer("/gone", [Answer::Status(404)]);
    let run = Run::new().list(["/gone", "/a"].map(|path| server.url(path)));
    run.finish().code(1);
    assert_eq!(told(&run, "--failed"), format!("{}\n", server.url("/gone")));
}

#[test]
fn the_deaths_of_workers_are_told_and_a_quarantined_url_is_a_failed_one() {
    let server = Server::start();
    let run = Run::new()
        .list(["/poison", "/a"].map(|path| server.url(path)))
        .with("--inject segv@poison --max-deliveries 2");
    run.finish().code(1);
    let text = told(&run, "");
    assert!(has(&text, "quarantined 1"), "{text}");
    assert!(
        has(&text, "worker deaths 2 signal 11 (SIGSEGV) 2"),
        "{text}"
    );
    assert_eq!(
        told(&run, "--failed"),
        format!("{}\n", server.url("/poison"))
    );
}

#[test]
fn exports_have_every_url_with_the_keys_of_the_run_log_in_their_order() {
    let (_server, run) = some_failed();
    told(&run, "--export-json a.json --export-csv a.csv");
    let text = fs::read_to_string(run.path("a.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["totals"]["failed"], 2);
    let log = run.log();
    let records = log.text();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json["records"], Value::Array(records.clone()));
    for line in log.text().lines() {
        assert!(text.contains(line), "to the letter, keys in order: {line}");
    }

    let mut reader = csv::Reader::from_path(run.path("a.csv")).unwrap();
    let columns: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(columns, columns_of(log.text().lines().next().unwrap()));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(&records) {
        let cell = |name: &str| &row[columns.iter().position(|c| c == name).unwrap()];
        assert_eq!(cell("url"), record["url"]);
        assert_eq!(cell("outcome"), record["outcome"]);
        assert_eq!(cell("bytes"), text_of(&record["bytes"]));
        assert_eq!(cell("sha256"), text_of(&record["sha256"]));
        assert_eq!(cell("error_kind"), text_of(&record["error"]["kind"]));
        assert_eq!(cell("body_ms"), text_of(&record["timing_ms"]["body"]));
        assert_eq!(cell("worker_pid"), text_of(&record["worker"]["pid"]));
    }
    // Standard output contains only the export.
    let stdout = told(&run, "--export-csv -");
    assert_eq!(stdout, fs::read_to_string(run.path("a.csv")).unwrap());
    let stdout = told(&run, "--export-json - --slowest 10");
    assert_eq!(stdout, text);
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Returns the columns for a line of the run log: its keys in order, and the keys of objects
/// prefixed with the object's name.
fn columns_of(line: &str) -> Vec<String> {
    let key = |name: &str| match name {
        "worker" => vec!["worker_slot", "worker_pid", "worker_epoch"],
        "timing_ms" => vec![
            "queue_ms",
            "resolve_ms",
            "connect_ms",
            "tls_ms",
            "first_byte_ms",
            "body_ms",
            "store_ms",
            "exec_ms",
        ],
        "exec" => vec!["exec_left"],
        "error" => vec!["error_kind", "error_message"],
        _ => Vec::new(),
    };
    let value: Value = serde_json::from_str(line).unwrap();
    let mut names: Vec<&String> = value.as_object().unwrap().keys().collect();
    // `exec` is also a key of `timing_ms`, which comes before, so the last position counts.
    names.sort_by_key(|name| line.rfind(&format!("\"{name}\":")).unwrap());
    let columns = names.into_iter().flat_map(|name| {
        let parts = key(name);
        if parts.is_empty() {
            vec![name.clone()]
        } else {
            parts.into_iter().map(str::to_owned).collect()
        }
    });
    columns.collect()
}

#[test]
fn a_living_run_can_be_looked_at_and_nothing_is_touched() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new().list(["/a", "/held"].map(|path| server.url(path)));
    let job = run.start();
    job.wait_for_record(&server.url("/a"));
    server.wait_for("/held", 1);
    let own = run.path("downloads");
    let before = snapshot(&own);
    let text = told(&run, "");
    for arguments in ["--failed", "--export-csv -", "--export-json -"] {
        told(&run, arguments);
    }
    assert!(has(&text, "failed 0"), "{text}");
    assert_eq!(snapshot(&own), before);
    server.release_all();
    job.finish().code(0);
}

#[test]
fn what_is_not_there_or_no_run_log_is_one_clear_line() {
    let (_server, run) = some_failed();
    fs::create_dir(run.path("empty")).unwrap();
    let place = |folder: &str| {
        let own = run.path(folder).join(".coordinator");
        fs::create_dir_all(&own).unwrap();
        own.join("results.jsonl")
    };
    fs::write(place("other"), "GIF89a\n\u{0}\u{1}\n").unwrap();
    fs::create_dir(place("folder")).unwrap();
    for (arguments, code, part) in [
        ("missing", 3, "there is no folder missing"),
        ("urls.txt", 3, "urls.txt is not a folder"),
        ("urls.txt/x", 3, "urls.txt/x"),
        ("empty", 3, "there is no run log in empty"),
        ("folder", 3, "results.jsonl is not a file, but a folder"),
        (
            "other",
            3,
            "is not a run log, none of its lines is a record; line 1",
        ),
        (
            "--export-csv no/a.csv",
            3,
            "cannot write no/a.csv: No such file",
        ),
        (
            "--export-json downloads/.coordinator/results.jsonl",
            3,
            "is the run log itself",
        ),
        (
            "--export-csv - --export-json -",
            2,
            "cannot both be standard output",
        ),
        ("--failed --export-csv -", 2, "cannot be used with"),
        ("--kind nonsense", 2, "invalid value 'nonsense'"),
        ("--host https://h/", 2, "invalid value 'https://h/'"),
    ] {
        let output = results(&run, arguments).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {said}");
        assert!(said.contains(part), "{arguments}: {said}");
        assert!(code == 2 || said.lines().count() == 1, "{said}");
        assert_eq!(output.stdout, b"", "{arguments}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert!(!run.path("no").exists());
}

#[test]
fn a_torn_line_and_lines_that_are_none_are_passed_over_and_said() {
    let (_server, run) = some_failed();
    let whole = told(&run, "--slowest 0");
    let mut log = OpenOptions::new()
        .append(true)
        .open(run.log().path())
        .unwrap();
    log.write_all(b"nonsense\n{\"v\":1,\"task\":9,\"url\":\"https://h/")
        .unwrap();
    let output = results(&run, "--slowest 0").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), whole);
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("1 lines of the run log are not records, and are skipped; line 5"));
    assert!(said.contains("the last line of the run log is incomplete"));
    let failed = results(&run, "--failed").output().unwrap();
    assert_eq!(failed.stdout.split(|byte| *byte == b'\n').count(), 3);
    fs::write(run.log().path(), "").unwrap();
    assert!(has(&told(&run, ""), "stored 0"), "nothing is recorded yet");
}

#[test]
fn a_reader_may_leave_and_a_full_disk_is_an_error() {
    let (_server, run) = some_failed();
    for arguments in ["", "--failed", "--export-csv -", "--export-json -"] {
        let mut command = results(&run, arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );

        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = results(&run, arguments).stdout(full).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{arguments}: {said}");
        assert!(
            said.contains("cannot write standard output: No space left"),
            "{said}"
        );
    }
}

#[test]
fn results_say_how_the_last_run_ended_and_what_it_left() {
    let server = Server::start()
        .answer("/held", [Answer::Held])
        .answer("/gone", [Answer::Status(404)]);
    let list = ["/a", "/held", "/b", "/c"].map(|path| server.url(path));
    let run = Run::new().list(&list).with("--workers 1");
    let ends = |run: &Run, line: &str| {
        let text = told(run, "");
        assert!(text.lines().any(|told| told == line), "{line}: {text}");
    };
    let job = run.start();
    server.wait_for("/held", 1);
    job.wait_for_record(&list[0]);
    ends(&run, "a run is in progress");
    job.kill();
    job.wait_until_alone();
    ends(
        &run,
        "the last run was cut short (killed, or a power cut); the same command continues",
    );
    let job = run.start();
    server.wait_for("/held", 2);
    job.signal(rustix::process::Signal::INT);
    job.wait_for_line("finishing 1 download (");
    server.release("/held");
    let ended = job.finish();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.text());
    assert!(
        ended
            .stdout
            .contains("the same command continues; partial files are kept"),
        "{}",
        ended.text()
    );
    ends(
        &run,
        "the last run was interrupted; 2 URLs are left, and the same command continues",
    );
    run.finish().code(0);
    ends(&run, "the last run finished");
}

#[test]
fn a_filter_that_matches_nothing_is_answered_with_a_hint() {
    let (_server, run) = some_failed();
    for arguments in [
        "--host other.example",
        "--kind timeout --failed",
        "--kind tls --json",
    ] {
        hinted(&run, arguments);
    }
    assert!(told(&run, "--host 127.0.0.1").contains("failed"));
}

#[test]
fn the_figures_alone_are_one_short_object() {
    let (_server, run) = some_failed();
    let text = told(&run, "--json");
    assert_eq!(text.lines().count(), 1, "{text}");
    let figures: Value = serde_json::from_str(&text).unwrap();
    let whole: Value = serde_json::from_str(&told(&run, "--export-json -")).unwrap();
    let figures = figures.as_object().unwrap();
    assert!(!figures.contains_key("records"), "{text}");
    for (key, value) in figures {
        assert_eq!(*value, whole[key], "{key}");
    }
}
