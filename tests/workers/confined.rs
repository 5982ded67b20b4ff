//! What a worker can still do in its sandbox. `coordinator isolation` tests what it cannot do.

use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use coordinator::chaos::check::processes;
use coordinator::isolation::raw::{call, call_32_bit};
use libtest_mimic::Trial;
use protocol::Setup;

use crate::support::{Answer, Process, Server, is_root, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_confined_worker_can_do_its_work,
        calls_of_another_abi_end_a_confined_worker,
        a_confined_worker_has_no_capabilities_and_no_secrets_in_its_environment,
        root_works_in_a_folder_of_another_user,
        a_worker_that_needs_more_memory_than_it_may_have_dies_and_the_others_go_on,
    ]
}

/// The file in the worker's folder that holds the result of its work.
const TRIED: &str = "tried";

/// Runs in the worker, before it starts to work.
pub fn attempt(what: &str, setup: &Setup) {
    // Every worker does this, so that a file beyond the limit is an error and does not kill it.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).expect("a handler");
    worker::limits::apply(setup).expect("the limits can be had");
    match what {
        "its-work" => {
            let tried = its_work();
            fs::write(TRIED, format!("{tried:?}")).expect("it may write there");
        }
        "x32" => {
            let _ = call(libc::SYS_getpid | 0x4000_0000, &[]);
        }
        // The 32-bit number of getpid(2).
        _ => call_32_bit(20, 0, 0),
    }
}

/// Does everything that a worker must be able to do.
fn its_work() -> io::Result<()> {
    fs::write("own", "own")?;
    fs::read("own")?;
    fs::remove_file("own")?;
    ("localhost", 80).to_socket_addrs().map(drop)
}

fn a_confined_worker_can_do_its_work() {
    let server = Server::start().answer("/f", [Answer::Held]);
    let run = run("*.*=tries:its-work")
        .list([server.url("/f")])
        .with("--workers 1 -c 1 --max-filesize 1M --sandbox on");
    let job = run.start();
    server.wait_for("/f", 1);
    let own = run.path("downloads/.coordinator/partial/0-1");
    let tried = fs::read_to_string(own.join(TRIED)).unwrap();
    server.release("/f");
    job.finish().code(0);
    assert_eq!(tried, "Ok(())");
}

/// 32-bit programs have other call numbers, so the list for 64-bit programs does not apply.
fn calls_of_another_abi_end_a_confined_worker() {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let server = Server::start();
    for kind in ["32-bit", "x32"] {
        let run = run(&format!("0.1=tries:{kind}"))
            .list([server.url("/f")])
            .with("--workers 1 --sandbox");
        let ended = run.with("on").finish().code(0);
        assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
        ended.says(&["SIGSYS"]);
    }
    let run = run("0.1=tries:x32")
        .list([server.url("/f")])
        .with("--workers 1 --sandbox off");
    let ended = run.finish().code(0);
    assert_eq!(ended.summary("worker deaths"), 0, "{}", ended.text());
}

/// Returns the values of some lines of `/proc/PID/status`.
fn status(process: &Process, keys: &[&str]) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let value = |key: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*key));
        let value = line.unwrap().trim_start_matches(':').trim();
        u64::from_str_radix(value, 16).unwrap()
    };
    keys.iter().map(value).collect()
}

fn a_confined_worker_has_no_capabilities_and_no_secrets_in_its_environment() {
    const SETS: [&str; 4] = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    let server = Server::start().answer("/held", [Answer::Held]);
    let environment = |process: &Process| {
        let text = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    for (sandbox, confined) in [("on", true), ("off", false)] {
        let run = run("none")
            .list([server.url("/held")])
            .env("TEST_SECRET", "do not tell")
            .env("RES_OPTIONS", "attempts:1")
            .with("--workers 1 --sandbox")
            .with(sandbox);
        let before = server.total();
        let job = run.start();
        job.wait_until("a request", || server.total() > before);
        let worker = job.worker(0, 1);
        let told = environment(&worker);
        assert!(told.contains("RES_OPTIONS=attempts:1"), "{told}");
        assert_eq!(told.contains("do not tell"), !confined, "{told}");
        let of_root = rustix::process::geteuid().is_root();
        if confined {
            // `processes::left`, which `coordinator chaos` uses, finds it by its arguments.
            assert!(!told.contains(&run.mark()), "{told}");
            let left = processes::left(&run.path("downloads")).unwrap();
            assert!(left.iter().any(|one| one.pid == worker.pid), "{left:?}");
            assert_eq!(status(&worker, &SETS), [0; 4]);
            // Dropping the bounding set takes a capability.
            assert!(!of_root || status(&worker, &["CapBnd"]) == [0]);
        } else if of_root {
            assert_ne!(status(&worker, &["CapEff"]), [0]);
        }
        drop(job);
    }
}

fn root_works_in_a_folder_of_another_user() {
    if !is_root("root_works_in_a_folder_of_another_user") {
        return;
    }
    let server = Server::start();
    let run = run("none")
        .list([server.url("/f")])
        .with("-v --workers 1 --sandbox on");
    fs::create_dir(run.path("downloads")).unwrap();
    std::os::unix::fs::chown(run.path("downloads"), Some(65534), Some(65534)).unwrap();
    let ended = run.finish().code(0);
    ended.says(&["sandbox: ", "no capabilities"]);
    run.log().check(
        &run.log().one(&server.url("/f")),
        &sha256(&server::body("/f")),
    );
}

fn a_worker_that_needs_more_memory_than_it_may_have_dies_and_the_others_go_on() {
    let server = Server::start();
    let mut list = crate::support::run::urls(&server.url(""), 6);
    let hungry = server.url("/hungry");
    list.insert(2, hungry.clone());
    let run = run("*.*=on:/hungry:eats")
        .list(&list)
        .with("--workers 2 --worker-memory 100MB --max-deliveries 1");
    let ended = run.finish().code(1);
    let line = ended.says(&[
        "out of memory",
        "limit of 100000000 bytes",
        "--worker-memory",
    ]);
    assert_eq!(ended.stderr.matches("out of memory: ").count(), 1, "{line}");
    assert_eq!(ended.summary("quarantined"), 1, "{}", ended.text());
    assert_eq!(ended.summary("stored"), 6, "{}", ended.text());
    assert_eq!(ended.summary("worker deaths"), 1, "{}", ended.text());
    let record = run.log().one(&hungry);
    assert_eq!(record.outcome, "quarantined");
}
