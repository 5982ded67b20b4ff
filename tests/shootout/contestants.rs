//! Contestants that do the work get a time, the others get none, and the slower one is slower.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::held::{PROGRAM, Set, exists, honest, standings};
use crate::support::wait_until;

const QUICK: [&str; 6] = [
    "--simulate",
    "latency=5ms,size=2KiB",
    "--warm-up",
    "0",
    "--rounds",
    "2",
];

fn contestants(commands: &[(&str, String)]) -> Vec<String> {
    let each = commands.iter();
    each.flat_map(|(name, command)| ["--contestant".to_owned(), format!("{name}={command}")])
        .collect()
}

fn hold(set: &Set, only: &str, commands: &[(&str, String)]) -> crate::held::Held {
    let contestants = contestants(commands);
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--only", only]);
    arguments.extend(contestants.iter().map(String::as_str));
    set.hold(&arguments)
}

fn then(after: &str) -> String {
    format!("sh -c '{} && {after}'", honest())
}

#[test]
fn a_slower_contestant_is_reported_slower() {
    let set = Set::with(6);
    let late = format!("sh -c 'sleep 1; exec {}'", honest());
    let held = hold(&set, "prompt,late", &[("prompt", honest()), ("late", late)]);
    let (prompt, late) = (held.median("prompt"), held.median("late"));
    assert!(late >= 1.0, "{late} leaves out the second before it starts");
    assert!(late > prompt, "{late} is not more than {prompt}");
    assert_eq!(held.output.status.code(), Some(0));
    // The slower contestant has the longer bar.
    let table = held.table();
    let bar = |name: &str| {
        let mut rows = table.lines().skip_while(|line| !line.contains("median"));
        let row = rows.find(|row| row.trim_start().starts_with(name));
        row.expect("a row").matches('█').count()
    };
    assert!(bar("late") > bar("prompt"), "{table}");
}

#[test]
fn a_contestant_that_stores_too_little_is_reported_as_failed() {
    let set = Set::with(4);
    let commands = [
        ("honest", honest()),
        (
            "failing",
            "sh -c 'echo no luck >&2; exit 7' {urls} {out}".to_owned(),
        ),
        ("lazy", "true {urls} {out}".to_owned()),
        ("few", then("rm $(ls -d {out}/* | head -n 1)")),
        ("wrong", then("printf x >> $(ls -d {out}/* | head -n 1)")),
        ("absent", "/nonexistent/program {urls} {out}".to_owned()),
        ("senseless", "get".to_owned()),
    ];
    let only = "honest,failing,lazy,few,wrong,absent,senseless,threads";
    let held = hold(&set, only, &commands);
    assert_eq!(held.output.status.code(), Some(1));
    for (name, reason) in [
        ("failing", "exit code 7; it said: no luck"),
        ("lazy", "0 of 4 files are stored"),
        ("few", "3 of 4 files are stored"),
        ("wrong", "does not hold the right bytes"),
        ("absent", "it cannot be run"),
        ("senseless", "must contain {urls}"),
    ] {
        let told = held.failure(name);
        assert!(told.contains(reason), "{name}: {told}");
        assert!(held.table().contains(told), "{name} is in the table");
    }
    // The other contestants continue.
    assert!(held.median("honest") > 0.0);
    assert!(held.median("threads") > 0.0);
    let files = &held.standing("threads")["runs"][0]["files"];
    assert_eq!(files.as_u64(), Some(4));
}

#[test]
fn the_bare_system_calls_do_the_same_work() {
    let set = Set::with(7);
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--limit", "--only", "limit"]);
    let held = set.hold(&arguments);
    assert!(held.median("limit") > 0.0, "{}", held.table());
    let files = &held.standing("limit")["runs"][0]["files"];
    assert_eq!(files.as_u64(), Some(7));
}

/// Tests those programs of other projects that are installed.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn programs_of_others_do_the_same_work() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let (mut told, mut only) = (Vec::new(), Vec::new());
    for (program, name) in [
        ("curl", "curl"),
        ("wget2", "wget2"),
        ("aria2c", "aria2c"),
        ("wget", "xargs+wget"),
    ] {
        let files = std::env::split_paths(&path).map(|folder| folder.join(program));
        match { files }.find(|file| file.is_file()) {
            Some(file) => {
                told.push(format!("--peer={program}={}", file.display()));
                only.push(name);
            }
            None => eprintln!("{program} is skipped: it is not on the PATH"),
        }
    }
    if only.is_empty() {
        return;
    }
    let set = Set::with(4);
    let names = only.join(",");
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--only", &names]);
    arguments.extend(told.iter().map(String::as_str));
    let held = set.hold(&arguments);
    for name in &only {
        assert!(held.median(name) > 0.0, "{}", held.table());
    }
    arguments.push("--tls");
    let held = set.hold(&arguments);
    for name in only {
        assert!(held.median(name) > 0.0, "{}", held.table());
    }
}

#[test]
fn over_tls_the_program_takes_part_and_the_bare_system_calls_do_not() {
    let set = Set::with(7);
    let mut arguments = QUICK.to_vec();
    arguments.extend(["--tls", "--limit", "--only", "limit,async"]);
    let held = set.hold(&arguments);
    assert!(held.median("async") > 0.0, "{}", held.table());
    assert_eq!(held.standing("limit")["state"]["state"], "not_measured");
    assert_eq!(held.results["scenarios"][0]["tls"], Value::Bool(true));
}

#[test]
fn presets_have_lists_of_their_own_and_a_table_of_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (table, results) = (folder.path().join("t.md"), folder.path().join("r.json"));
    let output = std::process::Command::new(PROGRAM)
        .args(["shootout", "--preset", "latency,latency", "--only", "async"])
        .args(["--rounds", "1", "--warm-up", "0", "--export-markdown"])
        .arg(&table)
        .arg("--export-json")
        .arg(&results)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let results = std::fs::read_to_string(results).expect("results");
    let results: Value = serde_json::from_str(&results).expect("JSON");
    let scenario = &results["scenarios"][1];
    assert_eq!(
        (scenario["urls"].as_u64(), scenario["rewritten"].as_bool()),
        (Some(30), Some(true))
    );
    let table = std::fs::read_to_string(table).expect("a table");
    let mut rows = table.lines();
    assert_eq!(rows.next(), Some("| wall / CPU | async |"));
    let row = rows.nth(1).expect("a row");
    assert!(row.starts_with("| 30 × 64 KiB at 100 ms | "), "{table}");
    assert!(row.contains(" / "), "{table}");
}

#[test]
fn an_interrupt_keeps_what_is_complete() {
    let set = Set::with(4);
    let (marker, up) = (set.path("marker"), set.path("up"));
    // Does the work twice (watched, then timed), and hangs in the second timed round.
    let hanging = format!(
        "sh -c 'echo >> {marker}; if [ $(wc -l < {marker}) -ge 3 ]; then touch {up}; sleep 1000; \
         fi; exec {}'",
        honest(),
        marker = marker.display(),
        up = up.display(),
    );
    let contestants = contestants(&[("steady", honest()), ("hanging", hanging)]);
    let child = set
        .command()
        .args(QUICK)
        .args(["--only", "steady,hanging"])
        .args(contestants)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    wait_until("the contestant hangs", || exists(&up), String::new);
    let pid = Pid::from_raw(child.id().try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let results = set.results(&output);
    assert_eq!(results["interrupted"], Value::Bool(true));
    for standing in standings(&results) {
        assert_eq!(standing["state"]["state"], "measured", "{standing}");
        let runs = standing["runs"].as_array().expect("an array").len();
        let complete = if standing["name"] == "hanging" { 1 } else { 2 };
        assert_eq!(runs, complete, "{standing}");
    }
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("interrupted"), "{table}");
}

#[test]
fn a_contestant_that_takes_too_long_is_ended() {
    let set = Set::with(2);
    let held = set.hold(&[
        "--warm-up",
        "0",
        "--time-limit",
        "50ms",
        "--only",
        "stuck",
        "--contestant",
        "stuck=sh -c 'sleep 1000' {urls} {out}",
    ]);
    assert!(held.failure("stuck").contains("--time-limit"));
}
