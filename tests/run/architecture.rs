//! Rules that the compiler does not check: which module may import which, and the form of files.
//!
//! Reads the sources as text, without comments and tests: a test of a pure module may read a clock.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
struct Source {
    /// Its path relative to the project, with `/`.
    path: String,
    text: String,
    /// Its lines of code outside comments and tests, with their numbers.
    code: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in [
        "src", "lab", "pool", "protocol", "worker", "tests", "benches",
    ] {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    assert!(files.len() > 50, "the sources are found: {files:?}");
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let path = file.strip_prefix(root).unwrap();
        Source {
            path: path.to_str().unwrap().to_owned(),
            code: code(&text),
            text,
        }
    };
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns the lines of a file without comments, up to its tests, which come last. Joins a `use`
/// over several lines.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open_use = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if line == "#[cfg(test)]" {
            break;
        }
        match lines.last_mut() {
            Some((_, whole)) if open_use => whole.push_str(line),
            _ if line.is_empty() => continue,
            _ => {
                open_use = line.starts_with("use ") || line.contains(" use ");
                lines.push((index + 1, line.to_owned()));
            }
        }
        open_use &= !line.ends_with(';');
    }
    lines
}

/// Returns whether a line names `path` as a whole: `crate::run` is not in `crate::runner`.
/// `crate::{run, ...}` counts too.
fn names(line: &str, path: &str) -> bool {
    let own = |at: usize| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(before) && !part(after)
    };
    if line.match_indices(path).any(|(at, _)| own(at)) {
        return true;
    }
    let Some((parent, child)) = path.rsplit_once("::") else {
        return false;
    };
    let group = format!("{parent}::{{");
    line.match_indices(&group).any(|(at, _)| {
        let inner = &line[at + group.len()..];
        let end = inner.rfind('}').unwrap_or(inner.len());
        let mut depth = 0;
        inner[..end]
            .split(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            })
            .any(|item| {
                let first = item.trim().split([':', ' ', '{']).next();
                first == Some(child)
            })
    })
}

/// Names that are forbidden to modules which serve a run but do not know of it.
const OF_THE_RUN: [&str; 9] = [
    "crate::run",
    "crate::cli",
    "crate::config",
    "crate::input",
    "crate::workers",
    "crate::dispatch",
    "lab::origin",
    "tokio",
    "ipc_channel",
];

/// Files, the names that are forbidden to them, and the reason.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "pool/src/dispatch/",
        &[
            "std::fs",
            "std::net",
            "std::io",
            "std::thread",
            "std::process",
            "std::env",
            "std::os",
            "std::sync",
            "Instant::now",
            "SystemTime",
            "tokio",
            "hyper",
            "ureq",
            "ipc_channel",
            "rustix",
            "signal_hook",
            "tracing",
            "worker::",
            "protocol::codec",
            "protocol::handshake",
            "fastrand::u64",
            "Rng::new",
            "crate::workers",
            "crate::link",
            "println!",
            "eprintln!",
        ],
        "the core is pure: no I/O, no clock, no threads, no channel, no neighbours",
    ),
    (
        "src/run/shell/",
        &["std::fs", "rustix::fs", "tempfile", "crate::folder"],
        "the shell's thread does not wait for the disk; the placement does",
    ),
    (
        "src/workers.rs",
        &["create_dir", "DirBuilder", "File::open", "current_dir"],
        "the shell's thread starts workers, and does not wait for the disk; the placement does",
    ),
    (
        "pool/src/workers/",
        &["create_dir", "DirBuilder", "File::open", "current_dir"],
        "whoever starts workers does not wait for the disk",
    ),
    (
        "src/exec/",
        &OF_THE_RUN,
        "exec runs a program on a file, and knows nothing of the run around it",
    ),
    (
        "src/fleet/lease/",
        &[
            "std::fs",
            "std::net",
            "std::io",
            "std::thread",
            "std::sync",
            "Instant",
            "SystemTime",
            "tokio",
            "async_nats",
            "tracing",
            "rustix",
            "crate",
        ],
        "the lease protocol is pure: no I/O, no clock, no queue",
    ),
    (
        "src/run/",
        &["crate::fleet", "async_nats"],
        "a run does not know of fleets",
    ),
    (
        "src/placement/",
        &OF_THE_RUN,
        "placement puts files in place, and knows nothing of the run around it",
    ),
    (
        "src/cli/",
        &[
            "crate::run",
            "crate::workers",
            "crate::input",
            "std::fs",
            "std::process",
            "std::thread",
            "tokio",
            "ipc_channel",
            "dispatch::Dispatcher",
        ],
        "cli is what was typed, and nothing else",
    ),
    (
        "src/config/",
        &[
            "crate::run",
            "crate::workers",
            "clap",
            "std::thread",
            "std::process",
        ],
        "config is what a run means: no clap, nothing that runs",
    ),
    (
        "src/input/",
        &[
            "crate::run",
            "crate::workers",
            "crate::dispatch",
            "crate::cli",
            "crate::config",
            "worker::",
        ],
        "input reads lists, and nothing else",
    ),
    (
        "src/run/",
        &[
            "crate::cli",
            "clap",
            "ipc_channel",
            "worker::",
            "ureq",
            "tokio",
        ],
        "run is the shell: it knows the core and the pool, not how workers are reached",
    ),
    (
        "src/shootout/",
        &[
            "crate::workers",
            "crate::dispatch",
            "crate::config",
            "crate::run::resume",
            "worker::",
            "ipc_channel",
        ],
        "the shootout looks at runs from outside, as it looks at other programs",
    ),
    (
        "src/watch/",
        &[
            "crate::run",
            "crate::cli",
            "crate::config",
            "crate::input",
            "crate::workers",
            "crate::dispatch",
            "lab::origin",
            "crate::shootout",
            "ipc_channel",
        ],
        "those who watch a run are told its state, and can neither change nor reach it",
    ),
    (
        "src/page/",
        &[
            "crate::shootout",
            "crate::run",
            "crate::results",
            "crate::watch",
            "crate::cli",
        ],
        "what pages share does not know what a page is about",
    ),
    (
        "src/chaos/",
        &[
            "crate::fleet",
            "crate::workers",
            "crate::dispatch",
            "crate::config",
            "crate::run",
            "worker::",
            "ipc_channel",
        ],
        "chaos looks at runs from outside, and its checker shares no code with them",
    ),
    (
        "src/isolation/",
        &[
            "crate::workers",
            "crate::dispatch",
            "crate::config",
            "crate::run",
            "ipc_channel",
        ],
        "isolation looks at runs from outside, and its attackers know the worker alone",
    ),
    (
        "src/results/",
        &[
            "crate::workers",
            "crate::dispatch",
            "crate::config",
            "lab::origin",
            "crate::run::resume",
            "crate::run::execute",
            "crate::run::dry_run",
            "LogWriter",
            "Lock",
            "worker::",
            "tokio",
            "ipc_channel",
        ],
        "results reads what runs recorded, and can neither change it nor reach a run",
    ),
    (
        "src/folder/",
        &[
            "crate::run",
            "crate::workers",
            "crate::input",
            "crate::results",
            "lab::",
            "crate::cli",
            "crate::config",
        ],
        "a folder knows nothing of what its files are for",
    ),
    (
        "src/disk_map/",
        &[
            "crate::run",
            "crate::input",
            "crate::results",
            "crate::cli",
            "crate::config",
        ],
        "a disk_map is a map, and knows nothing of what is in it",
    ),
    (
        "lab/src/inject/",
        &["kill_process"],
        "injection plans faults, and cannot reach a worker",
    ),
    (
        "protocol/src/",
        &[
            "coordinator::",
            "worker::",
            "std::fs",
            "std::thread",
            "std::process",
            "Instant::now",
            "SystemTime::now",
            "tokio",
            "ureq",
        ],
        "protocol is the vocabulary, and nothing that acts",
    ),
    (
        "worker/src/",
        &["coordinator::", "coordinator_", "clap"],
        "a worker knows nothing of the coordinator",
    ),
];

/// Files that may name ipc-channel: the rest of the worker must run without processes, and the
/// coordinator must not receive through it.
const IPC_IN_WORKER: [&str; 2] = ["pool/src/dial.rs", "pool/src/link.rs"];

#[test]
fn imports_run_one_way() {
    let mut violations = Vec::new();
    for source in sources() {
        for (folder, forbidden, why) in FORBIDDEN {
            if !source.path.starts_with(folder) || source.path.contains("/tests") {
                continue;
            }
            for (number, line) in &source.code {
                for path in *forbidden {
                    let path = path.strip_suffix("::").unwrap_or(path);
                    let crate_only = forbidden.contains(&format!("{path}::").as_str());
                    let found = if crate_only {
                        line.match_indices(&format!("{path}::")).any(|(at, _)| {
                            let before = line[..at].chars().next_back();
                            !before.is_some_and(|c| c.is_alphanumeric() || "_:".contains(c))
                        })
                    } else {
                        names(line, path)
                    };
                    if found {
                        violations.push(format!(
                            "{}:{number}: names {path}, but {why}: {line}",
                            source.path
                        ));
                    }
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn ipc_channel_is_named_where_a_worker_reaches_the_coordinator_and_nowhere_else() {
    let mut found = 0;
    for source in sources() {
        let crates = ["src/", "pool/src/", "worker/src/"];
        let ours = crates.iter().any(|own| source.path.starts_with(own))
            && !source.path.contains("/tests");
        let allowed = IPC_IN_WORKER.contains(&source.path.as_str());
        for (number, line) in &source.code {
            if ours && names(line, "ipc_channel") {
                assert!(allowed, "{}:{number}: {line}", source.path);
                found += 1;
            }
        }
    }
    assert!(found > 0, "it is used at all");
}

#[test]
fn every_file_says_what_it_is_for() {
    for Source { path, text, .. } in sources() {
        assert!(text.starts_with("//! "), "{path} does not open with //!");
    }
}

#[test]
fn unsafe_code_is_allowed_with_a_reason_in_small_files_only() {
    for Source { path, text, code } in sources() {
        // This file contains the searched words.
        if path.ends_with("architecture.rs") || !text.contains("unsafe_code") {
            continue;
        }
        assert!(
            text.contains("reason = "),
            "{path} allows it without a reason"
        );
        assert!(
            text.contains("// SAFETY: "),
            "{path} has no argument for it"
        );
        assert!(code.len() < 100, "{path} is too large to hold unsafe code");
    }
}

#[test]
fn the_rules_are_seen_to_be_broken() {
    assert!(names("use crate::run::log;", "crate::run"));
    assert!(names("use crate::{input, run};", "crate::run"));
    assert!(names("use crate::{input::{A, B}, run::C};", "crate::run"));
    assert!(names("use std::{fs, io};", "std::fs"));
    assert!(!names("use crate::runner;", "crate::run"));
    assert!(!names("use crate::{input::run, x};", "crate::run"));
    let lines =
        code("//! x\nuse crate::{\n    a,\n    run,\n};\n// std::fs\n#[cfg(test)]\nuse std::fs;\n");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(names(&lines[0].1, "crate::run"));
}
