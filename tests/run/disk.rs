//! Unusable output folders, too few descriptors, and a disk that fills up.

use std::fs;
use std::process::Command;

use crate::support::run::{exists, urls};
use crate::support::{Run, Server, is_root, server, sha256};

#[test]
fn an_output_that_is_a_file_is_named_before_anything_starts() {
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]);
    fs::write(run.path("downloads"), "mine").unwrap();
    let ended = run.finish().code(3);
    ended.says(&["downloads", "not a folder", "--output"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    assert_eq!(fs::read_to_string(run.path("downloads")).unwrap(), "mine");
    assert_eq!(server.total(), 0);
}

#[test]
fn an_output_below_a_file_is_named() {
    let run = Run::new()
        .list(["http://127.0.0.1:9/"])
        .with("--output file/below");
    fs::write(run.path("file"), "mine").unwrap();
    run.finish().code(3).says(&["file", "not a folder"]);
}

#[test]
fn a_read_only_output_is_named_before_anything_starts() {
    if !is_root("a_read_only_output_is_named_before_anything_starts") {
        return;
    }
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]).through([
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs -o ro none downloads && exec \"$0\" \"$@\"",
    ]);
    fs::create_dir(run.path("downloads")).unwrap();
    let ended = run.finish().code(3);
    ended.says(&["cannot write to the output folder", "downloads", "--output"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    assert_eq!(server.total(), 0);
}

#[test]
fn an_output_without_permission_is_named() {
    if !is_root("an_output_without_permission_is_named") {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let run = Run::new().list(["http://127.0.0.1:9/"]).through([
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
    ]);
    fs::create_dir(run.path("downloads")).unwrap();
    fs::set_permissions(run.path("downloads"), fs::Permissions::from_mode(0o500)).unwrap();
    let ended = run.finish().code(3);
    ended.says(&["downloads", "ermission denied"]);
}

#[test]
fn too_few_descriptors_are_told_before_anything_starts() {
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/f")])
        .with("--workers 6")
        .through(["sh", "-c", "ulimit -n 20; exec \"$0\" \"$@\""]);
    let ended = run.finish().code(3);
    ended.says(&["6 workers", "file descriptors", "limit is 20", "ulimit -n"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    assert_eq!(server.total(), 0);
    assert!(!exists(&run.path("downloads")));
}

#[test]
fn a_soft_limit_on_descriptors_is_raised() {
    let server = Server::start();
    let list = urls(&server.url(""), 20);
    let run = Run::new().list(&list).with("--workers 6").through([
        "sh",
        "-c",
        "ulimit -S -n 20; exec \"$0\" \"$@\"",
    ]);
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored"), 20, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
}

/// A small file system as the output folder, unmounted on drop.
struct Small<'a>(&'a Run);

impl<'a> Small<'a> {
    fn mount(run: &'a Run, size: &str) -> Option<Self> {
        fs::create_dir_all(run.log().output).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(run.log().output)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(run))
    }

    fn resize(&self, size: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0.log().output)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.0.log().output)
            .status();
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_full_disk_ends_the_run_and_the_same_command_finishes_it() {
    let list = urls("https://a.example", 40);
    let spec = "size=64KiB,latency=1ms";
    let run = Run::new()
        .list(&list)
        .with(&format!("--workers 3 --simulate={spec}"));
    let Some(disk) = Small::mount(&run, "1m") else {
        eprintln!("a_full_disk is skipped: a file system cannot be mounted here");
        return;
    };
    let ended = run.finish().code(4);
    ended.says(&[
        "gave up",
        "No space left on device",
        "run the same command again",
    ]);
    assert!(ended.summary("left") > 0, "{}", ended.text());
    assert_eq!(
        ended.summary("failed"),
        0,
        "a task is not to blame: {}",
        ended.text()
    );
    let log = run.log();
    let stored = log.count("stored");
    assert!((1..40).contains(&stored), "{}", ended.text());
    for record in log.records() {
        log.check(
            &record,
            &crate::support::simulated_sha256(spec, &record.url),
        );
    }
    assert_eq!(log.partials(), [""; 0], "what did not fit is removed");
    // The disk is still full, so nothing changes.
    run.finish().code(4);
    disk.resize("8m");
    let stored = log.count("stored") as u64;
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("stored earlier"), stored, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 40 - stored, "{}", ended.text());
    for url in &list {
        log.check(&log.one(url), &crate::support::simulated_sha256(spec, url));
    }
}

#[test]
fn files_that_may_not_grow_end_the_run_only_for_themselves() {
    // A limit on file sizes (RLIMIT_FSIZE) differs from a full disk: files below it are stored.
    let server = Server::start().answer(
        "/large",
        [crate::support::Answer::Body(vec![b'x'; 300_000])],
    );
    let run = Run::new()
        .list([server.url("/small"), server.url("/large")])
        .with("--retry 1 --retry-delay 1ms")
        .through(["prlimit", "--fsize=100000"]);
    let ended = run.finish().code(1);
    let log = run.log();
    log.check(
        &log.one(&server.url("/small")),
        &sha256(&server::body("/small")),
    );
    let record = log.one(&server.url("/large"));
    assert_eq!(record.kind(), "store", "{record:#?}; {}", ended.text());
    assert_eq!(log.partials(), [""; 0]);
}

#[test]
fn an_output_folder_that_vanishes_ends_the_run() {
    let server = Server::start().answer("/a", [crate::support::Answer::Held]);
    let run = Run::new()
        .list([server.url("/a"), server.url("/b")])
        .with("--workers 1");
    let job = run.start();
    server.wait_for("/a", 1);
    fs::remove_dir_all(run.log().output).unwrap();
    server.release("/a");
    let ended = job.finish().code(4);
    ended.says(&["gave up", "folder"]);
    // The next run succeeds.
    run.finish().code(0);
    assert_eq!(run.log().count("stored"), 2);
}
