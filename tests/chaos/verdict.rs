//! Verdicts on real runs, and invalid arguments.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Ended, Run};

/// Runs `coordinator chaos` with all temporary files in the test's folder.
fn chaos(arguments: &str) -> Run {
    let run = Run::new().with("chaos").with(arguments);
    std::fs::create_dir(run.path("tmp")).unwrap();
    let tmp = run.path("tmp");
    run.env("TMPDIR", tmp)
}

/// Returns the names in the folder for temporary files.
fn left(run: &Run) -> Vec<String> {
    let entries = std::fs::read_dir(run.path("tmp")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.text()))
}

/// Checks for a clean verdict on a run in which workers and coordinators died.
fn is_survived(seed: u64, more: &str) {
    let run = chaos(&format!(
        "--urls 300 --seed {seed} --json --time-limit 1m {more}"
    ));
    let ended = run.finish().code(0);
    let report = report(&ended);
    assert_eq!(report["verdict"], "clean", "{report:#}");
    assert!(
        report["broken"]
            .as_object()
            .unwrap()
            .values()
            .all(|count| count == 0)
    );
    let count = |key: &str| report[key].as_u64().unwrap();
    assert!(count("worker_deaths") >= 5, "{report:#}");
    assert!(count("coordinator_deaths") >= 2, "{report:#}");
    let found = &report["found"];
    let urls = found["stored"].as_u64().unwrap() + found["quarantined"].as_u64().unwrap();
    assert_eq!(urls, 300, "{report:#}");
    assert_eq!(found["quarantined"], found["poisons"]);
    assert!(found["recovered"].as_u64().unwrap() > 0, "{report:#}");
    assert!(found["resumed"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!(left(&run), [""; 0], "nothing is kept of a clean run");
}

/// More faults than usual, because the run is short. Only the largest run has those that last as
/// long as a lease.
const MUCH: &str = "--faults all,coordinator=3,torn=2,kill=20/s,pause=3/s,segv=2%,abort=2%,exit=2%,\
                    garbage=2%,hang=0,stop=0,eat=0,stall=1%,slow=0.3%,endless=0.3%";

#[test]
fn a_process_that_started_chaos_is_no_orphan_if_its_arguments_name_the_folder() {
    let run = chaos("--urls 30 --seed 1 --json --time-limit 1m --faults kill=5/s");
    let output = run.path("out").display().to_string();
    let run = run
        .with(&format!("--output {output}"))
        .through(["timeout", "100"]);
    let ended = run.finish().code(0);
    assert_eq!(report(&ended)["verdict"], "clean", "{}", ended.text());
}

#[test]
fn nothing_is_lost_when_processes_die_seed_1() {
    is_survived(1, MUCH);
}

#[test]
fn nothing_is_lost_when_processes_die_seed_2() {
    is_survived(2, MUCH);
}

#[test]
fn nothing_is_lost_when_processes_die_seed_3_with_several_in_flight_and_an_event_loop() {
    is_survived(
        3,
        &format!("{MUCH} --workers 3 --concurrency 4 --engine async"),
    );
}

#[test]
fn a_run_that_does_not_end_in_time_has_no_clean_verdict() {
    let run = chaos("--urls 100000 --faults none --time-limit 500ms");
    let ended = run.finish().code(1);
    let verdict = ended.stdout.lines().last().unwrap_or_default();
    assert_eq!(verdict, "verdict: not finished: it took longer than 500ms");
    assert_eq!(left(&run).len(), 1, "it is kept to be looked at");
    assert!(
        ended.stdout.contains("everything is kept in "),
        "{}",
        ended.text()
    );
}

#[test]
fn all_files_are_kept_in_the_given_folder() {
    let run = chaos("--urls 20 --faults none --output kept");
    run.finish().code(0);
    for name in ["urls.txt", "journal.jsonl", "downloads", "said.txt"] {
        assert!(run.path("kept").join(name).exists(), "{name}");
    }
    let ended = run.finish().code(3);
    ended.says(&["cannot work in kept", "File exists", "--output"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
}

#[test]
fn an_interrupted_run_leaves_no_processes_or_files() {
    let run = chaos("--urls 100000 --faults none");
    let job = run.start();
    job.wait_until("its workers", || job.workers().len() == 6);
    job.signal(Signal::INT);
    job.finish().code(130);
    assert_eq!(left(&run), [""; 0]);
}

#[test]
fn invalid_faults_are_refused_before_anything_starts() {
    for (faults, words) in [
        ("kil", "there is no fault 'kil'"),
        ("kill=fast", "'fast' is not a valid amount for kill"),
        ("errors=60%,reset=60%", "add up to more than 100%"),
    ] {
        let run = chaos(&format!("--faults {faults}"));
        run.finish().code(2).says(&["--faults", words]);
        assert_eq!(left(&run), [""; 0]);
    }
    chaos("--urls 0")
        .finish()
        .code(2)
        .says(&["--urls", "expected a number from 1"]);
    chaos("--compare-modes --faults kill")
        .finish()
        .code(2)
        .says(&["--compare-modes", "--faults"]);
}
