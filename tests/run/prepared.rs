//! Output folders that another user has prepared: the run touches nothing outside them, does not
//! hang, and does not mistake another user's files for its own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use crate::limits::has_strace;
use crate::support::{Ended, Run, Server, is_root};

/// The files and folders that a run keeps in `.coordinator`.
const FILES: [&str; 4] = ["lock", "results.jsonl", "deaths.jsonl", "injected.jsonl"];
const FOLDERS: [&str; 3] = ["partial", "sockets", "robots"];

/// A text without a line end, which a run would cut off a log.
const PRECIOUS: &str = "precious";

/// A run over one URL that refuses connections, with a folder `.coordinator`.
fn prepared() -> Run {
    let run = Run::new()
        .list(["http://127.0.0.1:9/"])
        .with("--inject kill=1/s");
    fs::create_dir_all(run.path("downloads/.coordinator")).unwrap();
    run
}

fn made(program: &str, arguments: &[&str], path: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg(arguments[0]).arg(path).args(&arguments[1..]);
    command.status().unwrap().success()
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

/// Checks that one line names what is in the way, and that nothing was created.
fn refused(run: &Run, ended: Ended, name: &str, what: &str) {
    let ended = ended.code(3);
    ended.says(&[&format!(".coordinator/{name} "), what]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    let own = run.path("downloads/.coordinator");
    let left: Vec<_> = fs::read_dir(own).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing was made: {left:?}");
}

#[test]
fn a_link_in_place_of_a_state_file_changes_nothing_elsewhere() {
    for name in FILES {
        for hard in [false, true] {
            let run = prepared();
            let (victim, link) = (
                run.path("victim"),
                run.path("downloads/.coordinator").join(name),
            );
            fs::write(&victim, PRECIOUS).unwrap();
            let what = if hard {
                fs::hard_link(&victim, &link).unwrap();
                "2 names (hard links)"
            } else {
                symlink(&victim, &link).unwrap();
                "a symbolic link"
            };
            let before = mode(&victim);
            refused(&run, run.finish(), name, what);
            assert_eq!(fs::read_to_string(&victim).unwrap(), PRECIOUS, "{name}");
            assert_eq!(mode(&victim), before);
            let looked = run.with("--dry-run").finish();
            assert_eq!(looked.status.code(), Some(3), "{}", looked.text());
        }
    }
}

#[test]
fn whatever_is_in_place_of_the_index_is_not_believed_written_to_or_waited_for() {
    let server = Server::start();
    for what in [
        "a link",
        "a hard link",
        "a fifo",
        "a folder",
        "open to others",
        "foreign",
    ] {
        let run = Run::new().list([server.url("/f")]);
        run.finish().code(0);
        let own = run.path("downloads/.coordinator");
        let (index, new, victim) = (
            own.join("results.index"),
            own.join("results.index.new"),
            run.path("victim"),
        );
        let record = run.log().text();
        // A log of this length gets an index.
        fs::write(
            run.log().path(),
            record.repeat(20 * 1024 * 1024 / record.len()),
        )
        .unwrap();
        fs::write(&victim, PRECIOUS).unwrap();
        for place in [&index, &new] {
            match what {
                "a link" => symlink(&victim, place).unwrap(),
                "a hard link" => fs::hard_link(&victim, place).unwrap(),
                "a fifo" => assert!(made("mkfifo", &["-m600"], place)),
                "a folder" => fs::create_dir(place).unwrap(),
                "foreign" if !is_root("a foreign index") => {}
                _ => fs::write(place, PRECIOUS).unwrap(),
            }
        }
        match what {
            "open to others" => {
                fs::set_permissions(&index, fs::Permissions::from_mode(0o666)).unwrap()
            }
            "foreign" if index.exists() => chown(&index, Some(1), None).unwrap(),
            _ => {}
        }
        run.finish().code(0);
        assert_eq!(fs::read_to_string(&victim).unwrap(), PRECIOUS, "{what}");
        let stat = index.symlink_metadata().unwrap();
        if what == "a folder" {
            assert!(stat.is_dir(), "it is the user's");
            continue;
        }
        let is_own = stat.is_file() && stat.nlink() == 1 && stat.mode() & 0o7777 == 0o600;
        assert!(
            is_own && stat.len() != PRECIOUS.len() as u64,
            "{what}: {stat:?}"
        );
    }
}

#[test]
fn a_link_in_place_of_the_write_probe_changes_nothing_elsewhere() {
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]).through([
        "sh",
        "-c",
        "ln -s ../victim downloads/.coordinator-probe-$$ && exec \"$0\" \"$@\"",
    ]);
    fs::create_dir(run.path("downloads")).unwrap();
    fs::write(run.path("victim"), PRECIOUS).unwrap();
    run.finish().code(0);
    let victim = fs::read_to_string(run.path("victim")).unwrap();
    assert_eq!(victim, PRECIOUS);
}

#[test]
fn a_link_in_place_of_a_folder_that_is_emptied_leads_nowhere() {
    for name in FOLDERS {
        let run = prepared().with("--robots");
        let elsewhere = run.path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("file"), PRECIOUS).unwrap();
        symlink(&elsewhere, run.path("downloads/.coordinator").join(name)).unwrap();
        refused(&run, run.finish(), name, "a symbolic link");
        let file = fs::read_to_string(elsewhere.join("file")).unwrap();
        assert_eq!(file, PRECIOUS, "{name}");
    }
}

#[test]
fn a_link_in_place_of_the_run_s_own_folder_is_refused() {
    let run = Run::new().list(["http://127.0.0.1:9/"]);
    let elsewhere = run.path("elsewhere");
    fs::create_dir_all(elsewhere.join("sockets")).unwrap();
    fs::create_dir(run.path("downloads")).unwrap();
    fs::write(elsewhere.join("sockets/file"), PRECIOUS).unwrap();
    symlink(&elsewhere, run.path("downloads/.coordinator")).unwrap();
    let ended = run.finish().code(3);
    ended.says(&[".coordinator is not a folder, but a symbolic link"]);
    assert!(elsewhere.join("sockets/file").exists());
    let results = run.without_arguments().with("results downloads").finish();
    results.code(3).says(&["a symbolic link"]);
}

#[test]
fn what_is_no_file_is_named_and_not_waited_for() {
    for name in FILES.into_iter().chain(FOLDERS) {
        for what in ["a fifo", "a socket", "a device", "the other"] {
            let run = prepared();
            let path = run.path("downloads/.coordinator").join(name);
            let is_file = FILES.contains(&name);
            let said = match what {
                "a fifo" => {
                    assert!(made("mkfifo", &["-m600"], &path));
                    what
                }
                "a socket" => {
                    drop(UnixListener::bind(&path).unwrap());
                    what
                }
                // /dev/zero: reading it never ends.
                "a device" if is_root("a device in place of a file") => {
                    assert!(made("mknod", &["-m600", "c", "1", "5"], &path));
                    what
                }
                "a device" => continue,
                _ if is_file => {
                    fs::create_dir(&path).unwrap();
                    "a folder"
                }
                _ => {
                    fs::write(&path, "").unwrap();
                    "a file"
                }
            };
            refused(&run, run.finish(), name, said);
            let looked = run.with("--dry-run");
            refused(&looked, looked.finish(), name, said);
            let results = looked.without_arguments().with("results downloads");
            // `results` reads no other file.
            if name == "results.jsonl" {
                refused(&results, results.finish(), name, said);
            } else {
                results.finish().code(3).says(&["no run log"]);
            }
        }
    }
}

#[test]
fn whatever_lies_among_partial_bodies_is_removed() {
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]);
    let partial = run.path("downloads/.coordinator/partial");
    fs::create_dir_all(partial.join("a/b")).unwrap();
    fs::write(partial.join("a/b/c"), "x").unwrap();
    assert!(made("mkfifo", &["-m600"], &partial.join("fifo")));
    fs::write(run.path("victim"), PRECIOUS).unwrap();
    symlink(run.path("victim"), partial.join("link")).unwrap();
    run.finish().code(0);
    assert_eq!(run.log().partials(), [""; 0]);
    assert_eq!(fs::read_to_string(run.path("victim")).unwrap(), PRECIOUS);
}

#[test]
fn nobody_else_reaches_what_a_run_keeps_whatever_the_umask() {
    let server = Server::start();
    for umask in ["000", "002", "022"] {
        let run = Run::new()
            .list([server.url("/f")])
            .with("--inject kill=0.001/s --robots")
            .through(["sh", "-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        run.finish().code(0);
        let own = run.path("downloads/.coordinator");
        assert_eq!(mode(&own), 0o700, "{umask}");
        for entry in fs::read_dir(&own).unwrap() {
            let path = entry.unwrap().path();
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), wanted, "{} {umask}", path.display());
        }
    }
}

#[test]
fn root_takes_what_is_the_folder_s_owner_s_and_nothing_of_others() {
    if !is_root("root_takes_what_is_the_folder_s_owner_s") {
        return;
    }
    let server = Server::start();
    for (folder, own, log, fits) in [
        (1, 1, 1, true),
        (1, 0, 1, true),
        (0, 1, 0, false),
        (0, 0, 1, false),
        (1, 1, 2, false),
    ] {
        let run = Run::new().list([server.url("/f")]);
        let path = run.path("downloads/.coordinator/results.jsonl");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, PRECIOUS).unwrap();
        chown(&path, Some(log), None).unwrap();
        chown(path.parent().unwrap(), Some(own), None).unwrap();
        chown(run.path("downloads"), Some(folder), None).unwrap();
        let ended = run.finish();
        if fits {
            ended.code(0);
            continue;
        }
        ended.code(3).says(&["belongs to another user"]);
        assert_eq!(fs::read_to_string(path).unwrap(), PRECIOUS);
    }
}

/// Runs a copy of the program as a user who cannot enter the build folder.
fn as_nobody(run: Run) -> Run {
    let folder = run.path("");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = run.path("coordinator");
    // If this process wrote the copy, a process that another test forks at that time would hold the
    // copy open for writing until it calls exec(2). Until then the copy cannot run.
    let mut cp = Command::new("cp");
    let copied = cp
        .arg(env!("CARGO_BIN_EXE_coordinator"))
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    run.through([
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        "shift; exec ./coordinator \"$@\"",
        "sh",
    ])
}

#[test]
fn a_user_takes_nothing_of_another_s_not_even_of_root() {
    if !is_root("a_user_takes_nothing_of_another_s") {
        return;
    }
    let server = Server::start();
    for (log, code) in [(65534, 0), (0, 3), (1, 3)] {
        let run = as_nobody(Run::new().list([server.url("/f")]));
        let path = run.path("downloads/.coordinator/results.jsonl");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        chown(&path, Some(log), None).unwrap();
        for folder in ["downloads/.coordinator", "downloads"] {
            chown(run.path(folder), Some(65534), None).unwrap();
        }
        let ended = run.finish().code(code);
        if code == 3 {
            ended.says(&["results.jsonl belongs to another user"]);
        }
    }
}

#[test]
fn another_user_can_neither_read_nor_lock_what_a_run_keeps() {
    if !is_root("another_user_can_neither_read_nor_lock") {
        return;
    }
    let server = Server::start();
    let run =
        Run::new()
            .list([server.url("/f")])
            .through(["sh", "-c", "umask 000; exec \"$0\" \"$@\""]);
    fs::set_permissions(run.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    run.finish().code(0);
    for (program, name) in [("flock", "lock"), ("cat", "lock"), ("cat", "results.jsonl")] {
        let path = run.path("downloads/.coordinator").join(name);
        let tried = Command::new("setpriv")
            .args(["--reuid=1", "--regid=1", "--clear-groups", program])
            .arg(path)
            .args((program == "flock").then_some("true"))
            .output()
            .unwrap();
        assert!(!tried.status.success(), "{program} {name}");
        let told = String::from_utf8_lossy(&tried.stderr);
        assert!(told.contains("ermission denied"), "{told}");
    }
}

#[test]
fn a_kernel_or_a_container_without_openat2_is_no_worse() {
    if !has_strace("a_kernel_or_a_container_without_openat2") {
        return;
    }
    let server = Server::start();
    for error in ["ENOSYS", "EPERM"] {
        let inject = format!("--inject=openat2:error={error}");
        let strace = [
            "strace",
            "-f",
            "--quiet=all",
            "--output=trace",
            "--trace=openat2",
        ];
        let run = Run::new()
            .list([server.url("/f")])
            .through(strace.into_iter().chain([inject.as_str()]));
        run.finish().code(0);
        let trace = fs::read_to_string(run.path("trace")).unwrap();
        assert!(trace.contains("(INJECTED)"), "{trace}");
        let (victim, log) = (
            run.path("victim"),
            run.path("downloads/.coordinator/results.jsonl"),
        );
        fs::rename(&log, &victim).unwrap();
        symlink(&victim, &log).unwrap();
        run.finish().code(3).says(&["a symbolic link"]);
    }
}

#[test]
fn a_file_system_without_flock_is_used_and_so_is_none_that_locks_if_the_user_says_so() {
    if !has_strace("a_file_system_without_flock") {
        return;
    }
    let server = Server::start();
    // A file system without this lock never answers EIO.
    for (error, arguments, code) in [
        ("ENOSYS", "", 0),
        ("EOPNOTSUPP", "", 0),
        ("ENOLCK", "", 0),
        ("EINVAL", "", 0),
        ("EIO", "", 3),
        ("EIO", "--no-lock", 0),
    ] {
        let run = Run::new()
            .list([server.url("/f")])
            .with(arguments)
            .through([
                "strace",
                "-f",
                "--quiet=all",
                "--output=trace",
                "--trace=flock,fcntl",
                &format!("--inject=flock:error={error}"),
            ]);
        let ended = run.finish().code(code);
        let trace = fs::read_to_string(run.path("trace")).unwrap();
        assert_eq!(
            trace.contains("(INJECTED)"),
            arguments.is_empty(),
            "{error}"
        );
        assert_eq!(
            trace.contains("F_OFD_SETLK"),
            code == 0 && arguments.is_empty(),
            "{error}"
        );
        match (code, arguments) {
            (3, _) => drop(ended.says(&["cannot lock", "coordinator/lock", "--no-lock"])),
            (_, "") => assert_eq!(ended.stderr, ""),
            (_, _) => drop(ended.says(&["warning: ", "--no-lock"])),
        }
    }
}

#[test]
fn a_file_system_without_modes_is_told_of_and_used() {
    if !has_strace("a_file_system_without_modes") {
        return;
    }
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]).through([
        "strace",
        "-f",
        "--quiet=all",
        "--output=trace",
        "--trace=fchmod",
        "--inject=fchmod:retval=0",
    ]);
    let own = run.path("downloads/.coordinator");
    fs::create_dir_all(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = run.finish().code(0);
    ended.says(&["warning", "keeps no modes", ".coordinator"]);
    assert_eq!(mode(&own), 0o755, "it could not be changed");
}

#[test]
fn a_timeline_in_the_output_folder_goes_nowhere_else() {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/f")])
        .with("--timeline downloads/timeline");
    fs::create_dir(run.path("downloads")).unwrap();
    fs::write(run.path("victim"), PRECIOUS).unwrap();
    symlink("../victim", run.path("downloads/timeline")).unwrap();
    run.finish().code(3).says(&["timeline", "a symbolic link"]);
    let victim = fs::read_to_string(run.path("victim")).unwrap();
    assert_eq!(victim, PRECIOUS);
    fs::remove_file(run.path("downloads/timeline")).unwrap();
    run.finish().code(0);
    let written = fs::read_to_string(run.path("downloads/timeline")).unwrap();
    assert_eq!(written.lines().count(), 1, "{written}");
}
