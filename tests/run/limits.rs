//! Limits on workers: memory, processor share, and the sandbox of a healthy worker.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::run::urls;
use crate::support::{Answer, Process, Run, Server, is_root, nicer, server, sha256};

/// Simulates a kernel whose Landlock has version 2 (Linux 5.19), which does not distinguish
/// truncating from writing.
const LANDLOCK_2: [&str; 5] = [
    "strace",
    "--follow-forks",
    "--output=/dev/null",
    "--trace=landlock_create_ruleset",
    "--inject=landlock_create_ruleset:retval=2:when=1",
];

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn has_strace(test: &str) -> bool {
    let there = std::process::Command::new("strace")
        .arg("--version")
        .output()
        .is_ok();
    if !there {
        eprintln!("{test} is skipped: strace is not installed");
    }
    there
}

#[test]
fn what_is_in_force_is_told_once() {
    let server = Server::start();
    let run = Run::new()
        .list(urls(&server.url(""), 4))
        .with("-v --workers 2 --sandbox on");
    let ended = run.finish().code(0);
    let line = ended.says(&["sandbox: Landlock ABI", "seccomp", "no_new_privs"]);
    let own = run.path("downloads/.coordinator/partial");
    let own = own.display();
    assert!(line.contains(&format!("writes below {own} only")), "{line}");
    let lines = ended.stderr.matches("sandbox: ").count();
    assert_eq!(lines, 1, "{}", ended.text());
}

#[test]
fn a_name_is_looked_up_in_the_sandbox() {
    let server = Server::start();
    for engine in ["blocking", "async"] {
        let url = server.url("/f").replace("127.0.0.1", "localhost");
        let run = Run::new()
            .list([&url])
            .with("--sandbox on --retry 0 --engine")
            .with(engine);
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
    }
}

#[test]
fn a_user_without_rights_works_in_the_sandbox() {
    if !is_root("a_user_without_rights_works_in_the_sandbox") {
        return;
    }
    let server = Server::start();
    let url = server.url("/f").replace("127.0.0.1", "localhost");
    let run = Run::new()
        .list([&url])
        .with("--sandbox on --retry 0")
        .through([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ]);
    for name in ["", "downloads"] {
        fs::create_dir_all(run.path(name)).unwrap();
        fs::set_permissions(run.path(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    run.finish().code(0);
    run.log()
        .check(&run.log().one(&url), &sha256(&server::body("/f")));
}

#[test]
fn an_output_folder_behind_a_link_is_written_to_from_the_sandbox() {
    let server = Server::start();
    let run = Run::new().list([server.url("/f")]).with("--sandbox on");
    fs::create_dir_all(run.path("real/place")).unwrap();
    symlink("real/place", run.path("downloads")).unwrap();
    for _ in 0..2 {
        // The second run has no record of the file, and replaces it.
        run.finish().code(0);
        run.log().check(
            &run.log().one(&server.url("/f")),
            &sha256(&server::body("/f")),
        );
        fs::remove_file(run.path("real/place/.coordinator/results.jsonl")).unwrap();
    }
}

#[test]
fn an_old_landlock_is_told_of_and_refused_to_a_run_that_insists() {
    if !has_strace("an_old_landlock_is_told_of") {
        return;
    }
    let server = Server::start();
    let run = |when| {
        let run = Run::new().list([server.url("/f")]).through(LANDLOCK_2);
        run.with("--quiet --sandbox").with(when)
    };
    let ended = run("on").finish().code(3);
    ended.says(&["cannot confine workers", "Landlock ABI 3", "best-effort"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    assert_eq!(server.total(), 0);
    let ended = run("best-effort").finish().code(0);
    ended.says(&["warning: ", "Landlock ABI 2", "cut off any file"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
}

#[test]
fn what_only_a_process_has_cannot_be_had_in_another_mode() {
    let cases = [
        ("threads", "--sandbox on"),
        ("async", "--worker-memory 100MB"),
        ("sequential", "--worker-nice 5"),
    ];
    for (mode, option) in cases {
        let run = Run::new()
            .list(["http://127.0.0.1:9/"])
            .with(&format!("--mode {mode} {option}"));
        let ended = run.finish().code(2);
        let name = option.split(' ').next().unwrap();
        ended.says(&["--mode processes", name, mode]);
    }
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/f")])
        .with("--mode threads -v");
    run.finish().code(0).says(&["sandbox: off", "threads"]);
}

#[test]
fn workers_are_as_nice_as_they_are_told_to_be() {
    let server = Server::start().answer("/held", [Answer::Held]);
    let run = Run::new()
        .list([server.url("/held")])
        .with(&format!("--workers 1 --worker-nice {}", nicer()));
    let job = run.start();
    server.wait_for("/held", 1);
    let nice = |pid: u32, task: &str| -> i32 {
        // proc_pid_stat(5): the 19th field. The 2nd holds any text up to the last parenthesis.
        let stat = fs::read_to_string(format!("/proc/{pid}{task}/stat")).unwrap();
        let rest = stat.rsplit_once(')').unwrap().1;
        rest.split_whitespace().nth(16).unwrap().parse().unwrap()
    };
    let worker = job.workers().remove(0).pid;
    for entry in fs::read_dir(format!("/proc/{worker}/task")).unwrap() {
        let task = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(
            nice(worker, &format!("/task/{task}")),
            nicer(),
            "every thread"
        );
    }
    assert_eq!(nice(job.pid(), ""), nice(std::process::id(), ""));
    server.release("/held");
    job.finish().code(0);
}

/// Returns the soft and the hard limit of a process, as `/proc/PID/limits` has them.
fn limit(process: &Process, name: &str) -> [String; 2] {
    let text = fs::read_to_string(format!("/proc/{}/limits", process.pid)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.unwrap().split_whitespace().map(str::to_owned);
    [words.next().unwrap(), words.next().unwrap()]
}

#[test]
fn a_worker_can_open_and_write_only_as_much_as_its_downloads_take() {
    let server = Server::start().answer("/held", [Answer::Held]);
    for (sandbox, lowered) in [("best-effort", true), ("off", false)] {
        let run = Run::new()
            .list([server.url("/held")])
            .with("--workers 1 -c 2 --max-filesize 3MiB --sandbox")
            .with(sandbox);
        let before = server.total();
        let job = run.start();
        job.wait_until("a request", || server.total() > before);
        let worker = job.worker(0, 1);
        // One MiB more, for the piece with which a body exceeds the limit.
        let size = limit(&worker, "Max file size");
        assert_eq!(size == ["4194304"; 2], lowered, "{size:?}");
        let files = limit(&worker, "Max open files");
        assert_eq!(files == ["128"; 2], lowered, "{files:?}");
    }
}

#[test]
fn a_nice_value_that_is_refused_is_told_before_anything_starts() {
    if !is_root("a_nice_value_that_is_refused") {
        return;
    }
    let server = Server::start();
    let run = Run::new()
        .list([server.url("/f")])
        .with("--worker-nice -5")
        .through([
            "setpriv",
            "--bounding-set=-sys_nice",
            "--inh-caps=-sys_nice",
        ]);
    let ended = run.finish().code(3);
    ended.says(&["nice value -5", "--worker-nice", "ermission denied"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    assert_eq!(server.total(), 0);
}

/// Returns the smallest memory for workers of this shape, as named in the program's error message.
fn smallest_memory(shape: &str) -> String {
    let run = Run::new()
        .list(["http://127.0.0.1:9/"])
        .with(shape)
        .with("--worker-memory 1MB");
    let ended = run.finish().code(3);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    let line = ended.says(&["too little memory", "--worker-memory", "--concurrency"]);
    let named = line.split("give it ").nth(1).unwrap();
    named.split_whitespace().next().unwrap().to_owned()
}

const SHAPES: [&str; 4] = [
    "--workers 1 -c 1",
    "--workers 1 -c 16",
    "--workers 1 -c 1 --engine async",
    "--workers 1 -c 16 --engine async",
];

#[test]
fn too_little_memory_is_refused_and_what_is_named_instead_is_enough_for_tls_and_large_bodies() {
    for shape in SHAPES {
        let list: Vec<_> = (0..32).map(|n| format!("https://{n}.example/")).collect();
        let run = Run::new()
            .list(&list)
            .with(shape)
            .with("--retry 0 --simulate=latency=20ms,size=2MiB --worker-memory")
            .with(&smallest_memory(shape));
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
    }
}

#[test]
fn the_smallest_memory_is_enough_for_as_many_lookups_as_downloads() {
    // Each name is different and does not exist (RFC 6761, section 6.4).
    let names = |count| (0..count).map(|n| format!("http://{n}.invalid/"));
    for shape in SHAPES {
        // A lookup may be slow, so there are only two where lookups do not run in parallel.
        let count = if shape.contains("-c 16") { 32 } else { 2 };
        let run = Run::new()
            .list(names(count))
            .with(shape)
            .with("--retry 0 --worker-memory")
            .with(&smallest_memory(shape));
        let ended = run.finish().code(1);
        assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
        assert_eq!(ended.summary("failed"), count, "{}", ended.text());
    }
}

#[test]
fn the_smallest_memory_is_enough_to_hold_a_redirect_against_the_worst_robots_txt() {
    let begin = b"User-agent: *\nDisallow: /no\n";
    let nothing = [&begin[..], &b"\n".repeat(512 << 10)].concat();
    let rules = [&begin[..], &b"allow:/\n".repeat(64 << 10)].concat();
    for shape in SHAPES {
        let shape = format!("{shape} --robots");
        for text in [&nothing, &rules] {
            let server = Server::start()
                .answer("/robots.txt", [Answer::Body(text.clone())])
                .answer("/go", [Answer::Redirect("/there".to_owned())]);
            let run = Run::new()
                .list([server.url("/go")])
                .with(&shape)
                .with("--worker-memory")
                .with(&smallest_memory(&shape));
            let ended = run.finish().code(0);
            assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
        }
    }
}

#[test]
fn a_worker_out_of_memory_says_so_and_ends_with_a_code_of_its_own() {
    // The certificate file is larger than the memory limit of a worker.
    let run = Run::new()
        .list(["https://127.0.0.1:9/"])
        .with("--workers 1 --cacert large.pem --worker-memory 20MB --restart-intensity 1/60s");
    fs::write(run.path("large.pem"), vec![b'x'; 30_000_000]).unwrap();
    let ended = run.finish().code(4);
    ended.says(&[
        "out of memory",
        "limit of 20000000 bytes",
        "--worker-memory",
    ]);
    ended.says(&["died with out of memory (over --worker-memory)"]);
    assert!(!ended.stderr.contains("SIGABRT"), "{}", ended.text());
}

#[test]
fn workers_connect_to_the_ports_that_are_named_and_to_no_others() {
    let (named, other) = (Server::start(), Server::start());
    let port = |server: &Server| server.url("").rsplit(':').next().unwrap().to_owned();
    for engine in ["blocking", "async"] {
        let run = Run::new()
            .list([named.url("/a"), other.url("/b")])
            .with("--retry 0 --engine")
            .with(engine)
            .with("--connect-ports")
            .with(&format!("1,{}", port(&named)));
        let ended = run.finish().code(1);
        assert_eq!(ended.summary("stored"), 1, "{}", ended.text());
        ended.says(&["/b: ", "ermission denied"]);
    }
    assert_eq!((named.total(), other.total()), (2, 0));
}

#[test]
fn ports_that_nothing_would_keep_workers_to_are_refused() {
    let server = Server::start();
    let list = || Run::new().list([server.url("/a")]);
    let run = list().with("--connect-ports 80 --sandbox off");
    run.finish()
        .code(2)
        .says(&["--connect-ports", "--sandbox off"]);
    let run = list().with("--connect-ports 80 --mode threads");
    run.finish()
        .code(2)
        .says(&["--connect-ports", "--mode processes"]);
    if has_strace("ports_that_nothing_would_keep_workers_to_are_refused") {
        let run = list().with("--connect-ports 80").through(LANDLOCK_2);
        run.finish()
            .code(3)
            .says(&["--connect-ports", "Landlock ABI 4"]);
    }
    assert_eq!(server.total(), 0);
}
