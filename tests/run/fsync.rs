//! `--fsync`: its system calls and their order, as strace shows them.

use std::fs;

use crate::limits::has_strace;
use crate::support::{Run, Server};

/// Returns the system calls of a run over one URL, in the order in which they ended.
fn traced(options: &str) -> Vec<String> {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/f")])
        .with("--workers 1")
        .with(options)
        .through([
            "strace",
            "--follow-forks",
            "--decode-fds=path",
            "--string-limit=200",
            "--output=trace",
            "--trace=fsync,fdatasync,?rename,renameat,renameat2,write,sendmsg",
        ]);
    run.finish().code(0);
    let trace = fs::read_to_string(run.path("trace")).unwrap();
    // A call that overlaps others takes two lines. The second shows its end.
    let mut begun: Vec<(String, String)> = Vec::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        if let Some(call) = call.strip_suffix("<unfinished ...>") {
            begun.push((pid.to_owned(), call.to_owned()));
        } else if let Some((_, end)) = call.split_once("resumed>") {
            let at = begun.iter().position(|(other, _)| other == pid).unwrap();
            calls.push(format!("{pid} {}{end}", begun.remove(at).1.trim_start()));
        } else {
            calls.push(format!("{pid} {}", call.trim_start()));
        }
    }
    calls
}

#[test]
fn data_comes_before_the_report_that_before_the_name_and_the_name_before_the_record() {
    if !has_strace("data_comes_before_the_name") {
        return;
    }
    let calls = traced("--fsync");
    let seen = || calls.join("\n");
    let find = |what: &str, from: usize, fits: &dyn Fn(&str) -> bool| -> usize {
        let found = calls[from..].iter().position(|call| fits(call));
        from + found.unwrap_or_else(|| panic!("no {what} after line {from} of:\n{}", seen()))
    };
    let log = "/.coordinator/results.jsonl>";
    let new_log = find("sync of the log's folder", 0, &|call| {
        call.contains(" fsync(") && call.contains("/downloads/.coordinator>")
    });
    find("sync of the output folder's own folder", new_log, &|call| {
        call.contains(" fsync(") && call.contains("/downloads>")
    });
    let data = find("sync of the data", new_log, &|call| {
        call.contains(" fdatasync(") && call.contains("/.coordinator/partial/")
    });
    let worker = calls[data].split(' ').next().unwrap();
    let by_worker = |call: &str| call.split(' ').next() == Some(worker);
    let told = find("report", data, &|call| {
        by_worker(call) && call.contains(" sendmsg(")
    });
    let name = find("rename", told, &|call| call.contains(" rename"));
    let folder = find("sync of the folder", name, &|call| {
        call.contains(" fsync(") && call.contains("/downloads>")
    });
    let record = find("record", folder, &|call| {
        call.contains(" write(") && call.contains(log) && call.contains("sha256")
    });
    find("sync of the record", record, &|call| {
        call.contains(" fdatasync(") && call.contains(log)
    });
    let renames = calls.iter().filter(|call| call.contains(" rename")).count();
    assert_eq!(renames, 1, "{}", seen());
}

#[test]
fn nothing_is_synced_unless_it_is_asked_for() {
    if !has_strace("nothing_is_synced") {
        return;
    }
    let calls = traced("");
    let synced: Vec<_> = calls.iter().filter(|call| call.contains("sync(")).collect();
    assert_eq!(synced, [""; 0]);
    assert!(
        calls.iter().any(|call| call.contains(" rename")),
        "{calls:#?}"
    );
}

#[test]
fn a_run_with_fsync_is_a_run_like_any_other() {
    let server = Server::start();
    for options in ["", "--engine async -c 4 --workers 2", "--mode threads"] {
        let list = crate::support::run::urls(&server.url(""), 20);
        let run = Run::new().list(&list).with("--fsync --sandbox").with(
            // Threads cannot be confined.
            if options.contains("threads") {
                "off"
            } else {
                "on"
            },
        );
        let ended = run.with(options).finish().code(0);
        assert_eq!(ended.summary("stored"), 20, "{}", ended.text());
    }
}
