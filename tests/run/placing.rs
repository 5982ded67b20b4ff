//! Which files may be placed where: names that collide, invalid names, and files of the user.

use std::fs;
use std::path::Path;
use std::process::Command;

use data_encoding::{BASE32HEX_NOPAD, HEXLOWER};
use rustix::process::Signal;

use crate::limits::has_strace;
use crate::support::{Answer, Run, Server, is_root, server, sha256};

/// Returns a list in JSONL with these paths and names.
fn named(server: &Server, names: &[(&str, &str)]) -> String {
    let line = |(path, out): &(&str, &str)| {
        let url = server.url(path);
        serde_json::json!({"url": url, "out": out}).to_string() + "\n"
    };
    names.iter().map(line).collect()
}

fn run_of(list: &str) -> Run {
    let run = Run::new().with("list.jsonl --workers 2 --retry 0");
    fs::write(run.path("list.jsonl"), list).unwrap();
    run
}

fn is_body(run: &Run, name: &str, path: &str) {
    let stored = fs::read(run.path("downloads").join(name)).unwrap();
    assert_eq!(sha256(&stored), sha256(&server::body(path)), "{name}");
}

#[test]
fn no_name_in_a_list_shares_its_partial_body_with_another() {
    let server = Server::start()
        .answer("/1", [Answer::HeldHalfway])
        .answer("/2", [Answer::HeldHalfway]);
    // The name that the first edition gave the partial body of the other URL.
    let digest = HEXLOWER.decode(sha256(b"a/b").as_bytes()).unwrap();
    let digest = BASE32HEX_NOPAD.encode(&digest);
    let run = run_of(&named(&server, &[("/1", "a/b"), ("/2", &digest)]));
    let job = run.start();
    server.wait_for("/1", 1);
    server.wait_for("/2", 1);
    job.wait_until("two partial bodies", || run.log().partials().len() == 2);
    server.release_all();
    job.finish().code(0);
    is_body(&run, "a/b", "/1");
    is_body(&run, &digest, "/2");
}

#[test]
fn a_partial_body_under_a_name_that_can_be_guessed_is_dropped_with_a_count() {
    let honest = server::body("/a");
    let head = |tag: &str| format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: ");
    let reply = format!("{}{}\r\n\r\n", head("\"1\""), honest.len());
    let reply = [reply.as_bytes(), &honest].concat();
    let server = Server::start().answer("/a", [Answer::Raw(reply)]);
    let run = Run::new().list([server.url("/a")]).with("--workers 1");
    run.finish().code(0);
    let name = run.log().one(&server.url("/a")).path.unwrap();
    // As left by the first edition, or by another user who knows its names.
    fs::remove_file(run.path("downloads").join(&name)).unwrap();
    let partial = run.path("downloads/.coordinator/partial");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let note = serde_json::json!({
        "v": 1, "boot": boot.trim(), "url": server.url("/a"),
        "validator": {"etag": "\"1\""}, "length": honest.len(), "content_type": null,
    });
    fs::write(partial.join(&name), "evil").unwrap();
    fs::write(partial.join(name.clone() + "~note"), note.to_string()).unwrap();
    let ended = run.finish().code(0);
    assert!(!server.head("/a").to_lowercase().contains("range"));
    ended.says(&["1 partial bod", "start over"]);
    is_body(&run, &name, "/a");
}

#[test]
fn of_a_file_and_a_folder_of_one_name_the_first_is_stored_and_the_other_refused() {
    let server = Server::start();
    let both = [("/docs/a.html", "docs/a.html"), ("/docs", "docs")];
    let rest = [("/x", "x"), ("/y", "docs2")];
    for (first, second) in [(both[0], both[1]), (both[1], both[0])] {
        let pairs = [&[first, second], &rest[..]].concat();
        let urls: Vec<_> = pairs.iter().map(|(path, _)| server.url(path)).collect();
        for run in [
            run_of(&named(&server, &pairs)),
            Run::new().list(urls).with("--workers 1 --naming {path}"),
        ] {
            for round in 0..2 {
                let ended = run.finish().code(1);
                let stored = if round == 0 { 3 } else { 0 };
                assert_eq!(ended.summary("stored"), stored, "{}", ended.text());
                ended.says(&[":2: ", &server.url(second.0), ":1"]);
                is_body(&run, first.1, first.0);
            }
        }
        // A file of an earlier run stays, even if the list is in reverse order now.
        let run = run_of(&named(&server, &[first]));
        run.finish().code(0);
        fs::write(run.path("list.jsonl"), named(&server, &[second, first])).unwrap();
        let ended = run.finish().code(1);
        ended.says(&["list.jsonl:1: ", "docs"]);
        is_body(&run, first.1, first.0);
    }
}

/// Returns the default name of the file of `path`.
fn flat(server: &Server, path: &str) -> String {
    let dry = Run::new().list([server.url(path)]).with("--dry-run");
    let out = dry.finish().code(0).stdout;
    out.trim().rsplit('\t').next().unwrap().to_owned()
}

#[test]
fn what_is_wrong_with_one_name_is_the_failure_of_one_url() {
    let server = Server::start();
    for options in ["", "--engine async", "--sandbox off", "--fsync"] {
        let list = ["/a", "/b", "/c", "/d"].map(|path| server.url(path));
        let run = Run::new()
            .list(&list)
            .with("--workers 1 --retry 0")
            .with(options);
        let taken = run.path("downloads").join(flat(&server, "/b"));
        fs::create_dir_all(taken.join("mine")).unwrap();
        for _ in 0..2 {
            run.finish().code(1);
        }
        let record = run.log().of(&list[1]).pop().unwrap();
        assert_eq!(record.kind(), "store", "{options}: {record:#?}");
        assert!(record.message().contains("folder"), "{}", record.message());
        assert_eq!(run.log().count("stored"), 3, "{options}");
        assert_eq!(run.log().partials(), [""; 0]);
        assert!(taken.join("mine").is_dir());
    }
}

#[test]
fn a_subfolder_of_another_file_system_or_without_permission_fails_only_what_belongs_there() {
    let test = "a_subfolder_of_another_file_system";
    if !is_root(test) {
        return;
    }
    let server = Server::start();
    let names = [
        ("/1", "a"),
        ("/2", "mount/b"),
        ("/3", "shut/c"),
        ("/4", "d"),
    ];
    let script = "mount -t tmpfs none downloads/mount && exec setpriv \
                  --bounding-set=-dac_override,-dac_read_search \
                  --inh-caps=-dac_override,-dac_read_search \"$0\" \"$@\"";
    for options in ["", "--sandbox off"] {
        let run = run_of(&named(&server, &names))
            .with(options)
            .through(["unshare", "--mount", "sh", "-c", script]);
        fs::create_dir_all(run.path("downloads/mount")).unwrap();
        fs::create_dir_all(run.path("downloads/shut")).unwrap();
        assert!(done("chmod", &["500", path(&run.path("downloads/shut"))]));
        let ended = run.finish().code(1);
        assert_eq!(ended.summary("stored"), 2, "{}", ended.text());
        for of in ["/2", "/3"] {
            let record = run.log().one(&server.url(of));
            assert_eq!((record.kind(), record.attempts), ("store", 1));
        }
    }
}

#[test]
fn an_output_folder_that_loses_its_permission_ends_the_run() {
    if !is_root("an_output_folder_that_loses_its_permission") {
        return;
    }
    let server = Server::start().answer("/b", [Answer::Held]);
    let run = Run::new()
        .list(["/a", "/b", "/c"].map(|path| server.url(path)))
        .with("--workers 1")
        .through([
            "setpriv",
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-dac_override,-dac_read_search",
        ]);
    let job = run.start();
    server.wait_for("/b", 1);
    let output = run.path("downloads");
    assert!(done("chmod", &["500", path(&output)]));
    server.release("/b");
    let ended = job.finish().code(4);
    ended.says(&["gave up", path(&output)]);
    assert!(done("chmod", &["700", path(&output)]));
    run.finish().code(0);
    assert_eq!(run.log().count("stored"), 3);
    assert_eq!(run.log().files().len(), 3, "{:?}", run.log().files());
}

#[test]
fn a_file_that_no_run_made_is_replaced_only_by_force() {
    let server = Server::start().answer("/1", [Answer::Held]);
    for options in ["", "--mode threads", "--engine async"] {
        let run = run_of(&named(&server, &[("/1", "mine"), ("/2", "new")])).with(options);
        fs::create_dir(run.path("downloads")).unwrap();
        fs::write(run.path("downloads/mine"), "mine").unwrap();
        for _ in 0..2 {
            let ended = run.finish().code(1);
            ended.says(&["list.jsonl:1: ", "mine", "--force"]);
            assert_eq!(fs::read(run.path("downloads/mine")).unwrap(), b"mine");
            is_body(&run, "new", "/2");
        }
        server.release("/1");
        let run = run.with("--force");
        run.finish().code(0);
        is_body(&run, "mine", "/1");
    }
}

#[test]
fn a_file_that_appears_while_its_name_is_downloaded_is_not_replaced() {
    let server = Server::start().answer("/1", [Answer::Held, Answer::Ok]);
    let run = run_of(&named(&server, &[("/1", "mine"), ("/2", "other")]));
    let job = run.start();
    server.wait_for("/1", 1);
    fs::write(run.path("downloads/mine"), "mine").unwrap();
    server.release("/1");
    job.finish().code(1);
    let record = run.log().one(&server.url("/1"));
    assert_eq!((record.kind(), record.attempts), ("store", 1));
    assert!(record.message().contains("--force"), "{}", record.message());
    assert_eq!(fs::read(run.path("downloads/mine")).unwrap(), b"mine");
    assert_eq!(run.log().partials(), [""; 0]);
    // A file that the run did not place remains the user's.
    run.finish().code(1);
    assert_eq!(fs::read(run.path("downloads/mine")).unwrap(), b"mine");
}

#[test]
fn a_file_that_was_placed_and_not_recorded_before_a_kill_is_done_again_in_place() {
    for options in ["", "--engine async", "--fsync"] {
        let changed = b"another body".to_vec();
        let answers = [
            Answer::Body(b"a body".to_vec()),
            Answer::Body(changed.clone()),
        ];
        let server = Server::start().answer("/1", answers);
        let run = run_of(&named(&server, &[("/1", "deep/file")]))
            .with(options)
            .with("--exec")
            .arg("sh -c 'echo began > began; while test ! -e go; do sleep 0.02; done' {path}");
        let job = run.start();
        // A file is in place before its command starts, and is recorded after the command.
        job.wait_until("the command", || run.path("began").exists());
        let file = run.path("downloads/deep/file");
        assert_eq!(fs::read(&file).unwrap(), b"a body");
        job.kill();
        job.wait_until_alone();
        assert_eq!(run.log().records().len(), 0);
        fs::write(run.path("go"), "").unwrap();
        run.finish().code(0);
        assert_eq!(fs::read(&file).unwrap(), changed);
        run.finish().code(0);
        assert_eq!(server.total(), 2);
    }
}

fn done(program: &str, arguments: &[&str]) -> bool {
    let ended = Command::new(program).args(arguments).output();
    ended.is_ok_and(|output| output.status.success())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A case-insensitive file system, unmounted on drop.
struct CaseBlind<'a>(&'a Run);

impl<'a> CaseBlind<'a> {
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn mount(test: &str, run: &'a Run) -> Option<Self> {
        let image = run.path("disk.img");
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let output = run.path("downloads");
        fs::create_dir(&output).unwrap();
        let mounted = done("mkfs.ntfs", &["-F", "-Q", "-q", path(&image)])
            && done(
                "lowntfs-3g",
                &["-o", "ignore_case", path(&image), path(&output)],
            );
        if !mounted {
            eprintln!("{test} is skipped: it takes lowntfs-3g, and root");
        }
        mounted.then_some(Self(run))
    }
}

impl Drop for CaseBlind<'_> {
    fn drop(&mut self) {
        done("umount", &[path(&self.0.path("downloads"))]);
    }
}

#[test]
fn names_that_differ_only_in_case_do_not_meet_where_cases_are_not_told_apart() {
    let server = Server::start();
    let test = "names_that_differ_only_in_case";
    let pairs = [
        ("/1", "Foo.txt"),
        ("/2", "foo.txt"),
        ("/3", "Docs/a"),
        ("/4", "docs"),
        ("/5", "dOcs/b"),
    ];
    let run = run_of(&named(&server, &pairs)).with("--sandbox off");
    let Some(_disk) = CaseBlind::mount(test, &run) else {
        return;
    };
    for _ in 0..2 {
        let ended = run.finish().code(1);
        ended.says(&["list.jsonl:2: ", "foo.txt", "list.jsonl:1"]);
        ended.says(&["list.jsonl:4: ", "docs", "list.jsonl:3"]);
        is_body(&run, "Foo.txt", "/1");
        is_body(&run, "Docs/a", "/3");
        is_body(&run, "docs/b", "/5");
    }
    // The next run refuses the name as well.
    let list = named(&server, &[("/6", "FOO.txt"), ("/7", "other")]);
    fs::write(run.path("list.jsonl"), list).unwrap();
    run.finish().code(1).says(&["list.jsonl:1: ", "FOO.txt"]);
    is_body(&run, "Foo.txt", "/1");
}

#[test]
fn names_that_differ_only_in_case_are_two_names_elsewhere() {
    let server = Server::start();
    let run = run_of(&named(&server, &[("/1", "Foo.txt"), ("/2", "foo.txt")]));
    run.finish().code(0);
    is_body(&run, "Foo.txt", "/1");
    is_body(&run, "foo.txt", "/2");
}

#[test]
fn a_folder_that_hangs_while_a_worker_is_to_start_does_not_hold_up_the_coordinator() {
    if !has_strace("a_folder_that_hangs_while_a_worker_is_to_start") {
        return;
    }
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]).with("--workers 1");
    let partial = run.path("downloads/.coordinator/partial");
    // Creating the worker's folder takes longer than any wait of this test.
    let run = run.through([
        "strace".as_ref(),
        "--follow-forks".as_ref(),
        "--output=/dev/null".as_ref(),
        "--trace-path".as_ref(),
        partial.as_os_str(),
        "--inject=mkdirat:delay_enter=600s".as_ref(),
    ]);
    let job = run.start();
    let coordinator = job.wait_for("the coordinator", || {
        let mut all = job.processes();
        all.retain(|process| process.arguments[0].ends_with("coordinator"));
        all.pop()
    });
    // Signals are handled by then.
    job.wait_until("the placement", || {
        let threads = fs::read_dir(format!("/proc/{}/task", coordinator.pid)).unwrap();
        let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
        let mut names = threads.filter_map(|thread| name(thread.ok()?).ok());
        names.any(|name| name == "placement\n")
    });
    job.wait_until("a status of a worker that waits for its folder", || {
        coordinator.signal(Signal::USR1);
        job.stderr().contains("worker 0.1 (no process): starting")
    });
    assert!(!partial.join("0-1").exists());
    assert_eq!((job.workers().len(), server.total()), (0, 0));
}
