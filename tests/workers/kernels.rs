//! Kernels that lack a part of the sandbox. A seccomp filter refuses the missing calls to the whole
//! program, as such a kernel would.

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde_json::Value;

use crate::support::{Ended, Run, Server, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        what_a_kernel_lacks_is_told_in_one_line_however_quiet_the_run,
        a_kernel_that_cannot_confine_ends_a_run_that_insists_on_it_before_anything_starts,
        where_nothing_is_missing_nothing_is_said,
        isolation_finds_open_what_a_kernel_cannot_hold_and_says_why,
        without_landlock_coordinator_and_workers_keep_their_memory_to_themselves,
        a_kernel_that_lacks_a_call_with_a_substitute_stores_everything_without_a_word,
        a_file_system_without_leases_is_told_of_in_one_line_and_stores_everything,
    ]
}

/// The environment variable that names what the kernel lacks for this program.
const LACKS: &str = "COORDINATOR_TEST_LACKS";

/// Parts that a kernel may lack: the name, the system call, and a part of the message.
const PARTS: [(&str, libc::c_long, &str); 3] = [
    ("landlock", libc::SYS_landlock_create_ruleset, "no Landlock"),
    ("seccomp", libc::SYS_seccomp, "no seccomp"),
    ("capset", libc::SYS_capset, "capabilities"),
];

/// Calls that a run can do without: they are newer than Linux 4.18, or a container may refuse them.
const SUBSTITUTED: [(&str, libc::c_long); 4] = [
    ("close_range", libc::SYS_close_range),
    ("openat2", libc::SYS_openat2),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("renameat2", libc::SYS_renameat2),
];

/// A feature that a file system may lack, as NFS does.
const LEASES: &str = "leases";

/// Removes from the kernel what the environment names, for this process and all that it starts.
pub fn make() {
    let Some(lacks) = env::var_os(LACKS) else {
        return;
    };
    let (call, which, errno) = if lacks == LEASES {
        let command = libc::F_SETLEASE.unsigned_abs().into();
        let command = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command);
        let which = SeccompRule::new(vec![command.unwrap()]).unwrap();
        (libc::SYS_fcntl, vec![which], libc::EINVAL)
    } else {
        let parts = PARTS.iter().map(|(name, call, _)| (name, call));
        let mut calls = parts.chain(SUBSTITUTED.iter().map(|(name, call)| (name, call)));
        let (_, call) = calls.find(|(name, _)| **name == lacks).unwrap();
        (*call, Vec::new(), libc::ENOSYS)
    };
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let arch = TargetArch::try_from(env::consts::ARCH).unwrap();
    let rules = BTreeMap::from([(call, which)]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    let applied = seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap());
    // The parent may have applied the filter already, and a kernel without filters accepts no
    // second one.
    assert!(applied.is_ok() || lacks == "seccomp", "{applied:?}");
}

/// Returns the parts that matter to this user: only root has capabilities to give up.
fn parts() -> impl Iterator<Item = (&'static str, &'static str)> {
    let is_root = rustix::process::geteuid().is_root();
    let parts = PARTS.into_iter().map(|(part, _, text)| (part, text));
    parts.filter(move |(part, _)| is_root || *part != "capset")
}

fn run_without(part: &str, server: &Server) -> Run {
    run("").list([server.url("/f")]).env(LACKS, part)
}

fn is_one_line(ended: &Ended) {
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
}

fn what_a_kernel_lacks_is_told_in_one_line_however_quiet_the_run() {
    let server = Server::start();
    for (part, text) in parts() {
        let run = run_without(part, &server).with("--quiet --workers 2");
        let ended = run.finish().code(0);
        ended.says(&[
            "warning: ",
            "cannot confine workers in full",
            text,
            "--sandbox",
        ]);
        is_one_line(&ended);
        run.log().check(
            &run.log().one(&server.url("/f")),
            &sha256(&server::body("/f")),
        );
        let run = run_without(part, &server).with("--quiet --sandbox off");
        assert_eq!(run.finish().code(0).stderr, "");
    }
}

fn a_kernel_that_cannot_confine_ends_a_run_that_insists_on_it_before_anything_starts() {
    let server = Server::start();
    for (part, _) in parts() {
        let ended = run_without(part, &server).with("--sandbox on").finish();
        let ended = ended.code(3);
        ended.says(&["--sandbox", "best-effort"]);
        is_one_line(&ended);
    }
    assert_eq!(server.total(), 0);
}

/// Returns the exit code and the verdict of `coordinator isolation` on a kernel without `part`.
fn isolation_without(part: &str, only: &str) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["isolation", "--quiet", "--json", "--only", only])
        .env(crate::ROLE, "coordinator")
        .env(LACKS, part)
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let verdict = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        verdict.unwrap_or_else(|error| panic!("{error}: {output:?}")),
    )
}

fn isolation_finds_open_what_a_kernel_cannot_hold_and_says_why() {
    for (part, text, files, processes) in [
        ("landlock", "no Landlock", "open", "held"),
        ("seccomp", "no seccomp", "held", "open"),
    ] {
        let (code, verdict) = isolation_without(part, "read-file,file-new,set-uid,fork");
        assert_eq!(code, Some(1), "{verdict:#}");
        assert_eq!(verdict["verdict"], "not_isolated");
        let missing = verdict["missing"].as_str().unwrap();
        assert!(missing.contains(text), "{missing}");
        let rows = verdict["attempts"].as_array().unwrap().iter();
        let state = |row: &Value| row["cells"]["processes"]["state"].clone();
        let states: BTreeMap<_, _> = rows.map(|row| (row["id"].as_str(), state(row))).collect();
        for (id, expected) in [
            ("file-new", files),
            ("read-file", files),
            ("fork", processes),
            ("set-uid", processes),
        ] {
            assert_eq!(
                states[&Some(id)],
                expected,
                "without {part}: {id}: {verdict:#}"
            );
        }
    }
}

fn without_landlock_coordinator_and_workers_keep_their_memory_to_themselves() {
    let (code, verdict) = isolation_without("landlock", "memory-of-coordinator,memory-of-worker");
    assert_eq!(code, Some(0), "{verdict:#}");
    let (_, verdict) = isolation_without("landlock", "environment-of-coordinator");
    assert_eq!(verdict["open"], 0, "{verdict:#}");
}

fn where_nothing_is_missing_nothing_is_said() {
    let server = Server::start();
    let insisting = run("").list([server.url("/f")]).with("--sandbox on -q");
    // A machine that cannot confine workers cannot show this.
    if insisting.finish().status.success() {
        let run = run("").list([server.url("/f")]).with("--quiet");
        assert_eq!(run.finish().code(0).stderr, "");
    }
}

fn a_kernel_that_lacks_a_call_with_a_substitute_stores_everything_without_a_word() {
    let server = Server::start();
    for (call, _) in SUBSTITUTED {
        let run = run_without(call, &server).with("--quiet --workers 2");
        assert_eq!(run.finish().code(0).stderr, "", "without {call}");
        run.log().check(
            &run.log().one(&server.url("/f")),
            &sha256(&server::body("/f")),
        );
    }
}

fn a_file_system_without_leases_is_told_of_in_one_line_and_stores_everything() {
    let server = Server::start();
    let run = run_without(LEASES, &server).with("--quiet --workers 2");
    let ended = run.finish().code(0);
    ended.says(&["warning: ", "output folder has no leases"]);
    is_one_line(&ended);
    run.log().check(
        &run.log().one(&server.url("/f")),
        &sha256(&server::body("/f")),
    );
    // These runs confine no worker.
    for whole in ["--sandbox off", "--mode threads"] {
        let run = run_without(LEASES, &server).with("--quiet").with(whole);
        assert_eq!(run.finish().code(0).stderr, "", "{whole}");
    }
}
