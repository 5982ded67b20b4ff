//! Runs that are killed and run again, and what a crash leaves on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;

use rustix::process::Signal;

use crate::support::run::urls;
use crate::support::{Answer, Process, Run, Server, server, sha256, simulated_sha256};

#[test]
fn a_run_killed_at_any_moment_is_finished_by_the_same_command() {
    let spec = "size=2KiB..20KiB,latency=4ms";
    let list = urls("https://a.example", 240);
    let run = Run::new()
        .list(&list)
        .with("--workers 3 --parallel-max-host 0")
        .with(&format!("--simulate={spec}"));
    let log = run.log();
    // Before the first worker, while workers start, and at later and later points of the list.
    let mut kills = 0;
    for moment in [None, Some(0), Some(1), Some(20), Some(90), Some(180)] {
        let job = run.start();
        match moment {
            None => job.wait_until("the lock", || log.path().exists()),
            Some(0) => job.wait_until("a worker", || !job.workers().is_empty()),
            Some(count) => {
                job.wait_until("more files", || log.text().lines().count() >= count);
            }
        }
        job.kill();
        kills += 1;
        // No process of the run is left: no worker and no origin.
        job.wait_until_alone();
    }
    assert_eq!(kills, 6);
    run.finish().code(0);
    for url in &list {
        let record = log.of(url).pop().unwrap();
        log.check(&record, &simulated_sha256(spec, url));
    }
    assert_eq!(
        log.files().len(),
        list.len(),
        "a file for each, and no other"
    );
    assert_eq!(log.partials(), [""; 0]);
    // What one run recorded as stored, no later run downloaded again.
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for record in log.records() {
        *stored.entry(record.url).or_default() += 1;
    }
    assert!(stored.values().all(|&count| count == 1), "{stored:?}");
    run.finish().code(0);
    assert_eq!(log.records().len(), list.len());
}

#[test]
fn a_killed_run_leaves_no_process_and_what_was_in_flight_is_done_again() {
    let server = Server::start()
        .answer("/a", [Answer::Held])
        .answer("/b", [Answer::HeldHalfway]);
    let list = [server.url("/a"), server.url("/b"), server.url("/c")];
    let run = Run::new().list(&list).with("--workers 3");
    let job = run.start();
    server.wait_for("/a", 1);
    server.wait_for("/b", 1);
    job.wait_for_record(&list[2]);
    job.wait_until("a partial file", || !run.log().partials().is_empty());
    let workers = job.wait_for("three workers", || {
        Some(job.workers()).filter(|workers| workers.len() == 3)
    });
    job.kill();
    // An exiting process has no command line, but lives until the kernel has removed it.
    job.wait_until("the workers to be gone", || {
        !workers.iter().any(Process::lives)
    });
    job.wait_until_alone();
    server.release_all();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), 1, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
    assert_eq!(run.log().partials(), [""; 0], "leftovers are removed");
    assert_eq!(server.requests("/c"), 1);
    for (url, path) in list.iter().zip(["/a", "/b", "/c"]) {
        run.log()
            .check(&run.log().one(url), &sha256(&server::body(path)));
    }
}

#[test]
fn a_torn_last_line_is_cut_off_and_its_task_done_again() {
    let server = Server::start();
    let list = urls(&server.url("/f"), 3);
    let run = Run::new().list(&list);
    run.finish().code(0);
    let log = run.log();
    let text = log.text();
    let torn = log.records().pop().unwrap();
    fs::write(log.path(), &text[..text.len() - 30]).unwrap();
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), 2, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
    let after = fs::read_to_string(log.path()).unwrap();
    assert!(after.ends_with("}\n"), "{after}");
    assert_eq!(log.records().len(), 3);
    assert_eq!(log.one(&torn.url).sha256, torn.sha256);
    assert_eq!(server.total(), 4);
}

#[test]
fn lines_of_the_run_log_that_are_no_records_are_told_and_ignored() {
    let server = Server::start();
    let list = urls(&server.url("/f"), 3);
    let run = Run::new().list(&list);
    run.finish().code(0);
    let mut file = OpenOptions::new()
        .append(true)
        .open(run.log().path())
        .unwrap();
    file.write_all(b"garbage\n\0\xff\xfe\n{\"v\":1}\n").unwrap();
    let ended = run.finish().code(0);
    ended.says(&["3 lines of the run log are not records", "line 4"]);
    assert_eq!(ended.summary("stored earlier"), 3, "{}", ended.text());
    assert_eq!(server.total(), 3);
}

#[test]
fn a_second_run_on_the_same_folder_is_refused() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new().list([server.url("/held")]);
    let first = run.start();
    server.wait_for("/held", 1);
    let second = Run::new()
        .list(["http://127.0.0.1:9/"])
        .with(&format!("--output {}", run.log().output.display()));
    let ended = second.finish().code(3);
    let process = format!("process {}", first.pid());
    ended.says(&["another run", &process, "--output"]);
    assert_eq!(ended.stdout, "");
    server.release("/held");
    first.finish().code(0);
    assert_eq!(run.log().count("stored"), 1);
    assert_eq!(run.log().records().len(), 1);
}

#[test]
fn the_lock_of_a_killed_run_does_not_matter() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new().list([server.url("/held")]);
    let first = run.start();
    server.wait_for("/held", 1);
    first.kill();
    server.release("/held");
    // The next run starts at once, even if a worker of the killed run is still exiting.
    run.finish().code(0);
    assert_eq!(run.log().count("stored"), 1);
}

#[test]
fn a_worker_of_a_killed_run_cannot_spoil_the_next() {
    // While stopped, it does not notice that the coordinator has died, until the kernel kills it.
    let server = Server::start().answer("/half", [Answer::HeldHalfway]);
    let url = server.url("/half");
    let run = Run::new().list([&url]).with("--workers 1");
    let first = run.start();
    server.wait_for("/half", 1);
    let worker = first.worker(0, 1);
    worker.signal(Signal::STOP);
    first.kill();
    first.wait_until("the stopped worker to be killed", || !worker.lives());
    server.release("/half");
    run.finish().code(0);
    run.log()
        .check(&run.log().one(&url), &sha256(&server::body("/half")));
}

#[test]
fn tasks_are_numbered_by_the_input_of_their_run() {
    let server = Server::start();
    let list = urls(&server.url("/f"), 5);
    let run = Run::new().list(&list);
    run.finish().code(0);
    let tasks: BTreeSet<_> = run.log().records().iter().map(|r| r.task).collect();
    assert_eq!(tasks, (1..=5).collect());
}

/// Adds enough failures to a log that it gets an index. Returns the log's length.
fn lengthen(run: &Run) -> usize {
    let record = run.log().text();
    let failed = record.replace("\"outcome\":\"stored\"", "\"outcome\":\"failed\"");
    let url = run.log().records().remove(0).url;
    let lines: String = (0..20 * 1024 * 1024 / record.len())
        .map(|n| failed.replace(&url, &format!("http://gone.example/{n}")))
        .collect();
    let mut log = OpenOptions::new()
        .append(true)
        .open(run.log().path())
        .unwrap();
    log.write_all(lines.as_bytes()).unwrap();
    record.len() + lines.len()
}

#[test]
fn of_a_long_log_the_next_run_reads_what_is_new_and_its_edited_lines() {
    let server = Server::start();
    let list = [server.url("/a"), server.url("/b")];
    let run = Run::new().list(&list[..1]).with("-v");
    run.finish().code(0);
    let index = run.path("downloads/.coordinator/results.index");
    assert!(!index.exists(), "a short log is read");
    let length = lengthen(&run);
    let read = |run: &Run| {
        let ended = run.finish().code(0);
        let line = ended.stderr.lines().find(|line| line.contains("run log:"));
        line.unwrap_or_else(|| panic!("{}", ended.text()))
            .to_owned()
    };
    let told = read(&run);
    assert!(told.contains("log: 0 bytes are known"), "{told}");
    assert!(index.exists());
    let told = read(&run);
    assert!(
        told.contains(&format!("{length} bytes are known")),
        "{told}"
    );
    // The list is longer now. The new records are read from the log.
    let run = run.list(&list);
    assert!(read(&run).contains(&format!("{length} bytes are known")));
    assert!(read(&run).contains(&format!("{length} bytes are known")));
    assert_eq!(run.log().of(&list[0]).len(), 1);
    assert_eq!(run.log().of(&list[1]).len(), 1);
    // A user edits the log to download the first file again.
    let text = run.log().text();
    fs::write(
        run.log().path(),
        text.replacen("\"outcome\":\"stored\"", "\"outcome\":\"failed\"", 1),
    )
    .unwrap();
    let told = read(&run);
    assert!(told.contains("log: 0 bytes are known"), "{told}");
    assert_eq!(run.log().of(&list[0]).len(), 2, "it was downloaded again");
    assert_eq!(run.log().of(&list[1]).len(), 1);
}

#[test]
fn a_run_that_is_killed_leaves_an_index_of_its_own_log() {
    let run = Run::new().with("- -v --simulate=size=1,latency=0ms --parallel-max-host 0");
    let index = run.path("simulated/.coordinator/results.index");
    let mut job = run.start_fed();
    let mut list = String::new();
    // Each record is long.
    for batch in 0..100 {
        let url = |n| format!("https://h.example/{}/{batch}/{n}\n", "x".repeat(12_000));
        let lines: String = (0..25).map(url).collect();
        list += &lines;
        job.feed(&lines);
    }
    job.wait_until("an index", || index.exists());
    job.kill();
    job.wait_until_alone();
    let length = fs::metadata(&index).unwrap().len();
    assert!(length > 1000 * 30, "{length} bytes");
    let run = run.list_bytes(list).without_arguments();
    let run = run.with("-v --simulate=size=1,latency=0ms --parallel-max-host 0");
    let ended = run.finish().code(0);
    let text = ended.text();
    let known = text
        .lines()
        .find_map(|line| line.split_once("INFO run log: "));
    let known = known.unwrap_or_else(|| panic!("{text}")).1;
    let known: u64 = known.split(' ').next().unwrap().parse().unwrap();
    assert!(known > 16 * 1024 * 1024, "{known}");
    assert_eq!(run.log().records().len(), 2500);
}

#[test]
fn what_is_new_is_downloaded_before_what_was_stored_and_is_gone() {
    let server = Server::start();
    let urls = ["/a", "/b", "/c"].map(|path| server.url(path));
    let run = Run::new().with("--workers 1").list(&urls[..2]);
    run.finish().code(0);
    let gone = run.log().one(&urls[0]);
    fs::remove_file(run.path("downloads").join(gone.path.unwrap())).unwrap();
    let run = run.list(&urls);
    let before = run.log().records().len();
    run.finish().code(0);
    let tasks: Vec<_> = run.log().records()[before..]
        .iter()
        .map(|record| (record.url.clone(), record.task))
        .collect();
    assert_eq!(tasks, [(urls[2].clone(), 3), (urls[0].clone(), 1)]);
}
