//! `coordinator isolation` as a program: its verdict, and that it leaves no files or processes.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use coordinator::chaos::check::processes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Attempts that need rights which only root has, or a kernel that gives them to others.
const OF_ROOT: [&str; 13] = [
    "give-away",
    "device",
    "packets",
    "bpf",
    "root",
    "capabilities",
    "capabilities-bounding",
    "user",
    "fanotify",
    "namespace",
    "mount",
    "userfaultfd",
    "perf",
];

/// Attempts at features that a kernel or a container may lack, or Yama may refuse.
const MAY_BE_MISSING: [&str; 16] = [
    "attribute",
    "read-open",
    "calls-of-32-bit",
    "trace",
    "memory-read",
    "memory-write",
    "memory-file-read",
    "memory-file-write",
    "descriptor-of-others",
    "affinity",
    "listen-mptcp",
    "shm-destroy",
    "queue-fill",
    "queue-posix",
    "keyring",
    "io-uring",
];

fn isolation(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    command
        .args(["isolation", "--quiet"])
        .args(arguments)
        .env("TMPDIR", folder)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn folder() -> TempDir {
    // Sockets are created in this folder, and their paths must be short.
    tempfile::Builder::new().prefix("ci-").tempdir().unwrap()
}

/// Runs the command until it ends, and checks that it leaves no files.
fn finished(arguments: &[&str]) -> Output {
    let folder = folder();
    let output = isolation(arguments, folder.path()).output().unwrap();
    left_nothing(&folder);
    output
}

fn left_nothing(folder: &TempDir) {
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    assert_eq!(processes::left(folder.path()).unwrap(), []);
}

fn verdict(arguments: &[&str], code: i32) -> Value {
    let output = finished(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the names of the attempts in `verdict` that have `state` in the column `processes`.
fn with_state<'a>(verdict: &'a Value, state: &str) -> BTreeSet<&'a str> {
    let rows = verdict["attempts"].as_array().unwrap();
    let is = |row: &&Value| row["cells"]["processes"]["state"] == state;
    rows.iter()
        .filter(is)
        .map(|row| row["id"].as_str().unwrap())
        .collect()
}

#[test]
fn everything_that_a_worker_must_not_do_is_held_on_this_machine() {
    let verdict = verdict(&[], 0);
    assert_eq!(verdict["verdict"], "isolated", "{verdict:#}");
    assert_eq!(verdict["missing"], Value::Null);
    assert!(verdict["landlock_abi"].as_u64() >= Some(3), "{verdict:#}");
    let unproven = with_state(&verdict, "unproven");
    let is_root = rustix::process::geteuid().is_root();
    let unexpected: Vec<_> = unproven
        .iter()
        .filter(|id| !MAY_BE_MISSING.contains(id) && (is_root || !OF_ROOT.contains(id)))
        .collect();
    assert!(unexpected.is_empty(), "unproven: {unexpected:?}");
    let held = with_state(&verdict, "held");
    assert!(held.len() >= 80, "{held:?}");
    let allowed = ["fill", "loopback", "loopback-datagram", "metadata"];
    assert_eq!(with_state(&verdict, "allowed"), allowed.into());
    assert_eq!(with_state(&verdict, "held_by_coordinator").len(), 19);
}

#[test]
fn without_a_sandbox_it_is_open_and_the_exit_code_says_so() {
    let verdict = verdict(&["--sandbox", "off", "--only", "files,output,kill"], 1);
    assert_eq!(verdict["verdict"], "not_isolated");
    let open = with_state(&verdict, "open");
    for id in [
        "file-new",
        "output-change",
        "log-forge",
        "lock-remove",
        "kill",
    ] {
        assert!(open.contains(id), "{id}: {verdict:#}");
    }
    assert_eq!(with_state(&verdict, "held"), BTreeSet::new());
}

#[test]
fn people_get_a_table_with_the_kernel_and_the_verdict() {
    let output = finished(&["--only", "file-new"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let kernel = rustix::system::uname();
    let first = format!("Linux {}, user ", kernel.release().to_str().unwrap());
    assert!(text.starts_with(&first), "{text}");
    assert!(text.contains("Landlock ABI"), "{text}");
    let row = text.lines().find(|line| line.contains("file-new")).unwrap();
    let cells: Vec<_> = row.split_whitespace().rev().take(4).collect();
    assert_eq!(cells, ["OPEN", "OPEN", "OPEN", "HELD"]);
    assert!(text.ends_with("verdict: isolated: 1 held\n"), "{text}");
}

#[test]
fn a_name_that_there_is_not_is_told() {
    let output = finished(&["--only", "file-new,nothing"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("'nothing'") && said.contains("sockets"),
        "{said}"
    );
}

#[test]
fn ctrl_c_ends_it_and_leaves_nothing() {
    let folder = folder();
    let mut child: Child = isolation(&[], folder.path()).spawn().unwrap();
    // It has begun when the first scene exists.
    let has_begun = || {
        let scenes = fs::read_dir(folder.path()).unwrap();
        let mut scenes = scenes.filter_map(|stage| Some(stage.ok()?.path().join("1")));
        scenes.any(|scene| scene.is_dir())
    };
    support::wait_until("a scene", has_begun, String::new);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(said, "");
    left_nothing(&folder);
}
