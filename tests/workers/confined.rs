//! A worker that was taken over by somebody, in its sandbox: what it tries, and what comes of it.
//!
//! It is a real worker process of a real coordinator, which applies the setup that it was sent with
//! the function that every worker uses, tries everything, writes down how each went (it may do that
//! in its own folder only), and goes on as a worker.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use coordinator::chaos::check::processes;
use libtest_mimic::Trial;
use protocol::Setup;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

use crate::attempts::{self, ALL, MAY_BE_REFUSED, OF_ROOT, Target};
use crate::raw::of_another_abi;
use crate::support::{Answer, Ended, Process, Run, Server, is_root, server, sha256};
use crate::{run, trials};

pub fn trials() -> Vec<Trial> {
    trials![
        a_confined_worker_writes_to_its_own_folder_and_can_do_no_harm,
        without_a_sandbox_the_same_worker_can_do_all_of_it,
        calls_of_another_abi_end_a_confined_worker,
        a_confined_worker_has_no_capabilities_and_no_secrets_in_its_environment,
        root_works_in_a_folder_of_another_user,
        a_worker_that_needs_more_memory_than_it_may_have_dies_and_the_others_go_on,
    ]
}

/// The folder of the worker.
const OWN: &str = "downloads/.coordinator/partial/0-1";

/// Where in there the worker writes down what it tried.
const TRIED: &str = "tried";

/// What a worker must be able to do.
const ALLOWED: [&str; 4] = [
    "write to its own folder",
    "read what it wrote",
    "remove what it wrote",
    "look up localhost",
];

/// Called in the worker, before it is at work.
pub fn attempt(what: &str, setup: &Setup) {
    match what {
        "everything" => try_everything(setup),
        abi => {
            worker::limits::apply(setup).expect("the limits can be had");
            of_another_abi(abi == "x32");
        }
    }
}

fn try_everything(setup: &Setup) {
    let target = Target::new();
    // As every worker does, so that a file that becomes too large is an error and no death.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).expect("a handler");
    worker::limits::apply(setup).expect("the limits can be had");
    let mut tried: Vec<(&str, io::Result<()>)> = Vec::new();
    let mut attempt = |name, result: io::Result<()>| tried.push((name, result));

    attempt(ALLOWED[0], fs::write("own", "own"));
    attempt(ALLOWED[1], fs::read("own").map(drop));
    attempt(
        ALLOWED[2],
        fs::write("more", "x").and_then(|()| fs::remove_file("more")),
    );
    attempt(ALLOWED[3], ("localhost", 80).to_socket_addrs().map(drop));
    for (name, attempted) in ALL {
        attempt(name, attempted(&target));
    }
    let lines: String = tried
        .iter()
        .map(|(name, result)| match result {
            Ok(()) => format!("{name}: done\n"),
            Err(error) => format!("{name}: {:?} {error}\n", error.kind()),
        })
        .collect();
    fs::write(TRIED, lines).expect("it may write there");
}

/// What came of it.
struct Tried {
    run: Run,
    ended: Ended,
    /// What the worker wrote down, by attempt.
    said: BTreeMap<String, String>,
    /// What was seen from outside, whatever it says, by attempt: it had an effect.
    seen: BTreeMap<&'static str, bool>,
}

/// Has a worker try everything.
fn tried(options: &str) -> Tried {
    let server = Server::start().answer("/f", [Answer::Held]);
    let url = server.url("/f");
    let run = run("*.*=tries:everything")
        .list([&url])
        .with("--workers 1 -c 1 --max-filesize 1M --sandbox")
        .with(options);
    fs::create_dir(run.path("downloads")).unwrap();
    for name in ["finished", "kept"] {
        fs::write(run.path("downloads").join(name), "done").unwrap();
    }
    for (name, text) in [
        ("private", "secret"),
        ("removable", "mine"),
        ("touched", ""),
    ] {
        fs::write(run.path(name), text).unwrap();
    }
    fs::set_permissions(run.path("touched"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut by_path = UnixListener::bind(run.path("socket")).unwrap();
    let mut abstractly = listener(&run);
    let job = run.start();
    server.wait_for("/f", 1);
    let coordinator = scheduling(job.pid());
    // Its folder goes with it.
    let own = |name: &str| run.path(OWN).join(name);
    let touched = fs::metadata(run.path("touched")).unwrap();
    let exists = |name: &str| run.path(name).symlink_metadata().is_ok();
    let seen = BTreeMap::from([
        ("write elsewhere", exists("elsewhere")),
        ("remove a file elsewhere", !exists("removable")),
        ("make a folder elsewhere", exists("folder")),
        ("move a file out", exists("moved")),
        ("write to the output folder", exists("downloads/new")),
        ("remove a finished file", !exists("downloads/finished")),
        ("link a file in", own("link").symlink_metadata().is_ok()),
        (
            "change permissions elsewhere",
            touched.mode() & 0o777 == 0o644,
        ),
        ("change the times of a file elsewhere", touched.mtime() == 0),
        (
            "set an attribute elsewhere",
            attribute(&run.path("touched")),
        ),
        (
            "make a program set-uid",
            fs::metadata(own("own")).unwrap().mode() & 0o4000 != 0,
        ),
        ("make a fifo", own("fifo").symlink_metadata().is_ok()),
        (
            "write more than a body may have",
            fs::metadata(own("huge")).is_ok_and(|huge| huge.len() == 1 << 30),
        ),
        ("start a process", own("forked").symlink_metadata().is_ok()),
        ("slow the coordinator down", coordinator.nice == 11),
        ("schedule the coordinator", coordinator.policy != 0),
        ("limit the coordinator", coordinator.is_limited),
        (attempts::REACH_A_SOCKET, is_reached(&mut by_path)),
        (
            attempts::REACH_AN_ABSTRACT_SOCKET,
            is_reached(&mut abstractly),
        ),
    ]);
    let text = fs::read_to_string(own(TRIED)).unwrap();
    let said = text
        .lines()
        .map(|line| {
            let (name, result) = line.split_once(": ").unwrap();
            (name.to_owned(), result.to_owned())
        })
        .collect();
    server.release("/f");
    let ended = job.finish().code(0);
    // It still is a worker.
    run.log()
        .check(&run.log().one(&url), &sha256(&server::body("/f")));
    Tried {
        run,
        ended,
        said,
        seen,
    }
}

/// An abstract socket that only the worker of this run knows.
fn listener(run: &Run) -> UnixListener {
    let folder = fs::canonicalize(run.path("")).unwrap();
    let name = format!("coordinator-test-{}", folder.display());
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let name = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    bind(&listener, &name).unwrap();
    listen(&listener, 1).unwrap();
    listener.into()
}

fn is_reached(listener: &mut UnixListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_ok()
}

fn attribute(path: &std::path::Path) -> bool {
    rustix::fs::getxattr(path, "user.test", &mut [0_u8; 8]).is_ok()
}

/// What others can do to a process.
struct Scheduling {
    nice: i32,
    policy: u32,
    is_limited: bool,
}

fn scheduling(pid: u32) -> Scheduling {
    // proc_pid_stat(5): the 19th and the 41st field; the 2nd may hold anything but a parenthesis last.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let space = limits
        .lines()
        .find(|line| line.starts_with("Max address space"))
        .unwrap();
    Scheduling {
        nice: rest[16].parse().unwrap(),
        policy: rest[38].parse().unwrap(),
        is_limited: space.contains(&(1_u64 << 40).to_string()),
    }
}

fn a_confined_worker_writes_to_its_own_folder_and_can_do_no_harm() {
    let tried = tried("on");
    assert_eq!(tried.said.len(), ALLOWED.len() + ALL.len());
    tried.check();
}

impl Tried {
    /// Whether it could do what it must be able to do, and nothing else.
    fn check(&self) {
        // A file cannot be moved or linked to where the rights would be others: EXDEV. What is
        // counted is at its end: EFBIG, EMFILE.
        let refused = |result: &str| {
            ["PermissionDenied", "CrossesDevices", "FileTooLarge"]
                .iter()
                .any(|kind| result.starts_with(kind))
                || result.contains("Too many open files")
        };
        let wrong: Vec<_> = self
            .said
            .iter()
            .filter(
                |(attempt, result)| match ALLOWED.contains(&attempt.as_str()) {
                    true => *result != "done",
                    false => !refused(result),
                },
            )
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}; {}", self.ended.text());
        let seen: Vec<_> = self.seen.iter().filter(|(_, seen)| **seen).collect();
        assert!(seen.is_empty(), "{seen:#?}; {:#?}", self.said);
        let private = fs::read_to_string(self.run.path("private")).unwrap();
        assert_eq!(private, "secret");
    }
}

fn without_a_sandbox_the_same_worker_can_do_all_of_it() {
    let tried = tried("off");
    assert_eq!(tried.said.len(), ALLOWED.len() + ALL.len());
    let is_root = rustix::process::geteuid().is_root();
    for (attempt, result) in &tried.said {
        let attempt = attempt.as_str();
        if MAY_BE_REFUSED.contains(&attempt) || !is_root && OF_ROOT.contains(&attempt) {
            continue;
        }
        assert_eq!(result, "done", "{attempt}");
    }
    let unseen: Vec<_> = tried.seen.iter().filter(|(_, seen)| !**seen).collect();
    assert!(unseen.is_empty(), "{unseen:#?}; {:#?}", tried.said);
}

/// A program of 32 bits numbers its calls otherwise, so no list that is for 64 bits holds for it.
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

/// The values of some lines of `/proc/PID/status`.
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
            // Chaos knows it by its arguments.
            assert!(!told.contains(&run.mark()), "{told}");
            let left = processes::left(&run.path("downloads")).unwrap();
            assert!(left.iter().any(|one| one.pid == worker.pid), "{left:?}");
            assert_eq!(status(&worker, &SETS), [0; 4]);
            // It takes a capability to give these up.
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
