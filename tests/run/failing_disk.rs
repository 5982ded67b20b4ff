//! Disks that fail while a run writes to them: real file systems on a loop device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::run::urls;
use crate::support::{Answer, Ended, Run, Server, server, sha256};

fn done(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A file system that is mounted in a run's folder, and unmounted on drop.
struct Mounted(PathBuf);

impl Mounted {
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn new(test: &str, arguments: &[&str], at: PathBuf) -> Option<Self> {
        let words = [arguments, &[at.to_str().unwrap()]].concat();
        let mounted = done("mount", &words).then(|| Self(at));
        if mounted.is_none() {
            eprintln!("{test} is skipped: a file system cannot be mounted here");
        }
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let folder = self.0.to_str().unwrap();
        // Unmounts at once, because the next mount needs the device, or lazily if it is in use.
        if !done("umount", &[folder]) {
            done("umount", &["--lazy", folder]);
        }
    }
}

/// Mounts an ext4 file system, kept in a file, as the output folder. A new mount is intact.
fn ext4(test: &str, run: &Run) -> Option<Mounted> {
    let image = run.path("disk.img");
    if !image.exists() {
        let file = fs::File::create(&image).unwrap();
        file.set_len(32 << 20).unwrap();
        done("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        fs::create_dir(run.path("downloads")).unwrap();
    }
    let image = image.to_str().unwrap();
    let arguments = ["-o", "loop,errors=remount-ro", image];
    Mounted::new(test, &arguments, run.path("downloads"))
}

/// Makes the kernel treat the file system as damaged, and so read-only.
fn damage(folder: &Path) {
    let source = Command::new("findmnt")
        .args(["--noheadings", "--output=SOURCE"])
        .arg(folder)
        .output()
        .unwrap();
    let device = String::from_utf8(source.stdout).unwrap();
    let name = device.trim().strip_prefix("/dev/").unwrap();
    fs::write(
        format!("/sys/fs/ext4/{name}/trigger_fs_error"),
        "broken by a test",
    )
    .unwrap();
}

/// Makes every further access to the disk fail (`FS_IOC_SHUTDOWN` without a last flush).
fn take_away(folder: &Path) {
    let shutdown = "import fcntl, os, sys\n\
                    folder = os.open(sys.argv[1], os.O_RDONLY)\n\
                    fcntl.ioctl(folder, 0x8004587d, (2).to_bytes(4, sys.byteorder))\n";
    let folder = folder.to_str().unwrap();
    assert!(done("python3", &["-c", shutdown, folder]));
}

/// Breaks the disk while one download is held. Afterwards the same command finishes the list.
fn breaks(test: &str, options: &str, break_it: fn(&Path)) -> Option<Ended> {
    let server = Server::start().answer("/held", [Answer::Held]);
    let list = [
        server.url("/first"),
        server.url("/held"),
        server.url("/last"),
    ];
    let run = Run::new().list(&list).with("--workers 1").with(options);
    let disk = ext4(test, &run)?;
    let job = run.start();
    server.wait_for("/held", 1);
    job.wait_for_record(&list[0]);
    break_it(&run.path("downloads"));
    server.release("/held");
    let ended = job.finish().code(4);
    let output = run.path("downloads").display().to_string();
    ended.says(&["gave up", &output]);
    drop(disk);
    let _disk = ext4(test, &run)?;
    // Every file under a final name is whole, whether it was recorded or not.
    for entry in fs::read_dir(run.path("downloads")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && options.contains("--fsync") {
            assert_eq!(
                sha256(&fs::read(&path).unwrap()),
                sha256(&server::body("/first"))
            );
        }
    }
    run.finish().code(0);
    for (url, path) in list.iter().zip(["/first", "/held", "/last"]) {
        let log = run.log();
        log.check(log.of(url).last().unwrap(), &sha256(&server::body(path)));
    }
    Some(ended)
}

#[test]
fn a_disk_that_turns_read_only_ends_the_run_and_the_same_command_finishes_it() {
    for options in ["", "--fsync"] {
        let Some(ended) = breaks("a_disk_that_turns_read_only", options, damage) else {
            return;
        };
        // A sync in progress fails with the second error, and later calls fail with the first.
        let known = ["Read-only file system", "Input/output error"];
        let line = ended.says(&["gave up"]);
        assert!(known.iter().any(|cause| line.contains(cause)), "{line}");
    }
}

#[test]
fn a_disk_that_is_gone_ends_the_run_and_the_same_command_finishes_it() {
    let Some(ended) = breaks("a_disk_that_is_gone", "--fsync", take_away) else {
        return;
    };
    ended.says(&["gave up", "Input/output error"]);
}

#[test]
fn a_run_log_that_cannot_grow_ends_the_run_and_the_same_command_finishes_it() {
    // This limit on file sizes (RLIMIT_FSIZE) is above every file, but below the log.
    let server = Server::start();
    let list = urls(&server.url(""), 30);
    let limited = ["prlimit", "--fsize=4000"];
    let run = Run::new().list(&list).with("--workers 2").through(limited);
    let ended = run.finish().code(4);
    // It may fail only with the last lines, when nothing is left to do.
    ended.says(&["run log", "results.jsonl", "File too large"]);
    finishes(run.through([""; 0]), &list);
}

#[test]
fn a_full_disk_of_the_run_log_alone_ends_the_run_and_the_same_command_finishes_it() {
    let server = Server::start();
    let list = urls(&server.url(""), 30);
    let run = Run::new().list(&list).with("--workers 2");
    let test = "a_full_disk_of_the_run_log_alone";
    fs::create_dir(run.path("small")).unwrap();
    let tmpfs = ["-t", "tmpfs", "-o", "size=4k", "none"];
    let Some(_small) = Mounted::new(test, &tmpfs, run.path("small")) else {
        return;
    };
    let log = "downloads/.coordinator/results.jsonl";
    fs::create_dir_all(run.path("downloads/.coordinator")).unwrap();
    fs::write(run.path(log), "").unwrap();
    fs::write(run.path("small/log"), "").unwrap();
    let own = run.path("small/log");
    let bind = ["--bind", own.to_str().unwrap()];
    let Some(_log) = Mounted::new(test, &bind, run.path(log)) else {
        return;
    };
    let ended = run.finish().code(4);
    ended.says(&["run log", "results.jsonl", "No space left", "make room"]);
    let small = run.path("small");
    assert!(done(
        "mount",
        &["-o", "remount,size=1m", small.to_str().unwrap()]
    ));
    finishes(run, &list);
}

/// Checks that the run downloads what is left, and nothing that was recorded.
fn finishes(run: Run, list: &[String]) {
    let recorded = run.log().count("stored") as u64;
    assert!(recorded < list.len() as u64);
    let ended = run.finish().code(0);
    assert_eq!(
        ended.summary("stored earlier"),
        recorded,
        "{}",
        ended.text()
    );
    for url in list {
        let path = &url[url.rfind('/').unwrap()..];
        run.log()
            .check(&run.log().one(url), &sha256(&server::body(path)));
    }
    assert_eq!(run.log().partials(), [""; 0]);
}
